"""Gated linear attention: a gate for every row of the state.

Equations    S' = diag(a) S + k v'    a = exp(g), g (K) the logarithm of the gates
             y  = S'' q
Shapes       q k g (N, T, heads, K)   v y (N, T, heads, V)   S (N, heads, K, V)
Derivation   y  = S'' q               dS' += q dy'            dq = S' dy
             S' = diag(a) S + k v'    dS = diag(a) dS'        da_i = sum over j of dS'_ij S_ij      dk = dS' v      dv = dS'' k
             a  = exp(g)              dg = a da
Chunk form   with b_t = g_1 + ... + g_t in the chunk:
             y_t = S'' (exp(b_t) q_t) + sum over s <= t of (sum over i of q_ti k_si exp(b_ti - b_si)) v_s
Source       Yang et al. 2024, arXiv:2312.06635, section 4; gates are handed over as logarithms, as its kernels take them.
Variant      no scale on q; against `decay` each of the K rows has a gate of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bptt.refimpl.scans import decay
from bptt.refimpl.scans.scan import Arrays, Scan, outer, over_columns, over_rows
from bptt.refimpl.types import Array


def draw(rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    drawn = decay.draw(rng, params, T, N, sizes)
    return {**drawn, "g": np.log(rng.uniform(0.4, 0.99, drawn["k"].shape))}


def step(params: Arrays, x: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array], tuple[Array, ...]]:
    q, k, v, S = x["q"], x["k"], x["v"], state["S"]
    a = np.exp(x["g"])
    S_new = a[..., None] * S + outer(k, v)
    y = over_rows(S_new, q)
    return {"y": y}, {"S": S_new}, (q, k, v, a, S, S_new)


def step_backward(
    params: Arrays, tape: tuple[Array, ...], dy: Arrays, dstate: Arrays
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    q, k, v, a, S, S_new = tape
    dS_new = dstate["S"] + outer(q, dy["y"])
    dq = over_columns(S_new, dy["y"])
    dS = a[..., None] * dS_new
    da = (dS_new * S).sum(axis=-1)
    dk = over_columns(dS_new, v)
    dv = over_rows(dS_new, k)
    return {"q": dq, "k": dk, "v": dv, "g": a * da}, {"S": dS}, {}


def chunk(params: Arrays, inputs: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
    q, k, v = (inputs[name].swapaxes(1, 2) for name in "qkv")  # (N, heads, T, .)
    b = np.cumsum(inputs["g"].swapaxes(1, 2), axis=-2)  # (N, heads, T, K)
    gates = np.exp(np.minimum(b[..., :, None, :] - b[..., None, :, :], 0))  # (N, heads, t, s, K)
    scores = np.tril((q[..., :, None, :] * k[..., None, :, :] * gates).sum(axis=-1))
    y = (np.exp(b) * q) @ state["S"] + scores @ v
    late = np.exp(b[..., -1:, :] - b)
    S = np.exp(b[..., -1, :])[..., None] * state["S"] + (late * k).swapaxes(-1, -2) @ v
    return {"y": y.swapaxes(1, 2)}, {"S": S}


SCAN = Scan(
    name="gated_linear_attention",
    layout={**decay.SCAN.layout, "g": "N T heads K"},
    inputs=("q", "k", "v", "g"),
    outputs=("y",),
    states=("S",),
    params=(),
    sizes=decay.SCAN.sizes,
    init=decay.init,
    draw=draw,
    start=decay.start,
    step=step,
    step_backward=step_backward,
    chunk=chunk,
    summary="gated linear attention: S' = diag(exp g) S + k v', a gate for every row of the state",
)
