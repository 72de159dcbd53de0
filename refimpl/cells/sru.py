"""Simple recurrent unit (SRU): gates see the memory of their own unit alone, and a highway carries the input around it.

Equations    a  = x @ W_x + b                     blocks g f r s; the biases of g and s are zero in the paper
             f  = sigmoid(a_f + v_f * c)          r = sigmoid(a_r + v_r * c)
             c' = f * c + f_bar * a_g             with f_bar = 1 - f
             h' = r * c' + r_bar * a_s            with r_bar = 1 - r     y = h'
Shapes       x (N, D)   h c and each block (N, H)   W_x (D, 4H)   b (4H,)   v (2, H): rows v_f v_r
Derivation   h' = r * c' + r_bar * a_s            dr = dh' * (c' - a_s)     dc' += dh' * r     da_s = dh' * r_bar
             c' = f * c + f_bar * a_g             df = dc' * (c - a_g)      da_g = dc' * f_bar     dc = dc' * f
             s  = sigmoid(a + v * c)              da = ds * s * s_bar       dv = sum over N of da * c     dc += da * v
             h is not read: dh = 0
Source       Lei, Zhang, Wang, Dai and Artzi 2018, Simple recurrent units, arXiv:1709.02755, eq. 1 to 4.
Variant      both gates read the old c; the highway's input is projected by a block of its own, as the paper has it where D and H differ.
"""

from __future__ import annotations

import numpy as np

from bptt.refimpl.activations import sigmoid_pair
from bptt.refimpl.cells._common import dtype_of, project_inputs, project_inputs_backward, uniform
from bptt.refimpl.cells.cell import Cell, Parameter, Share
from bptt.refimpl.types import Array, Params, State, Tape


def init(rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
    D, H = input_size, hidden_size
    return uniform(rng, {"W_x": (D, 4 * H), "b": (4 * H,), "v": (2, H)}, H)


def zero_state(params: Params, batch_size: int) -> dict[str, Array]:
    shape = (batch_size, params["v"].shape[1])
    return {name: np.zeros(shape, dtype_of(params)) for name in ("h", "c")}


def step(params: Params, ax: Array, state: State) -> tuple[Array, dict[str, Array], Tape]:
    h_prev, c_prev, (v_f, v_r) = state["h"], state["c"], params["v"]
    H = c_prev.shape[1]
    a_g, a_s = ax[:, :H], ax[:, 3 * H :]
    f, f_bar = sigmoid_pair(ax[:, H : 2 * H] + v_f * c_prev)
    r, r_bar = sigmoid_pair(ax[:, 2 * H : 3 * H] + v_r * c_prev)
    c = f * c_prev + f_bar * a_g
    h = r * c + r_bar * a_s
    return h, {"h": h, "c": c}, (h_prev, c_prev, a_g, a_s, f, f_bar, r, r_bar, c)


def step_backward(params: Params, tape: Tape, dy: Array, dstate: State) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    h_prev, c_prev, a_g, a_s, f, f_bar, r, r_bar, c = tape
    v_f, v_r = params["v"]
    dh = dy + dstate["h"]
    dr = dh * (c - a_s)
    da_s = dh * r_bar
    dc = dstate["c"] + dh * r
    df = dc * (c_prev - a_g)
    da_g = dc * f_bar
    da_f = df * f * f_bar
    da_r = dr * r * r_bar
    dc_prev = dc * f + da_f * v_f + da_r * v_r
    dv = np.stack([(da_f * c_prev).sum(axis=0), (da_r * c_prev).sum(axis=0)])
    return np.concatenate([da_g, da_f, da_r, da_s], axis=1), {"h": 0 * h_prev, "c": dc_prev}, {"v": dv}


CELL = Cell(
    name="sru",
    gates=("g", "f", "r", "s"),
    init=init,
    zero_state=zero_state,
    project_inputs=project_inputs,
    project_inputs_backward=project_inputs_backward,
    step=step,
    step_backward=step_backward,
    summary="simple recurrent unit: gates of x and of the unit's own c, a highway for x",
    parameters=(
        Parameter("W_x", "input", ("g", "f", "r", "s")),
        Parameter("b", "bias", ("g", "f", "r", "s")),
        Parameter("v", "diagonal", ("f", "r")),
    ),
    states=("h", "c"),
    kind="a simple recurrent unit",
)
