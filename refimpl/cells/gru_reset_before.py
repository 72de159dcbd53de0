"""Gated recurrent unit (GRU), the reset gate applied before the recurrent product.

Equations    a_r = x @ W_xr + b_xr + h @ W_hr + b_hr            r = sigmoid(a_r)      reset gate
             a_z = x @ W_xz + b_xz + h @ W_hz + b_hz            z = sigmoid(a_z)      update gate
             q   = r * h
             a_n = x @ W_xn + b_xn + q @ W_hn + b_hn            n = tanh(a_n)         candidate
             h'  = z_bar * n + z * h     with z_bar = 1 - z     y = h'
Shapes       x (N, D)   h r z q n (N, H)   W_x (D, 3H)   W_h (H, 3H)   b_x b_h (3H,)   blocks r z n
Derivation   h'  = z_bar * n + z * h     dz = dh' * (h - n)     dn = dh' * z_bar     dh = dh' * z
             n   = tanh(a_n)             da_n = dn * tanh'(a_n)
             a_n = ... + q @ W_hn        dW_hn = q.T @ da_n     dq = da_n @ W_hn.T
             q   = r * h                 dr = dq * h            dh += dq * r
             s   = sigmoid(a)            da = ds * s * s_bar    with s_bar = 1 - s = sigmoid(-a)
             a   = ... + h @ W_h         dW_h = h.T @ da        dh += da @ W_h.T      (blocks r and z)
             x's share of a is projected outside the loop: dax = da.  Both biases are added to a: db_x = db_h.
Source       Cho et al. 2014, arXiv:1406.1078; Chung et al. 2014, arXiv:1412.3555.
Variant      reset before the product, as in the equations of the papers; z keeps the old state.  A second bias adds nothing
             here; it is kept so that both GRUs have the same parameters.
"""

from __future__ import annotations

import numpy as np

from bptt.refimpl.activations import sigmoid_pair, tanh, tanh_derivative
from bptt.refimpl.cells._common import affine, affine_backward, zero_h
from bptt.refimpl.cells.cell import Cell, Columns, Outer, Share
from bptt.refimpl.cells.gru_reset_after import PARAMETERS, Z, init
from bptt.refimpl.types import Array, Params, State, Tape


def project_inputs(params: Params, xs: Array) -> Array:
    """axs = xs @ W_x + b_x + b_h"""
    return affine(xs, params["W_x"], params["b_x"] + params["b_h"])


def project_inputs_backward(params: Params, xs: Array, daxs: Array) -> tuple[dict[str, Array], Array]:
    """dW_x = xs.T @ daxs     db_x = db_h = sum of daxs     dxs = daxs @ W_x.T"""
    dW_x, db, dxs = affine_backward(xs, params["W_x"], daxs)
    return {"W_x": dW_x, "b_x": db, "b_h": db.copy()}, dxs


def step(params: Params, ax: Array, state: State) -> tuple[Array, dict[str, Array], Tape]:
    h_prev, W_h = state["h"], params["W_h"]
    H = h_prev.shape[1]
    s, s_bar = sigmoid_pair(ax[:, : 2 * H] + h_prev @ W_h[:, : 2 * H])
    r, z, z_bar = s[:, :H], s[:, H:], s_bar[:, H:]
    q = r * h_prev
    a_n = ax[:, 2 * H :] + q @ W_h[:, 2 * H :]
    n = tanh(a_n)
    h = z_bar * n + z * h_prev
    return h, {"h": h}, (h_prev, s, s_bar, q, a_n, n)


def step_backward(params: Params, tape: Tape, dy: Array, dstate: State) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    h_prev, s, s_bar, q, a_n, n = tape
    W_h, H = params["W_h"], h_prev.shape[1]
    r, z = s[:, :H], s[:, H:]
    r_bar, z_bar = s_bar[:, :H], s_bar[:, H:]
    dh = dy + dstate["h"]
    dz = dh * (h_prev - n)
    dn = dh * z_bar
    da_n = dn * tanh_derivative(a_n)
    dq = da_n @ W_h[:, 2 * H :].T
    dr = dq * h_prev
    da_r = dr * r * r_bar
    da_z = dz * z * z_bar
    da_rz = np.concatenate([da_r, da_z], axis=1)
    dh_prev = dh * z + dq * r + da_rz @ W_h[:, : 2 * H].T
    dax = np.concatenate([da_rz, da_n], axis=1)
    return dax, {"h": dh_prev}, {"W_h": Columns((Outer(h_prev, da_rz), Outer(q, da_n)))}


CELL = Cell(
    name="gru_reset_before",
    gates=("r", "z", "n"),
    init=init,
    zero_state=zero_h,
    project_inputs=project_inputs,
    project_inputs_backward=project_inputs_backward,
    step=step,
    step_backward=step_backward,
    summary="GRU, reset gate before the recurrent product; z keeps the old state",
    parameters=PARAMETERS,
    kind="a GRU",
    traits=("reset before the product",),
    complements=(Z,),
)
