"""LSTM with coupled input and forget gates (CIFG): what is forgotten is replaced.

Equations    a_k = x @ W_xk + b_k + h @ W_hk     for the blocks k = i, g, o
             i = sigmoid(a_i)     f = 1 - i      g = tanh(a_g)     o = sigmoid(a_o)
             c' = f * c + i * g
             m  = tanh(c')
             h' = o * m                          y = h'
Shapes       x (N, D)   h c m and each gate (N, H)   W_x (D, 3H)   W_h (H, 3H)   b (3H,)   blocks i g o
Derivation   h' = o * m             do = dh' * m          dm = dh' * o
             m  = tanh(c')          dc' += dm * tanh'(c')
             c' = f * c + i * g     di = dc' * (g - c)    dg = dc' * i      dc = dc' * f      with f = i_bar
             s  = sigmoid(a)        da = ds * s * s_bar   with s_bar = 1 - s = sigmoid(-a)
             g  = tanh(a_g)         da_g = dg * tanh'(a_g)
             a  = ... + h @ W_h     dW_h = h.T @ da       dh = da @ W_h.T
             x's share of a is projected outside the loop: dax = da
Source       Greff et al. 2017, LSTM: a search space odyssey, arXiv:1503.04069, section 3 (CIFG).
Variant      f = 1 - i; code that computes f and takes i = 1 - f is the same cell with the sign of that block turned.
"""

from __future__ import annotations

import numpy as np

from bptt.refimpl.activations import sigmoid_pair, tanh, tanh_derivative
from bptt.refimpl.cells import lstm
from bptt.refimpl.cells._common import project_inputs, project_inputs_backward, uniform
from bptt.refimpl.cells.cell import Cell, Complement, Outer, Share, plain
from bptt.refimpl.types import Array, Params, State, Tape


def init(rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
    D, H = input_size, hidden_size
    return uniform(rng, {"W_x": (D, 3 * H), "W_h": (H, 3 * H), "b": (3 * H,)}, H)


def step(params: Params, ax: Array, state: State) -> tuple[Array, dict[str, Array], Tape]:
    h_prev, c_prev = state["h"], state["c"]
    H = c_prev.shape[1]
    a = ax + h_prev @ params["W_h"]
    a_g = a[:, H : 2 * H]
    i, f = sigmoid_pair(a[:, :H])
    o, o_bar = sigmoid_pair(a[:, 2 * H :])
    g = tanh(a_g)
    c = f * c_prev + i * g
    m = tanh(c)
    h = o * m
    return h, {"h": h, "c": c}, (h_prev, c_prev, a_g, i, f, o, o_bar, g, c, m)


def step_backward(params: Params, tape: Tape, dy: Array, dstate: State) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    h_prev, c_prev, a_g, i, f, o, o_bar, g, c, m = tape
    dh = dy + dstate["h"]
    do = dh * m
    dm = dh * o
    dc = dstate["c"] + dm * tanh_derivative(c)
    di = dc * (g - c_prev)
    dg = dc * i
    dc_prev = dc * f
    da_i = di * i * f
    da_g = dg * tanh_derivative(a_g)
    da_o = do * o * o_bar
    da = np.concatenate([da_i, da_g, da_o], axis=1)
    dh_prev = da @ params["W_h"].T
    return da, {"h": dh_prev, "c": dc_prev}, {"W_h": Outer(h_prev, da)}


CELL = Cell(
    name="lstm_coupled",
    gates=("i", "g", "o"),
    init=init,
    zero_state=lstm.zero_state,
    project_inputs=project_inputs,
    project_inputs_backward=project_inputs_backward,
    step=step,
    step_backward=step_backward,
    summary="LSTM with coupled gates, f = 1 - i (CIFG)",
    parameters=plain("i", "g", "o"),
    states=("h", "c"),
    kind="an LSTM with coupled gates, f = 1 - i (CIFG)",
    complements=(Complement("i", "i opens the new, f = 1 - i", "f keeps the old, i = 1 - f"),),
)
