"""RWKV-7's update of its state: a decay for every column, and a rank-one removal along a direction of its own.

Equations    u  = S kappa                                what the memory holds along kappa
             S' = S diag(w) - u (a * kappa)' + v k'      w = exp(g)
             y  = S' r
Shapes       r g k kappa a (N, T, heads, K), kappa of length one   v y (N, T, heads, V)   S (N, heads, V, K): rows as in the paper
Derivation   y  = S' r                dS' += dy r'            dr = S'' dy
             S' = S diag(w) - u b' + v k'   with b = a * kappa
                                      dS = dS' diag(w)        dw_i = sum over j of dS'_ji S_ji
                                      du = -dS' b             db = -dS'' u           dv = dS' k       dk = dS'' v
             u  = S kappa             dS += du kappa'         dkappa = S' du
             b  = a * kappa           da = db * kappa         dkappa += db * a
             w  = exp(g)              dg = w dw
Source       Peng et al. 2025, arXiv:2503.14456, equation 17 (the state's evolution).
Variant      g is the logarithm of the decay; kappa is handed over with length one, a between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bptt.refimpl.scans import decay
from bptt.refimpl.scans.scan import Arrays, Scan, outer, over_columns, over_rows, unit
from bptt.refimpl.types import Array


def draw(rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    keys, values = (N, T, sizes["heads"], sizes["K"]), (N, T, sizes["heads"], sizes["V"])
    r, k, kappa = (rng.normal(size=keys) for _ in range(3))
    g, a = np.log(rng.uniform(0.4, 0.99, keys)), rng.uniform(0.1, 0.9, keys)
    return {"r": r, "g": g, "k": k, "v": rng.normal(size=values), "kappa": unit(kappa), "a": a}


def start(rng: np.random.Generator, params: Arrays, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    return {"S": rng.normal(size=(N, sizes["heads"], sizes["V"], sizes["K"]))}


def step(params: Arrays, x: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array], tuple[Array, ...]]:
    r, k, v, kappa, a, S = x["r"], x["k"], x["v"], x["kappa"], x["a"], state["S"]
    w = np.exp(x["g"])
    u = over_columns(S, kappa)
    b = a * kappa
    S_new = S * w[..., None, :] - outer(u, b) + outer(v, k)
    y = over_columns(S_new, r)
    return {"y": y}, {"S": S_new}, (r, k, v, kappa, a, S, w, u, b, S_new)


def step_backward(
    params: Arrays, tape: tuple[Array, ...], dy: Arrays, dstate: Arrays
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    r, k, v, kappa, a, S, w, u, b, S_new = tape
    dS_new = dstate["S"] + outer(dy["y"], r)
    dr = over_rows(S_new, dy["y"])
    dw = (dS_new * S).sum(axis=-2)
    du = -over_columns(dS_new, b)
    db = -over_rows(dS_new, u)
    dv = over_columns(dS_new, k)
    dk = over_rows(dS_new, v)
    dS = dS_new * w[..., None, :] + outer(du, kappa)
    dkappa = over_rows(S, du) + db * a
    return {"r": dr, "g": w * dw, "k": dk, "v": dv, "kappa": dkappa, "a": db * kappa}, {"S": dS}, {}


SCAN = Scan(
    name="rwkv7",
    layout={
        **dict.fromkeys(("r", "g", "k", "kappa", "a"), "N T heads K"),
        "v": "N T heads V",
        "S": "N heads V K",
        "y": "N T heads V",
    },
    inputs=("r", "g", "k", "v", "kappa", "a"),
    outputs=("y",),
    states=("S",),
    params=(),
    sizes=decay.SCAN.sizes,
    init=decay.init,
    draw=draw,
    start=start,
    step=step,
    step_backward=step_backward,
    summary="RWKV-7: S' = S (diag(w) - kappa (a kappa)') + v k', rows as in the paper",
)
