"""The delta rule: a linear memory that is written with the error of what it already knows.

Equations    e  = v - S' k
             S' = S + beta k e'
             y  = S'' q
Shapes       q k (N, T, heads, K), k of length one   v y (N, T, heads, V)   beta (N, T, heads)   S (N, heads, K, V)
Derivation   y  = S'' q               dS' += q dy'            dq = S' dy
             S' = S + beta k e'       dS = dS'                dbeta = k' dS' e      dk = beta dS' e      de = beta dS'' k
             e  = v - S' k            dv = de                 dS -= k de'           dk -= S de
Chunk form   that of `gated_delta_rule` with g = 0.
Source       Schlag, Irie, Schmidhuber 2021, arXiv:2102.11174, equation 24; Yang et al. 2024, arXiv:2406.06484 (chunk form).
Variant      no decay; keys are handed over with length one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bptt.refimpl.scans import decay, gated_delta_rule
from bptt.refimpl.scans.scan import Arrays, Scan, outer, over_columns, over_rows
from bptt.refimpl.types import Array


def draw(rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    return {name: x for name, x in gated_delta_rule.draw(rng, params, T, N, sizes).items() if name != "g"}


def step(params: Arrays, x: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array], tuple[Array, ...]]:
    q, k, v, beta, S = x["q"], x["k"], x["v"], x["beta"][..., None], state["S"]
    e = v - over_rows(S, k)
    S_new = S + outer(beta * k, e)
    y = over_rows(S_new, q)
    return {"y": y}, {"S": S_new}, (q, k, beta, S, e, S_new)


def step_backward(
    params: Arrays, tape: tuple[Array, ...], dy: Arrays, dstate: Arrays
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    q, k, beta, S, e, S_new = tape
    dS_new = dstate["S"] + outer(q, dy["y"])
    dq = over_columns(S_new, dy["y"])
    towards_e = over_columns(dS_new, e)
    dbeta = (k * towards_e).sum(axis=-1)
    de = beta * over_rows(dS_new, k)
    dk = beta * towards_e - over_columns(S, de)
    return {"q": dq, "k": dk, "v": de, "beta": dbeta}, {"S": dS_new - outer(k, de)}, {}


def chunk(params: Arrays, inputs: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
    return gated_delta_rule.chunk(params, {**inputs, "g": np.zeros_like(inputs["beta"])}, state)


SCAN = Scan(
    name="delta_rule",
    layout={name: axes for name, axes in gated_delta_rule.SCAN.layout.items() if name != "g"},
    inputs=("q", "k", "v", "beta"),
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
    summary="delta rule: S' = S + beta k (v - S' k)'",
)
