"""Minimal LSTM (minLSTM): gates and candidate depend on the input alone, and the gates add up to one.

Equations    f  = sigmoid(a_f)     i = sigmoid(a_i)     n = a_n     a = x @ W_x + b
             p  = f / (f + i)      q = i / (f + i)
             h' = p * h + q * n                         y = h'
Shapes       x (N, D)   h f i n p q (N, H)   W_x (D, 3H)   b (3H,)   blocks f i n
Derivation   h' = p * h + q * n        dp = dh' * h     dq = dh' * n     dn = dh' * q     dh = dh' * p
             p  = f / (f + i), q = 1 - p   with e = (dp - dq) * p * q:     df = e / f      di = -e / i
             s  = sigmoid(a)           da_f = df * f * f_bar = e * f_bar         da_i = -e * i_bar       da_n = dn
             x's share of a is all of it: dax = da
Source       Feng, Tung, Ahmed, Bengio and Hajimirsadeghi 2024, Were RNNs all we needed?, arXiv:2410.01201, section 3.2.
Variant      normalised gates and a linear candidate, as in section 3.2; the state is h alone.
"""

from __future__ import annotations

import numpy as np

from bptt.refimpl.activations import sigmoid_pair
from bptt.refimpl.cells._common import dtype_of, project_inputs, project_inputs_backward, uniform
from bptt.refimpl.cells.cell import Cell, Parameter, Share
from bptt.refimpl.types import Array, Params, State, Tape


def init(rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
    D, H = input_size, hidden_size
    return uniform(rng, {"W_x": (D, 3 * H), "b": (3 * H,)}, H)


def zero_state(params: Params, batch_size: int) -> dict[str, Array]:
    return {"h": np.zeros((batch_size, len(params["b"]) // 3), dtype_of(params))}


def step(params: Params, ax: Array, state: State) -> tuple[Array, dict[str, Array], Tape]:
    h_prev = state["h"]
    H = h_prev.shape[1]
    f, f_bar = sigmoid_pair(ax[:, :H])
    i, i_bar = sigmoid_pair(ax[:, H : 2 * H])
    n = ax[:, 2 * H :]
    p, q = f / (f + i), i / (f + i)
    h = p * h_prev + q * n
    return h, {"h": h}, (h_prev, f_bar, i_bar, n, p, q)


def step_backward(params: Params, tape: Tape, dy: Array, dstate: State) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    h_prev, f_bar, i_bar, n, p, q = tape
    dh = dy + dstate["h"]
    dp = dh * h_prev
    dq = dh * n
    dn = dh * q
    e = (dp - dq) * p * q
    return np.concatenate([e * f_bar, -e * i_bar, dn], axis=1), {"h": dh * p}, {}


CELL = Cell(
    name="min_lstm",
    gates=("f", "i", "n"),
    init=init,
    zero_state=zero_state,
    project_inputs=project_inputs,
    project_inputs_backward=project_inputs_backward,
    step=step,
    step_backward=step_backward,
    summary="minLSTM: gates and linear candidate of the input alone, f and i divided by their sum",
    parameters=(Parameter("W_x", "input", ("f", "i", "n")), Parameter("b", "bias", ("f", "i", "n"))),
    kind="a minLSTM",
)
