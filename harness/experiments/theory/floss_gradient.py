"""The gradient of Lyapunov exponents with respect to the weights, through every QR decomposition: what flossing descends along.

Equations    a_t = x_t W_x + b + h_{t-1} W_h      h_t = tanh(a_t)      s_t = 1 - h_t^2      J_t = diag(s_t) W_h.T
             P_t = W_h.T Q_{t-1}                  M_t = diag(s_t) P_t = J_t Q_{t-1} = Q_t R_t
             LE_i = mean of log |R_t[i, i]| over the n steps after the burn-in           L = mean over i = 1, ..., k of LE_i^2
Shapes       x (D,)   a h s (H,)   W_x (D, H)   W_h J (H, H)   b (H,)   Q P M (H, k), Q.T Q = 1   R (k, k), upper triangular
Derivation   L, R      dR_t[i, i] = g_i / R_t[i, i] with g_i = 2 LE_i / (k n), 0 in the burn-in; dR_t is zero elsewhere
             M = Q R   A change of M changes R by an upper triangular, Q.T dQ by an antisymmetric matrix.  With S = R dR.T - dQ.T Q, whose
                       lower triangle is counted twice, dM = (dQ + Q (lower(S) + strictly lower(S).T)) R^-T.  Here the lower
                       triangle of R dR.T is diag(g), so   dM_t = (dQ_t + Q_t (diag(g) - X_t)) R_t^-T,   X = lower and mirrored of dQ.T Q
             M = s P   dP_t = s_t dM_t       ds_t = sum over the k columns of dM_t P_t
             P         dQ_{t-1} = W_h dP_t   dW_h += Q_{t-1} dP_t.T
             s, h      dh_t += -2 h_t ds_t   da_t = dh_t s_t
             a         dW_h += h_{t-1}.T da_t   dW_x += x_t.T da_t   db += da_t   dh_{t-1} = da_t W_h.T
Source       Engelken 2023, Gradient flossing: improving gradient descent through dynamic control of Jacobians, NeurIPS; dM of a QR
             decomposition: Walter and Lehmann 2012, Algorithmic differentiation of linear algebra functions, in: Recent advances in AD.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bptt.harness.subject import Array
from bptt.refimpl.types import Params


@dataclass(frozen=True)
class Track:
    """A trajectory and the directions along it.

    hs (T + 1, H)   Qs (T + 1, H, k)   Ps (T, H, k)   Rs (T, k, k)   burn_in: steps whose logarithms do not count
    """

    hs: Array
    Qs: Array
    Ps: Array
    Rs: Array
    burn_in: int

    @property
    def exponents(self) -> Array:
        """LE_1, ..., LE_k, nats a step."""
        diagonals = np.diagonal(self.Rs[self.burn_in :], axis1=1, axis2=2)
        return np.asarray(np.log(np.abs(diagonals)).mean(axis=0))

    @property
    def loss(self) -> float:
        return float(np.mean(self.exponents**2))


def follow(params: Params, xs: Array, h: Array, Q: Array, burn_in: int) -> Track:
    """The trajectory of Elman's network from h (H,) along xs (T, D), and of the directions from Q (H, k)."""
    if not 0 <= burn_in < len(xs):
        raise ValueError(f"a burn-in of {burn_in} steps of {len(xs)}, wanted at least one step after it")
    W_h = params["W_h"]
    axs = xs @ params["W_x"] + params["b"]
    hs, Qs = [h], [Q]
    Ps: list[Array] = []
    Rs: list[Array] = []
    for ax in axs:
        h = np.tanh(ax + h @ W_h)
        P = W_h.T @ Q
        Q, R = np.linalg.qr((1 - h * h)[:, None] * P)
        for known, new in zip((hs, Qs, Ps, Rs), (h, Q, P, R), strict=True):
            known.append(new)
    return Track(np.array(hs), np.array(Qs), np.array(Ps), np.array(Rs), burn_in)


def gradient(params: Params, xs: Array, track: Track) -> dict[str, Array]:
    """dL/dW_x, dL/dW_h, dL/db.  The start h_0, Q_0 is held."""
    W_h, (T, H, k) = params["W_h"], track.Ps.shape
    g = 2 * track.exponents / (k * (T - track.burn_in))
    inverses = np.linalg.inv(track.Rs)
    slopes = 1 - track.hs[1:] ** 2
    dPs, das = np.empty_like(track.Ps), np.empty((T, H))
    dQ, dh = np.zeros((H, k)), np.zeros(H)
    for t in range(T - 1, -1, -1):
        h, Q, s = track.hs[t + 1], track.Qs[t + 1], slopes[t]
        inner = -_mirrored(dQ.T @ Q)
        if t >= track.burn_in:
            inner[np.diag_indices(k)] += g
        dM = (dQ + Q @ inner) @ inverses[t].T
        dh -= 2 * h * np.einsum("hk,hk->h", dM, track.Ps[t])
        dPs[t] = s[:, None] * dM
        das[t] = dh * s
        dQ, dh = W_h @ dPs[t], W_h @ das[t]
    dW_h = np.tensordot(track.Qs[:-1], dPs, axes=((0, 2), (0, 2))) + track.hs[:-1].T @ das
    return {"W_x": xs.T @ das, "W_h": dW_h, "b": das.sum(axis=0)}


def _mirrored(S: Array) -> Array:
    """The lower triangle of S, and its mirror image above the diagonal."""
    lower = np.tril(S, -1)
    return np.asarray(lower + lower.T + np.diag(np.diagonal(S)))
