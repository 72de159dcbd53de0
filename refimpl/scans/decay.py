"""Linear attention with a decay: one scalar gate a head.

Equations    S' = a S + k v'          a = exp(g), g the logarithm of the gate        S (K, V), k v' an outer product
             y  = S'' q               read with the new state: y_j = sum_i S'_ij q_i
Shapes       q k (N, T, heads, K)   v y (N, T, heads, V)   g (N, T, heads)   S (N, heads, K, V)
Derivation   y  = S'' q               dS' += q dy'            dq = S' dy
             S' = a S + k v'          dS = a dS'              da = <dS', S>         dk = dS' v       dv = dS'' k
             a  = exp(g)              dg = a da
Chunk form   with b_t = g_1 + ... + g_t in the chunk:  y_t = exp(b_t) S'' q_t + sum over s <= t of exp(b_t - b_s) (q_t . k_s) v_s
             S_end = exp(b_C) S + sum over s of exp(b_C - b_s) k_s v_s'.   No exponent is above zero where gates are at most 1.
Source       Sun et al. 2023, arXiv:2307.08621 (RetNet: g constant a head); Dao and Gu 2024, arXiv:2405.21060 (Mamba-2: g = dt A,
             k = dt B, q = C); Katharopoulos et al. 2020, arXiv:2006.16236 (linear attention: g = 0).
Variant      no scale on q, no normaliser; the gate acts on the old state before the new pair is added.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bptt.refimpl.scans.scan import Arrays, Scan, outer, over_columns, over_rows
from bptt.refimpl.types import Array


def init(rng: np.random.Generator, sizes: Mapping[str, int]) -> dict[str, Array]:
    return {}


def draw(rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    h, K, V = sizes["heads"], sizes["K"], sizes["V"]
    q, k, v = rng.normal(size=(N, T, h, K)), rng.normal(size=(N, T, h, K)), rng.normal(size=(N, T, h, V))
    return {"q": q, "k": k, "v": v, "g": np.log(rng.uniform(0.4, 0.99, (N, T, h)))}


def start(rng: np.random.Generator, params: Arrays, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    return {"S": rng.normal(size=(N, sizes["heads"], sizes["K"], sizes["V"]))}


def step(params: Arrays, x: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array], tuple[Array, ...]]:
    q, k, v, S = x["q"], x["k"], x["v"], state["S"]
    a = np.exp(x["g"])
    S_new = a[..., None, None] * S + outer(k, v)
    y = over_rows(S_new, q)
    return {"y": y}, {"S": S_new}, (q, k, v, a, S, S_new)


def step_backward(
    params: Arrays, tape: tuple[Array, ...], dy: Arrays, dstate: Arrays
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    q, k, v, a, S, S_new = tape
    dS_new = dstate["S"] + outer(q, dy["y"])
    dq = over_columns(S_new, dy["y"])
    dS = a[..., None, None] * dS_new
    da = (dS_new * S).sum(axis=(-2, -1))
    dk = over_columns(dS_new, v)
    dv = over_rows(dS_new, k)
    return {"q": dq, "k": dk, "v": dv, "g": a * da}, {"S": dS}, {}


def chunk(params: Arrays, inputs: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
    q, k, v = (inputs[name].swapaxes(1, 2) for name in "qkv")  # (N, heads, T, .)
    b = np.cumsum(inputs["g"].swapaxes(1, 2), axis=-1)  # (N, heads, T)
    within = np.tril(np.exp(np.minimum(b[..., :, None] - b[..., None, :], 0)))
    y = np.exp(b)[..., None] * (q @ state["S"]) + (within * (q @ k.swapaxes(-1, -2))) @ v
    late = np.exp(b[..., -1:] - b)[..., None]
    S = np.exp(b[..., -1])[..., None, None] * state["S"] + (late * k).swapaxes(-1, -2) @ v
    return {"y": y.swapaxes(1, 2)}, {"S": S}


SCAN = Scan(
    name="decay",
    layout={"q": "N T heads K", "k": "N T heads K", "v": "N T heads V", "g": "N T heads", "S": "N heads K V", "y": "N T heads V"},
    inputs=("q", "k", "v", "g"),
    outputs=("y",),
    states=("S",),
    params=(),
    sizes={"heads": (2, 1), "K": (3, 5), "V": (2, 7)},
    init=init,
    draw=draw,
    start=start,
    step=step,
    step_backward=step_backward,
    chunk=chunk,
    summary="linear attention with a scalar decay a head (RetNet, Mamba-2); g is the logarithm of the gate",
)
