"""Right: weights in a dataclass, gradients in another of the same."""

from dataclasses import dataclass, fields

import numpy as np


@dataclass
class Weights:
    W: np.ndarray
    R: np.ndarray
    b: np.ndarray


def init_weights(input_size, hidden_size, seed):
    rng = np.random.default_rng(seed)
    return Weights(
        rng.normal(0, 0.4, (input_size, 3 * hidden_size)), rng.normal(0, 0.4, (hidden_size, 3 * hidden_size)), np.zeros(3 * hidden_size)
    )


def gru_forward(weights, xs, h0):
    """xs (T, N, D)"""
    H = h0.shape[1]
    hs, tape, h = [], [], h0
    for x in xs:
        ax = x @ weights.W + weights.b
        ah = h @ weights.R
        r = 1 / (1 + np.exp(-(ax[:, :H] + ah[:, :H])))
        z = 1 / (1 + np.exp(-(ax[:, H : 2 * H] + ah[:, H : 2 * H])))
        n = np.tanh(ax[:, 2 * H :] + r * ah[:, 2 * H :])
        tape.append((x, h, r, z, n, ah[:, 2 * H :]))
        h = (1 - z) * n + z * h
        hs.append(h)
    return np.stack(hs), tape


def gru_backward(weights, tape, dhs):
    g = Weights(*(np.zeros_like(getattr(weights, f.name)) for f in fields(weights)))
    dxs, dh = [], 0
    for (x, h, r, z, n, ahn), d in zip(tape[::-1], dhs[::-1]):
        dh = dh + d
        dn = dh * (1 - z) * (1 - n * n)
        dz = dh * (h - n) * z * (1 - z)
        dr = dn * ahn * r * (1 - r)
        dax, dah = np.hstack([dr, dz, dn]), np.hstack([dr, dz, dn * r])
        g.W += x.T @ dax
        g.R += h.T @ dah
        g.b += dax.sum(0)
        dxs.append(dax @ weights.W.T)
        dh = dh * z + dah @ weights.R.T
    return g, np.stack(dxs[::-1]), dh
