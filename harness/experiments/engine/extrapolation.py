"""Numbers measured at several sizes H, continued to H -> infinity, and how far from theory they may be.

Each replica has one value at every H, so a straight line in 1/H of its own; its end is that replica's value for H -> infinity.  A claim
allows what noise makes, by Student's distribution of those ends, and the next term of the series in 1/H: if at the smallest size H_1 it is
no larger than the whole deviation there, a straight line through sizes from H_1 to H_n leaves at most H_1 / H_n of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bptt.harness.experiments.engine.definition import claim
from bptt.harness.experiments.engine.estimates import Mean, intercept, mean, sigmas
from bptt.reports.records import Claim


@dataclass(frozen=True)
class Limit:
    """The mean of the replicas' ends, their mean at the smallest size, and that size over the largest."""

    end: Mean
    at_smallest: float
    ratio: float


def limit(by_H: Mapping[int, Sequence[float]]) -> Limit:
    """From the replicas' values at each H, in the same order."""
    inverse = [1 / H for H in by_H]
    ends = [intercept(inverse, one) for one in zip(*by_H.values(), strict=True)]
    return Limit(mean(ends), float(np.mean(by_H[min(by_H)])), min(by_H) / max(by_H))


def near(name: str, found: Limit, expected: float, comparisons: int, source: str, error: float = 0.0) -> Claim:
    """That the limit is `expected`, one of so many comparisons.  error: what may be wrong of `expected` itself."""
    noise = sigmas(comparisons, found.end.count) * found.end.error
    bends = abs(found.at_smallest - expected) * found.ratio
    words = f"{found.end.count} replicas: noise may make {noise:.2g}, the next order in 1/H {bends:.2g}"
    words += f", the theory's own sampling {error:.2g}" if error else ""
    return claim(name, found.end.value, expected, noise + bends + error, source=source, words=words)


def crossings(x: Sequence[float], curves: Sequence[Sequence[float]]) -> list[float]:
    """Where each replica's curve is zero: the zero r of the mean curve, moved by what the replica has at r over the mean slope.

    Curves are polynomials through all of x.  Linear in what was measured, so a replica that strays does not bend the mean.
    """
    center = float(np.mean(x))
    each = np.polynomial.polynomial.polyfit(np.asarray(x) / center - 1, np.array(curves).T, len(x) - 1)
    middle = each.mean(axis=1)
    r = min(np.polynomial.polynomial.polyroots(middle), key=abs).real
    slope = np.polynomial.polynomial.polyval(r, np.polynomial.polynomial.polyder(middle))
    return [float(center * (1 + r - np.polynomial.polynomial.polyval(r, curve) / slope)) for curve in each.T]
