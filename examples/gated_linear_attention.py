"""Gated linear attention as kernel authors write it: chunk by chunk, with the backward pass by hand.

    S_t = diag(exp(g_t)) S_{t-1} + k_t v_t'        y_t = S_t' q_t

bptt check examples/gated_linear_attention.py:GatedLinearAttention
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Arrays = dict[str, Any]


class GatedLinearAttention:
    like = "gated_linear_attention"
    layout: Mapping[str, str] = {
        "q": "N T heads K",
        "k": "N T heads K",
        "v": "N T heads V",
        "g": "N T heads K",
        "S": "N heads K V",
        "y": "N T heads V",
    }
    sizes: Mapping[str, tuple[int, ...]] = {"heads": (2, 1), "K": (3, 5), "V": (2, 7)}
    chunks = (8,)

    def inputs(self, rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: dict[str, int]) -> Arrays:
        q, k, g = rng.normal(size=(3, N, T, sizes["heads"], sizes["K"]))
        return {"q": q, "k": k, "v": rng.normal(size=(N, T, sizes["heads"], sizes["V"])), "g": -0.3 * np.abs(g)}

    def zero_state(self, params: Arrays, N: int, sizes: dict[str, int]) -> Arrays:
        return {"S": np.zeros((N, sizes["heads"], sizes["K"], sizes["V"]))}

    def run(self, params: Arrays, inputs: Arrays, state: Arrays) -> tuple[Arrays, Arrays, list[Any]]:
        S, ys, starts = state["S"], [], []
        for x in self.pieces(inputs):
            starts.append(S)
            q, k, v, b = x["q"], x["k"], x["v"], np.cumsum(x["g"], axis=1)
            late = k * np.exp(b[:, -1:] - b)
            ys.append(np.einsum("nthk,nhkv->nthv", q * np.exp(b), S) + np.einsum("ntshk,nshv->nthv", self.scores(q, k, b), v))
            S = np.exp(b[:, -1])[..., None] * S + np.einsum("nshk,nshv->nhkv", late, v)
        return {"y": np.concatenate(ys, axis=1)}, {"S": S}, starts

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, dfinal: Arrays, tape: list[Any]) -> tuple[Any, ...]:
        dS, found = dfinal["S"], []
        pieces = self.pieces(inputs)
        dys = self.pieces({"y": dy["y"]})
        for x, d, S in reversed(list(zip(pieces, dys, tape, strict=True))):
            q, k, v, b = x["q"], x["k"], x["v"], np.cumsum(x["g"], axis=1)
            weight = self.weight(b)
            dscore = np.einsum("nthv,nshv->ntsh", d["y"], v)[..., None] * weight  # of q_t k_s, channel by channel
            dq = np.einsum("ntshk,nshk->nthk", dscore, k) + np.einsum("nthv,nhkv->nthk", d["y"], S) * np.exp(b)
            out = np.exp(b[:, -1:] - b) * np.einsum("nhkv,nshv->nshk", dS, v)
            dk = np.einsum("ntshk,nthk->nshk", dscore, q) + out
            dv = np.einsum("ntshk,nthv->nshv", self.scores(q, k, b), d["y"])
            dv = dv + np.einsum("nshk,nhkv->nshv", k * np.exp(b[:, -1:] - b), dS)
            db = q * dq - k * dk
            last = np.exp(b[:, -1])[..., None] * S
            db[:, -1] += ((out * k).sum(axis=1)) + (dS * last).sum(axis=-1)
            dg = np.cumsum(db[:, ::-1], axis=1)[:, ::-1]
            dS = np.exp(b[:, -1])[..., None] * dS + np.einsum("nthk,nthv->nhkv", q * np.exp(b), d["y"])
            found.append({"q": dq, "k": dk, "v": dv, "g": dg})
        return {}, {name: np.concatenate([part[name] for part in reversed(found)], axis=1) for name in inputs}, {"S": dS}

    def pieces(self, arrays: Arrays) -> list[Arrays]:
        size, T = self.chunks[0], next(iter(arrays.values())).shape[1]
        return [{name: x[:, t : t + size] for name, x in arrays.items()} for t in range(0, T, size)]

    def weight(self, b: Any) -> Any:
        """exp(b_t - b_s) for s <= t, else 0: (N, t, s, heads, K).  The mask comes before exp, which overflows above the diagonal."""
        before = np.tril(np.ones((b.shape[1], b.shape[1]), bool))[..., None, None]
        return np.where(before, np.exp(np.where(before, b[:, :, None] - b[:, None], 0)), 0)

    def scores(self, q: Any, k: Any, b: Any) -> Any:
        """q_t k_s exp(b_t - b_s), channel by channel."""
        return q[:, :, None] * k[:, None] * self.weight(b)
