"""What the recurrent matrix alone proves of the gradients of h' = phi(x @ W_x + b + h @ W_h), for every input and every state.

A step takes dh to (dh * phi'(a)) @ W_h.T with 0 <= phi'(a) <= gamma: gamma = 1 for tanh and relu, 1/4 for the logistic sigmoid.

    singular value     gamma ||W||_2 < 1               a step shrinks every gradient by that factor                        vanishing
    diagonal scaling   gamma ||P W P^-1||_2 < 1        the same in the norm ||dh P||, because a diagonal P commutes with
                                                       phi'(a): after t steps ||dh|| <= cond(P) (gamma ||P W P^-1||_2)^t   vanishing
    spectral radius    gamma rho(W) > 1                where every unit is at its steepest, ||W^t|| >= rho^t               exploding
                                                       linearly: that point is in the model, but nothing keeps it there
    otherwise                                          undecided: between the two the inputs decide

rho(W) <= min over P of ||P W P^-1||_2 <= min(||W||_2, rho(|W|)).  The minimum is convex in log P; its gradient is, for the
Schatten norm of order 2p of A = P W P^-1, the difference of the diagonals of (A A^T)^p and (A^T A)^p.

Source: Pascanu, Mikolov and Bengio 2013, ICML, section 2 (singular value, spectral radius); Sezginer and Overton 1990,
IEEE Trans. Automatic Control 35 (convexity of the scaled norm).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from bptt.harness.subject import Array

Verdict = Literal["vanishing", "exploding linearly", "undecided"]
VERDICTS: tuple[Verdict, ...] = ("vanishing", "exploding linearly", "undecided")

#: The largest slope of an activation.
GAMMA = {"elman": 1.0, "elman_relu": 1.0, "elman_linear": 1.0, "elman_sigmoid": 0.25}


#: log P is held to +-LIMIT: where the best P is infinite (a triangular W) one that is good enough does, and nothing overflows.
LIMIT = 15.0
#: Orders of the Schatten norms, and descents on each: to five digits of the best P, and to one in a hundred twenty times sooner.
THOROUGH, FAST = ((1, 4, 16, 64, 256), 40), ((2, 8, 32, 128), 6)


@dataclass(frozen=True)
class Certificate:
    """verdict     what is proved, and by which of the three (`by`, "" where nothing is)
    rate        the factor a step that is proved: an upper one where vanishing, a lower one where exploding linearly, NaN where undecided
    smax, rho   gamma ||W||_2 and gamma rho(W)
    scaled      gamma ||P W P^-1||_2 for the best P found, and its `condition` cond(P)
    """

    verdict: Verdict
    by: str
    rate: float
    smax: float
    scaled: float
    condition: float
    rho: float

    @property
    def constant(self) -> float:
        """Vanishing: ||dh_0|| <= constant * rate**t * ||dh_t||."""
        return self.condition if self.by == "diagonal scaling" else 1.0


def certify(W: Array, gamma: float = 1.0, search: tuple[tuple[int, ...], int] = THOROUGH) -> Certificate:
    """What W (H, H) proves.  A bound is taken from singular values of the matrix at hand, so a poor P proves less, never wrong."""
    smax = gamma * float(np.linalg.norm(W, 2))
    rho = gamma * spectral_radius(W)
    log_p = diagonal_scaling(W, search)
    scaled = gamma * scaled_norm(W, log_p)
    verdict: Verdict
    if smax < 1:
        verdict, by, rate = "vanishing", "singular value", smax
    elif scaled < 1:
        verdict, by, rate = "vanishing", "diagonal scaling", scaled
    elif rho > 1:
        verdict, by, rate = "exploding linearly", "spectral radius", rho
    else:
        verdict, by, rate = "undecided", "", float("nan")
    return Certificate(verdict, by, rate, smax, scaled, float(np.exp(np.ptp(log_p))), rho)


def spectral_radius(W: Array) -> float:
    return float(np.max(np.abs(np.linalg.eigvals(W))))


def scaled_norm(W: Array, log_p: Array) -> float:
    """||P W P^-1||_2 with P = diag(exp(log_p))."""
    return float(np.linalg.norm(_scaled(W, log_p), 2))


def diagonal_scaling(W: Array, search: tuple[tuple[int, ...], int] = THOROUGH) -> Array:
    """log P (H,) that makes ||P W P^-1||_2 small: descent on Schatten norms of growing order, from P = 1 or Perron's P.

    Perron's P has ||P |W| P^-1||_2 = rho(|W|), which no other P undercuts where the signs of W cannot cancel.
    """
    starts = [np.zeros(len(W)), _perron(W)]
    found = min(starts, key=lambda log_p: scaled_norm(W, log_p))
    best, least = found, scaled_norm(W, found)
    orders, steps = search
    for p in orders:
        found = _descend(W, found, p, steps)
        if (norm := scaled_norm(W, found)) < least:
            best, least = found, norm
    return best


def _perron(W: Array) -> Array:
    """log P = (log l - log r) / 2 with the left and right Perron vectors of |W|, made positive by a grain of ones."""
    A = np.abs(W) + 1e-12 * (np.max(np.abs(W), initial=0.0) or 1.0)
    right, left = (_dominant(M) for M in (A, A.T))
    return np.clip((np.log(left) - np.log(right)) / 2, -LIMIT, LIMIT)


def _dominant(A: Array) -> Array:
    values, vectors = np.linalg.eig(A)
    return np.asarray(np.abs(vectors[:, np.argmax(values.real)].real) + np.finfo(float).tiny)


def _descend(W: Array, log_p: Array, order: int, steps: int) -> Array:
    """Gradient descent on log tr((A A^T)^order) / (2 order), with a step length that grows where it helps and shrinks where not."""
    length = 1.0
    value, slope = _schatten(W, log_p, order)
    for _ in range(steps):
        square = float(slope @ slope)
        if square < 1e-24:
            break
        while True:
            trial = np.clip(log_p - length * slope, -LIMIT, LIMIT)
            new, new_slope = _schatten(W, trial, order)
            if new <= value - 0.25 * length * square:
                break
            length /= 2
            if length < 1e-12:
                return log_p
        log_p, value, slope, length = trial, new, new_slope, 2 * length
    return log_p


def _schatten(W: Array, log_p: Array, order: int) -> tuple[float, Array]:
    """log of the Schatten norm of order 2 * `order` of P W P^-1, and its gradient in log P."""
    A = _scaled(W, log_p)
    squares, V = np.linalg.eigh(A.T @ A)
    top = float(squares[-1])
    if top <= 0:
        return -np.inf, np.zeros(len(W))
    ratios = np.maximum(squares, 0.0) / top
    powers = ratios ** (order - 1)
    total = float(np.sum(powers * ratios))
    value = np.log(top) / 2 + np.log(total) / (2 * order)
    return float(value), np.asarray(((A @ V) ** 2 @ (powers / top) - V**2 @ (powers * ratios)) / total)


def _scaled(W: Array, log_p: Array) -> Array:
    return np.asarray(W * np.exp(log_p[:, None] - log_p[None, :]))
