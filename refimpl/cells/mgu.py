"""Minimal gated unit (MGU): one gate for reset and update.

Equations    f  = sigmoid(x @ W_xf + b_f + h @ W_hf)           one gate, which also resets
             n  = tanh(x @ W_xn + b_n + (f * h) @ W_hn)        candidate
             h' = f_bar * h + f * n                     with f_bar = 1 - f      y = h'
Shapes       x (N, D)   h f n (N, H)   W_x (D, 2H)   W_h (H, 2H)   b (2H,)   blocks f n
Derivation   h' = f_bar * h + f * n         df = dh' * (n - h)     dn = dh' * f      dh = dh' * f_bar
             n  = tanh(a_n)                da_n = dn * tanh'(a_n)
             a_n = ... + u @ W_hn, u = f * h      du = da_n @ W_hn.T      dW_hn = u.T @ da_n      df += du * h      dh += du * f
             f  = sigmoid(a_f)             da_f = df * f * f_bar
             a_f = ... + h @ W_hf          dW_hf = h.T @ da_f             dh += da_f @ W_hf.T
             x's share of a is projected outside the loop: dax = da
Source       Zhou, Wu, Zhang and Zhou 2016, Minimal gated unit for recurrent neural networks, arXiv:1603.09420, equations 8 to 10.
Variant      f opens the new; `mgu_keep` has it keep the old, which is another function, because f also resets.
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
    h = f_bar * h_prev + f * n
    return h, {"h": h}, (h_prev, f, f_bar, u, a_n, n)


def step_backward(params: Params, tape: Tape, dy: Array, dstate: State) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    h_prev, f, f_bar, u, a_n, n = tape
    H = h_prev.shape[1]
    W_hf, W_hn = params["W_h"][:, :H], params["W_h"][:, H:]
    dh = dy + dstate["h"]
    df = dh * (n - h_prev)
    dn = dh * f
    da_n = dn * tanh_derivative(a_n)
    du = da_n @ W_hn.T
    df = df + du * h_prev
    da_f = df * f * f_bar
    dh_prev = dh * f_bar + du * f + da_f @ W_hf.T
    da = np.concatenate([da_f, da_n], axis=1)
    return da, {"h": dh_prev}, {"W_h": Columns((Outer(h_prev, da_f), Outer(u, da_n)))}


CELL = Cell(
    name="mgu",
    gates=("f", "n"),
    init=init,
    zero_state=zero_h,
    project_inputs=project_inputs,
    project_inputs_backward=project_inputs_backward,
    step=step,
    step_backward=step_backward,
    summary="minimal gated unit, one gate for reset and update; f opens the new",
    parameters=plain("f", "n"),
    kind="a minimal gated unit",
    traits=("f opens the new",),
)
