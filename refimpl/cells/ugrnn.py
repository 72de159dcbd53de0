"""Update gate recurrent network (UGRNN): one gate between the old state and the new.

Equations    z  = sigmoid(a_z)     n = tanh(a_n)     a = x @ W_x + b + h @ W_h
             h' = z * h + z_bar * n                  with z_bar = 1 - z      y = h'
Shapes       x (N, D)   h z n (N, H)   W_x (D, 2H)   W_h (H, 2H)   b (2H,)   blocks z n
Derivation   h' = z * h + z_bar * n        dz = dh' * (h - n)     dn = dh' * z_bar     dh = dh' * z
             n  = tanh(a_n)                da_n = dn * tanh'(a_n)
             z  = sigmoid(a_z)             da_z = dz * z * z_bar
             a  = ... + h @ W_h            dW_h = h.T @ da        dh += da @ W_h.T
             x's share of a is projected outside the loop: dax = da
Source       Collins, Sohl-Dickstein and Sussillo 2017, Capacity and trainability in recurrent neural networks, arXiv:1611.09913.
Variant      no reset gate; z keeps the old state.
"""

from __future__ import annotations

import numpy as np

from bptt.refimpl.activations import sigmoid_pair, tanh, tanh_derivative
from bptt.refimpl.cells._common import project_inputs, project_inputs_backward, uniform, zero_h
from bptt.refimpl.cells.cell import Cell, Complement, Outer, Share, plain
from bptt.refimpl.types import Array, Params, State, Tape


def init(rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
    D, H = input_size, hidden_size
    return uniform(rng, {"W_x": (D, 2 * H), "W_h": (H, 2 * H), "b": (2 * H,)}, H)


def step(params: Params, ax: Array, state: State) -> tuple[Array, dict[str, Array], Tape]:
    h_prev = state["h"]
    H = h_prev.shape[1]
    a = ax + h_prev @ params["W_h"]
    z, z_bar = sigmoid_pair(a[:, :H])
    a_n = a[:, H:]
    n = tanh(a_n)
    h = z * h_prev + z_bar * n
    return h, {"h": h}, (h_prev, z, z_bar, a_n, n)


def step_backward(params: Params, tape: Tape, dy: Array, dstate: State) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    h_prev, z, z_bar, a_n, n = tape
    dh = dy + dstate["h"]
    dz = dh * (h_prev - n)
    dn = dh * z_bar
    da_n = dn * tanh_derivative(a_n)
    da_z = dz * z * z_bar
    da = np.concatenate([da_z, da_n], axis=1)
    dh_prev = dh * z + da @ params["W_h"].T
    return da, {"h": dh_prev}, {"W_h": Outer(h_prev, da)}


CELL = Cell(
    name="ugrnn",
    gates=("z", "n"),
    init=init,
    zero_state=zero_h,
    project_inputs=project_inputs,
    project_inputs_backward=project_inputs_backward,
    step=step,
    step_backward=step_backward,
    summary="update gate RNN: one gate between the old state and the new, no reset",
    parameters=plain("z", "n"),
    kind="an update gate RNN",
    complements=(Complement("z", "z keeps the old state", "z opens the new one"),),
)
