"""Gradients in float16 and bfloat16: what rounding can do there, measured, against what is there.

The error e of a gradient is taken against float64 on the same, rounded inputs.  The function itself, in float64 with every operation
rounded to the short type and its inputs a unit in the last place apart, is what rounding alone makes of it: a few draws give the spread.
Of each array, head by head, two numbers are held against that spread:

    along the gradient   <e, g> / <g, g>          what is a few per cent too large shows here, where rounding averages out
    at large             |e| / |g|                what is wrong in some entries only
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from bptt.harness.subject import Array

#: Unit roundoffs.
UNIT = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-24}
#: Spreads, and units of rounding, that are forgiven.  Twelve spreads of six draws come by chance once in ten thousand.
_SPREADS, _UNITS = 12, 4
#: Sums inside one operation are kept in float32 on processors: rounding after the operation says all of the shorter types, not of float32.
_INSIDE = {"bfloat16": 1, "float16": 1, "float32": 64}
DRAWS = 6

Gradients = Mapping[str, Array]


@dataclass(frozen=True)
class Judged:
    """One part of one gradient.

    error, forgiven   of the worse of the two numbers
    along, at_large   <e, g> / <g, g>, |e| / |g|
    inputs            |e| / |g| in float64 where the inputs move by a unit of the short type: what any computation must lose
    """

    tensor: str
    part: str
    index: tuple[slice, ...]
    error: float
    forgiven: float
    along: float
    at_large: float
    inputs: float

    @property
    def wrong(self) -> bool:
        return not self.error <= self.forgiven


def judged(
    right: Gradients,
    here: Gradients,
    draws: list[tuple[Gradients, Gradients]],
    dtype: str,
    parts: Callable[[str, Array], Iterator[tuple[str, tuple[slice, ...]]]],
) -> list[Judged]:
    """right: float64;   here: of the short type;   draws: (rounded, float64) at inputs a unit apart"""
    found = []
    for name, g in right.items():
        if name not in here or not g.size:
            continue
        for part, index in parts(name, g):
            sim = [_two(r[name][index], w[name][index]) for r, w in draws if name in r]
            if not sim or not np.any(g[index]):
                continue
            moved = [_two(w[name][index], g[index])[1] for _, w in draws]
            mine, spread = _two(here[name][index], g[index]), np.array(sim)
            if not np.all(np.isfinite(spread)):
                continue  # rounding alone overflows
            along = _INSIDE[dtype] * (_SPREADS * float(np.std(spread[:, 0])) + _UNITS * UNIT[dtype])
            at_large = _INSIDE[dtype] * (4 * float(np.max(spread[:, 1])) + 2 * _UNITS * UNIT[dtype])
            apart = abs(mine[0] - float(np.mean(spread[:, 0])))
            worse = (apart, along) if not apart <= along or apart / along >= mine[1] / at_large else (mine[1], at_large)
            found.append(Judged(name, part, index, worse[0], worse[1], *mine, float(np.median(moved))))
    return found


def _two(g: Array, right: Array) -> tuple[float, float]:
    e, r = np.asarray(g, np.float64) - right, np.asarray(right, np.float64)
    square = float(np.sum(r * r)) or 1e-300
    return float(np.sum(e * r)) / square, float(np.sqrt(np.sum(e * e) / square))


def nudged(value: Array, dtype: str, rng: np.random.Generator) -> Array:
    """A unit of the short type up or down or not at all."""
    return np.asarray(value * (1 + 2 * UNIT[dtype] * rng.choice([-1.0, 0.0, 1.0], size=value.shape)))


def quantised(value: Array, dtype: str) -> Array:
    """The nearest numbers of the short type, in float64."""
    bits = {"bfloat16": 8, "float16": 11, "float32": 24}[dtype]
    mantissa, exponent = np.frexp(np.asarray(value, np.float64))
    return np.asarray(np.ldexp(np.round(mantissa * 2.0**bits) / 2.0**bits, exponent))
