"""Jacobians of single steps over the full state: J_t = ds_t/ds_{t-1}, every state array of the cell in s (an LSTM: h and c).

A state {name: (N, n_k)} is flattened in the order of its names: s (N, n), n the sum of all n_k.  J_t (n, n) has
J_t[i, j] = d s_t[i] / d s_{t-1}[j], so a perturbation goes on as J_t @ v, an error goes back as J_t.T @ ds.

    cell_jacobians      a reference cell: its own step_backward on the n unit cotangents, many steps as one batch
    subject_jacobians   any subject: its backward with T = 1 on the unit cotangents, or a complex step of its forward pass

Row i of what a backward pass gives for the unit cotangent e_i is e_i J: the rows together are J itself.  A complex step along
e_j gives J e_j, a column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from bptt.harness.call.cell import backward, run, run_complex
from bptt.harness.cases import Cotangent, Data
from bptt.harness.errors import ContractError
from bptt.harness.subject import Array, Arrays, Subject
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.types import Params, State
from bptt.refimpl.unroll import forward

#: Rows of one batch of unit cotangents: enough to fill a matrix product, few enough for the cache.
_ROWS = 4096
_STEP = 1e-30


def flatten(state: Mapping[str, Array]) -> Array:
    """{name: (N, n_k)} -> s (N, n)"""
    return np.concatenate([part.reshape(len(part), -1) for part in state.values()], axis=1)


def unflatten(rows: Array, like: Mapping[str, Array]) -> dict[str, Array]:
    """s (N, n) -> {name: (N, ...)} with the names and widths of `like`, whose own N does not matter."""
    parts, start = {}, 0
    for name, part in like.items():
        width = int(np.prod(part.shape[1:]))
        parts[name] = rows[:, start : start + width].reshape(len(rows), *part.shape[1:])
        start += width
    return parts


def cell_jacobians(cell: Cell, params: Params, xs: Array, state: State) -> Iterator[Array]:
    """J_1, ..., J_T of a reference cell along xs (T, 1, D), from `state` (one row) on."""
    _, _, tapes = forward(cell, params, xs, state)
    n = flatten(state).shape[1]
    at_once = max(1, _ROWS // n)
    for start in range(0, len(tapes), at_once):
        some = tapes[start : start + at_once]
        tape = tuple(np.repeat(np.concatenate(column), n, axis=0) for column in zip(*some, strict=True))
        dstate = unflatten(np.tile(np.eye(n), (len(some), 1)), state)
        _, before, _ = cell.step_backward(params, tape, np.zeros_like(dstate["h"]), dstate)
        yield from flatten({name: before[name] for name in state}).reshape(len(some), n, n)


def cell_map(cell: Cell, params: Params, xs: Array, like: State) -> Callable[[int, Array], Array]:
    """(t, s (N, n)) -> s_{t+1}: one step of a reference cell on flattened states, the same input xs[t] (1, D) for all rows."""
    axs = cell.project_inputs(params, xs)

    def advance(t: int, s: Array) -> Array:
        _, after, _ = cell.step(params, np.repeat(axs[t], len(s), axis=0), unflatten(s, like))
        return flatten({name: after[name] for name in like})

    return advance


def subject_jacobians(subject: Subject, params: Arrays, xs: Array, state: Arrays) -> Iterator[Array]:
    """J_1, ..., J_T of any subject along xs (T, 1, D): by its backward where it has one, else by complex steps of its forward pass.

    Raises ContractError where the subject shows no state, or its backward gives no dstate.
    """
    if not state:
        raise ContractError(f"{subject.name}.zero_state gives no state, wanted every array that a step hands to the next")
    one = by_backward if "backward" in subject.capabilities else by_complex_step
    for t in range(len(xs)):
        yield one(subject, params, xs[t], state)
        _, after = run(subject, Data(dict(params), xs[t : t + 1], dict(state)))
        state = {name: after[name] for name in state}


def by_backward(subject: Subject, params: Arrays, x: Array, state: Arrays) -> Array:
    """J of one step from `state` (one row) with input x (1, D): the subject's own backward, T = 1."""

    def rows(cotangents: Array) -> Array:
        data = _repeated(params, x, state, len(cotangents))
        ys, _ = run(subject, data)
        given = backward(subject, data, Cotangent("unit", np.zeros_like(ys), unflatten(cotangents, state))).state
        missing = state.keys() - given.keys()
        if missing:
            raise ContractError(f"{subject.name}.backward gives no dstate for {min(missing)!r}, wanted one for every array of the state")
        return flatten({name: given[name] for name in state})

    return _in_batches(subject, rows, state)


def by_complex_step(subject: Subject, params: Arrays, x: Array, state: Arrays) -> Array:
    """J of one step: the imaginary part of the state that follows s + i h e_j, over h.  Raises what the subject raises for those."""

    def columns(directions: Array) -> Array:
        data = _repeated(params, x, state, len(directions))
        moved = unflatten(flatten(data.state) + 1j * _STEP * directions, state)
        wide = {name: p.astype(np.complex128) for name, p in data.params.items()}
        _, final = run_complex(subject, Data(wide, data.xs.astype(np.complex128), moved))
        return np.asarray(np.imag(flatten({name: final[name] for name in state})) / _STEP)

    return _in_batches(subject, columns, state).T


def _repeated(params: Arrays, x: Array, state: Arrays, N: int) -> Data:
    return Data(dict(params), np.repeat(x[None], N, axis=1), {name: np.repeat(part, N, axis=0) for name, part in state.items()})


def _in_batches(subject: Subject, rows: Callable[[Array], Array], state: Arrays) -> Array:
    """rows(I), in batches of a size that the subject takes; a batch that is too long is padded with its first direction."""
    units = np.eye(flatten(state).shape[1])
    n = len(units)
    N = n if subject.batch_sizes is None or n in subject.batch_sizes else max(subject.batch_sizes)
    found = []
    for start in range(0, n, N):
        some = units[start : start + N]
        padded = np.concatenate([some, np.repeat(units[:1], N - len(some), axis=0)])
        found.append(rows(padded)[: len(some)])
    return np.concatenate(found)
