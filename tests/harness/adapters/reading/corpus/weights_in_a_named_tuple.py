"""Right: a minimal gated unit, weights and their gradients in a named tuple, drawn from a generator."""

from typing import NamedTuple

import numpy as np


class Params(NamedTuple):
    Wf: np.ndarray
    Uf: np.ndarray
    bf: np.ndarray
    Wh: np.ndarray
    Uh: np.ndarray
    bh: np.ndarray


def init_params(rng, d, h):
    g = lambda *s: rng.standard_normal(s) / np.sqrt(s[0])
    return Params(g(d, h), g(h, h), np.zeros(h), g(d, h), g(h, h), np.zeros(h))


def forward(params, xs, h0):
    """xs (T, N, d) -> hs (T, N, h)"""
    hs, fs, cs, h = [], [], [], h0
    for x in xs:
        f = 1 / (1 + np.exp(-(x @ params.Wf + h @ params.Uf + params.bf)))
        c = np.tanh(x @ params.Wh + (f * h) @ params.Uh + params.bh)
        h = (1 - f) * h + f * c
        hs.append(h)
        fs.append(f)
        cs.append(c)
    return np.array(hs), (xs, h0, hs, fs, cs)


def backward(params, cache, dhs):
    xs, h0, hs, fs, cs = cache
    dp = Params(*(np.zeros_like(p) for p in params))
    dxs = np.zeros_like(xs)
    carry = np.zeros_like(h0)
    for t in reversed(range(len(xs))):
        hp = hs[t - 1] if t > 0 else h0
        f, c = fs[t], cs[t]
        d = dhs[t] + carry
        da_c = d * f * (1 - c**2)
        d_fh = da_c @ params.Uh.T
        da_f = (d * (c - hp) + d_fh * hp) * f * (1 - f)
        carry = d * (1 - f) + d_fh * f + da_f @ params.Uf.T
        dxs[t] = da_f @ params.Wf.T + da_c @ params.Wh.T
        for w, g in (
            (dp.Wf, xs[t].T @ da_f),
            (dp.Uf, hp.T @ da_f),
            (dp.bf, da_f.sum(0)),
            (dp.Wh, xs[t].T @ da_c),
            (dp.Uh, (f * hp).T @ da_c),
            (dp.bh, da_c.sum(0)),
        ):
            w += g
    return dp, dxs, carry
