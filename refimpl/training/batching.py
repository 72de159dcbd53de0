"""Batches of a text: windows at random, windows that follow each other, streams; rows; windows of a series.

    RandomSampling  an epoch cuts the text into windows of T and draws N of them a batch; the state starts at zero in each
    Consecutive     an epoch cuts the text into N rows; a batch continues the rows of the one before, and the state is carried
    Streams         the same from the first symbol on and to the last: nothing random, the last window shorter where T does not divide
    Sentences       one row a batch, in their order, the state from zero
    SlidingWindows  every T values of a series and the value after them, in random order

The first two begin an epoch at a random offset, so that windows are not the same in each: `offsets` says among how many places,
T where it is None; 1 is always the first symbol.
Targets are the inputs shifted by one: symbol t + 1 is what is to be predicted after symbol t.

Source: Zhang et al., Dive into Deep Learning, reading sequential data (the first two); Press et al. 2020 name the third "contiguous".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from bptt.refimpl.training.vocabulary import CorpusError, Rows, Text
from bptt.refimpl.types import Array


@dataclass(frozen=True, eq=False)
class Batch:
    """inputs (T, N), targets (T, N); `fresh` where the state starts at zero, else it is that after the batch before."""

    inputs: Array
    targets: Array
    fresh: bool

    @property
    def count(self) -> int:
        """How many symbols are predicted."""
        return self.targets.size


class Batches(NamedTuple):
    """The batches of an epoch, and how many they are."""

    steps: int
    each: Iterator[Batch]


class Batching(Protocol):
    """What the training loop asks of a way to make batches."""

    def epoch(self, rng: np.random.Generator) -> Batches:
        """All batches of an epoch, each cut out when it is asked for."""


class Ordered(Protocol):
    """What an evaluation asks of a way to make batches: nothing in it is random."""

    def epoch(self) -> Batches:
        """All batches, always the same."""


@dataclass(frozen=True)
class RandomSampling:
    text: Text
    N: int
    T: int
    offsets: int | None = None

    def __post_init__(self) -> None:
        _enough(self.text, self.N, self.T, self.offsets)

    def epoch(self, rng: np.random.Generator) -> Batches:
        ids, N, T = self.text.ids, self.N, self.T
        offset = _offset(rng, self.offsets or T, len(ids) - N * T)
        windows = (len(ids) - 1 - offset) // T
        starts = offset + T * rng.permutation(windows)
        steps = windows // N
        return Batches(steps, (_cut(ids, starts[i * N : (i + 1) * N], T, fresh=True) for i in range(steps)))


@dataclass(frozen=True)
class Consecutive:
    text: Text
    N: int
    T: int
    offsets: int | None = None

    def __post_init__(self) -> None:
        _enough(self.text, self.N, self.T, self.offsets)

    def epoch(self, rng: np.random.Generator) -> Batches:
        ids, N, T = self.text.ids, self.N, self.T
        offset = _offset(rng, self.offsets or T, len(ids) - N * T)
        length = (len(ids) - 1 - offset) // N
        starts = offset + length * np.arange(N)
        steps = length // T
        return Batches(steps, (_cut(ids, starts + i * T, T, fresh=i == 0) for i in range(steps)))


@dataclass(frozen=True)
class Streams:
    text: Text
    N: int
    T: int

    def __post_init__(self) -> None:
        _enough(self.text, self.N, 1)

    def epoch(self, rng: np.random.Generator | None = None) -> Batches:
        ids, N, T = self.text.ids, self.N, self.T
        length = (len(ids) - 1) // N
        starts = length * np.arange(N)
        places = range(0, length, T)
        return Batches(len(places), (_cut(ids, starts + t, min(T, length - t), fresh=t == 0) for t in places))


@dataclass(frozen=True)
class Sentences:
    texts: Rows

    def epoch(self, rng: np.random.Generator | None = None) -> Batches:
        rows = self.texts.rows
        return Batches(len(rows), (_cut(ids, np.zeros(1, np.intp), len(ids) - 1, fresh=True) for ids in rows))


@dataclass(frozen=True, eq=False)
class SlidingWindows:
    """series (n,) or (n, D): inputs (T, N, D), targets (N, D)"""

    series: Array
    N: int
    T: int

    def __post_init__(self) -> None:
        if len(self.series) < self.T + 1:
            raise CorpusError(f"the series: has {len(self.series)} values, but a window and the value after it need {self.T + 1}")

    def epoch(self, rng: np.random.Generator) -> Batches:
        values = self.series.reshape(len(self.series), -1)
        starts = rng.permutation(len(values) - self.T)
        places = range(0, len(starts), self.N)
        return Batches(len(places), (self._cut(values, starts[i : i + self.N]) for i in places))

    def _cut(self, values: Array, starts: Array) -> Batch:
        return Batch(values[starts + np.arange(self.T)[:, None]], values[starts + self.T], fresh=True)


def _cut(ids: Array, starts: Array, T: int, fresh: bool) -> Batch:
    """The windows that begin at `starts`, side by side, and the same one symbol later."""
    window = ids[starts + np.arange(T + 1)[:, None]].astype(np.intp)
    return Batch(window[:-1], window[1:], fresh)


def _offset(rng: np.random.Generator, offsets: int, room: int) -> int:
    """One of 0 to offsets - 1, and never so large that no batch is left."""
    return int(rng.integers(min(offsets, room)))


def _enough(text: Text, N: int, T: int, offsets: int | None = None) -> None:
    if offsets is not None and offsets < 1:
        raise ValueError(f"offsets are {offsets} places to begin at, but should be 1 or more")
    if N < 1 or T < 1:
        raise ValueError(f"batches are {N} by {T} steps, but should be 1 by 1 at least")
    if len(text.ids) < N * T + 1:
        raise CorpusError(f"{text.name}: has {len(text.ids)} symbols, but a batch of {N} by {T} steps needs {N * T + 1}")
