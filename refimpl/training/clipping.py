"""Gradient clipping: by the norm of all gradients together, and entry by entry.

    g = all gradients as one long vector          ||g|| = sqrt(sum of g_i**2)
    clip_by_global_norm        g * min(1, theta / ||g||)             the norm becomes theta exactly; small gradients stay as they are
    clip_by_global_norm_torch  g * min(1, theta / (||g|| + 1e-6))    torch.nn.utils.clip_grad_norm_: no division by zero
    clip_elementwise           each entry held to [-limit, limit]    the direction changes, the norm is at most limit * sqrt(n)

The first two keep the direction of g.  They differ by the factor ||g|| / (||g|| + 1e-6): nothing to speak of where ||g|| is near 1,
but with theta = 0.01 and ||g|| just above it one part in ten thousand, and at theta = 1e-6 a half.  Gradients that need
no clipping are handed back as the same arrays.  A NaN or an infinity is refused: scaled by any factor it would spread.

Source: Pascanu, Mikolov, Bengio 2013, On the difficulty of training recurrent neural networks, ICML, algorithm 1.
"""

from __future__ import annotations

import math

import numpy as np

from bptt.refimpl.types import Array, Params

BLOCK = 8192


def global_norm(grads: Params) -> float:
    """||g|| over all arrays together, without over- or underflow of the squares.

    Raises ValueError that names the first array with an entry that is not finite.
    """
    norm = math.hypot(*(_norm(name, g) for name, g in grads.items()))
    if norm == math.inf:
        raise ValueError("norm of the gradients is beyond float64, but clipping needs a finite one")
    return norm


def unclipped(grads: Params) -> tuple[dict[str, Array], float]:
    """The gradients as they are, known to be finite, and ||g||."""
    norm = global_norm(grads)
    return dict(grads), norm


def clip_by_global_norm(grads: Params, theta: float) -> tuple[dict[str, Array], float]:
    """g * min(1, theta / ||g||), and ||g|| as it was before."""
    _positive("theta", theta)
    norm = global_norm(grads)
    return _scaled(grads, theta / norm if norm > theta else 1.0), norm


def clip_by_global_norm_torch(grads: Params, theta: float) -> tuple[dict[str, Array], float]:
    """g * min(1, theta / (||g|| + 1e-6)), and ||g|| as it was before."""
    _positive("theta", theta)
    norm = global_norm(grads)
    return _scaled(grads, min(1.0, theta / (norm + 1e-6))), norm


def clip_elementwise(grads: Params, limit: float) -> tuple[dict[str, Array], float]:
    """Each entry held to [-limit, limit], and ||g|| as it was before."""
    _positive("limit", limit)
    norm = global_norm(grads)
    return {name: g if norm <= limit else np.clip(g, -limit, limit) for name, g in grads.items()}, norm


def _norm(name: str, g: Array) -> float:
    """Norm of one array.  The squares of large or tiny entries leave the range of the dtype: only then is it scaled first."""
    flat = g.ravel(order="K")  # a view wherever the memory has no gaps
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        square = _square(flat)
    if np.finfo(g.dtype).tiny * 2**60 < square < math.inf:
        return math.sqrt(square)
    largest = float(np.abs(flat).max(initial=0))
    if not math.isfinite(largest):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(g))[0])
        raise ValueError(f"gradient of {name} is {g[where]} at {list(where)}, but clipping needs finite gradients")
    if largest == 0:
        return 0.0
    return largest * float(np.linalg.norm(flat.astype(np.float64) / largest))


def _square(flat: Array) -> float:
    """Sum of squares: in the array's dtype over rows of BLOCK, where BLAS is fast and still accurate, and in float64 over the rows."""
    whole = len(flat) // BLOCK * BLOCK
    rows, rest = flat[:whole].reshape(-1, BLOCK), flat[whole:]
    return float(np.vecdot(rows, rows).sum(dtype=np.float64)) + float(np.dot(rest, rest))


def _scaled(grads: Params, factor: float) -> dict[str, Array]:
    return {name: g if factor == 1 else g * factor for name, g in grads.items()}


def _positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value}, but should be a number above 0")
