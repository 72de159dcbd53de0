"""The gated delta rule: the state decays, and then learns by the error of what it already knows.

Equations    S~ = a S                 a = exp(g): the state decays before the error is taken
             e  = v - S~' k           what the memory says of k is taken away from v
             S' = S~ + beta k e'
             y  = S'' q
Shapes       q k (N, T, heads, K), k of length one   v y (N, T, heads, V)   beta g (N, T, heads)   S (N, heads, K, V)
Derivation   y  = S'' q               dS' += q dy'            dq = S' dy
             S' = S~ + beta k e'      dS~ = dS'               dbeta = k' dS' e      dk = beta dS' e      de = beta dS'' k
             e  = v - S~' k           dv = de                 dS~ -= k de'          dk -= S~ de
             S~ = a S                 dS = a dS~              da = <dS~, S>
             a  = exp(g)              dg = a da
Chunk form   with b_t = g_1 + ... + g_t in the chunk and u_t = beta_t e_t, a triangular system for the rows u_t:
             u_t + beta_t sum over s < t of exp(b_t - b_s) (k_s . k_t) u_s = beta_t (v_t - exp(b_t) S' k_t)
             y_t = exp(b_t) S' q_t + sum over s <= t of exp(b_t - b_s) (q_t . k_s) u_s,  S_end = exp(b_C) S + sum exp(b_C - b_s) k_s u_s'
Source       Yang, Kautz, Hatamizadeh 2025, arXiv:2412.06464, equation 10; chunk form as its section 3.3.
Variant      the error is taken from the decayed state; code that takes it from the old one is another operator.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bptt.refimpl.scans import decay
from bptt.refimpl.scans.scan import Arrays, Scan, outer, over_columns, over_rows, unit
from bptt.refimpl.types import Array


def draw(rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    drawn = decay.draw(rng, params, T, N, sizes)
    return {**drawn, "k": unit(drawn["k"]), "beta": np.asarray(rng.uniform(0.1, 0.9, drawn["g"].shape))}


def step(params: Arrays, x: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array], tuple[Array, ...]]:
    q, k, v, beta, S = x["q"], x["k"], x["v"], x["beta"][..., None], state["S"]
    a = np.exp(x["g"])
    S_decayed = a[..., None, None] * S
    e = v - over_rows(S_decayed, k)
    S_new = S_decayed + outer(beta * k, e)
    y = over_rows(S_new, q)
    return {"y": y}, {"S": S_new}, (q, k, beta, a, S, S_decayed, e, S_new)


def step_backward(
    params: Arrays, tape: tuple[Array, ...], dy: Arrays, dstate: Arrays
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    q, k, beta, a, S, S_decayed, e, S_new = tape
    dS_new = dstate["S"] + outer(q, dy["y"])
    dq = over_columns(S_new, dy["y"])
    towards_e = over_columns(dS_new, e)
    dbeta = (k * towards_e).sum(axis=-1)
    de = beta * over_rows(dS_new, k)
    dS_decayed = dS_new - outer(k, de)
    dk = beta * towards_e - over_columns(S_decayed, de)
    dS = a[..., None, None] * dS_decayed
    da = (dS_decayed * S).sum(axis=(-2, -1))
    return {"q": dq, "k": dk, "v": de, "g": a * da, "beta": dbeta}, {"S": dS}, {}


def chunk(params: Arrays, inputs: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
    q, k, v = (inputs[name].swapaxes(1, 2) for name in "qkv")  # (N, heads, T, .)
    beta, b = inputs["beta"].swapaxes(1, 2)[..., None], np.cumsum(inputs["g"].swapaxes(1, 2), axis=-1)
    S, since = state["S"], np.exp(np.minimum(b[..., :, None] - b[..., None, :], 0))
    system = np.tril(since * (k @ k.swapaxes(-1, -2)), -1) * beta + np.eye(k.shape[-2])
    u = np.linalg.solve(system, beta * (v - np.exp(b)[..., None] * (k @ S)))
    y = np.exp(b)[..., None] * (q @ S) + np.tril(since * (q @ k.swapaxes(-1, -2))) @ u
    late = np.exp(b[..., -1:] - b)[..., None]
    S = np.exp(b[..., -1])[..., None, None] * S + (late * k).swapaxes(-1, -2) @ u
    return {"y": y.swapaxes(1, 2)}, {"S": S}


SCAN = Scan(
    name="gated_delta_rule",
    layout={**decay.SCAN.layout, "beta": "N T heads"},
    inputs=("q", "k", "v", "g", "beta"),
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
    summary="gated delta rule: the state decays by exp(g), then S' = S + beta k (v - S' k)'",
)
