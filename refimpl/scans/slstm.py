"""sLSTM: scalar memories with an exponential input gate and a normaliser, held in range by a stabiliser m.

Equations    a    = x + h @ R + b          blocks z i f o
             z    = tanh(a_z)              o    = sigmoid(a_o)             l = log sigmoid(a_f)
             m'   = max(l + m, a_i)        keep = exp(l + m - m')          add = exp(a_i - m')
             c'   = keep c + add z         n'   = keep n + add             h' = o c' / n'           y = h'
Shapes       x (N, T, 4, H)   y h c n m (N, H)   R (H, 4, H)   b (4, H)
Derivation   h' = o c' / n'                              do = dh' c' / n'        dc' += dh' o / n'     dn' -= dh' h' / n'
             c' = keep c + add z, n' = keep n + add      dkeep = dc' c + dn' n   dadd = dc' z + dn'    dz = dc' add
                                                         dc = keep dc'           dn = keep dn'
             keep = exp(l + m - m'), add = exp(a_i - m') dl = dm = keep dkeep    da_i = add dadd       dm' -= keep dkeep + add dadd
             m' = l + m or a_i, the larger               dl += dm', dm += dm'    or da_i += dm'
             l  = log sigmoid(a_f)                       da_f = dl sigmoid(-a_f) da_z = dz tanh'(a_z)  da_o = do o (1 - o)
             a  = x + h @ R + b                          dx = da   dh = da @ R.T    dR = h.T @ da   db = sum over N of da
Source       Beck et al. 2024, arXiv:2405.04517, equations 8 to 17.
Variant      forget gate by a sigmoid; inputs are projected already, one block-dense R.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bptt.refimpl.activations import sigmoid, sigmoid_pair, softplus, tanh, tanh_derivative
from bptt.refimpl.scans.scan import Arrays, Scan
from bptt.refimpl.types import Array


def init(rng: np.random.Generator, sizes: Mapping[str, int]) -> dict[str, Array]:
    H = sizes["H"]
    return {"R": rng.normal(size=(H, 4, H)) / np.sqrt(H), "b": rng.normal(size=(4, H))}


def draw(rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    return {"x": rng.normal(size=(N, T, 4, sizes["H"]))}


def start(rng: np.random.Generator, params: Arrays, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    """n is a sum of exponentials: positive."""
    h, c, m = rng.normal(size=(3, N, sizes["H"]))
    return {"h": h, "c": c, "n": rng.uniform(0.5, 1.5, (N, sizes["H"])), "m": m}


def step(params: Arrays, x: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array], tuple[Array, ...]]:
    h, c, n, m = state["h"], state["c"], state["n"], state["m"]
    N, H = h.shape
    a = x["x"] + (h @ params["R"].reshape(H, 4 * H)).reshape(N, 4, H) + params["b"]
    a_z, a_i, a_f, a_o = (a[:, block] for block in range(4))
    z, o = tanh(a_z), sigmoid(a_o)
    kept = m - softplus(-a_f)
    m_new = np.where(kept.real >= a_i.real, kept, a_i)
    keep, add = np.exp(kept - m_new), np.exp(a_i - m_new)
    c_new = keep * c + add * z
    n_new = keep * n + add
    h_new = o * c_new / n_new
    return (
        {"y": h_new},
        {"h": h_new, "c": c_new, "n": n_new, "m": m_new},
        (h, c, n, a_z, a_i, a_f, a_o, z, o, kept, keep, add, c_new, n_new, h_new),
    )


def step_backward(
    params: Arrays, tape: tuple[Array, ...], dy: Arrays, dstate: Arrays
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    h, c, n, a_z, a_i, a_f, a_o, z, o, kept, keep, add, c_new, n_new, h_new = tape
    dh_new = dy["y"] + dstate["h"]
    do = dh_new * c_new / n_new
    dc_new = dstate["c"] + dh_new * o / n_new
    dn_new = dstate["n"] - dh_new * h_new / n_new
    dkeep = dc_new * c + dn_new * n
    dadd = dc_new * z + dn_new
    dz = dc_new * add
    dkept, da_i = keep * dkeep, add * dadd
    dm_new = dstate["m"] - dkept - da_i
    keeps = kept.real >= a_i.real
    dkept = dkept + np.where(keeps, dm_new, 0 * dm_new)
    da_i = da_i + np.where(keeps, 0 * dm_new, dm_new)
    s, s_bar = sigmoid_pair(a_o)
    da = np.stack([dz * tanh_derivative(a_z), da_i, dkept * sigmoid(-a_f), do * s * s_bar], axis=1)
    N, H = h.shape
    rows = da.reshape(N, 4 * H)
    dstate_prev = {"h": rows @ params["R"].reshape(H, 4 * H).T, "c": keep * dc_new, "n": keep * dn_new, "m": dkept}
    return {"x": da}, dstate_prev, {"R": (h.T @ rows).reshape(H, 4, H), "b": da.sum(axis=0)}


SCAN = Scan(
    name="slstm",
    layout={"x": "N T gates H", "y": "N T H", **dict.fromkeys("hcnm", "N H"), "R": "H gates H", "b": "gates H"},
    inputs=("x",),
    outputs=("y",),
    states=("h", "c", "n", "m"),
    params=("R", "b"),
    sizes={"H": (3, 5), "gates": (4,)},
    init=init,
    draw=draw,
    start=start,
    step=step,
    step_backward=step_backward,
    summary="sLSTM: exponential input gate with normaliser and stabiliser, h = o c / n",
)
