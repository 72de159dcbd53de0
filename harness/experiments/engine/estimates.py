"""Estimates and their errors: how many standard errors a claim allows, means, straight lines, tails of chi-squared.

A family of k comparisons raises a false alarm with probability `FALSE_ALARM` at most (Bonferroni): each of them, on both
sides, with FALSE_ALARM / k.  Where the standard error is itself measured, from few independent values, Student's
distribution stands in place of the normal one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from bptt.harness.subject import Array
from bptt.reports.records import Interval

#: Of one family of comparisons; an experiment has one to three, so that a run of the catalogue stays below 1e-4.
FALSE_ALARM = 2e-6


@dataclass(frozen=True)
class Mean:
    """A mean of `count` independent values, and its standard error."""

    value: float
    error: float
    count: int

    @property
    def interval(self) -> Interval:
        """95 %"""
        half = _student(0.05, self.count - 1) * self.error
        return Interval(self.value, self.value - half, self.value + half)


def mean(values: Sequence[float]) -> Mean:
    """Raises ValueError for fewer than two values: one says nothing of its error."""
    if len(values) < 2:
        raise ValueError(f"a mean with an error of {len(values)} values, wanted at least 2")
    return Mean(float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values)), len(values))


def sigmas(comparisons: int, count: int | None = None, false_alarm: float = FALSE_ALARM) -> float:
    """How many standard errors each of `comparisons` may be off; `count` values gave each error (None: it is exact)."""
    p = false_alarm / comparisons
    return NormalDist().inv_cdf(1 - p / 2) if count is None else _student(p, count - 1)


def intercept(x: ArrayLike, y: ArrayLike) -> float:
    """Where the straight line of least squares through (x, y) crosses x = 0: with x = 1/H, the limit of large H."""
    return float(np.polynomial.polynomial.polyfit(np.asarray(x), np.asarray(y), 1)[0])


def chi_squared_tail(x: float, degrees: int) -> float:
    """P(chi-squared > x), from Q(a + 1, y) = Q(a, y) + y^a e^-y / Gamma(a + 1) with y = x / 2, a = degrees / 2."""
    y, a = x / 2, (degrees % 2) / 2
    tail = math.erfc(math.sqrt(y)) if degrees % 2 else 0.0
    for k in range(degrees // 2):
        tail += math.exp((a + k) * math.log(y) - y - math.lgamma(a + k + 1)) if y > 0 else float(a + k == 0)
    return tail


@cache
def _student(p: float, degrees: int) -> float:
    """x with P(|t| > x) = p: t = sqrt(degrees) tan(theta), and theta has a density of cos(theta)^(degrees - 1)."""
    if degrees < 1:
        raise ValueError(f"Student's distribution of {degrees} degrees of freedom, wanted at least 1")
    nodes, weights = np.polynomial.legendre.leggauss(200)
    low, high = 0.0, math.pi / 2  # of the complement: pi / 2 - theta
    whole = _sine_power(math.pi / 2, degrees - 1, nodes, weights)
    for _ in range(200):
        middle = (low + high) / 2
        too_much = _sine_power(middle, degrees - 1, nodes, weights) > p * whole
        low, high = (low, middle) if too_much else (middle, high)
    return math.sqrt(degrees) / math.tan(high)


def _sine_power(end: float, power: int, nodes: Array, weights: Array) -> float:
    """Integral of sin^power from 0 to `end`."""
    return float(end / 2 * np.sum(weights * np.sin(end / 2 * (nodes + 1)) ** power))
