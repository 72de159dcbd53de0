"""Pascanu's regulariser Omega: it asks every step to keep the norm of the gradient that it carries back.

    d_t = dL/dh_t of the whole loss         u_t = d_t * phi'(a_t)         q_t = u_t @ W_h.T: what of d_t arrives at h_{t-1}

    as printed     Omega = mean of (||q_t|| / ||d_t|| - 1)^2              dOmega/dq = 2 (r - 1) q / (||d|| ||q||)
    as coded       Omega = mean of (||q_t||^2 / ||d_t||^2 - 1)^2          dOmega/dq = 4 (r^2 - 1) q / ||d||^2

The mean is over the steps t and the rows of the batch whose ||d_t||^2 is at least 1e-20.  Only the immediate derivative is taken: d_t and
h_t (and with it phi'(a_t)) are held, so that dOmega/dW_h = sum over t of (dOmega/dq_t).T @ u_t.  Near r = 1 the coded form is four times
the printed one, since r^2 - 1 = (r - 1)(r + 1).

Shapes     d u q (T, N, H)   W_h (H, H), h' = phi(... + h @ W_h)

Source: Pascanu, Mikolov, Bengio 2013, ICML, section 3.3 (printed); the authors' published training code (coded).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bptt.harness.subject import Array

#: Rows whose squared gradient is below this count as kept.
SMALLEST = 1e-20


@dataclass(frozen=True)
class Omega:
    """Its value, its immediate `gradient` dOmega/dW_h (H, H), and r = ||q_t|| / ||d_t|| (T, N), 1 at the rows that are not `counted`."""

    value: Array
    gradient: Array
    ratios: Array
    counted: Array


def printed(W_h: Array, d: Array, slopes: Array) -> Omega:
    """With the ratio of norms, as in the paper.   d, slopes = phi'(a) (T, N, H)"""
    return _omega(W_h, d, slopes, lambda r: ((r - 1) ** 2, 2 * (r - 1)))


def coded(W_h: Array, d: Array, slopes: Array) -> Omega:
    """With the ratio of squared norms, as in the authors' code."""
    return _omega(W_h, d, slopes, lambda r: ((r * r - 1) ** 2, 4 * r * (r * r - 1)))


def _omega(W_h: Array, d: Array, slopes: Array, term: Callable[[Array], tuple[Array, Array]]) -> Omega:
    """`term` gives the term of a ratio r and its derivative in r.   dr/dq = q / (||d|| ||q||)"""
    u = d * slopes
    q = u @ W_h.T
    d_square, q_square = np.sum(d * d, axis=2), np.sum(q * q, axis=2)
    counted = d_square.real >= SMALLEST
    arrives = counted & (q_square.real > 0)
    d_norm, q_norm = np.sqrt(np.where(counted, d_square, 1)), np.sqrt(np.where(arrives, q_square, 1))
    ratios = np.where(arrives, q_norm / d_norm, np.where(counted, 0, 1))
    count = max(int(np.sum(counted)), 1)
    terms, derivative = term(ratios)
    dq = q * (np.where(arrives, derivative, 0) / (d_norm * q_norm) / count)[:, :, None]
    H = W_h.shape[0]
    return Omega(np.sum(terms) / count, dq.reshape(-1, H).T @ u.reshape(-1, H), ratios, counted)
