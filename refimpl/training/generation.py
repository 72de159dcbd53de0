"""Text from a language model: read a prefix, then choose a symbol, read it, choose the next, the state carried along.

greedy       the symbol with the highest score, the first of them where two are equal
sample       one drawn from softmax(scores / temperature): 1 as the model says, lower is bolder, 0 is greedy
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np

from bptt.refimpl.training.model import Predictor
from bptt.refimpl.training.vocabulary import Vocabulary
from bptt.refimpl.types import Array, Params

Choose = Callable[[Array], int]


def symbols(model: Predictor, params: Params, prefix: Sequence[int], choose: Choose) -> Iterator[int]:
    """The numbers that follow a prefix, without end: `choose` takes the scores (V,) of each next symbol."""
    if len(prefix) == 0:
        raise ValueError("prefix is empty, but the model needs a symbol to start from")
    state = model.zero_state(params, 1)
    ids = np.array(prefix, np.intp)
    while True:
        scores, state = model.predict(params, ids[:, None], state)
        chosen = choose(_finite(scores[-1, 0]))
        yield chosen
        ids = np.array([chosen], np.intp)


def greedy(scores: Array) -> int:
    """scores (V,) -> the number of the highest."""
    return int(np.argmax(scores))


def tempered(temperature: float, rng: np.random.Generator) -> Choose:
    """Draws from softmax(scores / temperature); at 0 it is `greedy`.  Raises ValueError for a negative or infinite one."""
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature is {temperature}, but should be 0 or above")
    if temperature == 0:
        return greedy
    return lambda scores: draw(scores, temperature, rng)


def draw(scores: Array, temperature: float, rng: np.random.Generator) -> int:
    """scores (V,) -> a number from softmax(scores / temperature), by the inverse of the distribution's sums."""
    below = scores.astype(np.float64)
    below -= below.max()
    with np.errstate(over="ignore", under="ignore"):  # far below the highest: probability 0
        sums = np.cumsum(np.exp(below / temperature))
    return int(np.searchsorted(sums, rng.random() * sums[-1], side="right"))


def generate(model: Predictor, params: Params, vocabulary: Vocabulary, prefix: Sequence[str], length: int, choose: Choose = greedy) -> str:
    """The prefix and `length` more symbols as text.   prefix: a str of characters, or a list of words"""
    start = [int(i) for i in vocabulary.encode(prefix)]
    return vocabulary.decode([*start, *islice(symbols(model, params, start, choose), length)])


def _finite(scores: Array) -> Array:
    if not np.isfinite(scores).all():
        raise ValueError(f"scores of the next symbol have {scores[~np.isfinite(scores)][0]} among them, but a choice needs finite ones")
    return scores
