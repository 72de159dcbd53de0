"""Trainings that end when the task is solved, or at a cap: how many did, and after how many iterations, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bptt.harness.experiments.engine.definition import Point
from bptt.harness.experiments.engine.estimates import mean
from bptt.reports.records import Interval

#: Where 95 % of a normal distribution lie.
Z = 1.959963984540054


def solved_at(points: Sequence[Point]) -> list[int | None]:
    """The value "solved" of each training: the iteration, or None where it reached the cap."""
    found = [p.values["solved"] for p in points]
    return [int(k) if isinstance(k, int | float) else None for k in found]


def share(solved: int, of: int) -> Interval:
    """The share that solved the task, with Wilson's 95 % interval, which is right for few and for none too.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22.
    """
    if not 0 <= solved <= of or of == 0:
        raise ValueError(f"a share of {solved} of {of}, wanted 0 to {max(of, 1)} of at least 1")
    p, z = solved / of, Z * Z / of
    middle, half = (p + z / 2) / (1 + z), math.sqrt(z * p * (1 - p) + z * z / 4) / (1 + z)
    return Interval(p, middle - half if solved else 0.0, middle + half if solved < of else 1.0)


def iterations(solved: Sequence[int | None], cap: int) -> Interval | float | str:
    """The geometric mean of the iterations of those that solved it, its interval from their logarithms, or in words that none did."""
    logs = [math.log(k) for k in solved if k is not None]
    if not logs:
        return f"none in {cap:,}"
    if len(logs) == 1:
        return round(math.exp(logs[0]))
    found = mean(logs).interval
    return Interval(*(math.exp(end) for end in (found.value, found.low, found.high)))
