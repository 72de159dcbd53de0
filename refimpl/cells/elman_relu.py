"""Elman's simple recurrent network with a rectifier.

Equations    a  = x @ W_x + b + h @ W_h
             h' = relu(a)        y = h'
Shapes       x (N, D)   h a (N, H)   W_x (D, H)   W_h (H, H)   b (H,)
Derivation   h' = relu(a)        da = dh' * relu_derivative(a)     relu'(a) = 1 where a > 0, else 0
             a  = x @ W_x + b + h @ W_h       dW_h = h.T @ da     dh = da @ W_h.T
             x's share of a is projected outside the loop: dax = da
Source       Elman 1990, Finding structure in time, Cognitive Science 14.
Variant      relu for tanh: the state has no upper bound, and the derivative at a = 0 is taken to be 0.
"""

from __future__ import annotations

import numpy as np

from bptt.refimpl.activations import relu, relu_derivative
from bptt.refimpl.cells._common import project_inputs, project_inputs_backward, uniform, zero_h
from bptt.refimpl.cells.cell import Cell, Outer, Share, plain
from bptt.refimpl.types import Array, Params, State, Tape


def init(rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
    D, H = input_size, hidden_size
    return uniform(rng, {"W_x": (D, H), "W_h": (H, H), "b": (H,)}, H)


def step(params: Params, ax: Array, state: State) -> tuple[Array, dict[str, Array], Tape]:
    h_prev = state["h"]
    a = ax + h_prev @ params["W_h"]
    h = relu(a)
    return h, {"h": h}, (h_prev, a)


def step_backward(params: Params, tape: Tape, dy: Array, dstate: State) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    h_prev, a = tape
    dh = dy + dstate["h"]
    da = dh * relu_derivative(a)
    dh_prev = da @ params["W_h"].T
    return da, {"h": dh_prev}, {"W_h": Outer(h_prev, da)}


CELL = Cell(
    name="elman_relu",
    gates=("h",),
    init=init,
    zero_state=zero_h,
    project_inputs=project_inputs,
    project_inputs_backward=project_inputs_backward,
    step=step,
    step_backward=step_backward,
    summary="simple recurrent network, rectifier",
    parameters=plain("h"),
    kind="an Elman cell (relu)",
)
