"""mLSTM: a matrix memory with exponential gates, held in range by a stabiliser m.

Equations    l    = log sigmoid(f)                       m'  = max(l + m, i)
             keep = exp(l + m - m')                      add = exp(i - m')
             C' = keep C + add k v'                      n'  = keep n + add k
             y  = C'' q / max(|n' . q|, exp(-m'))
Shapes       q k (N, T, heads, K)   v y (N, T, heads, V)   i f (N, T, heads)   C (N, heads, K, V)   n (N, heads, K)   m (N, heads)
Derivation   y  = num / den                              dnum = dy / den         dden = -dy . y / den
             num = C'' q, p = n' . q                     dC' += q dnum'          dq = C' dnum + n' dp        dn' += q dp
             den = |p| or exp(-m'), the larger           dp = sign(p) dden       or dm' -= dden exp(-m')
             C' = keep C + add k v', n' = keep n + add k dkeep = <dC', C> + dn' . n          dadd = k' dC' v + dn' . k
                                                         dC = keep dC'           dn = keep dn'
                                                         dk = add (dC' v + dn')  dv = add dC'' k
             keep = exp(l + m - m'), add = exp(i - m')   dl = dm = keep dkeep    di = add dadd
                                                         dm' -= keep dkeep + add dadd
             m' = l + m or i, the larger                 dl += dm', dm += dm'    or di += dm'
             l  = log sigmoid(f)                         df = dl sigmoid(-f)
Source       Beck et al. 2024, arXiv:2405.04517, equations 19 to 27, with the stabilised denominator of its appendix (exp(-m') for 1).
Variant      forget gate by a sigmoid; no output gate and no scale on k: kernels leave both to the layer around them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bptt.refimpl.activations import sigmoid, softplus
from bptt.refimpl.scans import decay
from bptt.refimpl.scans.scan import Arrays, Scan, outer, over_columns, over_rows
from bptt.refimpl.types import Array


def draw(rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    drawn = decay.draw(rng, params, T, N, sizes)
    gates = drawn.pop("g").shape
    return {**drawn, "i": np.asarray(rng.normal(size=gates)), "f": np.asarray(rng.normal(1, 1, gates))}


def start(rng: np.random.Generator, params: Arrays, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    h, K = sizes["heads"], sizes["K"]
    return {"C": rng.normal(size=(N, h, K, sizes["V"])), "n": rng.normal(size=(N, h, K)), "m": rng.normal(size=(N, h))}


def step(params: Arrays, x: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array], tuple[Array, ...]]:
    q, k, v, C, n, m = x["q"], x["k"], x["v"], state["C"], state["n"], state["m"]
    kept = m - softplus(-x["f"])
    m_new = np.where(kept.real >= x["i"].real, kept, x["i"])
    keep, add = np.exp(kept - m_new), np.exp(x["i"] - m_new)
    C_new = keep[..., None, None] * C + outer(add[..., None] * k, v)
    n_new = keep[..., None] * n + add[..., None] * k
    p, floor = (n_new * q).sum(axis=-1), np.exp(-m_new)
    size = np.where(p.real >= 0, p, -p)
    den = np.where(size.real >= floor.real, size, floor)
    y = over_rows(C_new, q) / den[..., None]
    return (
        {"y": y},
        {"C": C_new, "n": n_new, "m": m_new},
        (q, k, v, x["i"], x["f"], C, n, kept, keep, add, C_new, n_new, p, size, floor, den, y),
    )


def step_backward(
    params: Arrays, tape: tuple[Array, ...], dy: Arrays, dstate: Arrays
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    q, k, v, i, f, C, n, kept, keep, add, C_new, n_new, p, size, floor, den, y = tape
    dnum = dy["y"] / den[..., None]
    dden = -(dy["y"] * y).sum(axis=-1) / den
    large = size.real >= floor.real
    dp = np.where(large, np.where(p.real >= 0, dden, -dden), 0 * dden)
    dm_new = dstate["m"] - np.where(large, 0 * dden, dden * floor)
    dC_new = dstate["C"] + outer(q, dnum)
    dn_new = dstate["n"] + q * dp[..., None]
    dq = over_columns(C_new, dnum) + n_new * dp[..., None]
    towards_k = over_columns(dC_new, v) + dn_new
    dkeep = (dC_new * C).sum(axis=(-2, -1)) + (dn_new * n).sum(axis=-1)
    dadd = (towards_k * k).sum(axis=-1)
    dk = add[..., None] * towards_k
    dv = add[..., None] * over_rows(dC_new, k)
    dkept, di = keep * dkeep, add * dadd
    dm_new = dm_new - dkept - di
    keeps = kept.real >= i.real
    dkept = dkept + np.where(keeps, dm_new, 0 * dm_new)
    di = di + np.where(keeps, 0 * dm_new, dm_new)
    dinputs = {"q": dq, "k": dk, "v": dv, "i": di, "f": dkept * sigmoid(-f)}
    return dinputs, {"C": keep[..., None, None] * dC_new, "n": keep[..., None] * dn_new, "m": dkept}, {}


SCAN = Scan(
    name="mlstm",
    layout={
        "q": "N T heads K",
        "k": "N T heads K",
        "v": "N T heads V",
        "i": "N T heads",
        "f": "N T heads",
        "y": "N T heads V",
        "C": "N heads K V",
        "n": "N heads K",
        "m": "N heads",
    },
    inputs=("q", "k", "v", "i", "f"),
    outputs=("y",),
    states=("C", "n", "m"),
    params=(),
    sizes=decay.SCAN.sizes,
    init=decay.init,
    draw=draw,
    start=start,
    step=step,
    step_backward=step_backward,
    summary="mLSTM: matrix memory, exponential input gate with stabiliser, y = C q / max(|n . q|, exp(-m))",
)
