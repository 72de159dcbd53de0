"""Long short-term memory (LSTM) with a forget gate.

Equations    a_k = x @ W_xk + b_k + h @ W_hk     for the blocks k = i, f, g, o
             i = sigmoid(a_i)     f = sigmoid(a_f)     g = tanh(a_g)     o = sigmoid(a_o)
             c' = f * c + i * g
             m  = tanh(c')
             h' = o * m                          y = h'
Shapes       x (N, D)   h c m and each gate (N, H)   W_x (D, 4H)   W_h (H, 4H)   b (4H,)   blocks i f g o
Derivation   h' = o * m             do = dh' * m          dm = dh' * o
             m  = tanh(c')          dc' += dm * tanh'(c')
             c' = f * c + i * g     df = dc' * c          di = dc' * g      dg = dc' * i      dc = dc' * f
             s  = sigmoid(a)        da = ds * s * s_bar   with s_bar = 1 - s = sigmoid(-a)
             g  = tanh(a_g)         da_g = dg * tanh'(a_g)
             a  = ... + h @ W_h     dW_h = h.T @ da       dh = da @ W_h.T
             x's share of a is projected outside the loop: dax = da
Source       Hochreiter and Schmidhuber 1997, Neural Computation 9(8); the forget gate: Gers, Schmidhuber and Cummins 2000,
             Neural Computation 12(10).
Variant      no peepholes, no projection, no forget bias added at run time.
"""

from __future__ import annotations

import numpy as np

from bptt.refimpl.activations import sigmoid_pair, tanh, tanh_derivative
from bptt.refimpl.cells._common import dtype_of, project_inputs, project_inputs_backward, uniform
from bptt.refimpl.cells.cell import Cell, Outer, Share, plain
from bptt.refimpl.types import Array, Params, State, Tape


def init(rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
    D, H = input_size, hidden_size
    return uniform(rng, {"W_x": (D, 4 * H), "W_h": (H, 4 * H), "b": (4 * H,)}, H)


def zero_state(params: Params, batch_size: int) -> dict[str, Array]:
    shape = (batch_size, params["W_h"].shape[0])
    return {name: np.zeros(shape, dtype_of(params)) for name in ("h", "c")}


def step(params: Params, ax: Array, state: State) -> tuple[Array, dict[str, Array], Tape]:
    h_prev, c_prev = state["h"], state["c"]
    H = c_prev.shape[1]
    a = ax + h_prev @ params["W_h"]
    a_g = a[:, 2 * H : 3 * H]
    s, s_bar = sigmoid_pair(a)
    i, f, o = s[:, :H], s[:, H : 2 * H], s[:, 3 * H :]
    g = tanh(a_g)
    c = f * c_prev + i * g
    m = tanh(c)
    h = o * m
    return h, {"h": h, "c": c}, (h_prev, c_prev, a_g, s, s_bar, g, c, m)


def step_backward(params: Params, tape: Tape, dy: Array, dstate: State) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    h_prev, c_prev, a_g, s, s_bar, g, c, m = tape
    H = c_prev.shape[1]
    i, f, o = s[:, :H], s[:, H : 2 * H], s[:, 3 * H :]
    i_bar, f_bar, o_bar = s_bar[:, :H], s_bar[:, H : 2 * H], s_bar[:, 3 * H :]
    dh = dy + dstate["h"]
    do = dh * m
    dm = dh * o
    dc = dstate["c"] + dm * tanh_derivative(c)
    df = dc * c_prev
    di = dc * g
    dg = dc * i
    dc_prev = dc * f
    da_i = di * i * i_bar
    da_f = df * f * f_bar
    da_g = dg * tanh_derivative(a_g)
    da_o = do * o * o_bar
    da = np.concatenate([da_i, da_f, da_g, da_o], axis=1)
    dh_prev = da @ params["W_h"].T
    return da, {"h": dh_prev, "c": dc_prev}, {"W_h": Outer(h_prev, da)}


CELL = Cell(
    name="lstm",
    gates=("i", "f", "g", "o"),
    init=init,
    zero_state=zero_state,
    project_inputs=project_inputs,
    project_inputs_backward=project_inputs_backward,
    step=step,
    step_backward=step_backward,
    summary="LSTM with a forget gate; no peepholes, no projection",
    parameters=plain("i", "f", "g", "o"),
    states=("h", "c"),
    kind="an LSTM",
    forget="f",
)
