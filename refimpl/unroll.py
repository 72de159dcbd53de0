"""The loop over time, once for all cells: forward, backpropagation through time (BPTT), truncated BPTT.

    forward             axs = project(xs)                      y_t, s_t = step(ax_t, s_{t-1})
    backward            dax_t, ds_{t-1} = step_backward(dy_t, ds_t)            from the last step to the first
    truncated_backward  the error of step t goes back to the steps t, t-1, ..., t-window and no further
    forward_projected   y_t, s_t = step(ax_t, s_{t-1})         axs are given: a table's rows, or one product for two layers
    backward_projected  dax_t, ds_{t-1} = step_backward(dy_t, ds_t)

Shapes: xs (T, N, D), axs (T, N, G*H), ys dys (T, N, H), a state {name: (N, H)}; T and N may be 0.  All results have one dtype,
the common one of what goes in.  Backward functions return the gradients of <dys, ys> + <dfinal, final_state>.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bptt.refimpl.cells.cell import Cell, Columns, Outer, RowSum, Share
from bptt.refimpl.types import Array, Params, State, Tape

Gradients = tuple[dict[str, Array], Array, dict[str, Array]]


def forward(cell: Cell, params: Params, xs: Array, state: State) -> tuple[Array, dict[str, Array], list[Tape]]:
    """Outputs ys (T, N, H), the final state, and one tape a step."""
    dtype = np.result_type(xs, *params.values(), *state.values())
    params, state, xs = _cast(params, dtype), _cast(state, dtype), xs.astype(dtype, copy=False)
    axs = cell.project_inputs(params, xs)
    ys = np.empty((len(xs), *state["h"].shape), dtype)
    tapes = []
    for t in range(len(xs)):
        ys[t], state, tape = cell.step(params, axs[t], state)
        tapes.append(tape)
    return ys, {name: s.copy() for name, s in state.items()}, tapes


def backward(cell: Cell, params: Params, xs: Array, tapes: Sequence[Tape], dys: Array, dfinal: State) -> Gradients:
    """dparams, dxs and dstate0: full backpropagation through time."""
    dtype = np.result_type(xs, dys, *params.values(), *dfinal.values())
    params, xs, dys = for_transposes(_cast(params, dtype)), xs.astype(dtype, copy=False), dys.astype(dtype, copy=False)
    dstate = _cast(dfinal, dtype)
    shares: list[dict[str, Share]] = []
    daxs: list[Array] = []
    for t in reversed(range(len(tapes))):
        dax, dstate, share = cell.step_backward(params, tapes[t], dys[t], dstate)
        daxs.append(dax)
        shares.append(share)
    return _gather(cell, params, xs, daxs[::-1], shares[::-1], dstate)


def forward_projected(cell: Cell, params: Params, axs: Array, state: State) -> tuple[Array, dict[str, Array], list[Tape]]:
    """`forward` where the inputs' share of the pre-activations is there already: axs = cell.project_inputs(params, xs)."""
    return forward(_without_projection(cell), params, axs, state)


def backward_projected(
    cell: Cell, params: Params, tapes: Sequence[Tape], dys: Array, dfinal: State
) -> tuple[Array, dict[str, Array], dict[str, Array]]:
    """daxs (T, N, G*H), the recurrent part's share of dparams (nothing of W_x), and dstate0.

    `backward` is this with `cell.project_inputs_backward(params, xs, daxs)` after it, and the two shares of dparams added up.
    """
    T, N = dys.shape[:2]
    W_x = params["W_x"]
    axs = np.broadcast_to(np.zeros((), np.result_type(dys, W_x)), (T, N, W_x.shape[1]))  # asked for its shape and dtype alone
    recurrent = {name: p for name, p in params.items() if name != "W_x"}
    dparams, daxs, dstate0 = backward(_without_projection(cell), recurrent, axs, tapes, dys, dfinal)
    return daxs, dparams, dstate0


def truncated_backward(cell: Cell, params: Params, xs: Array, tapes: Sequence[Tape], dys: Array, dfinal: State, window: int) -> Gradients:
    """dparams, dxs and dstate0 where the error of each step t goes back at most `window` steps: lags 0 to window.

    The final state's error counts like that of the last step, and the initial state receives what comes out of step 0.
    A window of T - 1 or more is full BPTT.  step_backward is linear in the errors, and rows do not mix: so all steps
    stand as rows of one batch, and each of the window + 1 passes takes the errors of all steps one lag further back.

    Raises ValueError for a negative window.
    """
    if window < 0:
        raise ValueError(f"window is {window}, but should be 0 or more (0: each error stays in its own step)")
    T, N = len(tapes), xs.shape[1]
    if window >= T - 1:
        return backward(cell, params, xs, tapes, dys, dfinal)
    dtype = np.result_type(xs, dys, *params.values(), *dfinal.values())
    params, xs, dys = _cast(params, dtype), xs.astype(dtype, copy=False), dys.astype(dtype, copy=False)
    dfinal = _cast(dfinal, dtype)
    tape = tuple(np.concatenate(column) for column in zip(*tapes, strict=True))
    dy = dys.reshape(T * N, dys.shape[2])
    dstate = {name: np.concatenate([np.zeros(((T - 1) * N, d.shape[1]), dtype), d]) for name, d in dfinal.items()}
    dstate0 = {name: np.zeros_like(d) for name, d in dfinal.items()}
    dparams: dict[str, Array] = {}
    daxs: Array | None = None
    for lag in range(window + 1):
        rows = (T - lag) * N
        dax, dstate, share = cell.step_backward(params, tuple(z[:rows] for z in tape), dy[:rows], dstate)
        if daxs is None:
            daxs, dy = dax.copy(), np.zeros_like(dy)
        else:
            daxs[:rows] += dax
        for name, part in share.items():
            dparams[name] = dparams.get(name, 0) + _total([part])
        for name, d in dstate.items():
            dstate0[name] = dstate0[name] + d[:N]
        dstate = {name: d[N:] for name, d in dstate.items()}
    assert daxs is not None  # T > window + 1 > 0, so there was a pass
    projected, dxs = cell.project_inputs_backward(params, xs, daxs.reshape(T, N, daxs.shape[1]))
    dparams = summed(projected, dparams)
    return {name: dparams[name] for name in params if name in dparams}, dxs, dstate0


