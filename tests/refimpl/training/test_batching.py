"""Batches hold what their definitions say: held against windows cut out one at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bptt.refimpl.training.batching import Batch, Batching, Consecutive, RandomSampling, Sentences, SlidingWindows, Streams
from bptt.refimpl.training.vocabulary import CorpusError, Rows, Vocabulary
from bptt.refimpl.types import Array
from tests.refimpl.training.tinymodel import random_text, text_of

quick = settings(max_examples=60, deadline=None, derandomize=True)
sizes = {"n": st.integers(2, 200), "N": st.integers(1, 5), "T": st.integers(1, 7), "seed": st.integers(0, 2**32 - 1)}


def epoch(batching: Batching, seed: int) -> list[Batch]:
    steps, each = batching.epoch(np.random.default_rng(seed))
    batches = list(each)
    assert steps == len(batches)
    return batches


def places(n: int) -> Array:
    """A text whose symbols are their own places: what a batch holds says where it was cut out."""
    return np.arange(n, dtype=np.int32)


@quick
@given(**sizes)
def test_random_sampling_draws_each_window_of_the_text_at_most_once(n: int, N: int, T: int, seed: int) -> None:
    assume(n > N * T)
    batches = epoch(RandomSampling(text_of(places(n)), N, T), seed)
    starts = np.concatenate([batch.inputs[0] for batch in batches])
    assert len(set(starts.tolist())) == len(starts)
    offset = int(starts.min()) % T
    assert set((starts - offset) % T) == {0}
    assert len(batches) in {(n - 1 - o) // T // N for o in range(T)}
    for batch in batches:
        assert batch.fresh
        assert batch.count == N * T
        np.testing.assert_array_equal(batch.inputs, batch.inputs[0] + np.arange(T)[:, None])
        np.testing.assert_array_equal(batch.targets, batch.inputs + 1)


@quick
@given(**sizes)
def test_consecutive_batches_go_on_where_the_one_before_stopped(n: int, N: int, T: int, seed: int) -> None:
    assume(n > N * T)
    batches = epoch(Consecutive(text_of(places(n)), N, T), seed)
    assert [batch.fresh for batch in batches] == [True] + [False] * (len(batches) - 1)
    rows = np.concatenate([batch.inputs for batch in batches])
    starts = rows[0]
    length = (n - 1 - int(starts[0])) // N
    assert 0 <= starts[0] < T
    assert len(rows) == length // T * T
    np.testing.assert_array_equal(starts, starts[0] + length * np.arange(N))
    np.testing.assert_array_equal(rows, starts + np.arange(len(rows))[:, None])
    np.testing.assert_array_equal(np.concatenate([batch.targets for batch in batches]), rows + 1)


@quick
@given(**sizes)
def test_streams_read_everything_in_order(n: int, N: int, T: int, seed: int) -> None:
    assume(n > N)
    batches = epoch(Streams(text_of(places(n)), N, T), seed)
    rows = np.concatenate([batch.inputs for batch in batches])
    assert len(rows) == (n - 1) // N
    np.testing.assert_array_equal(rows.T.ravel(), np.arange((n - 1) // N * N))
    np.testing.assert_array_equal(np.concatenate([batch.targets for batch in batches]), rows + 1)
    assert {len(batch.inputs) for batch in batches[:-1]} <= {T}
    assert 1 <= len(batches[-1].inputs) <= T


@pytest.mark.parametrize("kind", [RandomSampling, Consecutive])
def test_every_offset_below_a_window_comes(kind: type[RandomSampling | Consecutive]) -> None:
    batching = kind(text_of(places(101)), 3, 5)
    smallest = [min(int(batch.inputs.min()) for batch in epoch(batching, seed)) for seed in range(100)]
    assert {start % 5 for start in smallest} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("kind", [RandomSampling, Consecutive])
def test_one_offset_is_the_first_symbol_and_a_few_are_the_first_few(kind: type[RandomSampling | Consecutive]) -> None:
    for offsets, expected in ((1, {0}), (3, {0, 1, 2})):
        batching = kind(text_of(places(101)), 3, 5, offsets)
        assert {min(int(batch.inputs.min()) for batch in epoch(batching, seed)) % 5 for seed in range(60)} == expected
    with pytest.raises(ValueError, match="offsets are 0 places to begin at"):
        kind(text_of(places(101)), 3, 5, 0)


@pytest.mark.parametrize("kind", [RandomSampling, Consecutive])
def test_a_text_of_just_one_batch_always_gives_it(kind: type[RandomSampling | Consecutive]) -> None:
    for seed in range(20):
        assert len(epoch(kind(text_of(places(16)), 3, 5), seed)) == 1


def test_random_sampling_is_in_another_order_each_epoch_and_the_same_for_a_seed() -> None:
    batching = RandomSampling(random_text(0, 500, 9), 4, 6, offsets=1)
    rng = np.random.default_rng(1)
    first, second = (np.stack([b.inputs for b in batching.epoch(rng).each][:15]) for _ in range(2))
    assert (first != second).any()
    np.testing.assert_array_equal(first, np.stack([b.inputs for b in epoch(batching, 1)][:15]))


def test_ten_thousand_characters_are_eight_batches_of_32_by_35() -> None:
    text = random_text(0, 10_000, 50)
    assert {len(epoch(RandomSampling(text, 32, 35), seed)) for seed in range(10)} == {8}
    assert {len(epoch(Consecutive(text, 32, 35), seed)) for seed in range(10)} == {8}


def test_batches_are_of_numpys_index_type_and_of_their_own_memory() -> None:
    text = random_text(0, 100, 9)
    (batch, *_) = epoch(Consecutive(text, 2, 5), 0)
    assert batch.inputs.dtype == batch.targets.dtype == np.intp
    assert not np.shares_memory(batch.inputs, text.ids)


@pytest.mark.parametrize("kind", [RandomSampling, Consecutive])
def test_a_text_shorter_than_a_batch_is_refused(kind: type[RandomSampling | Consecutive]) -> None:
    with pytest.raises(CorpusError, match=r"^a text: has 15 symbols, but a batch of 3 by 5 steps needs 16$"):
        kind(text_of(places(15)), 3, 5)
    with pytest.raises(ValueError, match="should be 1 by 1 at least"):
        kind(text_of(places(15)), 0, 5)


def test_streams_need_two_symbols_each_and_no_whole_window() -> None:
    assert [batch.inputs.shape for batch in epoch(Streams(text_of(places(5)), 4, 35), 0)] == [(1, 4)]
    with pytest.raises(CorpusError, match="needs 6"):
        Streams(text_of(places(5)), 5, 35)


def test_sentences_are_one_batch_each() -> None:
    rows = Rows("rows", (np.array([3, 1, 2]), np.array([0, 1])), Vocabulary(("a", "b", "c", "d")))
    first, second = epoch(Sentences(rows), 0)
    np.testing.assert_array_equal(first.inputs, [[3], [1]])
    np.testing.assert_array_equal(first.targets, [[1], [2]])
    np.testing.assert_array_equal(second.targets, [[1]])
    assert first.fresh
    assert second.fresh


@quick
@given(n=st.integers(2, 60), N=st.integers(1, 20), T=st.integers(1, 9), D=st.sampled_from([None, 1, 3]), seed=st.integers(0, 99))
def test_sliding_windows_are_all_windows_and_the_value_after_each(n: int, N: int, T: int, D: int | None, seed: int) -> None:
    assume(n > T)
    series = np.arange(n, dtype=np.float32) if D is None else np.arange(n, dtype=np.float32)[:, None].repeat(D, axis=1)
    batches = epoch(SlidingWindows(series, N, T), seed)
    assert sorted(np.concatenate([batch.inputs[0, :, 0] for batch in batches]).tolist()) == list(range(n - T))
    for batch in batches:
        assert batch.inputs.shape == (T, len(batch.targets), D or 1)
        np.testing.assert_array_equal(batch.inputs, batch.inputs[0] + np.arange(T)[:, None, None])
        np.testing.assert_array_equal(batch.targets, batch.inputs[-1] + 1)
        assert batch.inputs.dtype == np.float32


def test_a_series_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(CorpusError, match="has 5 values, but a window and the value after it need 6"):
        SlidingWindows(np.zeros(5), 1, 5)
