"""Recurrent layers on top of each other, in one direction or in both, with dropout between them and a length for each sequence.

Equations    xs_0 = xs        ys_k = layer_k(xs_k)        xs_{k+1} = ys_k * mask_k        ys = ys of the top layer
             layer: for each direction    axs = project(xs)    us = reverse(recur(reverse(axs)))    ys = us side by side
Shapes       xs (T, N, D)   axs (T, N, G*H)   us (T, N, H)   ys (T, N, H), of both directions (T, N, 2H)   state {name: (N, H)}
reverse      turns the valid steps of each sequence around; in the forward direction it is left out.  So the reverse direction
             starts at the last valid step.  The final state is that after the last valid step: after step 0 in the reverse direction.
recur        unroll.forward_projected over the valid steps.  Outputs at padding are 0.
Derivation   ys = us side by side              dus = the columns of dys that are this direction's
             us = reverse(rs)                  drs = reverse(dus): a permutation that is its own inverse, so its own transpose
             rs = recur(qs)                    dqs, dstate0, recurrent dparams = backpropagation through time from drs and dfinal
             qs = reverse(axs)                 daxs = reverse(dqs)
             axs = project(xs)                 projected dparams, dxs: added up over the directions
             xs_{k+1} = ys_k * mask_k          dys_k = dxs_{k+1} * mask_k
Source       Graves, Mohamed and Hinton 2013, arXiv:1303.5778 (deep, bidirectional); Zaremba, Sutskever and Vinyals 2014,
             arXiv:1409.2329 (dropout between layers, never along time).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.layers import dropout, dropout_backward
from bptt.refimpl.lengths import Layout, layout
from bptt.refimpl.types import Array, Params, State, Tape
from bptt.refimpl.unroll import summed

Masks = Sequence[Array | None]
REVERSE = "_reverse"


@dataclass(frozen=True)
class Stack:
    """One cell a layer, the bottom one first.  Parameters and states of layer k are called NAME_lk and NAME_lk_reverse.

    bare   one layer in one direction, which keeps the cell's own names: a cell is `single(cell)`
    """

    cells: tuple[Cell, ...]
    bidirectional: bool = False
    bare: bool = False

    def __post_init__(self) -> None:
        if not self.cells:
            raise ValueError("Stack: cells is (), but should have at least one cell, the bottom layer's first")
        if self.bare and (len(self.cells) > 1 or self.bidirectional):
            raise ValueError("Stack: bare is True, but there are several layers or directions, whose names would be the same")

    def suffixes(self, k: int) -> tuple[str, ...]:
        """What the names of layer k end with, one suffix a direction."""
        if self.bare:
            return ("",)
        return (f"_l{k}", f"_l{k}{REVERSE}") if self.bidirectional else (f"_l{k}",)


def single(cell: Cell) -> Stack:
    """A cell as a stack of one layer."""
    return Stack((cell,), bare=True)


class StackTape(NamedTuple):
    """Of a forward pass: its layout; the bottom layer's inputs (None: projected already); the inputs and masks of the layers above;
    and each layer's tapes, one list a direction.  Inputs and masks are in the layout."""

    steps: Layout
    xs: Array | None
    inputs: tuple[Array, ...]
    masks: tuple[Array | None, ...]
    tapes: tuple[tuple[list[Tape], ...], ...]


