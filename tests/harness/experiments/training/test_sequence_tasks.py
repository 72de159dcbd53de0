from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.harness.experiments.training.sequence_tasks import (
    ADDING_BASELINE,
    ADDING_DEVIATION,
    BEGIN,
    BLANK,
    ORDER_BASELINE,
    PARITY_BASELINE,
    Drawn,
    adding,
    copying,
    copying_baseline,
    parity,
    temporal_order,
)

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, T=st.integers(2, 40), N=st.integers(1, 7))
def test_adding_asks_for_the_sum_of_the_two_marked_values(seed: int, T: int, N: int) -> None:
    batch = adding(np.random.default_rng(seed), T, N)
    values, marks = batch.inputs[:, :, 0], batch.inputs[:, :, 1]
    assert np.all((values >= 0) & (values < 1)) and set(np.unique(marks)) <= {0.0, 1.0}
    assert np.all(marks[: T // 2].sum(axis=0) == 1) and np.all(marks[T // 2 :].sum(axis=0) == 1)
    np.testing.assert_allclose(batch.targets[:, 0], (values * marks).sum(axis=0), atol=1e-15)
    assert batch.targets.shape == (N, 1) and batch.fresh


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, T=st.integers(1, 30), N=st.integers(1, 7))
def test_copying_asks_for_the_ten_symbols_after_t_blanks(seed: int, T: int, N: int) -> None:
    batch = copying(np.random.default_rng(seed), T, N)
    ids = batch.inputs.argmax(axis=2)
    assert batch.inputs.shape == (T + 20, N, 10) and np.all(batch.inputs.sum(axis=2) == 1)
    assert np.all(ids[:10] < 8) and np.all(ids[T + 9] == BEGIN)
    assert np.all(np.delete(ids[10:], T - 1, axis=0) == BLANK)
    assert np.all(batch.targets[:-10] == BLANK)
    np.testing.assert_array_equal(batch.targets[-10:], ids[:10])


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, T=st.integers(10, 60), N=st.integers(1, 7))
def test_temporal_order_has_one_of_a_and_b_in_either_tenth(seed: int, T: int, N: int) -> None:
    batch = temporal_order(np.random.default_rng(seed), T, N)
    tenth = T // 10
    early, late = batch.inputs[tenth : 2 * tenth], batch.inputs[T // 2 : T // 2 + tenth]
    assert np.all((batch.inputs < 2).sum(axis=0) == 2) and batch.inputs.max() <= 5
    assert np.all((early < 2).sum(axis=0) == 1) and np.all((late < 2).sum(axis=0) == 1)
    first, second = (part.min(axis=0) for part in (early, late))
    np.testing.assert_array_equal(batch.targets, first + 2 * second)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, T=st.integers(1, 20), N=st.integers(1, 7))
def test_parity_is_the_sum_modulo_two(seed: int, T: int, N: int) -> None:
    batch = parity(np.random.default_rng(seed), T, N)
    np.testing.assert_array_equal(batch.targets, batch.inputs[:, :, 0].astype(int).sum(axis=0) & 1)
    assert set(np.unique(batch.inputs)) <= {0.0, 1.0}


def test_a_task_is_a_function_of_the_generator_alone() -> None:
    for draw in (adding, copying, temporal_order, parity):
        one, same, other = (draw(np.random.default_rng(seed), 10, 3) for seed in (0, 0, 1))
        np.testing.assert_array_equal(one.inputs, same.inputs)
        np.testing.assert_array_equal(one.targets, same.targets)
        assert not np.array_equal(one.inputs, other.inputs)


def test_the_baselines_of_the_publications() -> None:
    assert [round(copying_baseline(T), 5) for T in (100, 200, 300, 500)] == [0.17329, 0.09452, 0.06498, 0.03999]
    assert pytest.approx((math.log(4), math.log(2), 1 / 6)) == (ORDER_BASELINE, PARITY_BASELINE, ADDING_BASELINE)


def test_the_error_of_the_constant_one_has_its_mean_and_deviation() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(6)
    u, w = (nodes + 1) / 2, np.outer(weights, weights) / 4
    squares = (u[:, None] + u - 1) ** 2
    assert np.sum(w * squares) == pytest.approx(ADDING_BASELINE, abs=1e-15)
    assert np.sqrt(np.sum(w * (squares - 1 / 6) ** 2)) == pytest.approx(ADDING_DEVIATION, abs=1e-14)


def test_an_epoch_is_so_many_new_batches() -> None:
    steps, batches = Drawn(lambda rng: parity(rng, 8, 4), 3).epoch(np.random.default_rng(0))
    found = [batch.inputs for batch in batches]
    assert steps == len(found) == 3
    assert not np.array_equal(found[0], found[1])


@pytest.mark.parametrize(("draw", "T", "words"), [(adding, 1, "adding: .* T = 1 .* 2"), (temporal_order, 9, "temporal order: .* 10")])
def test_too_short_a_sequence_is_refused(draw: object, T: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        draw(np.random.default_rng(0), T, 2)  # type: ignore[operator]  # one of the tasks
