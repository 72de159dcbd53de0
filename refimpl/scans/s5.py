"""S5: a continuous diagonal system, discretised by zero-order hold.

Equations    Lambda = alpha + i omega, alpha = -exp(decay)     delta = exp(log_step)
             lambda = exp(Lambda delta)                        w = (lambda - 1) / Lambda
             h' = lambda h + w (x @ B)                         y = Re(h' @ C) + skip * x
Shapes       x y (N, T, D)   h = p + i q: p q (N, n)   decay omega log_step (n,)   B_re B_im (D, n)   C_re C_im (n, D)   skip (D,)
Derivation   that of `complex_pair` with a + i b = lambda, and then, with m = alpha^2 + omega^2 and numerators
             w_re = f / m, f = (a - 1) alpha + b omega         w_im = g / m, g = b alpha - (a - 1) omega
             df = dw_re / m     dg = dw_im / m                 dm = -(dw_re w_re + dw_im w_im) / m
             da += alpha df - omega dg                         db += omega df + alpha dg
             dalpha = (a - 1) df + b dg + 2 alpha dm           domega = b df - (a - 1) dg + 2 omega dm
             a = e cos(omega delta), b = e sin(omega delta) with e = exp(alpha delta); along = a da + b db, across = a db - b da
             dalpha += delta along     domega += delta across  ddelta = alpha along + omega across
             alpha = -exp(decay)       ddecay = alpha dalpha   dlog_step = delta ddelta
Source       Smith, Warrington, Linderman 2023, arXiv:2208.04933, equations 3 and 6.
Variant      no conjugate pairs are dropped: y is the real part, without a factor 2; the decay is kept negative by an exponential.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bptt.refimpl.scans import complex_pair, lru
from bptt.refimpl.scans.complex_pair import Diagonal
from bptt.refimpl.scans.scan import Arrays, Scan
from bptt.refimpl.types import Array


def init(rng: np.random.Generator, sizes: Mapping[str, int]) -> dict[str, Array]:
    n = sizes["n"]
    continuous = {"decay": rng.normal(-0.7, 0.2, n), "omega": rng.uniform(0.5, 6.0, n), "log_step": np.log(rng.uniform(0.05, 0.5, n))}
    return {**continuous, **lru.projections(rng, sizes["D"], n)}


def diagonal(params: Arrays) -> Diagonal:
    alpha, omega, delta = -np.exp(params["decay"]), params["omega"], np.exp(params["log_step"])
    e = np.exp(alpha * delta)
    a, b = e * np.cos(omega * delta), e * np.sin(omega * delta)
    m = alpha * alpha + omega * omega
    return Diagonal(a=a, b=b, w_re=((a - 1) * alpha + b * omega) / m, w_im=(b * alpha - (a - 1) * omega) / m)


def diagonal_backward(params: Arrays, d: Diagonal, dd: Diagonal) -> dict[str, Array]:
    alpha, omega, delta = -np.exp(params["decay"]), params["omega"], np.exp(params["log_step"])
    m = alpha * alpha + omega * omega
    df, dg, dm = dd.w_re / m, dd.w_im / m, -(dd.w_re * d.w_re + dd.w_im * d.w_im) / m
    da = dd.a + alpha * df - omega * dg
    db = dd.b + omega * df + alpha * dg
    along, across = d.a * da + d.b * db, d.a * db - d.b * da
    dalpha = (d.a - 1) * df + d.b * dg + 2 * alpha * dm + delta * along
    domega = d.b * df - (d.a - 1) * dg + 2 * omega * dm + delta * across
    ddelta = alpha * along + omega * across
    return {"decay": alpha * dalpha, "omega": domega, "log_step": delta * ddelta}


def step(params: Arrays, x: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array], tuple[Array, ...]]:
    y, p, q, tape = complex_pair.step(params, diagonal(params), x["x"], state["p"], state["q"])
    return {"y": y}, {"p": p, "q": q}, tape


def step_backward(
    params: Arrays, tape: tuple[Array, ...], dy: Arrays, dstate: Arrays
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    d = diagonal(params)
    dx, dp, dq, dd, dparams = complex_pair.step_backward(params, d, tape, dy["y"], dstate["p"], dstate["q"])
    return {"x": dx}, {"p": dp, "q": dq}, {**diagonal_backward(params, d, dd), **dparams}


SCAN = Scan(
    name="s5",
    layout={**complex_pair.LAYOUT, "decay": "n", "omega": "n", "log_step": "n"},
    inputs=("x",),
    outputs=("y",),
    states=("p", "q"),
    params=("decay", "omega", "log_step", "B_re", "B_im", "C_re", "C_im", "skip"),
    sizes=lru.SCAN.sizes,
    init=init,
    draw=lru.draw,
    start=lru.start,
    step=step,
    step_backward=step_backward,
    summary="S5: a continuous diagonal system by zero-order hold, y = Re(C h') + D x",
)
