"""Real-gated linear recurrent unit (RG-LRU): a diagonal decay that an input-dependent gate slows down.

Equations    r  = sigmoid(x @ W_r + b_r)               recurrence gate
             i  = sigmoid(x @ W_i + b_i)               input gate
             l  = -c softplus(L) r, a = exp(l)         c = 8; at r = 1 the decay is sigmoid(-L)^c
             h' = a h + sqrt(1 - a^2) (i x)            y = h'
Shapes       x y (N, T, H)   h (N, H)   W_r W_i (H, H)   b_r b_i L (H,)
Derivation   h' = a h + g (i x) with g = sqrt(1 - a^2)     dh = a dh'     dg = dh' i x     di = dh' g x     dx = dh' g i
                                                       da = dh' h - dg a / g
             a  = exp(l)                               dl = a da
             l  = -c softplus(L) r                     dr = -c softplus(L) dl          dL = sum over N of -c r dl sigmoid(L)
             s  = sigmoid(x @ W + b)                   da_s = ds s (1 - s)    dW = x.T @ da_s    db = sum of da_s    dx += da_s @ W.T
Source       De et al. 2024, arXiv:2402.19427, equations 1 to 4.
Variant      dense gates, where the paper's layer has block-diagonal ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bptt.refimpl.activations import sigmoid, sigmoid_pair, softplus
from bptt.refimpl.scans.scan import Arrays, Scan
from bptt.refimpl.types import Array

SHARPNESS = 8


def init(rng: np.random.Generator, sizes: Mapping[str, int]) -> dict[str, Array]:
    """L so that the decay at an open gate lies between 0.6 and 0.99."""
    H = sizes["H"]
    W_r, W_i = rng.normal(size=(2, H, H)) / np.sqrt(H)
    b_r, b_i = rng.normal(size=(2, H))
    return {"W_r": W_r, "W_i": W_i, "b_r": b_r, "b_i": b_i, "L": np.log(rng.uniform(0.6, 0.99, H) ** (-1 / SHARPNESS) - 1)}


def draw(rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    return {"x": rng.normal(size=(N, T, sizes["H"]))}


def start(rng: np.random.Generator, params: Arrays, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    return {"h": rng.normal(size=(N, sizes["H"]))}


def step(params: Arrays, x: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array], tuple[Array, ...]]:
    u, h = x["x"], state["h"]
    a_r, a_i = u @ params["W_r"] + params["b_r"], u @ params["W_i"] + params["b_i"]
    r, i = sigmoid(a_r), sigmoid(a_i)
    a = np.exp(-SHARPNESS * softplus(params["L"]) * r)
    g = np.sqrt(1 - a * a)
    h_new = a * h + g * (i * u)
    return {"y": h_new}, {"h": h_new}, (u, h, a_r, a_i, r, i, a, g)


def step_backward(
    params: Arrays, tape: tuple[Array, ...], dy: Arrays, dstate: Arrays
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    u, h, a_r, a_i, r, i, a, g = tape
    dh_new = dy["y"] + dstate["h"]
    dg, di = dh_new * i * u, dh_new * g * u
    dl = a * (dh_new * h - dg * a / g)
    dr = -SHARPNESS * softplus(params["L"]) * dl
    dL = (-SHARPNESS * r * dl).sum(axis=0) * sigmoid(params["L"])
    (r_, r_bar), (i_, i_bar) = sigmoid_pair(a_r), sigmoid_pair(a_i)
    da_r, da_i = dr * r_ * r_bar, di * i_ * i_bar
    dx = dh_new * g * i + da_r @ params["W_r"].T + da_i @ params["W_i"].T
    dparams = {"W_r": u.T @ da_r, "W_i": u.T @ da_i, "b_r": da_r.sum(axis=0), "b_i": da_i.sum(axis=0), "L": dL}
    return {"x": dx}, {"h": a * dh_new}, dparams


SCAN = Scan(
    name="rg_lru",
    layout={"x": "N T H", "y": "N T H", "h": "N H", "W_r": "H H", "W_i": "H H", "b_r": "H", "b_i": "H", "L": "H"},
    inputs=("x",),
    outputs=("y",),
    states=("h",),
    params=("W_r", "W_i", "b_r", "b_i", "L"),
    sizes={"H": (3, 5)},
    init=init,
    draw=draw,
    start=start,
    step=step,
    step_backward=step_backward,
    summary="RG-LRU (Griffin): h' = a h + sqrt(1 - a^2) i x, a = exp(-8 softplus(L) r)",
)
