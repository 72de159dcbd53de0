"""Learning rates that look at the loss: pure, with all that they remember in a `Rate`.

    Constant           the same for ever
    HalveOnRise        lr / 2 when the loss is above that of the evaluation before      (the word-level model of S1: every 5 epochs)
    DivideOnPlateau    lr / 4 when the loss is not below the best so far                (the two-layer model of S8: every epoch)

The loss is the one that is watched: of validation where there is an evaluation, else of training.  Perplexity is its
exponential, so it rises and falls with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol


@dataclass(frozen=True)
class Rate:
    """A learning rate and what led to it.

    lr        the learning rate from now on
    previous  the loss of the last evaluation, inf before the first
    best      the lowest loss so far, inf before the first
    improved  whether the last evaluation was the best so far: then its parameters are the ones to keep
    """

    lr: float
    previous: float = math.inf
    best: float = math.inf
    improved: bool = False


class Schedule(Protocol):
    """What the training loop asks of a schedule."""

    def start(self) -> Rate:
        """The rate before the first step."""

    def after(self, rate: Rate, loss: float) -> Rate:
        """The rate after an evaluation."""


@dataclass(frozen=True)
class Constant:
    lr: float

    def start(self) -> Rate:
        return Rate(_above_zero(self.lr))

    def after(self, rate: Rate, loss: float) -> Rate:
        return seen(rate, loss)


@dataclass(frozen=True)
class HalveOnRise:
    """lr / 2 when the loss is above that of the evaluation before.

    The source evaluates once before the first step too: hand `after(start(), that_loss)` to the loop for the same.
    """

    lr: float = 0.005

    def start(self) -> Rate:
        return Rate(_above_zero(self.lr))

    def after(self, rate: Rate, loss: float) -> Rate:
        return replace(seen(rate, loss), lr=rate.lr / 2 if loss > rate.previous else rate.lr)


@dataclass(frozen=True)
class DivideOnPlateau:
    """lr / factor when the loss is not below the best so far."""

    lr: float = 20.0
    factor: float = 4.0

    def start(self) -> Rate:
        return Rate(_above_zero(self.lr))

    def after(self, rate: Rate, loss: float) -> Rate:
        return replace(seen(rate, loss), lr=rate.lr if loss < rate.best else rate.lr / self.factor)


def seen(rate: Rate, loss: float) -> Rate:
    """The same rate, with this loss remembered.  Raises ValueError for NaN, which is neither above nor below anything."""
    if math.isnan(loss):
        raise ValueError("loss of the evaluation is nan, but a schedule needs a number: the training has left its range")
    return replace(rate, previous=loss, best=min(loss, rate.best), improved=loss < rate.best)


def _above_zero(lr: float) -> float:
    if not 0 < lr < math.inf:
        raise ValueError(f"learning rate is {lr}, but should be a number above 0")
    return lr
