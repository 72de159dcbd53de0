"""Directions in which inputs move, and how outputs follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bptt.harness.cases import Cotangent, Data
from bptt.harness.subject import Array

_MOST_ROWS = 512


@dataclass(frozen=True)
class Direction:
    """A forward tangent of the inputs; what is left out stays where it is.   Shapes like the inputs."""

    params: Mapping[str, Array] = field(default_factory=dict)
    xs: Array | None = None
    state: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Tangent:
    """J u: how the outputs move along a direction.   ys_dot (T, N, H), final_dot like the final state."""

    ys_dot: Array
    final_dot: dict[str, Array]


def moved(data: Data, direction: Direction, step: complex | np.generic) -> Data:
    """`data` + step * direction."""
    params = {k: v + step * direction.params[k] if k in direction.params else v for k, v in data.params.items()}
    xs = data.xs if direction.xs is None else data.xs + step * direction.xs
    state = {k: v + step * direction.state[k] if k in direction.state else v for k, v in data.state.items()}
    return Data(params, xs, state)


def astype(data: Data, dtype: object) -> Data:
    """`data` with every floating array in `dtype`; integers stay integers."""

    def cast(value: Array) -> Array:
        return value.astype(dtype) if value.dtype.kind in "fc" else value  # type: ignore[call-overload]  # any dtype-like

    return Data({k: cast(v) for k, v in data.params.items()}, cast(data.xs), {k: cast(v) for k, v in data.state.items()})


def tiled(points: Sequence[Data]) -> Data:
    """Several inputs with the same parameters as rows of one batch."""
    return Data(
        points[0].params,
        np.concatenate([p.xs for p in points], axis=1),
        {k: np.concatenate([p.state[k] for p in points]) for k in points[0].state},
    )


def side_by_side(one: Callable[[Data, Direction], Tangent], data: Data, directions: Sequence[Direction]) -> list[Tangent]:
    """J u for directions that move xs and the state only, as rows of one wide batch.   one(data, direction) gives one J u

    The caller has made sure that the subject takes any batch size and keeps rows apart.
    """
    N = data.xs.shape[1]
    per_pass = max(1, _MOST_ROWS // max(N, 1))
    found: list[Tangent] = []
    for start in range(0, len(directions), per_pass):
        chunk = directions[start : start + per_pass]
        joint = Direction(
            xs=np.concatenate([np.zeros_like(data.xs) if u.xs is None else u.xs for u in chunk], axis=1),
            state={k: np.concatenate([u.state.get(k, np.zeros_like(v)) for u in chunk]) for k, v in data.state.items()},
        )
        wide = one(tiled([data] * len(chunk)), joint)
        for k in range(len(chunk)):
            rows = slice(k * N, (k + 1) * N)
            found.append(Tangent(wide.ys_dot[:, rows], {n: v[rows] for n, v in wide.final_dot.items()}))
    return found


def contract(tangent: Tangent, cotangent: Cotangent) -> tuple[float, float]:
    """<v, J u>, and the sum of the absolute values of its terms."""
    pairs = [(cotangent.dys, tangent.ys_dot)]
    pairs += [(cotangent.dfinal[k], tangent.final_dot[k]) for k in cotangent.dfinal if k in tangent.final_dot]
    return dot(pairs)


def contract_all(tangents: Iterable[Tangent], cotangents: Sequence[Cotangent]) -> tuple[Array, Array]:
    """<v, J u> for every tangent and cotangent, and the sums of the sizes of their terms.   (K, V) each; tangents are let go of in turn"""
    values, scales = [], []
    vs: Array | None = None
    for tangent in tangents:
        names = [k for k in (cotangents[0].dfinal if cotangents else ()) if k in tangent.final_dot]
        if vs is None:
            vs = np.stack([_flat(v.dys, v.dfinal, names) for v in cotangents])
            sizes = np.abs(vs)
        line = _flat(tangent.ys_dot, tangent.final_dot, names)
        values.append(vs @ line)
        scales.append(sizes @ np.abs(line))
    shape = (len(values), len(cotangents))
    return np.array(values, dtype=np.float64).reshape(shape), np.array(scales, dtype=np.float64).reshape(shape)


def _flat(ys: Array, final: Mapping[str, Array], names: Sequence[str]) -> Array:
    """All entries in a row, in float64."""
    return np.concatenate([np.ravel(ys), *(np.ravel(final[k]) for k in names)]).astype(np.float64, copy=False)


def dot(pairs: Iterable[tuple[Array, Array]]) -> tuple[float, float]:
    """Sum of products over pairs of arrays, and the sum of their absolute values."""
    value, scale = 0.0, 0.0
    for a, b in pairs:
        terms = a * b
        value, scale = value + terms.sum(), scale + np.abs(terms).sum()
    return value, scale


def signed_directions(rng: np.random.Generator, like: Array, count: int) -> list[Array]:
    """`count` arrays like `like` with entries sign * U[0.5, 1.5]: no entry of an error can cancel or hide."""
    shape = (count, *like.shape)
    return list((rng.choice([-1.0, 1.0], size=shape) * rng.uniform(0.5, 1.5, size=shape)).astype(like.dtype))
