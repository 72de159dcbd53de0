"""Perplexity: the exponential of the mean cross-entropy.

    H = (sum of -log p(target)) / (number of targets)      in nats
    perplexity = exp(H)                                    1: always sure and right; the vocabulary's size: a guess
    bits per symbol = H / log 2                            of a character: bits per character

The mean is over symbols, not over batches: a short batch counts less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bptt.refimpl import layers
from bptt.refimpl.training.batching import Batch, Ordered
from bptt.refimpl.training.model import Predictor
from bptt.refimpl.types import Array, Params


@dataclass(frozen=True)
class Score:
    """The cross-entropy of `count` targets together, in nats."""

    total: float = 0.0
    count: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(self.total + other.total, self.count + other.count)

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats; NaN where nothing was counted."""
        return self.total / self.count if self.count else math.nan

    @property
    def perplexity(self) -> float:
        return perplexity(self.loss)

    @property
    def bits(self) -> float:
        """Bits per symbol."""
        return self.loss / math.log(2)


def perplexity(loss: float) -> float:
    """exp(loss), inf where that is beyond float64."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def evaluate(model: Predictor, params: Params, batching: Ordered) -> Score:
    """Score of a model on all batches of an epoch: dropout off, the state carried wherever the batches say so."""
    score = Score()
    state: dict[str, Array] = {}
    for batch in batching.epoch().each:
        if batch.fresh:
            state = model.zero_state(params, batch.inputs.shape[1])
        scores, state = model.predict(params, batch.inputs, state)
        score += score_of(scores, batch)
    return score


def score_of(scores: Array, batch: Batch) -> Score:
    losses, _ = layers.cross_entropy(scores, batch.targets, None)
    return Score(float(losses.sum(dtype=np.float64)), batch.count)


@dataclass(frozen=True)
class Validation:
    """Mean cross-entropy of a model on a text of its own, as a function of the parameters: what the loop calls after an epoch."""

    model: Predictor
    batching: Ordered

    def __call__(self, params: Params) -> float:
        return evaluate(self.model, params, self.batching).loss
