"""A causal convolution a channel whose last inputs are a state, as models keep it between calls.

Equations    y_t = b + w_now x_t + sum over j = 0 .. P-1 of w_j x_{t-P+j}        P inputs before x_t, oldest first
Shapes       x y (N, T, D)   s (N, P, D): the inputs before the sequence, oldest first   w (P, D)   w_now b (D,)
Derivation   y  = b + w_now x + sum of w_j s_j      ds_j = w_j dy     dx = w_now dy     dw_j = sum over N of dy s_j     dw_now = sum of dy x
             s' = s without its first row, then x   ds_{1..} += ds' but its last row    dx += the last row of ds'       db = sum of dy
Source       Gu and Dao 2023, arXiv:2312.00752, section 3.4 (the short convolution before the scan), with P = 3.
Variant      the newest weight has a name of its own; some code keeps the newest input in the state too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bptt.refimpl.scans.scan import Arrays, Scan
from bptt.refimpl.types import Array


def init(rng: np.random.Generator, sizes: Mapping[str, int]) -> dict[str, Array]:
    D = sizes["D"]
    return {"w": rng.normal(size=(sizes["past"], D)), "w_now": rng.normal(size=D), "b": rng.normal(size=D)}


def draw(rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    return {"x": rng.normal(size=(N, T, sizes["D"]))}


def start(rng: np.random.Generator, params: Arrays, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    return {"s": rng.normal(size=(N, sizes["past"], sizes["D"]))}


def step(params: Arrays, x: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array], tuple[Array, ...]]:
    s, now = state["s"], x["x"]
    y = params["b"] + params["w_now"] * now + (params["w"] * s).sum(axis=1)
    return {"y": y}, {"s": np.concatenate([s[:, 1:], now[:, None]], axis=1)}, (s, now)


def step_backward(
    params: Arrays, tape: tuple[Array, ...], dy: Arrays, dstate: Arrays
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    s, now = tape
    dy_ = dy["y"]
    ds = params["w"] * dy_[:, None]
    dx = params["w_now"] * dy_ + dstate["s"][:, -1]
    ds = np.concatenate([ds[:, :1], ds[:, 1:] + dstate["s"][:, :-1]], axis=1)
    dparams = {"w": (dy_[:, None] * s).sum(axis=0), "w_now": (dy_ * now).sum(axis=0), "b": dy_.sum(axis=0)}
    return {"x": dx}, {"s": ds}, dparams


def chunk(params: Arrays, inputs: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
    w, T = params["w"], inputs["x"].shape[1]
    known = np.concatenate([state["s"], inputs["x"]], axis=1)
    y = params["b"] + params["w_now"] * inputs["x"]
    for j in range(len(w)):
        y = y + w[j] * known[:, j : j + T]
    return {"y": y}, {"s": known[:, T:]}


SCAN = Scan(
    name="causal_convolution",
    layout={"x": "N T D", "y": "N T D", "s": "N past D", "w": "past D", "w_now": "D", "b": "D"},
    inputs=("x",),
    outputs=("y",),
    states=("s",),
    params=("w", "w_now", "b"),
    sizes={"D": (3, 5), "past": (3, 1)},
    init=init,
    draw=draw,
    start=start,
    step=step,
    step_backward=step_backward,
    chunk=chunk,
    summary="causal convolution a channel; the state holds the inputs before the sequence",
)
