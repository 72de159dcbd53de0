"""J u for many directions at one point, entry by entry: what `chain` asks of single steps.

rows      every row of the batch, at every step (one step a row, so T = 1)
values    (K, rows, O+S): outputs and final state side by side, for K directions
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bptt.harness.call.cell import dropped_parts_are_errors, run
from bptt.harness.call.guard import called
from bptt.harness.cases import Data
from bptt.harness.gradient.derivatives.differences import entries, ladders
from bptt.harness.gradient.derivatives.tangent import Direction, astype, moved, tiled
from bptt.harness.subject import Array, Subject

#: Rows of one run: more of them fall out of the processor's cache.
_MOST_ROWS = 512
_STEP = 1e-30


@dataclass(frozen=True)
class Slopes:
    """values, errors (K, rows, O+S); errors is None where they are rounding only."""

    values: Array
    errors: Array | None = None


Differentiate = Callable[[Data, Sequence[Direction]], Slopes]


def side(ys: Array, final: Mapping[str, Array], names: Iterable[str]) -> Array:
    """Outputs and final state of one step side by side.   ys (1, rows, O), final {(rows, ...)} -> (rows, O+S)"""
    rows = ys.shape[1]
    return np.concatenate([ys[0], *(final[k].reshape(rows, -1) for k in names)], axis=1)


def by_complex_step(subject: Subject) -> Differentiate:
    """Im f(x + i h u) / h: exact but for rounding."""

    latest: list[Data] = []

    def in_complex(data: Data) -> Data:
        """The inputs in complex numbers: millions of entries are not copied for each direction."""
        if not latest or latest[0] is not data:
            latest[:] = [data, astype(data, np.complex128)]
        return latest[1]

    def differentiate(data: Data, directions: Sequence[Direction]) -> Slopes:
        point = in_complex(data)

        def one(at: Data, u: Direction) -> Array:
            ys, final = run(subject, moved(at, u, _STEP * 1j))
            if ys.dtype != np.complex128:
                raise TypeError(f"run returned {ys.dtype} outputs for complex128 inputs")
            return side(ys, final, at.state).imag / _STEP

        with dropped_parts_are_errors():
            return Slopes(np.stack(list(_one_after_the_other(one, point, directions))))

    return differentiate


def by_forward_mode(subject: Subject) -> Differentiate:
    """The framework's own forward-mode differentiation."""
    run_tangent = subject.implementation.run_tangent

    def differentiate(data: Data, directions: Sequence[Direction]) -> Slopes:
        point = astype(data, np.float64)

        def one(at: Data, u: Direction) -> Array:
            params_dot = {k: u.params.get(k, np.zeros_like(v)) for k, v in at.params.items()}
            state_dot = {k: u.state.get(k, np.zeros_like(v)) for k, v in at.state.items()}
            xs_dot = np.zeros_like(at.xs) if u.xs is None else u.xs
            given = (at.params, at.xs, at.state, params_dot, xs_dot, state_dot)
            ys_dot, final_dot = called(subject, "run_tangent", run_tangent, *given)
            return side(ys_dot, final_dot, at.state)

        return Slopes(np.stack(list(_one_after_the_other(one, point, directions))))

    return differentiate


def by_differences(subject: Subject, finer: float = 1.0) -> Differentiate:
    """Extrapolated central differences: ten digits of one step.   finer: factor on the steps"""

    def differentiate(data: Data, directions: Sequence[Direction]) -> Slopes:
        found = [entries(one) for one in ladders(subject, data, directions, rows_apart=True, finer=finer)]
        values, errors = (np.stack([side(f[k].ys_dot, f[k].final_dot, data.state) for f in found]) for k in (0, 1))
        return Slopes(values, errors)

    return differentiate


def _one_after_the_other(one: Callable[[Data, Direction], Array], data: Data, directions: Sequence[Direction]) -> Iterator[Array]:
    """Directions of parameters take a run each; those of inputs and states stand as rows of one batch."""
    rows = data.xs.shape[1]
    per_run = max(1, _MOST_ROWS // max(rows, 1))
    waiting: list[Direction] = []

    def together() -> Iterator[Array]:
        if waiting:
            still = all(u.xs is None for u in waiting)  # whole numbers among the inputs must stay what they are
            joint = Direction(
                xs=None if still else np.concatenate([np.zeros(data.xs.shape) if u.xs is None else u.xs for u in waiting], axis=1),
                state={k: np.concatenate([u.state.get(k, np.zeros(v.shape)) for u in waiting]) for k, v in data.state.items()},
            )
            yield from one(tiled([data] * len(waiting)), joint).reshape(len(waiting), rows, -1)
            waiting.clear()

    for u in directions:
        if u.params:
            yield from together()
            yield one(data, u)
            continue
        waiting.append(u)
        if len(waiting) == per_run:
            yield from together()
    yield from together()
