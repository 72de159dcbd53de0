"""Activations and their derivatives in every number system: float32, float64, longdouble, complex128, object arrays of numbers.

    sigmoid(a) = 1 / (1 + exp(-a))          sigmoid'(a) = sigmoid(a) * sigmoid(-a)
    tanh(a)                                 tanh'(a)    = 1 / cosh(a)**2
    relu(a)    = 0 where Re a <= 0, else a  relu'(a)    = 1 where Re a > 0, else 0
    softplus(a) = log(1 + exp(a))           softplus'(a) = sigmoid(a)
    clip(a)    = a held to [-limit, limit]  clip'(a)    = 1 inside and on the border, else 0

A derivative takes the pre-activation a, not the value: 1 - z has lost every digit where the value z has reached 1, while
sigmoid(-a) and 1 / cosh(a)**2 come from the same exponential and keep them all.  No exponential overflows, because its
argument has its real part at or below zero.  Comparisons look at the real part only, so that a complex step passes through.

An array of objects needs elements with +, -, *, /, comparisons and the methods exp() and tanh(); softplus needs log().
"""

from __future__ import annotations

import numpy as np

from bptt.refimpl.types import Array


def _constant(value: float, a: Array) -> Array | float:
    """The constant in a's number system: NumPy converts a Python number to each dtype but object."""
    return value + 0 * a if a.dtype.kind == "O" else value


def _decay(a: Array) -> Array:
    """exp(-|a|), with the sign of the real part for the sign: never larger than 1."""
    return np.asarray(np.exp(-np.abs(a) if a.dtype.kind == "f" else np.where(a.real < 0, a, -a)))


def _two_tails(a: Array) -> tuple[Array, Array]:
    """exp(a) where Re a < 0, else 1;  exp(-a) where Re a > 0, else 1.  Their product is exp(-|a|)."""
    if a.dtype.kind == "f":  # two exponentials of minima take half the time of one and two np.where
        return np.exp(np.minimum(a, 0)), np.exp(np.minimum(-a, 0))
    e = _decay(a)
    return np.where(a.real < 0, e, 1), np.where(a.real < 0, 1, e)


def sigmoid_pair(a: Array) -> tuple[Array, Array]:
    """sigmoid(a) and sigmoid(-a) = 1 - sigmoid(a), both to the last digit."""
    left, right = _two_tails(a)
    total = left * right
    total += 1
    left /= total
    right /= total
    return left, right


def sigmoid(a: Array) -> Array:
    return sigmoid_pair(a)[0]


def sigmoid_derivative(a: Array) -> Array:
    s, s_bar = sigmoid_pair(a)
    s *= s_bar
    return s


def softplus(a: Array) -> Array:
    """max(a, 0) + log(1 + exp(-|a|))"""
    e = _decay(a)
    return np.asarray(relu(a) + (np.log1p(e) if a.dtype.kind in "fc" else np.log(1 + e)))


def tanh(a: Array) -> Array:
    return np.asarray(np.tanh(a))


def tanh_derivative(a: Array) -> Array:
    """4 e / (1 + e)**2 with e = exp(-2 |a|)."""
    e = _decay(a)
    e *= e
    total = 1 + e
    total *= total
    e *= 4
    e /= total
    return e


def relu(a: Array) -> Array:
    return np.where(a.real <= 0, _constant(0, a), a)


def relu_derivative(a: Array) -> Array:
    return np.asarray((a.real > 0).astype(a.dtype))


def identity(a: Array) -> Array:
    return a


def identity_derivative(a: Array) -> Array:
    return np.ones_like(a)


def clip_real(a: Array, limit: float) -> Array:
    """a where -limit <= Re a <= limit, else the nearer limit."""
    return np.where(a.real > limit, _constant(limit, a), np.where(a.real < -limit, _constant(-limit, a), a))


def clip_real_derivative(a: Array, limit: float) -> Array:
    return np.asarray(((a.real >= -limit) & (a.real <= limit)).astype(a.dtype))
