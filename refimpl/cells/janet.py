"""JANET: an LSTM with nothing but a forget gate.

Equations    f  = sigmoid(a_f)     a_f = x @ W_xf + b_f + h @ W_hf
             k  = sigmoid(beta - a_f)                          how much of the new: 1 - sigmoid(a_f - beta), beta = 1
             n  = tanh(a_n)        a_n = x @ W_xn + b_n + h @ W_hn
             h' = f * h + k * n                                y = h'
Shapes       x (N, D)   h f k n (N, H)   W_x (D, 2H)   W_h (H, 2H)   b (2H,)   blocks f n
Derivation   h' = f * h + k * n        df = dh' * h     dk = dh' * n     dn = dh' * k     dh = dh' * f
             n  = tanh(a_n)            da_n = dn * tanh'(a_n)
             f  = sigmoid(a_f), k = sigmoid(beta - a_f)        da_f = df * f * f_bar - dk * k * k_bar
             a  = ... + h @ W_h        dW_h = h.T @ da          dh += da @ W_h.T
             x's share of a is projected outside the loop: dax = da
Source       van der Westhuizen and Lasenby 2018, The unreasonable effectiveness of the forget gate, arXiv:1804.04849, equation 6.
Variant      beta = 1 as there; with beta = 0 it is `ugrnn`.
"""

from __future__ import annotations

import numpy as np

from bptt.refimpl.activations import sigmoid_pair, tanh, tanh_derivative
from bptt.refimpl.cells._common import project_inputs, project_inputs_backward, uniform, zero_h
from bptt.refimpl.cells.cell import Cell, Outer, Share, plain
from bptt.refimpl.types import Array, Params, State, Tape

BETA = 1


def init(rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
    D, H = input_size, hidden_size
    return uniform(rng, {"W_x": (D, 2 * H), "W_h": (H, 2 * H), "b": (2 * H,)}, H)


def step(params: Params, ax: Array, state: State) -> tuple[Array, dict[str, Array], Tape]:
    h_prev = state["h"]
    H = h_prev.shape[1]
    a = ax + h_prev @ params["W_h"]
    a_f, a_n = a[:, :H], a[:, H:]
    f, f_bar = sigmoid_pair(a_f)
    k, k_bar = sigmoid_pair(BETA - a_f)
    n = tanh(a_n)
    h = f * h_prev + k * n
    return h, {"h": h}, (h_prev, f, f_bar, k, k_bar, a_n, n)


def step_backward(params: Params, tape: Tape, dy: Array, dstate: State) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    h_prev, f, f_bar, k, k_bar, a_n, n = tape
    dh = dy + dstate["h"]
    df = dh * h_prev
    dk = dh * n
    dn = dh * k
    da_n = dn * tanh_derivative(a_n)
    da_f = df * f * f_bar - dk * k * k_bar
    da = np.concatenate([da_f, da_n], axis=1)
    dh_prev = dh * f + da @ params["W_h"].T
    return da, {"h": dh_prev}, {"W_h": Outer(h_prev, da)}


CELL = Cell(
    name="janet",
    gates=("f", "n"),
    init=init,
    zero_state=zero_h,
    project_inputs=project_inputs,
    project_inputs_backward=project_inputs_backward,
    step=step,
    step_backward=step_backward,
    summary="JANET: an LSTM with a forget gate alone, the new opened by sigmoid(1 - a_f)",
    parameters=plain("f", "n"),
    kind="a JANET",
)