def gradient_by_lag(cell: Cell, params: Params, tapes: Sequence[Tape], dfinal: State) -> Array:
    """How an error in the final state fades or grows on its way back: log10 of the norm of dL/dstate_{T-1-lag}.

    Entry `lag` of the result (T + 1,) is the base-10 logarithm of the norm over all of the state and the batch; the last
    entry is that of the initial state, and -inf stands for an exact zero.  An error dy in the last output is the same as one in
    the final h.  The error is scaled back to norm 1 after each step, so that nothing under- or overflows however long T is.
    """
    dtype = np.result_type(*params.values(), *dfinal.values())
    params, dstate = _cast(params, dtype), _cast(dfinal, dtype)
    dy = np.zeros_like(dstate["h"])
    logs = np.full(len(tapes) + 1, -np.inf)
    log = 0.0
    for lag in range(len(tapes) + 1):
        norm = float(np.sqrt(sum(float(np.vdot(d, d).real) for d in dstate.values())))
        if norm == 0:
            break
        log += np.log10(norm)
        logs[lag] = log
        if lag < len(tapes):
            dstate = {name: d / norm for name, d in dstate.items()}
            _, dstate, _ = cell.step_backward(params, tapes[-1 - lag], dy, dstate)
    return logs


def _without_projection(cell: Cell) -> Cell:
    """The same cell for inputs that are projected already: its own projection is the identity, and has no parameters."""
    return replace(cell, project_inputs=lambda params, axs: axs, project_inputs_backward=lambda params, axs, daxs: ({}, daxs))


def for_transposes(params: Params) -> dict[str, Array]:
    """The same parameters in column order: W.T, which a backward pass multiplies with at every step, is then contiguous."""
    return {name: np.asfortranarray(p) for name, p in params.items()}


def _cast(arrays: Mapping[str, Array], dtype: np.dtype[np.generic]) -> dict[str, Array]:
    return {name: a.astype(dtype, copy=False) for name, a in arrays.items()}


def _gather(cell: Cell, params: Params, xs: Array, daxs: list[Array], shares: list[dict[str, Share]], dstate: State) -> Gradients:
    """Gradients of the parameters from the shares of all steps: one product over time a parameter."""
    T, N = xs.shape[:2]
    if T == 0:
        return (
            {name: np.zeros_like(p) for name, p in params.items()},
            np.zeros_like(xs),
            {name: d.copy() for name, d in dstate.items()},
        )
    projected, dxs = cell.project_inputs_backward(params, xs, np.concatenate(daxs).reshape(T, N, daxs[0].shape[1]))
    dparams = summed(projected, gathered(params, shares))
    return {name: dparams[name] for name in params if name in dparams}, dxs, dict(dstate)


def gathered(params: Params, shares: Sequence[Mapping[str, Share]]) -> dict[str, Array]:
    """The recurrent part's gradients: each parameter's shares of all steps, in the order of time, added up.  Zeros without a step."""
    if not shares:
        return {name: np.zeros_like(p) for name, p in params.items()}
    return {name: _total([share[name] for share in shares]) for name in shares[0]}


def summed(*gradients: Mapping[str, Array]) -> dict[str, Array]:
    """The shares that several parts of a network have in the gradients, added up by name."""
    sums: dict[str, Array] = {}
    for share in gradients:
        for name, d in share.items():
            sums[name] = np.asarray(sums[name] + d) if name in sums else d
    return sums


def _total(shares: Sequence[Share]) -> Array:
    """The sum of a parameter's shares over the steps."""
    if outers := [share for share in shares if isinstance(share, Outer)]:
        return np.asarray(_stack([outer.left for outer in outers]).T @ _stack([outer.right for outer in outers]))
    if columns := [share.parts for share in shares if isinstance(share, Columns)]:
        return np.concatenate([_total(parts) for parts in zip(*columns, strict=True)], axis=1)
    if sums := [share.rows for share in shares if isinstance(share, RowSum)]:
        return np.asarray(_stack(sums).sum(axis=0))
    return np.asarray(sum(share for share in shares if isinstance(share, np.ndarray)))


def _stack(parts: Sequence[Array]) -> Array:
    return np.concatenate(parts) if len(parts) > 1 else parts[0]
