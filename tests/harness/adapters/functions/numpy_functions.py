"""Functions over arrays, with the functions that are their other halves."""

from __future__ import annotations

from typing import Any

import numpy as np


def decay_scan(a: Any, u: Any, h0: Any) -> Any:
    h, hs = h0, []
    for t in range(a.shape[1]):
        h = a[:, t] * h + u[:, t]
        hs.append(h)
    return np.stack(hs, 1), h


def decay_scan_backward(a: Any, u: Any, h0: Any, dy: Any, dh: Any) -> Any:
    hs, _ = decay_scan(a, u, h0)
    da, du = np.zeros_like(a), np.zeros_like(a)
    for t in reversed(range(a.shape[1])):
        dh = dh + dy[:, t]
        du[:, t], da[:, t] = dh, dh * (hs[:, t - 1] if t else h0)
        dh = dh * a[:, t]
    return da, du, dh


def linear_attention_fwd(q: Any, k: Any, v: Any) -> Any:
    S, ys = np.zeros((q.shape[0], q.shape[2], v.shape[2]), q.dtype), []
    for t in range(q.shape[1]):
        S = S + k[:, t, :, None] * v[:, t, None, :]
        ys.append((q[:, t, :, None] * S).sum(1))
    return np.stack(ys, 1), (q, k, v)


def linear_attention_bwd(dy: Any, cache: Any) -> Any:
    """A hundredth too much in dv."""
    q, k, v = cache
    found = {f"d{name}": np.zeros_like(x) for name, x in zip("qkv", cache, strict=True)}
    S = np.zeros((q.shape[0], q.shape[2], v.shape[2]), q.dtype)
    for t in range(q.shape[1]):
        S = S + k[:, t, :, None] * v[:, t, None, :]
        found["dq"][:, t] = (S * dy[:, t, None, :]).sum(2)
    G = np.zeros_like(S)
    for t in reversed(range(q.shape[1])):
        G = G + q[:, t, :, None] * dy[:, t, None, :]
        found["dk"][:, t] = (G * v[:, t, None, :]).sum(2)
        found["dv"][:, t] = (G * k[:, t, :, None]).sum(1) * 1.01
    return found
