"""Linear recurrent unit (LRU): a diagonal complex recurrence inside the unit circle, its input normalised.

Equations    r = exp(-exp(nu))     phi = exp(theta)     lambda = r exp(i phi)     gamma = sqrt(1 - r^2)
             h' = lambda h + gamma (x @ B)              y = Re(h' @ C) + skip * x
Shapes       x y (N, T, D)   h = p + i q: p q (N, n)   nu theta (n,)   B_re B_im (D, n)   C_re C_im (n, D)   skip (D,)
Derivation   that of `complex_pair` with a = r cos(phi), b = r sin(phi), w = gamma, and then
             b = r sin(phi), a = r cos(phi)     dr = da cos(phi) + db sin(phi)     dphi = db a - da b
             gamma = sqrt(1 - r^2)              dr -= dgamma r / gamma
             r = exp(-exp(nu))                  dnu = -dr r exp(nu)
             phi = exp(theta)                   dtheta = dphi phi
Source       Orvieto et al. 2023, arXiv:2303.06349, equations 4 to 8.
Variant      gamma is computed from r at each step, where the paper keeps its logarithm as a parameter that starts there.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bptt.refimpl.scans import complex_pair
from bptt.refimpl.scans.complex_pair import Diagonal
from bptt.refimpl.scans.scan import Arrays, Scan
from bptt.refimpl.types import Array


def init(rng: np.random.Generator, sizes: Mapping[str, int]) -> dict[str, Array]:
    D, n = sizes["D"], sizes["n"]
    nu, theta = np.log(-np.log(rng.uniform(0.5, 0.97, n))), np.log(rng.uniform(0.1, 3.0, n))
    return {"nu": nu, "theta": theta, **projections(rng, D, n)}


def projections(rng: np.random.Generator, D: int, n: int) -> dict[str, Array]:
    """B, C and the skip: normal, of the size that keeps variances."""
    B_re, B_im = rng.normal(size=(2, D, n)) / np.sqrt(2 * D)
    C_re, C_im = rng.normal(size=(2, n, D)) / np.sqrt(n)
    return {"B_re": B_re, "B_im": B_im, "C_re": C_re, "C_im": C_im, "skip": rng.normal(size=D)}


def draw(rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    return {"x": rng.normal(size=(N, T, sizes["D"]))}


def start(rng: np.random.Generator, params: Arrays, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    p, q = rng.normal(size=(2, N, sizes["n"]))
    return {"p": p, "q": q}


def diagonal(params: Arrays) -> Diagonal:
    r, phi = np.exp(-np.exp(params["nu"])), np.exp(params["theta"])
    gamma = np.sqrt(1 - r * r)
    return Diagonal(a=r * np.cos(phi), b=r * np.sin(phi), w_re=gamma, w_im=0 * gamma)


def diagonal_backward(params: Arrays, d: Diagonal, dd: Diagonal) -> dict[str, Array]:
    e, phi = np.exp(params["nu"]), np.exp(params["theta"])
    r, gamma = np.exp(-e), d.w_re
    dr = dd.a * np.cos(phi) + dd.b * np.sin(phi) - dd.w_re * r / gamma
    dphi = dd.b * d.a - dd.a * d.b
    return {"nu": -dr * r * e, "theta": dphi * phi}


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
    name="lru",
    layout={**complex_pair.LAYOUT, "nu": "n", "theta": "n"},
    inputs=("x",),
    outputs=("y",),
    states=("p", "q"),
    params=("nu", "theta", "B_re", "B_im", "C_re", "C_im", "skip"),
    sizes={"D": (3, 5), "n": (4, 2)},
    init=init,
    draw=draw,
    start=start,
    step=step,
    step_backward=step_backward,
    summary="linear recurrent unit: h' = lambda h + gamma B x, |lambda| = exp(-exp nu), y = Re(C h') + D x",
)
