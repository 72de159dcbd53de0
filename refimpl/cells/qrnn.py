"""Quasi-recurrent network (QRNN), fo-pooling over a window of one: what recurs has no weights.

Equations    g  = tanh(a_g)     f = sigmoid(a_f)     o = sigmoid(a_o)     a = x @ W_x + b
             c' = f * c + f_bar * g                  with f_bar = 1 - f
             h' = o * c'                             y = h'
Shapes       x (N, D)   h c and each gate (N, H)   W_x (D, 3H)   b (3H,)   blocks g f o
Derivation   h' = o * c'               do = dh' * c'         dc' += dh' * o
             c' = f * c + f_bar * g    df = dc' * (c - g)    dg = dc' * f_bar     dc = dc' * f
             s  = sigmoid(a)           da = ds * s * s_bar   g = tanh(a_g): da_g = dg * tanh'(a_g)
             x's share of a is all of it: dax = da           h is not read: dh = 0
Source       Bradbury, Merity, Xiong and Socher 2017, Quasi-recurrent neural networks, arXiv:1611.01576, equations 3 and 4.
Variant      fo-pooling; a convolution of a window k > 1 is this cell on the last k inputs side by side (state: `causal_convolution`).
"""

from __future__ import annotations

import numpy as np

from bptt.refimpl.activations import sigmoid_pair, tanh, tanh_derivative
from bptt.refimpl.cells._common import dtype_of, project_inputs, project_inputs_backward, uniform
from bptt.refimpl.cells.cell import Cell, Complement, Parameter, Share
from bptt.refimpl.types import Array, Params, State, Tape


def init(rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
    D, H = input_size, hidden_size
    return uniform(rng, {"W_x": (D, 3 * H), "b": (3 * H,)}, H)


def zero_state(params: Params, batch_size: int) -> dict[str, Array]:
    shape = (batch_size, len(params["b"]) // 3)
    return {name: np.zeros(shape, dtype_of(params)) for name in ("h", "c")}


def step(params: Params, ax: Array, state: State) -> tuple[Array, dict[str, Array], Tape]:
    h_prev, c_prev = state["h"], state["c"]
    H = c_prev.shape[1]
    a_g = ax[:, :H]
    g = tanh(a_g)
    f, f_bar = sigmoid_pair(ax[:, H : 2 * H])
    o, o_bar = sigmoid_pair(ax[:, 2 * H :])
    c = f * c_prev + f_bar * g
    h = o * c
    return h, {"h": h, "c": c}, (h_prev, c_prev, a_g, g, f, f_bar, o, o_bar, c)


def step_backward(params: Params, tape: Tape, dy: Array, dstate: State) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    h_prev, c_prev, a_g, g, f, f_bar, o, o_bar, c = tape
    dh = dy + dstate["h"]
    do = dh * c
    dc = dstate["c"] + dh * o
    df = dc * (c_prev - g)
    dg = dc * f_bar
    da_g = dg * tanh_derivative(a_g)
    da_f = df * f * f_bar
    da_o = do * o * o_bar
    return np.concatenate([da_g, da_f, da_o], axis=1), {"h": 0 * h_prev, "c": dc * f}, {}


CELL = Cell(
    name="qrnn",
    gates=("g", "f", "o"),
    init=init,
    zero_state=zero_state,
    project_inputs=project_inputs,
    project_inputs_backward=project_inputs_backward,
    step=step,
    step_backward=step_backward,
    summary="QRNN with fo-pooling over a window of one: gates of the input alone",
    parameters=(Parameter("W_x", "input", ("g", "f", "o")), Parameter("b", "bias", ("g", "f", "o"))),
    states=("h", "c"),
    kind="a QRNN with fo-pooling",
    complements=(Complement("f", "f keeps the old c", "f opens the new one"),),
)
