"""Four tasks that need memory, drawn by a generator, and the loss of the best guess without memory.

    task             asks for                                                    loss            best guess without memory
    adding           the sum of the two values that are marked                   squared error   1, the mean:  2 / 12 = 1/6
    copying          ten symbols of eight, after T blanks                        cross-entropy   10 ln 8 / (T + 20) a step
    temporal order   which of AA, BA, AB, BB stood among distractors             cross-entropy   ln 4
    parity           whether the number of ones is odd                           cross-entropy   ln 2

A uniform value has variance 1/12.  The first T + 10 targets of copying are blank, so that only the last ten cost ln 8 each, and the mean is
over all T + 20 steps.  A sum modulo 2 is uniform, whatever all bits but one are.

Sources   adding, temporal order: Hochreiter and Schmidhuber 1997, Neural Computation 9(8); the places of the marks as in Arjovsky, Shah and
          Bengio 2016, arXiv:1511.06464, section 5, which has copying in this form too; the places of A and B as in the code that Pascanu,
          Mikolov and Bengio 2013 published.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bptt.refimpl.training import Batch
from bptt.refimpl.training.batching import Batches

#: Copying: how many symbols are to be kept, of how many; after them stand the blank and the sign to begin.
KEPT, SYMBOLS = 10, 8
BLANK, BEGIN = SYMBOLS, SYMBOLS + 1
#: Temporal order: A and B, then four distractors.
ORDER_SYMBOLS, ORDER_CLASSES = 6, 4

ADDING_BASELINE = 1 / 6
ORDER_BASELINE = math.log(ORDER_CLASSES)
PARITY_BASELINE = math.log(2)
#: Standard deviation of the squared error (u + v - 1)^2: its fourth moment is 2/80 + 6/144, less the square of 1/6.
ADDING_DEVIATION = math.sqrt(1 / 15 - 1 / 36)


@dataclass(frozen=True)
class Drawn:
    """Batches for the training loop: an epoch is so many `steps`, and every batch is new."""

    make: Callable[[np.random.Generator], Batch]
    steps: int

    def epoch(self, rng: np.random.Generator) -> Batches:
        return Batches(self.steps, (self.make(rng) for _ in range(self.steps)))


def copying_baseline(T: int) -> float:
    return KEPT * math.log(SYMBOLS) / (T + 2 * KEPT)


def adding(rng: np.random.Generator, T: int, N: int) -> Batch:
    """inputs (T, N, 2): a value from U(0, 1), and 1 at one place of each half, else 0;   targets (N, 1): the sum of the two values there"""
    _at_least(2, T, "adding")
    inputs = np.zeros((T, N, 2))
    inputs[:, :, 0] = rng.random((T, N))
    n = np.arange(N)
    first, second = rng.integers(T // 2, size=N), rng.integers(T // 2, T, size=N)
    inputs[first, n, 1] = inputs[second, n, 1] = 1
    return Batch(inputs, (inputs[first, n, 0] + inputs[second, n, 0])[:, None], fresh=True)


def copying(rng: np.random.Generator, T: int, N: int) -> Batch:
    """inputs (T + 20, N, 10), one-hot: ten symbols, T - 1 blanks, the sign to begin, ten blanks;   targets (T + 20, N): blanks, the ten"""
    _at_least(1, T, "copying")
    symbols = rng.integers(SYMBOLS, size=(KEPT, N))
    ids, targets = np.full((2, T + 2 * KEPT, N), BLANK)
    ids[:KEPT], ids[KEPT + T - 1], targets[-KEPT:] = symbols, BEGIN, symbols
    return Batch(np.eye(SYMBOLS + 2)[ids], targets, fresh=True)


def temporal_order(rng: np.random.Generator, T: int, N: int) -> Batch:
    """inputs (T, N): 0 or 1 at a place in [.1 T, .2 T) and at one in [.5 T, .6 T), else 2 to 5;   targets (N,): first + 2 second"""
    _at_least(10, T, "temporal order")
    tenth, n = T // 10, np.arange(N)
    ids = rng.integers(2, ORDER_SYMBOLS, size=(T, N))
    first, second = rng.integers(2, size=(2, N))
    ids[tenth + rng.integers(tenth, size=N), n] = first
    ids[T // 2 + rng.integers(tenth, size=N), n] = second
    return Batch(ids, first + 2 * second, fresh=True)


def parity(rng: np.random.Generator, T: int, N: int) -> Batch:
    """inputs (T, N, 1): 0 or 1;   targets (N,): their sum modulo 2"""
    _at_least(1, T, "parity")
    bits = rng.integers(2, size=(T, N))
    return Batch(bits[:, :, None].astype(np.float64), bits.sum(axis=0) % 2, fresh=True)


def _at_least(least: int, T: int, task: str) -> None:
    if least > T:
        raise ValueError(f"{task}: a sequence of T = {T} steps, wanted at least {least}")
