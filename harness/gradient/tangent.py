"""Directions in which inputs move, and how outputs follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.cases import Cotangent, Data
from harness.subject import Array, Arrays


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


def contract(tangent: Tangent, cotangent: Cotangent) -> tuple[float, float]:
    """<v, J u>, and the sum of the absolute values of its terms."""
    pairs = [(cotangent.dys, tangent.ys_dot)]
    pairs += [(cotangent.dfinal[k], tangent.final_dot[k]) for k in cotangent.dfinal if k in tangent.final_dot]
    return dot(pairs)


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


def copies(arrays: Arrays) -> dict[str, Array]:
    return {name: np.array(value) for name, value in arrays.items()}
