"""Selective scan (Mamba-1): a diagonal state of size n a channel, whose step size, input and output depend on the input.

Equations    delta = softplus(dt)           A = -exp(A_log)            a = exp(delta A)
             h' = a h + delta B x           y = C . h' + D x           the product over channels D and states n
Shapes       x dt y (N, T, D)   B C (N, T, n)   h (N, D, n)   A_log (D, n)   skip (D,): the D of the formula
Derivation   y  = C . h' + D x              dh' += dy C     dC = sum over channels of dy h'    dD = sum over N of dy x    dx = D dy
             h' = a h + delta B x           dh = a dh'      da = dh' h      dB = sum over channels of dh' delta x
                                            dx += delta sum over n of dh' B                    ddelta = sum over n of dh' B x
             a  = exp(delta A)              ddelta += sum over n of da a A                     dA = sum over N of da a delta
             A  = -exp(A_log)               dA_log = A dA
             delta = softplus(dt)           ddt = ddelta sigmoid(dt)
Source       Gu and Dao 2023, arXiv:2312.00752, equations 2 and 4, algorithm 2; dt is handed over before its softplus, bias included.
Variant      B is discretised by Euler's rule (delta B), A by zero-order hold, as the published kernels do.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bptt.refimpl.activations import sigmoid, softplus
from bptt.refimpl.scans.scan import Arrays, Scan
from bptt.refimpl.types import Array


def init(rng: np.random.Generator, sizes: Mapping[str, int]) -> dict[str, Array]:
    D, n = sizes["D"], sizes["n"]
    return {"A_log": np.log(np.arange(1, n + 1)) + 0.1 * rng.normal(size=(D, n)), "skip": 1 + 0.1 * rng.normal(size=D)}


def draw(rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    D, n = sizes["D"], sizes["n"]
    x, dt = rng.normal(size=(N, T, D)), rng.normal(-1, 1, (N, T, D))
    return {"x": x, "dt": dt, "B": rng.normal(size=(N, T, n)), "C": rng.normal(size=(N, T, n))}


def start(rng: np.random.Generator, params: Arrays, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    return {"h": rng.normal(size=(N, sizes["D"], sizes["n"]))}


def step(params: Arrays, x: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array], tuple[Array, ...]]:
    B, C, h = x["B"][:, None, :], x["C"][:, None, :], state["h"]
    A, delta = -np.exp(params["A_log"]), softplus(x["dt"])[..., None]
    a = np.exp(delta * A)
    h_new = a * h + delta * B * x["x"][..., None]
    y = (C * h_new).sum(axis=-1) + params["skip"] * x["x"]
    return {"y": y}, {"h": h_new}, (x["x"], x["dt"], B, C, delta, a, h, h_new)


def step_backward(
    params: Arrays, tape: tuple[Array, ...], dy: Arrays, dstate: Arrays
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    x, dt, B, C, delta, a, h, h_new = tape
    A, dy_ = -np.exp(params["A_log"]), dy["y"]
    dh_new = dstate["h"] + dy_[..., None] * C
    dC = (dy_[..., None] * h_new).sum(axis=1)
    dskip = (dy_ * x).sum(axis=0)
    da = dh_new * h
    dB = (dh_new * delta * x[..., None]).sum(axis=1)
    ddelta = (dh_new * B).sum(axis=-1) * x + (da * a * A).sum(axis=-1)
    dx = params["skip"] * dy_ + delta[..., 0] * (dh_new * B).sum(axis=-1)
    dA = (da * a * delta).sum(axis=0)
    return {"x": dx, "dt": ddelta * sigmoid(dt), "B": dB, "C": dC}, {"h": a * dh_new}, {"A_log": A * dA, "skip": dskip}


SCAN = Scan(
    name="selective_scan",
    layout={
        "x": "N T D",
        "dt": "N T D",
        "B": "N T n",
        "C": "N T n",
        "y": "N T D",
        "h": "N D n",
        "A_log": "D n",
        "skip": "D",
    },
    inputs=("x", "dt", "B", "C"),
    outputs=("y",),
    states=("h",),
    params=("A_log", "skip"),
    sizes={"D": (3, 5), "n": (2, 4)},
    init=init,
    draw=draw,
    start=start,
    step=step,
    step_backward=step_backward,
    summary="selective scan (Mamba-1): h' = exp(delta A) h + delta B x, y = C . h' + D x, delta = softplus(dt)",
)