def init(stack: Stack, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
    """Random parameters of all layers, each as its cell has them."""
    params: dict[str, Array] = {}
    for k, cell in enumerate(stack.cells):
        width = 0
        for suffix in stack.suffixes(k):
            own = cell.init(rng, input_size, hidden_size)
            params |= _named(own, suffix)
            width += cell.zero_state(own, 1)["h"].shape[1]
        input_size = width
    return params


def zero_state(stack: Stack, params: Params, batch_size: int) -> dict[str, Array]:
    """{"h_l0": zeros (N, H), ...}"""
    state: dict[str, Array] = {}
    for k, cell in enumerate(stack.cells):
        for suffix in stack.suffixes(k):
            own = _of(params, suffix)
            if not own:
                raise ValueError(f"params have no name that ends with {suffix}, but should have those of {cell.name} in layer {k}")
            state |= _named(cell.zero_state(own, batch_size), suffix)
    return state


def forward(
    stack: Stack, params: Params, xs: Array, state: State, lengths: Array | None = None, masks: Masks | None = None
) -> tuple[Array, dict[str, Array], StackTape]:
    """Outputs ys of the top layer, the final state, and the tape.

    lengths   (N,), integers from 0 to T; None where all are T
    masks     one for each layer but the top one, what its outputs are multiplied with: (T, N, their width), scaled already; or None
    """
    params, state, masks, (xs,) = _in_one_dtype(stack, params, state, masks, (xs,))
    steps = layout(lengths, *xs.shape[:2])
    xs = steps.pack(xs)
    return _forward(stack, params, steps, xs, _project(stack, 0, params, xs), state, masks)


def forward_projected(
    stack: Stack,
    params: Params,
    axs0: Array | tuple[Array, ...],
    state: State,
    lengths: Array | None = None,
    masks: Masks | None = None,
) -> tuple[Array, dict[str, Array], StackTape]:
    """`forward` where the bottom layer's inputs are projected already: axs0 (T, N, G*H), a pair for two directions.

    For one-hot inputs `layers.project_indices` gives it.
    """
    given = axs0 if isinstance(axs0, tuple) else (axs0,)
    if len(given) != len(stack.suffixes(0)):
        raise ValueError(f"axs0 has {len(given)} arrays, but should have {len(stack.suffixes(0))}, one for each direction")
    params, state, masks, given = _in_one_dtype(stack, params, state, masks, given)
    steps = layout(lengths, *given[0].shape[:2])
    return _forward(stack, params, steps, None, tuple(steps.pack(axs) for axs in given), state, masks)


def backward(stack: Stack, params: Params, tape: StackTape, dys: Array, dfinal: State) -> tuple[dict[str, Array], Array, dict[str, Array]]:
    """dparams, dxs and dstate0: the gradients of <dys, ys> + <dfinal, final_state>."""
    if tape.xs is None:
        raise ValueError("the tape is one of forward_projected and has no inputs, but should be one of forward")
    params, dfinal, _, (dys,) = _in_one_dtype(stack, params, dfinal, None, (dys,))
    dparams, daxs0, dstate0 = _backward(stack, params, tape, dys, dfinal)
    projected, dxs = _project_backward(stack, 0, params, tape.xs, daxs0)
    dparams = summed(projected, dparams)
    return {name: dparams[name] for name in params if name in dparams}, tape.steps.unpack(dxs), dstate0


def backward_projected(
    stack: Stack, params: Params, tape: StackTape, dys: Array, dfinal: State
) -> tuple[dict[str, Array], Array | tuple[Array, ...], dict[str, Array]]:
    """dparams without the share of the bottom layer's projection, daxs0 (a pair for two directions), and dstate0.

    `layers.project_indices_backward` makes that share from daxs0.
    """
    params, dfinal, _, (dys,) = _in_one_dtype(stack, params, dfinal, None, (dys,))
    dparams, packed, dstate0 = _backward(stack, params, tape, dys, dfinal)
    daxs0 = tuple(tape.steps.unpack(daxs) for daxs in packed)
    return dparams, daxs0 if stack.bidirectional else daxs0[0], dstate0


def _forward(
    stack: Stack, params: Params, steps: Layout, xs: Array | None, axs: tuple[Array, ...], state: State, given: Masks
) -> tuple[Array, dict[str, Array], StackTape]:
    """From the projected inputs of the bottom layer to the outputs of the top one."""
    _check_state("state", stack, params, state, steps.N)
    ys, final, tapes_0 = _layer(stack, 0, params, steps, axs, state)
    inputs, masks, tapes = [], [], [tapes_0]
    for k in range(1, len(stack.cells)):
        mask = _packed(given[k - 1], k - 1, steps, ys.shape[2])
        xs_k = dropout(ys, mask)
        ys, final_k, tapes_k = _layer(stack, k, params, steps, _project(stack, k, params, xs_k), state)
        final |= final_k
        inputs.append(xs_k)
        masks.append(mask)
        tapes.append(tapes_k)
    return steps.unpack(ys), final, StackTape(steps, xs, tuple(inputs), tuple(masks), tuple(tapes))


def _backward(
    stack: Stack, params: Params, tape: StackTape, dys: Array, dfinal: State
) -> tuple[dict[str, Array], tuple[Array, ...], dict[str, Array]]:
    """From dys down to the projected inputs of the bottom layer."""
    steps, top = tape.steps, len(stack.cells) - 1
    _check_state("dfinal", stack, params, dfinal, steps.N)
    width = sum(dfinal["h" + suffix].shape[1] for suffix in stack.suffixes(top))
    if dys.shape != (steps.T, steps.N, width):
        raise ValueError(f"dys has shape {dys.shape}, but should have {(steps.T, steps.N, width)}, that of the outputs")
    dparams, daxs, dstate0 = _layer_backward(stack, top, params, steps, tape.tapes[top], steps.pack(dys), dfinal)
    for k in reversed(range(top)):
        projected, dxs = _project_backward(stack, k + 1, params, tape.inputs[k], daxs)
        dys = dropout_backward(tape.masks[k], dxs)
        share, daxs, dstate0_k = _layer_backward(stack, k, params, steps, tape.tapes[k], dys, dfinal)
        dparams = summed(projected, dparams) | share
        dstate0 = dstate0_k | dstate0
    return dparams, daxs, dstate0


def _layer(
    stack: Stack, k: int, params: Params, steps: Layout, axs: tuple[Array, ...], state: State
) -> tuple[Array, dict[str, Array], tuple[list[Tape], ...]]:
    """ys, the final state and the tapes of layer k."""
    final: dict[str, Array] = {}
    outputs, tapes = [], []
    for suffix, axs_d in zip(stack.suffixes(k), axs, strict=True):
        qs = _turned(steps, suffix, axs_d)
        rs, final_d, tapes_d = steps.forward_projected(stack.cells[k], _of(params, suffix), qs, _of(state, suffix))
        outputs.append(_turned(steps, suffix, rs))
        final |= _named(final_d, suffix)
        tapes.append(tapes_d)
    return np.concatenate(outputs, axis=2) if stack.bidirectional else outputs[0], final, tuple(tapes)


def _layer_backward(
    stack: Stack, k: int, params: Params, steps: Layout, tapes: tuple[list[Tape], ...], dys: Array, dfinal: State
) -> tuple[dict[str, Array], tuple[Array, ...], dict[str, Array]]:
    """The recurrent part's share of dparams, daxs and dstate0 of layer k."""
    dparams: dict[str, Array] = {}
    dstate0: dict[str, Array] = {}
    daxs, start = [], 0
    for suffix, tapes_d in zip(stack.suffixes(k), tapes, strict=True):
        dfinal_d = _of(dfinal, suffix)
        width = dfinal_d["h"].shape[1]
        drs = _turned(steps, suffix, dys[:, :, start : start + width])
        dqs, share, dstate = steps.backward_projected(stack.cells[k], _of(params, suffix), tapes_d, drs, dfinal_d)
        daxs.append(_turned(steps, suffix, dqs))
        dparams |= _named(share, suffix)
        dstate0 |= _named(dstate, suffix)
        start += width
    return dparams, tuple(daxs), dstate0


def _project(stack: Stack, k: int, params: Params, xs: Array) -> tuple[Array, ...]:
    """axs of layer k, one a direction."""
    return tuple(stack.cells[k].project_inputs(_of(params, suffix), xs) for suffix in stack.suffixes(k))


def _project_backward(stack: Stack, k: int, params: Params, xs: Array, daxs: tuple[Array, ...]) -> tuple[dict[str, Array], Array]:
    """The projection's share of dparams, and dxs, of layer k."""
    dparams: dict[str, Array] = {}
    dxs = []
    for suffix, daxs_d in zip(stack.suffixes(k), daxs, strict=True):
        share, dxs_d = stack.cells[k].project_inputs_backward(_of(params, suffix), xs, daxs_d)
        dparams |= _named(share, suffix)
        dxs.append(dxs_d)
    return dparams, dxs[0] + dxs[1] if stack.bidirectional else dxs[0]


def _turned(steps: Layout, suffix: str, rows: Array) -> Array:
    return steps.reverse(rows) if suffix.endswith(REVERSE) else rows


def _packed(mask: Array | None, k: int, steps: Layout, width: int) -> Array | None:
    if mask is None:
        return None
    if mask.shape != (steps.T, steps.N, width):
        raise ValueError(f"masks[{k}] has shape {mask.shape}, but should have {(steps.T, steps.N, width)}, that of layer {k}'s outputs")
    return steps.pack(mask)


def _check_state(what: str, stack: Stack, params: Params, state: State, N: int) -> None:
    wanted = {name: s.shape for name, s in zero_state(stack, params, N).items()}
    for name, shape in wanted.items():
        if name not in state:
            raise ValueError(f"{what} has no {name}, but should have {', '.join(wanted)}")
        if state[name].shape != shape:
            raise ValueError(f"{what}[{name!r}] has shape {state[name].shape}, but should have {shape}")


def _in_one_dtype(
    stack: Stack, params: Params, state: State, masks: Masks | None, xs: tuple[Array, ...]
) -> tuple[dict[str, Array], dict[str, Array], Masks, tuple[Array, ...]]:
    """The stack's own parameters and states, a mask or None for each layer but the top one, and xs: all in their common dtype."""
    ours = tuple(suffix for k in range(len(stack.cells)) for suffix in stack.suffixes(k))
    params = {name: p for name, p in params.items() if name.endswith(ours)}
    state = {name: s for name, s in state.items() if name.endswith(ours)}
    masks = [None] * (len(stack.cells) - 1) if masks is None else masks
    if len(masks) != len(stack.cells) - 1:
        raise ValueError(f"masks are {len(masks)}, but should be {len(stack.cells) - 1}, one for each layer but the top one")
    dtype = np.result_type(*xs, *params.values(), *state.values(), *(mask for mask in masks if mask is not None))
    return (
        {name: p.astype(dtype, copy=False) for name, p in params.items()},
        {name: s.astype(dtype, copy=False) for name, s in state.items()},
        [mask if mask is None else mask.astype(dtype, copy=False) for mask in masks],
        tuple(a.astype(dtype, copy=False) for a in xs),
    )


def _of(arrays: Mapping[str, Array], suffix: str) -> dict[str, Array]:
    return {name.removesuffix(suffix): a for name, a in arrays.items() if name.endswith(suffix)}


def _named(arrays: Mapping[str, Array], suffix: str) -> dict[str, Array]:
    return {name + suffix: a for name, a in arrays.items()}
