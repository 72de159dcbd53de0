"""Mean-field theory of the minimalRNN with weights drawn anew at each step, and the cell itself, many of one size at once.

    u_t = sigmoid(W h_{t-1} + V z_t + b)          h_t = u_t h_{t-1} + (1 - u_t) z_t          W_ij ~ N(0, sw^2/H), V_ij ~ N(0, sv^2/H)

z_t: given inputs of variance 1, independent over steps and units.  With W and V drawn anew at each step, e = W h + V z + b is normal and
independent of h and z of its own unit, so that for H -> infinity

    e ~ N(b, sw^2 q + sv^2)          q = E h^2 = E (1 - u)^2 / (1 - E u^2)
    chi = E u^2 + sw^2 E u'^2 (q + 1)          u' = u (1 - u), as E (h - z)^2 = q + 1

A squared gradient grows by chi a step: the exponent is log(chi) / 2, the critical line chi = 1.  One W for all steps is another model:
harness/experiments/theory/driven_mean_field.py.   Source: Chen, Pennington and Schoenholz 2018, ICML, arXiv:1806.05394.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np

from bptt.harness.experiments.theory.mean_field import nodes, root
from bptt.harness.subject import Array
from bptt.refimpl.activations import sigmoid


@cache
def variance(sw: float, sv: float, b: float) -> float:
    """q, by iteration from the variance of the inputs on."""
    q = 1.0
    for _ in range(10_000):
        weights, u = _gate(sw, sv, b, q)
        before, q = q, float(np.sum(weights * (1 - u) ** 2) / (1 - np.sum(weights * u**2)))
        if abs(q - before) < 1e-14:
            break
    return q


def susceptibility(sw: float, sv: float, b: float) -> float:
    """chi"""
    q = variance(sw, sv, b)
    weights, u = _gate(sw, sv, b, q)
    return float(np.sum(weights * u**2) + sw**2 * np.sum(weights * (u * (1 - u)) ** 2) * (q + 1))


def exponent(sw: float, sv: float, b: float) -> float:
    """The largest Lyapunov exponent, nats a step."""
    return math.log(susceptibility(sw, sv, b)) / 2


@cache
def critical(sv: float, b: float) -> float:
    """The sw at which the exponent is zero.  Raises ValueError where there is none below 100."""
    return root(lambda sw: exponent(sw, sv, b), 0.5, 100.0)


def _gate(sw: float, sv: float, b: float, q: float) -> tuple[Array, Array]:
    e, weights = nodes(sw**2 * q + sv**2)
    return weights, sigmoid(e + b)


def exponents_of_tied(
    rng: np.random.Generator, H: int, sws: Sequence[float], sv: float, b: float, *, steps: int, burn_in: int, rows: int = 2
) -> Array:
    """The largest Lyapunov exponent at each sw (G,) with one W and V: a mean over `rows` trajectories; all see the same inputs.

    A tangent goes on as v' = u v + u' (h - z) (v W), and is brought back to length one after every step.
    """
    G = len(sws)
    s = np.repeat(np.asarray(sws), rows)[:, None]
    W, V = rng.normal(size=(2, H, H)) / math.sqrt(H)
    h, v = np.tile(rng.normal(size=(2, rows, H)), (1, G, 1))
    total = np.zeros(G * rows)
    for t in range(burn_in + steps):
        z = rng.normal(size=(rows, H))
        products = np.concatenate([h, v]) @ W
        e = s * products[: len(s)] + np.tile(sv * (z @ V), (G, 1)) + b
        h, v, lengths = _advance(e, s * products[len(s) :], h, v, np.tile(z, (G, 1)))
        if t >= burn_in:
            total += np.log(lengths)
    return np.asarray((total / steps).reshape(G, rows).mean(axis=1))


def exponents_of_redrawn(
    rng: np.random.Generator, H: int, sws: Sequence[float], sv: float, b: float, *, steps: int, burn_in: int, rows: int = 2
) -> Array:
    """The same with W and V drawn anew at each step: then h W and v W are normal, all that they have in common being h.h, h.v and v.v.

    So the two are drawn from those three numbers, exactly, and no matrix is: each trajectory as if it had matrices of its own.
    """
    G = len(sws)
    s = np.repeat(np.asarray(sws), rows)[:, None]
    h, v = np.tile(rng.normal(size=(2, rows, H)), (1, G, 1))
    total = np.zeros(G * rows)
    for t in range(burn_in + steps):
        z, first, second, beside = np.tile(rng.normal(size=(4, rows, H)), (1, G, 1))
        hh, hv, vv, zz = (np.einsum("ij,ij->i", a, c)[:, None] / H for a, c in ((h, h), (h, v), (v, v), (z, z)))
        along = hv / np.sqrt(hh)
        vW = along * first + np.sqrt(np.maximum(vv - along**2, 0)) * second
        h, v, lengths = _advance(s * np.sqrt(hh) * first + sv * np.sqrt(zz) * beside + b, s * vW, h, v, z)
        if t >= burn_in:
            total += np.log(lengths)
    return np.asarray((total / steps).reshape(G, rows).mean(axis=1))


def _advance(e: Array, pushed: Array, h: Array, v: Array, z: Array) -> tuple[Array, Array, Array]:
    """h', v' of length one, and the length that it had."""
    u = sigmoid(e)
    v = u * v + u * (1 - u) * (h - z) * pushed
    lengths = np.sqrt(np.einsum("ij,ij->i", v, v))
    return u * h + (1 - u) * z, v / lengths[:, None], lengths
