"""LSTM with layer normalisation: both products and the memory are centred and scaled over the units.

Equations    LN(a; s, b) = s * u + b,  u = (a - mean) / sqrt(mean of (a - mean)^2 + eps), over the last axis, eps = 1e-5
             a  = LN(x @ W_x; s_x, b_x) + LN(h @ W_h; s_h, b_h)                     over all four blocks at once
             i = sigmoid(a_i)     f = sigmoid(a_f)     g = tanh(a_g)     o = sigmoid(a_o)
             c' = f * c + i * g
             m  = tanh(LN(c'; s_c, b_c))
             h' = o * m                          y = h'
Shapes       x (N, D)   h c m and each gate (N, H)   W_x (D, 4H)   W_h (H, 4H)   s_x b_x s_h b_h (4H,)   s_c b_c (H,)   blocks i f g o
Derivation   LN: du = s * dz     ds = sum over N of dz * u     db = sum over N of dz
                 da = (du - mean of du - u * mean of (du * u)) / sigma, sigma the root above
             h' = o * m             do = dh' * m          dm = dh' * o
             m  = tanh(e)           de = dm * tanh'(e)    dc' += LN backward of de
             c' = f * c + i * g     df = dc' * c          di = dc' * g      dg = dc' * i      dc = dc' * f
             s  = sigmoid(a)        da = ds * s * s_bar   g = tanh(a_g): da_g = dg * tanh'(a_g)
             a  = LN(ax) + LN(h @ W_h)                    dax, d(h @ W_h) = LN backward of da, each with its own u and sigma
             h @ W_h                dW_h = h.T @ d(h @ W_h)     dh = d(h @ W_h) @ W_h.T
Source       Ba, Kiros and Hinton 2016, Layer normalization, arXiv:1607.06450, supplementary, equations 20 to 22.
Variant      one normalisation over the four blocks together; some code normalises each block, or x and h after they are added.
"""

from __future__ import annotations

import numpy as np

from bptt.refimpl.activations import sigmoid_pair, tanh, tanh_derivative
from bptt.refimpl.cells import lstm
from bptt.refimpl.cells._common import uniform
from bptt.refimpl.cells.cell import Cell, Outer, RowSum, Share
from bptt.refimpl.types import Array, Params, State, Tape

EPS = 1e-5


def init(rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
    """Scales around 1."""
    D, H = input_size, hidden_size
    shapes: dict[str, tuple[int, ...]] = {"W_x": (D, 4 * H), "W_h": (H, 4 * H), "s_c": (H,), "b_c": (H,)}
    shapes |= dict.fromkeys(("s_x", "b_x", "s_h", "b_h"), (4 * H,))
    drawn = uniform(rng, shapes, H)
    return {name: 1 + p if name.startswith("s_") else p for name, p in drawn.items()}


def project_inputs(params: Params, xs: Array) -> Array:
    """axs = xs @ W_x, before its normalisation"""
    T, N, D = xs.shape
    return np.asarray((xs.reshape(T * N, D) @ params["W_x"]).reshape(T, N, params["W_x"].shape[1]))


def project_inputs_backward(params: Params, xs: Array, daxs: Array) -> tuple[dict[str, Array], Array]:
    """dW_x = xs.T @ daxs     dxs = daxs @ W_x.T"""
    T, N, D = xs.shape
    rows = daxs.reshape(T * N, daxs.shape[2])
    return {"W_x": xs.reshape(T * N, D).T @ rows}, (rows @ params["W_x"].T).reshape(T, N, D)


def normalise(a: Array) -> tuple[Array, Array]:
    """u and sigma.   a u (N, J)   sigma (N, 1)"""
    centred = a - a.sum(axis=1, keepdims=True) / a.shape[1]
    sigma = np.sqrt((centred * centred).sum(axis=1, keepdims=True) / a.shape[1] + EPS)
    return centred / sigma, sigma


def normalise_backward(u: Array, sigma: Array, du: Array) -> Array:
    J = u.shape[1]
    return np.asarray((du - du.sum(axis=1, keepdims=True) / J - u * (du * u).sum(axis=1, keepdims=True) / J) / sigma)


def step(params: Params, ax: Array, state: State) -> tuple[Array, dict[str, Array], Tape]:
    h_prev, c_prev, p = state["h"], state["c"], params
    H = c_prev.shape[1]
    u_x, sigma_x = normalise(ax)
    u_h, sigma_h = normalise(h_prev @ p["W_h"])
    a = p["s_x"] * u_x + p["b_x"] + p["s_h"] * u_h + p["b_h"]
    a_g = a[:, 2 * H : 3 * H]
    s, s_bar = sigmoid_pair(a)
    i, f, o = s[:, :H], s[:, H : 2 * H], s[:, 3 * H :]
    g = tanh(a_g)
    c = f * c_prev + i * g
    u_c, sigma_c = normalise(c)
    e = p["s_c"] * u_c + p["b_c"]
    m = tanh(e)
    h = o * m
    return h, {"h": h, "c": c}, (h_prev, c_prev, u_x, sigma_x, u_h, sigma_h, a_g, s, s_bar, g, u_c, sigma_c, e, m)


def step_backward(params: Params, tape: Tape, dy: Array, dstate: State) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    h_prev, c_prev, u_x, sigma_x, u_h, sigma_h, a_g, s, s_bar, g, u_c, sigma_c, e, m = tape
    H, p = c_prev.shape[1], params
    i, f, o = s[:, :H], s[:, H : 2 * H], s[:, 3 * H :]
    i_bar, f_bar, o_bar = s_bar[:, :H], s_bar[:, H : 2 * H], s_bar[:, 3 * H :]
    dh = dy + dstate["h"]
    do = dh * m
    dm = dh * o
    de = dm * tanh_derivative(e)
    dc = dstate["c"] + normalise_backward(u_c, sigma_c, p["s_c"] * de)
    df = dc * c_prev
    di = dc * g
    dg = dc * i
    dc_prev = dc * f
    da = np.concatenate([di * i * i_bar, df * f * f_bar, dg * tanh_derivative(a_g), do * o * o_bar], axis=1)
    dax = normalise_backward(u_x, sigma_x, p["s_x"] * da)
    dah = normalise_backward(u_h, sigma_h, p["s_h"] * da)
    dh_prev = dah @ p["W_h"].T
    shares: dict[str, Share] = {
        "W_h": Outer(h_prev, dah),
        "s_x": RowSum(da * u_x),
        "b_x": RowSum(da),
        "s_h": RowSum(da * u_h),
        "b_h": RowSum(da),
    }
    return dax, {"h": dh_prev, "c": dc_prev}, shares | {"s_c": RowSum(de * u_c), "b_c": RowSum(de)}


CELL = Cell(
    name="lstm_layernorm",
    gates=("i", "f", "g", "o"),
    init=init,
    zero_state=lstm.zero_state,
    project_inputs=project_inputs,
    project_inputs_backward=project_inputs_backward,
    step=step,
    step_backward=step_backward,
    summary="LSTM with layer normalisation of both products and of the memory",
    states=("h", "c"),
    kind="an LSTM with layer normalisation",
)
