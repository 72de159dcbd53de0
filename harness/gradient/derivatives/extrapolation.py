"""Neville's table over a ladder of steps, for every entry of an array at once, with an honest error.

The error of an entry of the table is the largest difference to its neighbours, plus the rounding floor noise / h. Steps with a kink
between their points are left out; where a kink lies inside all of them, half the derivative's jump is part of the error.
Arrays are (K, ...) for K steps that halve each time; what stands in the place of the dots is taken entry by entry.
"""

from __future__ import annotations

import numpy as np

from bptt.harness.subject import Array


def limit(columns: Array, bends: Array, steps: Array, noise: Array) -> tuple[Array, Array]:
    """The value for step zero and its error.   columns, bends (K, ...)   steps (K,)   noise, value, error (...)

    columns   (f(+h) - f(-h)) / 2h                bends   (f(+h) - 2 f(0) + f(-h)) / 2h
    """
    first = smooth_from(bends, steps, noise, np.max(np.abs(columns), axis=0))
    value, error = extrapolated(columns, steps, noise, first)
    few = len(columns) - first < 3
    spread = np.abs(columns[-1] - columns[-2]) + np.abs(bends[-1]) + 2 * noise / steps[-1]
    return np.where(few, columns[-1], value), np.where(few, spread, error + jump(bends))


def extrapolated(columns: Array, steps: Array, noise: Array, first: Array | int = 0) -> tuple[Array, Array]:
    """Best entry of Neville's table (in h^2) that uses steps from `first` on only, and its error."""
    best, smallest = columns[-1], np.full(columns.shape[1:], np.inf)
    previous: list[Array] = []
    for k in range(len(columns)):
        row = [columns[k]]
        for j in range(1, k + 1):
            row.append(row[-1] + (row[-1] - previous[j - 1]) / (4.0**j - 1))
        for j in range(k + 1):
            # the entry uses the steps k - j to k, its neighbour above the steps k - 1 - j to k - 1
            apart = [np.where(k - 1 - j >= first, np.abs(row[j] - previous[j]), 0.0)] if j < k else []
            apart += [np.abs(row[j] - previous[j - 1]), np.abs(row[j] - row[j - 1])] if j > 0 else []
            compared = (k - j > first) | ((j > 0) & (k - j >= first))
            error = np.where(compared, np.max(apart, axis=0), np.inf) + 2 * noise / steps[k] if apart else np.inf
            better = error < smallest
            best, smallest = np.where(better, row[j], best), np.where(better, error, smallest)
        previous = row
    return best, smallest


def smooth_from(bends: Array, steps: Array, noise: Array | float, size: Array | float) -> Array:
    """Index of the first step from which on no kink lies between the points: there the bend halves with h.

    At a kink inside every step the bend stays; at one that the smaller steps no longer reach it drops out at once. Large steps may
    deviate more, because the next term of the bend goes with h^3.
    """
    first = np.full(bends.shape[1:], len(bends) - 1)
    going = np.ones(bends.shape[1:], bool)
    with np.errstate(all="ignore"):
        for k in range(len(bends) - 1, 0, -1):
            small = np.abs(bends[k - 1]) <= 40 * noise / steps[k] + 1e-9 * size
            slack = 0.05 + 0.25 * float(steps[k] / steps[1])
            going = going & (small | (np.abs(np.abs(bends[k] / bends[k - 1]) - 0.5) <= slack))
            first = np.where(going, k - 1, first)
    return first


def jump(bends: Array) -> Array:
    """What is left of the bend as h goes to zero, half the jump of the derivative at a kink.

    A smooth f has bends a h + b h^3 + ...; two eliminations leave the constant, and of a smooth f only h^5.
    """
    linear = 2 * bends[1:] - bends[:-1]
    return np.asarray(np.abs(8 * linear[-1] - linear[-2]) / 7)
