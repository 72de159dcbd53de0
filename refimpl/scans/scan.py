"""What a scan is: a recurrence over named sequences whose states may have any shape, and the loop over time, once for all of them.

    forward    y_t, S_t = step(x_t, S_{t-1})                                 from the first step to the last
    backward   dx_t, dS_{t-1}, dparams_t = step_backward(dy_t, dS_t)         from the last step to the first

Shapes: a sequence (N, T, ...), a state (N, ...), a parameter has neither N nor T; `layout` names the axes of each in words.
All results have the common dtype of what goes in.  `backward` returns the gradients of <dys, ys> + <dfinal, final state>.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bptt.refimpl.types import Array

Arrays = Mapping[str, Array]
Step = Callable[[Arrays, Arrays, Arrays], tuple[dict[str, Array], dict[str, Array], tuple[Array, ...]]]
StepBackward = Callable[
    [Arrays, tuple[Array, ...], Arrays, Arrays],
    tuple[dict[str, Array], dict[str, Array], dict[str, Array]],
]
Gradients = tuple[dict[str, Array], dict[str, Array], dict[str, Array]]


@dataclass(frozen=True)
class Scan:
    """A published recurrence.

    name           one of the names that `like` accepts
    layout         {array: its axes}: "N T heads K" of a sequence, "N heads K V" of a state, "D n" of a parameter
    inputs, outputs, states, params    which array is what, in the order in which they are written
    sizes          the values that each word of the layout may take, the default first
    init           (rng, sizes) -> params, {} where it has none
    draw           (rng, params, T, N, sizes) -> inputs of its own kind: gates between 0 and 1, unit keys
    start          (rng, params, N, sizes) -> a state as its own run could have left it, nowhere zero
    step           (params, inputs_t, state) -> outputs_t, state, tape
    step_backward  (params, tape, doutputs_t, dstate) -> dinputs_t, dstate_prev, dparams_t (summed over N)
    chunk          (params, inputs of one chunk, state) -> outputs, state: the same without a loop over time, or None
    """

    name: str
    layout: Mapping[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    states: tuple[str, ...]
    params: tuple[str, ...]
    sizes: Mapping[str, tuple[int, ...]]
    init: Callable[[np.random.Generator, Mapping[str, int]], dict[str, Array]]
    draw: Callable[[np.random.Generator, Arrays, int, int, Mapping[str, int]], dict[str, Array]]
    start: Callable[[np.random.Generator, Arrays, int, Mapping[str, int]], dict[str, Array]]
    step: Step
    step_backward: StepBackward
    summary: str
    chunk: Callable[[Arrays, Arrays, Arrays], tuple[dict[str, Array], dict[str, Array]]] | None = None


def shape(scan: Scan, name: str, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of an array; `sizes` has N and, for sequences, T too."""
    return tuple(sizes[axis] for axis in scan.layout[name].split())


def default_sizes(scan: Scan) -> dict[str, int]:
    return {word: values[0] for word, values in scan.sizes.items()}


def zero_state(scan: Scan, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    return {name: np.zeros(shape(scan, name, {**sizes, "N": N})) for name in scan.states}


def forward(
    scan: Scan, params: Arrays, inputs: Arrays, state: Arrays
) -> tuple[dict[str, Array], dict[str, Array], list[tuple[Array, ...]]]:
    """Outputs, the final state, and one tape a step."""
    params, inputs, state = _in_one_dtype(params, inputs, state)
    ys: list[dict[str, Array]] = []
    tapes = []
    for t in range(length(inputs)):
        y, state, tape = scan.step(params, {name: x[:, t] for name, x in inputs.items()}, state)
        ys.append(y)
        tapes.append(tape)
    return {name: np.stack([y[name] for y in ys], axis=1) for name in scan.outputs}, dict(state), tapes


def backward(scan: Scan, params: Arrays, tapes: Sequence[tuple[Array, ...]], doutputs: Arrays, dfinal: Arrays) -> Gradients:
    """dparams, dinputs and dstate0."""
    params, doutputs, dstate = _in_one_dtype(params, doutputs, dfinal)
    dxs: list[dict[str, Array]] = []
    dparams: dict[str, Array] = {name: np.zeros_like(p) for name, p in params.items()}
    for t in reversed(range(len(tapes))):
        dx, dstate, share = scan.step_backward(params, tapes[t], {name: dy[:, t] for name, dy in doutputs.items()}, dstate)
        dxs.append(dx)
        dparams = {name: dparams[name] + share[name] for name in dparams}
    return dparams, {name: np.stack([dx[name] for dx in dxs[::-1]], axis=1) for name in scan.inputs}, dict(dstate)


def forward_in_chunks(scan: Scan, params: Arrays, inputs: Arrays, state: Arrays, size: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Outputs and final state by the chunk form, `size` steps at a time; the last chunk may be shorter.

    Raises ValueError where there is no chunk form.
    """
    if scan.chunk is None:
        raise ValueError(f"{scan.name} has no chunk form, wanted one of the scans that have")
    params, inputs, state = _in_one_dtype(params, inputs, state)
    parts = []
    for t in range(0, length(inputs), size):
        y, state = scan.chunk(params, {name: x[:, t : t + size] for name, x in inputs.items()}, state)
        parts.append(y)
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in scan.outputs}, dict(state)


def length(inputs: Arrays) -> int:
    return int(next(iter(inputs.values())).shape[1])


def outer(a: Array, b: Array) -> Array:
    """a b' over the last axes:  (..., I), (..., J) -> (..., I, J)"""
    return np.asarray(a[..., :, None] * b[..., None, :])


def over_rows(S: Array, a: Array) -> Array:
    """S' a:  (..., I, J), (..., I) -> (..., J)"""
    return np.asarray((S * a[..., :, None]).sum(axis=-2))


def over_columns(S: Array, b: Array) -> Array:
    """S b:  (..., I, J), (..., J) -> (..., I)"""
    return np.asarray((S * b[..., None, :]).sum(axis=-1))


def unit(a: Array) -> Array:
    """a / |a| over the last axis."""
    return np.asarray(a / np.sqrt((a * a).sum(axis=-1, keepdims=True)))


def _in_one_dtype(*groups: Arrays) -> tuple[dict[str, Array], ...]:
    dtype = np.result_type(*(a for group in groups for a in group.values()))
    return tuple({name: np.asarray(a).astype(dtype, copy=False) for name, a in group.items()} for group in groups)
