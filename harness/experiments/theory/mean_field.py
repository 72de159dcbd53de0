"""Mean-field theory of the tanh RNN h_t = tanh(g W h_{t-1} + sigma xi_t), W_ij ~ N(0, 1/H), xi white and normal, H -> infinity.

    pre-activations a ~ N(0, q)                  q   = g^2 E tanh(a)^2 + sigma^2
    mean square of the slopes                    chi = g^2 E tanh'(a)^2
    largest Lyapunov exponent                    log(chi) / 2, zero at the critical gain

A mean over the normal distribution is a trapezoid with dense nodes: its error falls exponentially with their number for a smooth
function on all of the real line.  Gauss-Hermite nodes are too far apart where q is large, and tanh'^2 is a narrow peak.
Sources: Sompolinsky, Crisanti and Sommers 1988, Phys. Rev. Lett. 61; Molgedey, Schuchhardt and Schuster 1992, Phys. Rev. Lett. 69.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from bptt.harness.subject import Array
from bptt.refimpl.activations import tanh, tanh_derivative

_SPACING = 1 / 64
_Z = _SPACING * np.arange(-14 * 64, 14 * 64 + 1)
_WEIGHTS = _SPACING * np.exp(-(_Z**2) / 2) / math.sqrt(2 * math.pi)


def nodes(variance: float) -> tuple[Array, Array]:
    """Nodes a and their weights, of sum 1 to the last digits: E f(a) = sum of weights * f(a), a ~ N(0, variance)."""
    return math.sqrt(variance) * _Z, _WEIGHTS


def gaussian_mean(f: Callable[[Array], Array], variance: float = 1.0) -> float:
    """E f(a), a ~ N(0, variance)."""
    a, weights = nodes(variance)
    return float(np.sum(weights * f(a)))


@cache
def variance(gain: float, sigma: float) -> float:
    """The fixed point q of the pre-activations' variance; 0 without noise up to gain 1.

    f(q) = g^2 E tanh^2 + sigma^2 - q is concave with f(0) >= 0, so it has one zero beyond its first rise.
    """
    if sigma == 0 and gain <= 1:
        return 0.0
    return root(lambda q: gain**2 * gaussian_mean(lambda a: tanh(a) ** 2, q) + sigma**2 - q, gain**2 + sigma**2, 1e-12)


def slope_moment(k: int, q: float) -> float:
    """mu_k = E tanh'(a)^(2k), a ~ N(0, q)."""
    return gaussian_mean(lambda a: tanh_derivative(a) ** (2 * k), q)


def susceptibility(gain: float, sigma: float) -> float:
    """chi = g^2 E tanh'^2"""
    return gain**2 * slope_moment(1, variance(gain, sigma))


def exponent(gain: float, sigma: float) -> float:
    """The largest Lyapunov exponent, nats a step."""
    return math.log(susceptibility(gain, sigma)) / 2


@cache
def critical_gain(sigma: float) -> float:
    """The gain at which the exponent is zero: 1 without noise, more with it."""
    return 1.0 if sigma == 0 else root(lambda g: exponent(g, sigma), 0.5, 2 + 4 * sigma)


def root(f: Callable[[float], float], below: float, above: float) -> float:
    """Where f changes its sign between f(below) < 0 and f(above) > 0, by bisection to the last digit.  Raises ValueError."""
    if not f(below) < 0 < f(above):
        raise ValueError(f"f({below:g}) = {f(below):g} and f({above:g}) = {f(above):g}, wanted below and above zero")
    while True:
        middle = (below + above) / 2
        if middle in (below, above):
            return middle
        below, above = (middle, above) if f(middle) < 0 else (below, middle)
