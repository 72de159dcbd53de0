"""Central differences on a ladder of steps, for black boxes, with an honest error.

The ladder is extrapolated (`extrapolation`); its rounding floor is noise / h with the noise of the function measured and not
assumed (differences of order six along the direction kill the smooth part and leave the noise; after Hamming, and More and Wild,
ECnoise, SIAM J. Sci. Comput. 33, 2011).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bptt.harness.call.cell import run
from bptt.harness.cases import Cotangent, Data
from bptt.harness.gradient.derivatives.extrapolation import limit
from bptt.harness.gradient.derivatives.tangent import Direction, Tangent, contract_all, moved, tiled
from bptt.harness.subject import Array, Subject

_STEPS = {"float64": 2.0 ** -np.arange(4, 11), "float32": 2.0 ** -np.arange(2, 7)}
#: Factor on the steps of the ladder that is misled by other things.
FINER = {"float64": 2.0**-9, "float32": 2.0**-4}
_SIXTH = np.array([1.0, -6.0, 15.0, -20.0, 15.0, -6.0, 1.0])
_SIXTH_NORM = float(np.sqrt(np.sum(_SIXTH**2)))
_MOST_ROWS = 512

Outputs = tuple[Array, dict[str, Array]]


@dataclass(frozen=True)
class Ladder:
    """Differences along one direction.

    steps       h, halving                    tangents   (f(+h) - f(-h)) / 2h for every h
    bends       (f(+h) - 2 f(0) + f(-h)) / 2h: goes to zero with h where f is smooth, to half the derivative's jump at a kink
    noise       measured size of the rounding noise in each output
    """

    steps: Array
    tangents: list[Tangent]
    bends: list[Tangent]
    noise: Tangent


def ladder(subject: Subject, data: Data, direction: Direction) -> Ladder:
    """All runs that one direction needs."""
    return ladders(subject, data, [direction], rows_apart=False)[0]


def fine_ladder(subject: Subject, data: Data, direction: Direction) -> Ladder:
    """A ladder of much smaller steps: less accurate, and blind to whatever has misled the other."""
    return ladders(subject, data, [direction], False, FINER[data.xs.dtype.name])[0]


def ladders(subject: Subject, data: Data, directions: Sequence[Direction], rows_apart: bool, finer: float = 1.0) -> list[Ladder]:
    """A ladder for each direction. Where rows of a batch stay apart, all points that share the parameters go through in a few wide runs."""
    base = finer * _STEPS["float32" if data.xs.dtype == np.float32 else "float64"]
    points = [data]
    for u in directions:
        points += [moved_in_dtype(data, u, sign * float(h) / largest(u)) for h in base for sign in (1, -1)]
    found = _outputs(subject, points, [False] + [not u.params for u in directions for _ in range(2 * len(base))], rows_apart)
    centre = found[0]
    noise = measured_noise(subject, data, _joint(directions, data))
    ladders = []
    for k, u in enumerate(directions):
        steps = base / largest(u)
        mine = found[1 + 2 * len(base) * k : 1 + 2 * len(base) * (k + 1)]
        pairs = list(zip(mine[0::2], mine[1::2], steps, strict=True))
        ladders.append(
            Ladder(
                steps,
                [_combined(up, down, None, 2 * h) for up, down, h in pairs],
                [_combined(up, down, centre, 2 * h) for up, down, h in pairs],
                noise,
            )
        )
    return ladders


def one_difference(subject: Subject, data: Data, direction: Direction) -> Tangent:
    """J u by a single central difference: coarse, and cheap."""
    step = float(_STEPS["float32" if data.xs.dtype == np.float32 else "float64"][-1]) / largest(direction)
    up, down = (_run(subject, moved_in_dtype(data, direction, sign * step)) for sign in (1, -1))
    return _combined(up, down, None, 2 * step)


def contracted(found: Ladder, cotangent: Cotangent) -> tuple[float, float]:
    """<v, J u> by extrapolation, and the error of that value."""
    values, errors, _ = contracted_all(found, [cotangent])
    return float(values[0]), float(errors[0])


def contracted_all(found: Ladder, cotangents: Sequence[Cotangent]) -> tuple[Array, Array, Array]:
    """The same for every cotangent, and the sums of the sizes of the terms.   (V,) each"""
    columns, scales = contract_all(found.tangents, cotangents)
    bends, _ = contract_all(found.bends, cotangents)
    noise = contract_all([found.noise], cotangents)[1][0]
    values, errors = limit(columns, bends, found.steps, noise)
    return values, errors, scales[-3]


def entries(found: Ladder) -> tuple[Tangent, Tangent]:
    """J u entry by entry, and the errors."""

    def part(of: Callable[[Tangent], Array]) -> tuple[Array, Array]:
        columns, bends = (np.stack([of(t) for t in many]) for many in (found.tangents, found.bends))
        return limit(columns, bends, found.steps, of(found.noise))

    ys = part(lambda t: t.ys_dot)
    final = {k: part(lambda t, k=k: t.final_dot[k]) for k in found.noise.final_dot}  # type: ignore[misc]  # k is bound at once
    return Tangent(ys[0], {k: v[0] for k, v in final.items()}), Tangent(ys[1], {k: v[1] for k, v in final.items()})


def slope(f: Callable[[float], Array], size: float, finer: float = 1.0) -> tuple[Array, Array]:
    """df/dh at 0 of a float64 function (n,) of the step, and its error.   size: of the direction, so that steps are relative to it"""
    steps = finer * _STEPS["float64"] / size
    centre = f(0.0)
    ups, downs = (np.stack([f(sign * float(h)) for h in steps]) for sign in (1, -1))
    over = 2 * steps[:, None]
    near = np.stack([f(1e-3 / size * i) for i in range(-3, 4)])
    noise = np.maximum(roughness(near), 2 * float(np.finfo(np.float64).eps) * np.max(np.abs(near), axis=0))
    return limit((ups - downs) / over, (ups + downs - 2 * centre) / over, steps, noise)


def measured_noise(subject: Subject, data: Data, direction: Direction) -> Tangent:
    """Size of the rounding noise in each output: sixth differences at a step where the smooth part is below rounding.

    At least two units in the last place of the output, because a lucky cancellation is no proof of exactness.
    """
    eps = float(np.finfo(data.xs.dtype).eps)
    step = (1e-3 if eps < 1e-10 else 1e-2) / largest(direction)
    values = [_run(subject, moved_in_dtype(data, direction, step * i)) for i in range(-3, 4)]

    def noise(parts: list[Array]) -> Array:
        stack = np.stack([np.asarray(p, dtype=np.float64) for p in parts])
        found = roughness(stack)
        typical = float(np.sqrt(np.mean(found**2))) if found.size else 0.0
        return np.asarray(np.maximum(np.maximum(found, typical), 2 * eps * np.max(np.abs(stack), axis=0)))

    return Tangent(noise([v[0] for v in values]), {k: noise([v[1][k] for v in values]) for k in values[0][1]})


def roughness(values: Array | Sequence[Array]) -> Array:
    """Size of the noise in each entry of seven values at equal distances (7, ...): their sixth difference, which leaves nothing of what
    is smooth."""
    return np.asarray(np.abs(np.tensordot(_SIXTH, np.stack([np.asarray(v, np.float64) for v in values]), axes=1)) / _SIXTH_NORM)


def moved_in_dtype(data: Data, direction: Direction, step: float) -> Data:
    """`data` + step * direction, still in the dtype of `data`."""
    return moved(data, direction, data.xs.dtype.type(step))


def largest(direction: Direction) -> float:
    """Largest entry of a direction, so that steps are relative to it."""
    parts = [*direction.params.values(), *direction.state.values()] + ([] if direction.xs is None else [direction.xs])
    return max((float(np.max(np.abs(p))) for p in parts if p.size), default=1.0) or 1.0


def _joint(directions: Sequence[Direction], data: Data) -> Direction:
    """One direction with the parts of several, to measure the noise once."""
    params: dict[str, Array] = {}
    state: dict[str, Array] = {}
    xs: Array | None = None
    for u in directions:
        params |= {k: v / largest(u) for k, v in u.params.items() if k not in params}
        state |= {k: v / largest(u) for k, v in u.state.items() if k not in state}
        xs = u.xs / largest(u) if xs is None and u.xs is not None else xs
    return Direction({k: v.astype(data.params[k].dtype) for k, v in params.items()}, xs, state)


def _outputs(subject: Subject, points: Sequence[Data], of_inputs: Sequence[bool], rows_apart: bool) -> list[Outputs]:
    """The outputs at each point; points that differ in inputs only are rows of one batch where rows stay apart."""
    found: dict[int, Outputs] = {}
    together = [k for k, only in enumerate(of_inputs) if only] if rows_apart else []
    N = points[0].xs.shape[1]
    per_run = max(1, _MOST_ROWS // max(N, 1))
    for start in range(0, len(together), per_run):
        chunk = together[start : start + per_run]
        ys, final = _run(subject, tiled([points[k] for k in chunk]))
        for i, k in enumerate(chunk):
            rows = slice(i * N, (i + 1) * N)
            found[k] = ys[:, rows], {n: v[rows] for n, v in final.items()}
    return [found[k] if k in found else _run(subject, point) for k, point in enumerate(points)]


def _run(subject: Subject, data: Data) -> Outputs:
    with np.errstate(all="ignore"):
        return run(subject, data)


def _combined(up: Outputs, down: Outputs, centre: Outputs | None, over: float) -> Tangent:
    """(up - down) / over, or (up + down - 2 centre) / over."""

    def quotient(a: Array, b: Array, c: Array | None) -> Array:
        a, b = a.astype(np.float64), b.astype(np.float64)
        return (a - b) / over if c is None else (a + b - 2 * c.astype(np.float64)) / over

    return Tangent(
        quotient(up[0], down[0], None if centre is None else centre[0]),
        {k: quotient(up[1][k], down[1][k], None if centre is None else centre[1][k]) for k in up[1]},
    )
