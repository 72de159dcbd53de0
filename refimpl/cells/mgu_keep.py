"""Minimal gated unit (MGU) whose gate keeps the old state.

Equations    f  = sigmoid(x @ W_xf + b_f + h @ W_hf)           one gate, which also resets
             n  = tanh(x @ W_xn + b_n + (f * h) @ W_hn)        candidate
             h' = f * h + f_bar * n                     with f_bar = 1 - f      y = h'
Shapes       x (N, D)   h f n (N, H)   W_x (D, 2H)   W_h (H, 2H)   b (2H,)   blocks f n
Derivation   h' = f * h + f_bar * n         df = dh' * (h - n)     dn = dh' * f_bar  dh = dh' * f
             n  = tanh(a_n)                da_n = dn * tanh'(a_n)
             a_n = ... + u @ W_hn, u = f * h      du = da_n @ W_hn.T      dW_hn = u.T @ da_n      df += du * h      dh += du * f
             f  = sigmoid(a_f)             da_f = df * f * f_bar
             a_f = ... + h @ W_hf          dW_hf = h.T @ da_f             dh += da_f @ W_hf.T
             x's share of a is projected outside the loop: dax = da
Source       Zhou, Wu, Zhang and Zhou 2016, Minimal gated unit for recurrent neural networks, arXiv:1603.09420, equations 8 to 10.
Variant      f keeps the old state, as code that follows a GRU's update gate has it; the paper's own is `mgu`.
"""

from __future__ import annotations

import numpy as np

from bptt.refimpl.activations import sigmoid_pair, tanh, tanh_derivative
from bptt.refimpl.cells._common import project_inputs, project_inputs_backward, uniform, zero_h
from bptt.refimpl.cells.cell import Cell, Columns, Outer, Share, plain
from bptt.refimpl.types import Array, Params, State, Tape


def init(rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
    D, H = input_size, hidden_size
    return uniform(rng, {"W_x": (D, 2 * H), "W_h": (H, 2 * H), "b": (2 * H,)}, H)


def step(params: Params, ax: Array, state: State) -> tuple[Array, dict[str, Array], Tape]:
    h_prev = state["h"]
    H = h_prev.shape[1]
    W_hf, W_hn = params["W_h"][:, :H], params["W_h"][:, H:]
    f, f_bar = sigmoid_pair(ax[:, :H] + h_prev @ W_hf)
    u = f * h_prev
    a_n = ax[:, H:] + u @ W_hn
    n = tanh(a_n)
    h = f * h_prev + f_bar * n
    return h, {"h": h}, (h_prev, f, f_bar, u, a_n, n)


def step_backward(params: Params, tape: Tape, dy: Array, dstate: State) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    h_prev, f, f_bar, u, a_n, n = tape
    H = h_prev.shape[1]
    W_hf, W_hn = params["W_h"][:, :H], params["W_h"][:, H:]
    dh = dy + dstate["h"]
    df = dh * (h_prev - n)
    dn = dh * f_bar
    da_n = dn * tanh_derivative(a_n)
    du = da_n @ W_hn.T
    df = df + du * h_prev
    da_f = df * f * f_bar
    dh_prev = dh * f + du * f + da_f @ W_hf.T
    da = np.concatenate([da_f, da_n], axis=1)
    return da, {"h": dh_prev}, {"W_h": Columns((Outer(h_prev, da_f), Outer(u, da_n)))}


CELL = Cell(
    name="mgu_keep",
    gates=("f", "n"),
    init=init,
    zero_state=zero_h,
    project_inputs=project_inputs,
    project_inputs_backward=project_inputs_backward,
    step=step,
    step_backward=step_backward,
    summary="minimal gated unit whose gate keeps the old state",
    parameters=plain("f", "n"),
    kind="a minimal gated unit",
    traits=("f keeps the old state",),
)
