"""Perplexity where theory says what it is, over batches of unequal size, with a state that is carried."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.refimpl.training.batching import Batch, Streams
from bptt.refimpl.training.perplexity import Score, Validation, evaluate, perplexity, score_of
from tests.refimpl.training.tinymodel import TinyModel, random_text, text_of

quick = settings(max_examples=40, deadline=None, derandomize=True)


def test_a_guess_has_the_perplexity_of_the_vocabulary() -> None:
    params = {"W": np.zeros((7, 7)), "u": np.zeros(7)}
    score = evaluate(TinyModel(), params, Streams(random_text(0, 200, 7), 3, 10))
    assert score.perplexity == pytest.approx(7, rel=1e-12)
    assert score.bits == pytest.approx(math.log2(7), rel=1e-12)
    assert score.count == 199 // 3 * 3


def test_who_knows_the_next_symbol_has_perplexity_one() -> None:
    text = text_of(np.arange(100) % 5)
    params = {"W": 50.0 * np.roll(np.eye(5), 1, axis=1), "u": np.zeros(5)}
    assert evaluate(TinyModel(), params, Streams(text, 1, 10)).perplexity == 1.0
    assert evaluate(TinyModel(), {**params, "W": params["W"].T}, Streams(text, 1, 10)).perplexity > 1e20


@quick
@given(T=st.integers(1, 40), seed=st.integers(0, 999))
def test_windows_do_not_matter_because_the_state_is_carried_and_symbols_count_alike(T: int, seed: int) -> None:
    text = random_text(seed, 38, 6)
    params = TinyModel().init(np.random.default_rng(seed), 6)
    inputs, targets = text.ids[:-1, None], text.ids[1:, None]
    scores, _ = TinyModel().predict(params, inputs, {"c": np.zeros(1)})
    whole = score_of(scores, Batch(inputs, targets, fresh=True))
    parts = evaluate(TinyModel(dropout=0.5), params, Streams(text, 1, T))  # dropout is off here
    assert parts.count == whole.count == 37
    assert parts.total == pytest.approx(whole.total, rel=1e-12)


def test_the_mean_is_over_symbols_and_not_over_batches() -> None:
    assert (Score(3.0, 1) + Score(1.0, 9)).loss == pytest.approx(0.4)
    assert math.isnan(Score().loss)


def test_the_sum_of_many_losses_in_float32_keeps_its_digits() -> None:
    def of(T: int, N: int) -> Score:
        targets = np.zeros((T, N), int)
        return score_of(np.zeros((T, N, 3), np.float32), Batch(targets, targets, fresh=True))

    assert of(2000, 50).loss == of(1, 1).loss == pytest.approx(math.log(3), rel=1e-7)


def test_a_loss_beyond_the_range_is_infinite_perplexity() -> None:
    assert perplexity(1e4) == math.inf
    assert perplexity(0.0) == 1.0


def test_validation_is_the_loss_as_a_function_of_the_parameters() -> None:
    batching, params = Streams(random_text(1, 60, 4), 2, 5), TinyModel().init(np.random.default_rng(0), 4)
    assert Validation(TinyModel(), batching)(params) == evaluate(TinyModel(), params, batching).loss
