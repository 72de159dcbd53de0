"""Independently recurrent network (IndRNN): each unit remembers itself alone.

Equations    a  = x @ W_x + b + u * h
             h' = relu(a)        y = h'
Shapes       x (N, D)   h a (N, H)   W_x (D, H)   u b (H,)
Derivation   h' = relu(a)        da = dh' where a > 0, else 0
             a  = ... + u * h    du = sum over N of da * h      dh = da * u
             x's share of a is projected outside the loop: dax = da
Source       Li, Li, Cook, Zhu and Gao 2018, Independently recurrent neural network, arXiv:1803.04831, equation 3.
Variant      rectifier, one layer; the recurrent weight is a vector.
"""

from __future__ import annotations

import numpy as np

from bptt.refimpl.activations import relu, relu_derivative
from bptt.refimpl.cells._common import project_inputs, project_inputs_backward, uniform, zero_from
from bptt.refimpl.cells.cell import Cell, Parameter, RowSum, Share
from bptt.refimpl.types import Array, Params, State, Tape


def init(rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
    D, H = input_size, hidden_size
    return uniform(rng, {"W_x": (D, H), "u": (H,), "b": (H,)}, H)


def zero_state(params: Params, batch_size: int) -> dict[str, Array]:
    return zero_from(params, "u", batch_size)


def step(params: Params, ax: Array, state: State) -> tuple[Array, dict[str, Array], Tape]:
    h_prev = state["h"]
    a = ax + params["u"] * h_prev
    h = relu(a)
    return h, {"h": h}, (h_prev, a)


def step_backward(params: Params, tape: Tape, dy: Array, dstate: State) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    h_prev, a = tape
    dh = dy + dstate["h"]
    da = dh * relu_derivative(a)
    dh_prev = da * params["u"]
    return da, {"h": dh_prev}, {"u": RowSum(da * h_prev)}


CELL = Cell(
    name="indrnn",
    gates=("h",),
    init=init,
    zero_state=zero_state,
    project_inputs=project_inputs,
    project_inputs_backward=project_inputs_backward,
    step=step,
    step_backward=step_backward,
    summary="independently recurrent network: h' = relu(x W + b + u * h), the recurrent weight is a vector",
    parameters=(Parameter("W_x", "input", ("h",)), Parameter("u", "diagonal", ("h",)), Parameter("b", "bias", ("h",))),
    kind="an independently recurrent network",
)
