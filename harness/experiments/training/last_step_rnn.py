"""Elman's network that reads symbols and is asked once, after the last: a training step of few and large products, for long trainings.

Equations    h_t = tanh(W_x[id_t] + b + h_{t-1} W_h)      z = h_T W_y + b_y      L = mean over N of -log softmax(z)[target]
Shapes       ids (T, N), integers below V   h_t (N, H)   W_x (V, H)   W_h (H, H)   b (H,)   W_y (H, O)   b_y (O,)   targets (N,)
Derivation   dz  = (softmax(z) - target) / N           dW_y = h_T.T dz      db_y = sum of dz      d_T = dz W_y.T
             u_t = d_t (1 - h_t^2)                     d_{t-1} = u_t W_h.T: d_t = dL/dh_t of the whole loss, no other output enters it
             dW_h = sum of h_{t-1}.T u_t               dW_x[v] = sum of u_t where id_t = v        db = sum of dW_x's rows: one symbol a step
             Omega asks for q_t = u_t W_h.T, which is d_{t-1} here, so it costs one product more: theory/omega.py, as coded,
             r^2 = ||d_{t-1}||^2 / ||d_t||^2           dOmega/dW_h = sum of (4 (r^2 - 1) / ||d_t||^2 / count) d_{t-1}.T u_t

The same numbers as the reference cell's, which keeps tanh' to the last digit where 1 - h^2 has lost it; it is four times as fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bptt.harness.experiments.theory.omega import SMALLEST
from bptt.harness.subject import Array
from bptt.refimpl.types import Params


@dataclass(frozen=True)
class Pass:
    """What a forward pass leaves: hs (T + 1, N, H) from the zero state on, and the scores z (N, O)."""

    hs: Array
    scores: Array


def smart_tanh(rng: np.random.Generator, symbols: int, H: int, classes: int) -> dict[str, Array]:
    """Pascanu's start: all weights N(0, .01^2), biases 0; of each row of W_h 15 entries are kept, and its spectral radius made .95."""
    W_h = rng.normal(size=(H, H))
    for row in W_h:
        row[rng.permutation(H)[15:]] = 0
    W_h *= 0.95 / np.max(np.abs(np.linalg.eigvals(W_h)))
    W_x, W_y = 0.01 * rng.normal(size=(symbols, H)), 0.01 * rng.normal(size=(H, classes))
    return {"W_x": W_x, "W_h": W_h, "b": np.zeros(H), "W_y": W_y, "b_y": np.zeros(classes)}


def forward(params: Params, ids: Array) -> Pass:
    T, N = ids.shape
    W_h = params["W_h"]
    hs = np.empty((T + 1, N, len(W_h)), W_h.dtype)
    hs[0] = 0
    np.take(params["W_x"] + params["b"], ids, axis=0, out=hs[1:])
    a = np.empty_like(hs[0])
    for h, h_next in pairwise(hs):
        np.matmul(h, W_h, out=a)
        h_next += a
        np.tanh(h_next, out=h_next)
    return Pass(hs, hs[-1] @ params["W_y"] + params["b_y"])


def loss(scores: Array, targets: Array) -> tuple[Array, Array]:
    """L, and softmax(z) (N, O)"""
    z = scores - scores.real.max(axis=1, keepdims=True)
    e = np.exp(z)
    Z = e.sum(axis=1, keepdims=True)
    each = np.arange(len(z))
    return np.mean(np.log(Z[:, 0]) - z[each, targets]), e / Z


def backward(params: Params, ids: Array, targets: Array, done: Pass) -> tuple[Array, dict[str, Array], Array, Array]:
    """L; the gradients; d (T + 1, N, H), the errors d_0, ..., d_T; u (T, N, H)"""
    hs, (T, N), (V, H) = done.hs, ids.shape, params["W_x"].shape
    value, dz = loss(done.scores, targets)
    dz[np.arange(N), targets] -= 1
    dz /= N
    d, u = np.empty_like(hs), hs[1:] * hs[1:]
    np.subtract(1, u, out=u)
    np.matmul(dz, params["W_y"].T, out=d[T])
    W_h_T = np.ascontiguousarray(params["W_h"].T)
    for t in range(T - 1, -1, -1):
        u_t = u[t]
        u_t *= d[t + 1]
        np.matmul(u_t, W_h_T, out=d[t])
    us = u.reshape(T * N, H)
    dW_x = np.eye(V, dtype=u.dtype)[ids.ravel()].T @ us
    dW_h = hs[:-1].reshape(T * N, H).T @ us
    return value, {"W_x": dW_x, "W_h": dW_h, "b": dW_x.sum(axis=0), "W_y": hs[-1].T @ dz, "b_y": dz.sum(axis=0)}, d, u


def omega(d: Array, u: Array) -> tuple[float, Array]:
    """Omega as coded, and its immediate derivative dOmega/dW_h (H, H), from what `backward` gives."""
    T, N, H = u.shape
    squares = np.einsum("tnh,tnh->tn", d, d)
    before, after = squares[:-1], squares[1:]
    counted = after >= SMALLEST
    count = max(int(np.count_nonzero(counted)), 1)
    safe = np.where(counted, after, 1)
    excess = np.where(counted, before / safe - 1, 0)
    dq = d[:-1] * (4 / count * excess / safe)[:, :, None]
    return float(np.sum(excess * excess)) / count, dq.reshape(T * N, H).T @ u.reshape(T * N, H)
