"""Gated recurrent unit (GRU), the reset gate applied after the recurrent product.

Equations    ax = x @ W_x + b_x          ah = h @ W_h + b_h          blocks r z n
             r  = sigmoid(ax_r + ah_r)                               reset gate
             z  = sigmoid(ax_z + ah_z)                               update gate
             n  = tanh(ax_n + r * ah_n)                              candidate
             h' = z_bar * n + z * h          with z_bar = 1 - z      y = h'
Shapes       x (N, D)   h r z n (N, H)   ax ah (N, 3H)   W_x (D, 3H)   W_h (H, 3H)   b_x b_h (3H,)
Derivation   h' = z_bar * n + z * h     dz = dh' * (h - n)     dn = dh' * z_bar     dh = dh' * z
             n  = tanh(a_n)             da_n = dn * tanh'(a_n)
             a_n = ax_n + r * ah_n      dax_n = da_n           dr = da_n * ah_n     dah_n = da_n * r
             s  = sigmoid(a)            da = ds * s * s_bar    with s_bar = 1 - s = sigmoid(-a)
             a  = ax + ah (r and z)     dax = dah = da
             ah = h @ W_h + b_h         dW_h = h.T @ dah       db_h = sum over N of dah     dh += dah @ W_h.T
Source       Cho et al. 2014, arXiv:1406.1078v1, in the form of torch.nn.GRU and cuDNN.
Variant      reset after the product, so the candidate has its own recurrent bias; z keeps the old state.
"""

from __future__ import annotations

import numpy as np

from bptt.refimpl.activations import sigmoid_pair, tanh, tanh_derivative
from bptt.refimpl.cells._common import affine, affine_backward, uniform, zero_h
from bptt.refimpl.cells.cell import Cell, Complement, Outer, Parameter, RowSum, Share
from bptt.refimpl.types import Array, Params, State, Tape


def init(rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
    D, H = input_size, hidden_size
    return uniform(rng, {"W_x": (D, 3 * H), "W_h": (H, 3 * H), "b_x": (3 * H,), "b_h": (3 * H,)}, H)


def project_inputs(params: Params, xs: Array) -> Array:
    """axs = xs @ W_x + b_x"""
    return affine(xs, params["W_x"], params["b_x"])


def project_inputs_backward(params: Params, xs: Array, daxs: Array) -> tuple[dict[str, Array], Array]:
    """dW_x = xs.T @ daxs     db_x = sum of daxs     dxs = daxs @ W_x.T"""
    dW_x, db_x, dxs = affine_backward(xs, params["W_x"], daxs)
    return {"W_x": dW_x, "b_x": db_x}, dxs


def step(params: Params, ax: Array, state: State) -> tuple[Array, dict[str, Array], Tape]:
    h_prev = state["h"]
    H = h_prev.shape[1]
    ah = h_prev @ params["W_h"] + params["b_h"]
    ah_n = ah[:, 2 * H :]
    s, s_bar = sigmoid_pair(ax[:, : 2 * H] + ah[:, : 2 * H])
    r, z, z_bar = s[:, :H], s[:, H:], s_bar[:, H:]
    a_n = ax[:, 2 * H :] + r * ah_n
    n = tanh(a_n)
    h = z_bar * n + z * h_prev
    return h, {"h": h}, (h_prev, ah_n, s, s_bar, a_n, n)


def step_backward(params: Params, tape: Tape, dy: Array, dstate: State) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    h_prev, ah_n, s, s_bar, a_n, n = tape
    H = h_prev.shape[1]
    r, z = s[:, :H], s[:, H:]
    r_bar, z_bar = s_bar[:, :H], s_bar[:, H:]
    dh = dy + dstate["h"]
    dz = dh * (h_prev - n)
    dn = dh * z_bar
    da_n = dn * tanh_derivative(a_n)
    dr = da_n * ah_n
    dah_n = da_n * r
    da_r = dr * r * r_bar
    da_z = dz * z * z_bar
    dax = np.concatenate([da_r, da_z, da_n], axis=1)
    dah = np.concatenate([da_r, da_z, dah_n], axis=1)
    dh_prev = dh * z + dah @ params["W_h"].T
    return dax, {"h": dh_prev}, {"W_h": Outer(h_prev, dah), "b_h": RowSum(dah)}


_GATES = ("r", "z", "n")
PARAMETERS = (
    Parameter("W_x", "input", _GATES),
    Parameter("W_h", "recurrent", _GATES),
    Parameter("b_x", "bias", _GATES),
    Parameter("b_h", "bias", _GATES, "multiplied by r"),
)
Z = Complement("z", "z keeps the old state", "z opens the new state")

CELL = Cell(
    name="gru_reset_after",
    gates=_GATES,
    init=init,
    zero_state=zero_h,
    project_inputs=project_inputs,
    project_inputs_backward=project_inputs_backward,
    step=step,
    step_backward=step_backward,
    summary="GRU, reset gate after the recurrent product; z keeps the old state",
    parameters=PARAMETERS,
    kind="a GRU",
    traits=("reset after the product",),
    complements=(Z,),
    apart=("n",),
)
