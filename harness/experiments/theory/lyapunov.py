"""Lyapunov exponents of any sequence of step Jacobians, by QR over the full state; and by two trajectories.

    J_t Q_{t-1} = Q_t R_t          LE_i = mean over t of log |R_t[i, i]|          nats a step

J_t is d s_t / d s_{t-1}; it acts on perturbations, forward in time: the product is J_T ... J_1.  Sources: Benettin, Galgani,
Giorgilli and Strelcyn 1980, Meccanica 15 (both methods); Eckmann and Ruelle 1985, Rev. Mod. Phys. 57.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bptt.harness.subject import Array

#: An exponent is trusted where rounding has changed it by less than this, nats a step.
TRUSTED = 1e-3


@dataclass(frozen=True)
class Spectrum:
    """The first k exponents, largest first in the limit of long runs.

    exponents        (k,)
    standard_errors  (k,) by batch means: of a mean over time, its terms being correlated
    rounding         (k,) an estimate of how far rounding has moved each one, from what R's columns lost to one another
    steps            over which the mean was taken
    """

    exponents: Array
    standard_errors: Array
    rounding: Array
    steps: int

    @property
    def largest(self) -> tuple[float, float]:
        """The largest of the exponents, and its standard error: see `largest_of`."""
        return largest_of(self.exponents, self.standard_errors, self.steps)

    @property
    def trusted(self) -> Array:
        """(k,) False where rounding decides: there the exponent is an upper bound, and the true one may be -inf."""
        return np.asarray(self.rounding < TRUSTED)


def spectrum(jacobians: Iterable[Array], Q: Array, *, burn_in: int = 0, every: int = 1, batches: int = 20) -> Spectrum:
    """Exponents of J_1, J_2, ... (n, n) from the orthonormal start Q (n, k).

    burn_in   steps in which Q turns into its directions before any logarithm counts (the state has a burn-in of its own)
    every     steps between two QR decompositions; both it and the batches leave out a rest at the end of the sequence

    Raises ValueError where no QR decomposition is left after the burn-in.
    """
    logs, losses = [], []
    M = Q
    for t, J in enumerate(jacobians, start=1):
        M = J @ M
        if t % every:
            continue
        lengths = np.linalg.norm(M, axis=0)
        Q, R = np.linalg.qr(M)
        M = Q
        if t > burn_in:
            logs.append(_log(np.abs(np.diagonal(R))))
            losses.append(_rounding(R, lengths))
    if not logs:
        raise ValueError(f"no step is left after a burn-in of {burn_in}, wanted a longer sequence of Jacobians")
    per_step = np.array(logs) / every
    return Spectrum(
        per_step.mean(axis=0), _batch_error(per_step, min(batches, len(logs))), np.mean(losses, axis=0) / every, len(logs) * every
    )


def largest_of(exponents: Sequence[float] | Array, errors: Sequence[float] | Array, steps: int) -> tuple[float, float]:
    """The largest exponent whichever column has it, and its standard error.

    QR puts exponents in order in the limit only.  Those that are closer than their errors, or than the two units of log norm that the
    directions take to part, trade places for as long as the run lasts: then the largest may be any of them, and is too large by chance,
    so its error is the largest error among them together with how far apart they are.
    """
    values, known = np.asarray(exponents), np.asarray(errors)
    best = int(np.argmax(values))
    if not math.isfinite(values[best]):
        return float(values[best]), math.inf
    with np.errstate(invalid="ignore"):
        close = values[best] - values <= np.maximum(2 * np.hypot(known[best], known), 2 / steps)
    close = np.isfinite(values) & np.isfinite(known) & close
    close[best] = True
    return float(values[best]), math.hypot(float(np.max(known[close])), float(np.ptp(values[close])), 1 / steps)


def entropy_rate(exponents: Array) -> float:
    """Nats a step of Kolmogorov and Sinai: the sum of the positive exponents (Pesin 1977, Russ. Math. Surv. 32)."""
    return float(np.sum(exponents[exponents > 0]))


def attractor_dimension(exponents: Array) -> float:
    """k + (lambda_1 + ... + lambda_k) / |lambda_{k+1}|, k the last index up to which the sum is not negative.

    Source: Kaplan and Yorke 1979, Lect. Notes Math. 730.
    """
    ordered = np.sort(exponents)[::-1]
    sums = np.cumsum(ordered)
    if ordered[0] < 0:
        return 0.0
    if sums[-1] >= 0:
        return float(len(sums))
    k = int(np.argmax(sums < 0))
    return k + (float(sums[k - 1]) if k else 0.0) / abs(float(ordered[k]))


def random_start(rng: np.random.Generator, n: int, k: int) -> Array:
    """k orthonormal directions, uniform.   (n, k)"""
    return np.linalg.qr(rng.normal(size=(n, k)))[0]


def invariant_start(J: Array, k: int | None = None) -> Array:
    """Orthonormal Q (n, k) whose first columns span the leading eigenspaces of J: QR of powers of J then has no start to forget.

    A complex pair takes two columns, the plane of its real and imaginary parts: only the sum of its two exponents is exact at
    finite time.
    """
    values, vectors = np.linalg.eig(J)
    order = sorted(range(len(values)), key=lambda i: (-abs(values[i]), -values[i].imag))
    columns = [vectors[:, i].real if values[i].imag >= 0 else vectors[:, i].imag for i in order]
    return np.linalg.qr(np.array(columns[:k]).T)[0]


def floquet(jacobians: Iterable[Array]) -> Array:
    """Exact exponents of a periodic sequence: log |eig(J_p ... J_1)| / p, largest first.   jacobians: one period"""
    product, p = np.eye(1), 0
    for J in jacobians:
        product, p = (J @ product if p else J), p + 1
    return np.sort(_log(np.abs(np.linalg.eigvals(product))))[::-1] / p


def benettin(
    advance: Callable[[int, Array], Array], s: Array, direction: Array, steps: int, *, burn_in: int = 0, distance: float = 1e-7
) -> float:
    """The largest exponent from two trajectories, brought back to `distance` after every step: no derivative is taken.

    advance (t, rows (2, n)) -> rows (2, n);  s, direction (n,);  the error is about distance * curvature + eps / distance.
    """
    direction = direction * (distance / np.linalg.norm(direction))
    total = 0.0
    for t in range(burn_in + steps):
        s, moved = advance(t, np.stack([s, s + direction]))
        direction = moved - s
        apart = float(np.linalg.norm(direction))
        if apart == 0:
            return -math.inf
        direction *= distance / apart
        if t >= burn_in:
            total += math.log(apart / distance)
    return total / steps


def _rounding(R: Array, lengths: Array) -> Array:
    """First order: d log R_ii = q_i . dM R^-1 e_i, and a rounded QR has |dM_j| of about eps |M_j| in column j."""
    if not np.all(np.diagonal(R)):
        zero = int(np.argmin(np.abs(np.diagonal(R)) > 0))
        head = _rounding(R[:zero, :zero], lengths[:zero]) if zero else np.zeros(0)
        return np.concatenate([head, np.full(len(R) - zero, np.inf)])
    scale = np.where(lengths > 0, lengths, 1)
    inverse = np.linalg.inv(R / scale)  # columns of length one: R^-1 of M = Q R, times the lengths
    return np.asarray(math.sqrt(len(R)) * np.finfo(R.dtype).eps * np.abs(inverse).sum(axis=0))


def _batch_error(values: Array, batches: int) -> Array:
    """Standard error of the mean over axis 0, from the means of consecutive batches; inf where there are fewer than two."""
    if batches < 2:
        return np.full(values.shape[1], np.inf)
    means = np.array([part.mean(axis=0) for part in np.array_split(values, batches)])
    finite = np.isfinite(means).all(axis=0)
    errors = np.where(finite, np.std(np.where(finite, means, 0), axis=0, ddof=1), np.inf)
    return np.asarray(errors / math.sqrt(batches))


def _log(x: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(x))
