"""Central differences on a ladder of steps, for black boxes, with an honest error.

The ladder is extrapolated (Neville's table in h^2); the error of an entry is the largest difference to its neighbours in the
table plus the rounding floor noise / h, with the noise of the function measured, not assumed (differences of order six along
the direction kill the smooth part and leave the noise; after Hamming, and More and Wild, ECnoise, SIAM J. Sci. Comput. 33, 2011).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.cases import Cotangent, Data
from harness.gradient.running import run
from harness.gradient.tangent import Direction, Tangent, contract, moved
from harness.subject import Array, Subject

_STEPS = {"float64": 2.0 ** -np.arange(4, 13), "float32": 2.0 ** -np.arange(2, 7)}
_SIXTH = np.array([1.0, -6.0, 15.0, -20.0, 15.0, -6.0, 1.0])
_SIXTH_NORM = float(np.sqrt(np.sum(_SIXTH**2)))


@dataclass(frozen=True)
class Ladder:
    """Outputs at +-h for every step h of the ladder, and the measured noise of each output.   halves: list of tangents per step."""

    steps: Array
    tangents: list[Tangent]
    noise: Tangent


def ladder(subject: Subject, data: Data, direction: Direction) -> Ladder:
    """All runs that one direction needs: two a step and seven for the noise."""
    steps = _STEPS["float32" if data.xs.dtype == np.float32 else "float64"] / largest(direction)
    tangents = [_central(lambda s: _run(subject, moved_in_dtype(data, direction, s)), float(h)) for h in steps]
    return Ladder(steps, tangents, measured_noise(subject, data, direction))


def one_difference(subject: Subject, data: Data, direction: Direction) -> Tangent:
    """J u by a single central difference: coarse, and cheap."""
    step = float(_STEPS["float32" if data.xs.dtype == np.float32 else "float64"][-1]) / largest(direction)
    return _central(lambda s: _run(subject, moved_in_dtype(data, direction, s)), step)


def contracted(found: Ladder, cotangent: Cotangent) -> tuple[float, float]:
    """<v, J u> by extrapolation, and the error of that value."""
    column = np.array([contract(t, cotangent)[0] for t in found.tangents])
    noise = contract(Tangent(np.abs(found.noise.ys_dot), {k: np.abs(v) for k, v in found.noise.final_dot.items()}), _absolute(cotangent))[0]
    return extrapolated(column, found.steps, noise)


def extrapolated(column: Array, steps: Array, noise: float) -> tuple[float, float]:
    """Best entry of Neville's table for values at steps halving each time, and its error.   column (K,)   steps (K,)"""
    best, smallest = float(column[-1]), np.inf
    previous: list[float] = []
    for k, value in enumerate(column):
        row = [float(value)]
        for j in range(1, k + 1):
            row.append(row[-1] + (row[-1] - previous[j - 1]) / (4.0**j - 1))
        for j in range(len(row)):
            neighbours = [abs(row[j] - previous[i]) for i in (j - 1, j) if 0 <= i < len(previous)]
            if j > 0:
                neighbours.append(abs(row[j] - row[j - 1]))
            error = (max(neighbours) if neighbours else np.inf) + 2 * noise / float(steps[k])
            if error < smallest:
                best, smallest = row[j], error
        previous = row
    return best, float(smallest)


def measured_noise(subject: Subject, data: Data, direction: Direction) -> Tangent:
    """Size of the rounding noise in each output: sixth differences at a step where the smooth part is below rounding.

    At least two units in the last place of the output, because a lucky cancellation is no proof of exactness.
    """
    eps = float(np.finfo(data.xs.dtype).eps)
    step = (1e-3 if eps < 1e-10 else 1e-2) / largest(direction)
    values = [_run(subject, moved_in_dtype(data, direction, step * i)) for i in range(-3, 4)]

    def noise(parts: list[Array]) -> Array:
        stack = np.stack([np.asarray(p, dtype=np.float64) for p in parts])
        found = np.abs(np.tensordot(_SIXTH, stack, axes=1)) / _SIXTH_NORM
        typical = float(np.sqrt(np.mean(found**2))) if found.size else 0.0
        return np.maximum(np.maximum(found, typical), 2 * eps * np.abs(stack[3]))

    return Tangent(noise([v[0] for v in values]), {k: noise([v[1][k] for v in values]) for k in values[0][1]})


def moved_in_dtype(data: Data, direction: Direction, step: float) -> Data:
    """`data` + step * direction, still in the dtype of `data`."""
    return moved(data, direction, data.xs.dtype.type(step))


def largest(direction: Direction) -> float:
    """Largest entry of a direction, so that steps are relative to it."""
    parts = [*direction.params.values(), *direction.state.values()] + ([] if direction.xs is None else [direction.xs])
    return max((float(np.max(np.abs(p))) for p in parts if p.size), default=1.0) or 1.0


def _run(subject: Subject, data: Data) -> tuple[Array, dict[str, Array]]:
    with np.errstate(all="ignore"):
        return run(subject, data)


def _central(at: Callable[[float], tuple[Array, dict[str, Array]]], h: float) -> Tangent:
    (ys_up, up), (ys_down, down) = at(h), at(-h)

    def quotient(a: Array, b: Array) -> Array:
        return (a.astype(np.float64) - b.astype(np.float64)) / (2 * h)

    return Tangent(quotient(ys_up, ys_down), {k: quotient(up[k], down[k]) for k in up})


def _absolute(cotangent: Cotangent) -> Cotangent:
    return Cotangent(cotangent.name, np.abs(cotangent.dys), {k: np.abs(v) for k, v in cotangent.dfinal.items()})
