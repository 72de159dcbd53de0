"""All Lyapunov exponents of h_t = tanh(g W h_{t-1} + sigma xi_t) for H -> infinity, as those of a free product.

J_t = D_t g W, D_t = diag tanh'(a_t).  In discrete time the mean-field autocorrelation of a is zero at every lag but 0, so the D_t are as
good as independent of each other and of W, and W, seen by directions that others have turned, is as good as a new one at each step.
The first k exponents then are the growth of a volume of k directions, that of G (H, k) with g^2 / H as the variance of its entries:

    lambda_1 + ... + lambda_k = E log det(G.T D^2 G) / 2
    lambda_k = log(tr(D (1 - P) D) g^2 / H) / 2           the k-th direction, P the projection on what D takes the others to

and with d = tanh'(a)^2, a ~ N(0, q), the trace over H is E d / (1 + y d), where y makes the rank of P right: at x = k / H

    x = E y d / (1 + y d)         lambda(x) = log g + log(x / y) / 2         0 < y < infinity

    y -> 0                        the largest exponent of mean-field theory, log g + log(E d) / 2
    d = 1                         Newman's law log g + log(1 - x) / 2
    the mean over x               log g - 1/2 + E log tanh'(a), that of log |det J|

Derived for this project; the parts that it meets: Newman 1986, Commun. Math. Phys. 103; Molgedey, Schuchhardt and Schuster 1992,
Phys. Rev. Lett. 69; and Engelken, Wolf and Abbott 2023, Phys. Rev. Research 5, 043044, who hold the spectrum of such networks, measured,
against random matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bptt.harness.experiments.theory import mean_field
from bptt.harness.subject import Array
from bptt.refimpl.activations import sigmoid

#: Points of the curve, in even steps of log y.
_POINTS = 2000
#: Of a count of pre-activations.
_BINS = 500


@dataclass(frozen=True)
class Law:
    """The curve lambda(x), x rising from 0 to 1, lambda falling.   x, exponents (n,)"""

    x: Array
    exponents: Array

    def at(self, x: ArrayLike) -> Array:
        return np.asarray(np.interp(np.asarray(x), self.x, self.exponents))

    @property
    def entropy(self) -> float:
        """The rate of Kolmogorov and Sinai a unit, nats a step: the positive exponents, by Pesin's identity."""
        return float(np.trapezoid(np.maximum(self.exponents, 0), self.x))

    @property
    def dimension(self) -> float:
        """The attractor's dimension a unit, of Kaplan and Yorke: the x up to which the exponents have the sum zero."""
        if self.exponents[0] <= 0:
            return 0.0
        parts = (self.exponents[1:] + self.exponents[:-1]) / 2 * np.diff(self.x)
        total = np.concatenate([[0.0], np.cumsum(parts)])
        falls = np.arange(len(total)) >= int(np.argmax(total))
        return float(np.interp(0.0, -total[falls], self.x[falls])) if total[-1] < 0 else 1.0


def law(gain: float, sigma: float) -> Law:
    """Of mean-field theory: a ~ N(0, q)."""
    return law_of(*mean_field.nodes(mean_field.variance(gain, sigma)), gain)


def law_of(a: Array, weights: Array, gain: float) -> Law:
    """Of pre-activations a (n,) that are met with these weights (n,), of sum 1: a matrix of finite H has its own."""
    log_d = 4 * log_slope(a)
    deepest = float(np.min(log_d[weights > 1e-12]))
    log_y = np.linspace(-30.0, 30.0 - deepest, _POINTS)
    x = sigmoid(log_y[:, None] + log_d) @ weights
    rises = x < 1 - 1e-12
    return Law(x[rises], math.log(gain) + (np.log(x) - log_y)[rises] / 2)


def law_of_samples(a: Array, gain: float) -> Law:
    """Of pre-activations as they were met along a run, counted in bins of |a|, as tanh' is even."""
    counts, edges = np.histogram(np.abs(a), bins=_BINS)
    met = counts > 0
    return law_of(((edges[1:] + edges[:-1]) / 2)[met], counts[met] / a.size, gain)


def log_slope(a: Array) -> Array:
    """log(tanh'(a)) / 2 = -log cosh a, to the last digit however large a is."""
    return np.asarray(math.log(2) - np.abs(a) - np.log1p(np.exp(-2 * np.abs(a))))


def mean_exponent(gain: float, sigma: float) -> float:
    """log g - 1/2 + E log tanh'(a), a ~ N(0, q): the mean of log |det J| / H, as E log |det W| / H tends to -1/2."""
    a, weights = mean_field.nodes(mean_field.variance(gain, sigma))
    return math.log(gain) - 0.5 + 2 * float(np.sum(weights * log_slope(a)))
