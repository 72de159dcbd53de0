"""A diagonal linear recurrence with gates from outside: the scan below minGRU, minLSTM, QRNN and many others.

Equations    h' = a h + u                  y = h'
Shapes       a u y (N, T, H)   h (N, H)
Derivation   h' = a h + u                  dh' = dy + dstate      da = dh' h      du = dh'      dh = a dh'
Chunk form   with p_t = a_1 ... a_t:  h_t = p_t h + sum over s <= t of (a_{s+1} ... a_t) u_s, the products by cumulated logarithms
             of |a| and signs only where all a > 0; here the lower triangle of ratios is made by cumulated products.
Source       Blelloch 1990, Prefix sums and their applications, section 1.4.1; Martin and Cundy 2018, arXiv:1709.04057.
Variant      minGRU is a = 1 - z, u = z * candidate; minLSTM is a = f / (f + i), u = i / (f + i) * candidate (Feng et al. 2024,
             arXiv:2410.01201); QRNN's fo-pooling is a = f, u = (1 - f) * z, with the output gate outside.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bptt.refimpl.scans.scan import Arrays, Scan
from bptt.refimpl.types import Array


def init(rng: np.random.Generator, sizes: Mapping[str, int]) -> dict[str, Array]:
    return {}


def draw(rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    return {"a": rng.uniform(0.1, 0.99, (N, T, sizes["H"])), "u": rng.normal(size=(N, T, sizes["H"]))}


def start(rng: np.random.Generator, params: Arrays, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    return {"h": rng.normal(size=(N, sizes["H"]))}


def step(params: Arrays, x: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array], tuple[Array, ...]]:
    h = x["a"] * state["h"] + x["u"]
    return {"y": h}, {"h": h}, (x["a"], state["h"])


def step_backward(
    params: Arrays, tape: tuple[Array, ...], dy: Arrays, dstate: Arrays
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    a, h = tape
    dh_new = dy["y"] + dstate["h"]
    return {"a": dh_new * h, "u": dh_new}, {"h": a * dh_new}, {}


def chunk(params: Arrays, inputs: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
    a, u, T = inputs["a"], inputs["u"], inputs["a"].shape[1]
    later = np.arange(T)[:, None] > np.arange(T)[None, :]
    grown = np.where(later[None, :, :, None], a[:, :, None, :], 1)  # a_t where t > s, else 1: its product over t is a_{s+1} ... a_t
    since = np.where(later[None, :, :, None] | np.eye(T, dtype=bool)[None, :, :, None], np.cumprod(grown, axis=1), 0)
    y = np.cumprod(a, axis=1) * state["h"][:, None] + (since * u[:, None]).sum(axis=2)
    return {"y": y}, {"h": y[:, -1]}


SCAN = Scan(
    name="linear_recurrence",
    layout={"a": "N T H", "u": "N T H", "y": "N T H", "h": "N H"},
    inputs=("a", "u"),
    outputs=("y",),
    states=("h",),
    params=(),
    sizes={"H": (3, 5)},
    init=init,
    draw=draw,
    start=start,
    step=step,
    step_backward=step_backward,
    chunk=chunk,
    summary="diagonal linear recurrence h' = a h + u: the scan below minGRU, minLSTM and QRNN",
)
