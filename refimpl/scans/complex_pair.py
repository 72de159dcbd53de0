"""A diagonal complex recurrence written on real and imaginary parts: what the LRU and S5 share.

Equations    h' = lambda h + w * (x @ B)            h = p + i q, lambda = a + i b, w = w_re + i w_im, B = B_re + i B_im, all diagonal
             y  = Re(h' @ C) + skip * x
that is      u = x @ B_re, v = x @ B_im             s = w_re u - w_im v            t = w_im u + w_re v
             p' = a p - b q + s                     q' = b p + a q + t
             y  = p' @ C_re - q' @ C_im + skip * x
Shapes       x y (N, D)   p q u v (N, n)   a b w_re w_im (n,)   B_re B_im (D, n)   C_re C_im (n, D)   skip (D,)
Derivation   dp' += dy @ C_re.T     dq' -= dy @ C_im.T     dC_re = p'.T @ dy     dC_im = -q'.T @ dy     dskip = sum of dy x
             dp = a dp' + b dq'     dq = -b dp' + a dq'    da = sum of dp' p + dq' q      db = sum of dq' p - dp' q      ds = dp'  dt = dq'
             du = w_re ds + w_im dt     dv = -w_im ds + w_re dt     dw_re = sum of ds u + dt v     dw_im = sum of dt u - ds v
             dB_re = x.T @ du       dB_im = x.T @ dv       dx = skip * dy + du @ B_re.T + dv @ B_im.T
Source       Orvieto et al. 2023, arXiv:2303.06349, equation 4; Smith et al. 2023, arXiv:2208.04933, equation 3.
"""

from __future__ import annotations

from typing import NamedTuple

from bptt.refimpl.scans.scan import Arrays
from bptt.refimpl.types import Array


class Diagonal(NamedTuple):
    """lambda = a + i b and the factor w of the input, each (n,)."""

    a: Array
    b: Array
    w_re: Array
    w_im: Array


def step(params: Arrays, d: Diagonal, x: Array, p: Array, q: Array) -> tuple[Array, Array, Array, tuple[Array, ...]]:
    u, v = x @ params["B_re"], x @ params["B_im"]
    s = d.w_re * u - d.w_im * v
    t = d.w_im * u + d.w_re * v
    p_new = d.a * p - d.b * q + s
    q_new = d.b * p + d.a * q + t
    y = p_new @ params["C_re"] - q_new @ params["C_im"] + params["skip"] * x
    return y, p_new, q_new, (x, p, q, u, v, p_new, q_new)


def step_backward(
    params: Arrays, d: Diagonal, tape: tuple[Array, ...], dy: Array, dp_new: Array, dq_new: Array
) -> tuple[Array, Array, Array, Diagonal, dict[str, Array]]:
    """dx, dp, dq, the gradients of the diagonal, and those of B, C and skip."""
    x, p, q, u, v, p_new, q_new = tape
    dp_new = dp_new + dy @ params["C_re"].T
    dq_new = dq_new - dy @ params["C_im"].T
    dp = d.a * dp_new + d.b * dq_new
    dq = -d.b * dp_new + d.a * dq_new
    du = d.w_re * dp_new + d.w_im * dq_new
    dv = -d.w_im * dp_new + d.w_re * dq_new
    dx = params["skip"] * dy + du @ params["B_re"].T + dv @ params["B_im"].T
    diagonal = Diagonal(
        a=(dp_new * p + dq_new * q).sum(axis=0),
        b=(dq_new * p - dp_new * q).sum(axis=0),
        w_re=(dp_new * u + dq_new * v).sum(axis=0),
        w_im=(dq_new * u - dp_new * v).sum(axis=0),
    )
    dparams = {
        "B_re": x.T @ du,
        "B_im": x.T @ dv,
        "C_re": p_new.T @ dy,
        "C_im": -(q_new.T @ dy),
        "skip": (dy * x).sum(axis=0),
    }
    return dx, dp, dq, diagonal, dparams


LAYOUT = {
    "x": "N T D",
    "y": "N T D",
    "p": "N n",
    "q": "N n",
    "B_re": "D n",
    "B_im": "D n",
    "C_re": "n D",
    "C_im": "n D",
    "skip": "D",
}
