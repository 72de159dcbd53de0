"""LSTM with peepholes: the gates see the memory cell.

Equations    a_i = x @ W_xi + b_i + h @ W_hi + p_i * c          i = sigmoid(a_i)
             a_f = x @ W_xf + b_f + h @ W_hf + p_f * c          f = sigmoid(a_f)
             a_g = x @ W_xg + b_g + h @ W_hg                    g = tanh(a_g)
             c'  = f * c + i * g
             a_o = x @ W_xo + b_o + h @ W_ho + p_o * c'         o = sigmoid(a_o)
             m   = tanh(c')
             h'  = o * m                                        y = h'
Shapes       x (N, D)   h c m and each gate (N, H)   W_x (D, 4H)   W_h (H, 4H)   b (4H,)   blocks i f g o   p (3, H) for i f o
Derivation   h'  = o * m             do = dh' * m           dm = dh' * o
             o   = sigmoid(a_o)      da_o = do * o * o_bar  with s_bar = 1 - s = sigmoid(-a)
             m   = tanh(c')          dc' += dm * tanh'(c')
             a_o has p_o * c'        dc' += da_o * p_o      dp_o = sum over N of da_o * c'
             c'  = f * c + i * g     df = dc' * c           di = dc' * g      dg = dc' * i      dc = dc' * f
             a_i has p_i * c         dc += da_i * p_i       dp_i = sum over N of da_i * c
             a_f has p_f * c         dc += da_f * p_f       dp_f = sum over N of da_f * c
             a   = ... + h @ W_h     dW_h = h.T @ da        dh = da @ W_h.T
             x's share of a is projected outside the loop: dax = da
Source       Gers, Schraudolph and Schmidhuber 2002, Learning precise timing with LSTM recurrent networks, JMLR 3.
Variant      lstm plus diagonal peepholes inside the gates; i and f read the old c, o reads the new one.
"""

from __future__ import annotations

import numpy as np

from bptt.refimpl.activations import sigmoid_pair, tanh, tanh_derivative
from bptt.refimpl.cells._common import project_inputs, project_inputs_backward, uniform
from bptt.refimpl.cells.cell import Cell, Outer, Parameter, Share, plain
from bptt.refimpl.cells.lstm import zero_state
from bptt.refimpl.types import Array, Params, State, Tape


def init(rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
    D, H = input_size, hidden_size
    return uniform(rng, {"W_x": (D, 4 * H), "W_h": (H, 4 * H), "b": (4 * H,), "p": (3, H)}, H)


def step(params: Params, ax: Array, state: State) -> tuple[Array, dict[str, Array], Tape]:
    h_prev, c_prev = state["h"], state["c"]
    p_i, p_f, p_o = params["p"]
    H = c_prev.shape[1]
    a = ax + h_prev @ params["W_h"]
    a_g = a[:, 2 * H : 3 * H]
    i, i_bar = sigmoid_pair(a[:, :H] + p_i * c_prev)
    f, f_bar = sigmoid_pair(a[:, H : 2 * H] + p_f * c_prev)
    g = tanh(a_g)
    c = f * c_prev + i * g
    o, o_bar = sigmoid_pair(a[:, 3 * H :] + p_o * c)
    m = tanh(c)
    h = o * m
    return h, {"h": h, "c": c}, (h_prev, c_prev, a_g, i, i_bar, f, f_bar, g, c, o, o_bar, m)


def step_backward(params: Params, tape: Tape, dy: Array, dstate: State) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    h_prev, c_prev, a_g, i, i_bar, f, f_bar, g, c, o, o_bar, m = tape
    p_i, p_f, p_o = params["p"]
    dh = dy + dstate["h"]
    do = dh * m
    dm = dh * o
    da_o = do * o * o_bar
    dc = dstate["c"] + dm * tanh_derivative(c)
    dc = dc + da_o * p_o
    df = dc * c_prev
    di = dc * g
    dg = dc * i
    da_i = di * i * i_bar
    da_f = df * f * f_bar
    da_g = dg * tanh_derivative(a_g)
    dc_prev = dc * f + da_i * p_i + da_f * p_f
    dp_i = (da_i * c_prev).sum(axis=0)
    dp_f = (da_f * c_prev).sum(axis=0)
    dp_o = (da_o * c).sum(axis=0)
    da = np.concatenate([da_i, da_f, da_g, da_o], axis=1)
    dh_prev = da @ params["W_h"].T
    return da, {"h": dh_prev, "c": dc_prev}, {"W_h": Outer(h_prev, da), "p": np.stack([dp_i, dp_f, dp_o])}


CELL = Cell(
    name="lstm_peephole",
    gates=("i", "f", "g", "o"),
    init=init,
    zero_state=zero_state,
    project_inputs=project_inputs,
    project_inputs_backward=project_inputs_backward,
    step=step,
    step_backward=step_backward,
    summary="LSTM with diagonal peepholes to i, f (old c) and o (new c)",
    parameters=(*plain("i", "f", "g", "o"), Parameter("p", "diagonal", ("i", "f", "o"), "peepholes (o reads the new c)")),
    states=("h", "c"),
    kind="an LSTM",
    forget="f",
)
