"""Generation: one step at a time is the whole at once, greedy is temperature zero, and draws have the model's probabilities."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.refimpl.training.generation import draw, generate, greedy, symbols, tempered
from bptt.refimpl.training.vocabulary import CorpusError, Vocabulary
from bptt.refimpl.types import Array
from tests.refimpl.training.tinymodel import TinyModel

quick = settings(max_examples=30, deadline=None, derandomize=True)
ABC = Vocabulary(("a", "b", "c"))
CYCLE = {"W": np.roll(np.eye(3), 1, axis=1), "u": np.zeros(3)}


def test_greedy_goes_round_a_cycle() -> None:
    assert generate(TinyModel(), CYCLE, ABC, "ab", 6) == "abcabcab"


def test_words_work_as_characters_do() -> None:
    words = Vocabulary(("one", "two", "three"), " ", "three")
    assert generate(TinyModel(), CYCLE, words, ["two", "else"], 3) == "two three one two three"


@quick
@given(seed=st.integers(0, 999), prefix=st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_each_symbol_is_what_the_whole_text_so_far_asks_for(seed: int, prefix: list[int]) -> None:
    params = TinyModel().init(np.random.default_rng(seed), 6)
    text = list(prefix)
    for chosen in islice(symbols(TinyModel(), params, prefix, greedy), 12):
        scores, _ = TinyModel().predict(params, np.array(text)[:, None], {"c": np.zeros(1)})
        assert chosen == scores[-1, 0].argmax()
        text.append(chosen)


@quick
@given(seed=st.integers(0, 999))
def test_temperature_zero_is_greedy_and_near_zero_is_near_it(seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=9)
    rng = np.random.default_rng(0)
    assert tempered(0, rng) is greedy
    for temperature in (1e-3 * np.ptp(scores) / 9, 1e-300, 5e-324):
        assert tempered(temperature, rng)(scores) == scores.argmax() or np.sort(scores)[-1] - np.sort(scores)[-2] < 40 * temperature


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_draws_have_the_probabilities_of_the_softmax(temperature: float) -> None:
    scores = np.array([0.0, -0.5, 1.0, -800.0, 0.3], np.float32)
    p = np.exp(scores.astype(float) / temperature)
    p /= p.sum()
    rng, n = np.random.default_rng(0), 5_000
    counts = np.bincount([draw(scores, temperature, rng) for _ in range(n)], minlength=5)
    assert (np.abs(counts - n * p) <= 5 * np.sqrt(n * p * (1 - p))).all()
    assert counts[3] == 0


class Edge:
    """A generator that always gives the same number."""

    def __init__(self, number: float) -> None:
        self.number = number

    def random(self) -> float:
        return self.number


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
def test_the_ends_of_the_random_numbers_are_symbols_too_and_never_impossible_ones(number: float) -> None:
    rng: Any = Edge(number)
    for scores in (np.array([-np.inf, 0.0, 0.1, -np.inf]), np.array([-1e5, 3.0, 3.0, 3.0, -1e5])):
        assert 1 <= draw(scores, 1.0, rng) <= len(scores) - 2


def test_the_same_generator_gives_the_same_text() -> None:
    params = TinyModel().init(np.random.default_rng(0), 3)
    once, again, other = (generate(TinyModel(), params, ABC, "a", 50, tempered(1.0, np.random.default_rng(seed))) for seed in (1, 1, 2))
    assert once == again != other


@pytest.mark.parametrize("temperature", [-1.0, np.inf, np.nan])
def test_a_temperature_is_a_number(temperature: float) -> None:
    with pytest.raises(ValueError, match="should be 0 or above"):
        tempered(temperature, np.random.default_rng(0))


def test_what_cannot_be_generated_is_refused() -> None:
    with pytest.raises(ValueError, match="prefix is empty"):
        generate(TinyModel(), CYCLE, ABC, "", 3)
    with pytest.raises(CorpusError, match="'z' is not in the vocabulary"):
        generate(TinyModel(), CYCLE, ABC, "az", 3)
    bad: dict[str, Array] = {**CYCLE, "u": np.array([0, np.nan, 0])}
    with pytest.raises(ValueError, match="have nan among them"):
        generate(TinyModel(), bad, ABC, "a", 3)
