"""Which candidates give the numbers that came back: the one comparison by which a mistake is named.

What a candidate is, is open: `replay` runs it.  A subject is asked several times (a cotangent, a question each), and a candidate that is
far off in one array of one call is not looked at any further.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from bptt.harness.gradient.derivatives.distance import relative_distance
from bptt.harness.known.tolerances import Near
from bptt.harness.subject import Array

C = TypeVar("C")
#: What came back from one call, by name.
Numbers = Mapping[Any, Array]
Distances = Callable[[Numbers, Numbers], Iterator[tuple[Hashable, float]]]


def by_array(made: Numbers, yours: Numbers) -> Iterator[tuple[Hashable, float]]:
    """Relative distance of every array that both have.  dL/dxs step by step: a long lag's is tiny beside the last one's."""
    for name, value in yours.items():
        if name not in made:
            continue
        if name == "xs" and made[name].shape == value.shape:
            each = [relative_distance(a, b) for a, b in zip(made[name], value, strict=True)]
            yield name, float("nan") if np.isnan(each).any() else max(each, default=0.0)
        else:
            yield name, relative_distance(made[name], value)


@dataclass(frozen=True)
class Apart:
    """How far what came back is from what is right.   far: a call each, array by array"""

    far: tuple[Mapping[Hashable, float], ...]
    near: Near

    @cached_property
    def wrong(self) -> tuple[Any, ...]:
        """The arrays that are wrong in any call."""
        return tuple(dict.fromkeys(name for far in self.far for name, distance in far.items() if not distance <= self.near.wrong))

    @cached_property
    def bound(self) -> float:
        """How near a candidate must come."""
        worst = max((max(far.values(), default=0.0) for far in self.far), default=0.0)
        return min(self.near.close, worst / self.near.closer)

    @cached_property
    def order(self) -> list[int]:
        """The calls, that in which most is wrong first."""
        return sorted(range(len(self.far)), key=lambda j: -max(self.far[j].values(), default=0.0))


def apart(yours: Sequence[Numbers], right: Iterable[Numbers], near: Near, distances: Distances = by_array) -> Apart:
    return Apart(tuple(dict(distances(made, got)) for made, got in zip(right, yours, strict=True)), near)


@dataclass(frozen=True)
class Match(Generic[C]):
    """A candidate that gives the numbers.   error: its largest distance to them"""

    candidate: C
    error: float


def match(
    yours: Sequence[Numbers],
    candidates: Iterable[C],
    replay: Callable[[C, int], Numbers | None],
    apart: Apart,
    distances: Distances = by_array,
) -> tuple[Match[C], ...]:
    """The candidates that give what came back, in every array of every call; () where nothing is wrong.

    replay   what a candidate gives in call j; None where it cannot be made
    """
    if not apart.wrong:
        return ()
    found = []
    for candidate in candidates:
        worst = 0.0
        for j in apart.order:
            made = replay(candidate, j)
            worst = float("inf") if made is None else _largest(distances(made, yours[j]), worst, apart.bound)
            if not worst <= apart.bound:
                break
        else:
            found.append(Match(candidate, worst))
    return tuple(found)


def _largest(each: Iterable[tuple[Hashable, float]], worst: float, bound: float) -> float:
    """The largest distance, or the first beyond the bound; not a number is beyond it."""
    for _, distance in each:
        if not distance <= bound:
            return float("inf")
        worst = max(worst, distance)
    return worst
