"""Random matrices of variance g^2/H, and what is known exactly of their products.

Sources   Newman 1986, Commun. Math. Phys. 103 (exponents of a product of Gaussian matrices)
          Banica, Belinschi, Capitaine and Collins 2011, Canad. J. Math. 63 (free Bessel laws: the Fuss-Catalan law)
          Tracy and Widom 1996, Commun. Math. Phys. 177 (the largest eigenvalue of a symmetric matrix)
          Doignon and Labarre 2007, J. Integer Sequences 10 (Hultman numbers, which the tied complex moment counts)
"""

from __future__ import annotations

import math

import numpy as np

from bptt.harness.subject import Array

#: Mean and standard deviation of the Tracy-Widom law of real symmetric matrices.
TRACY_WIDOM_MEAN, TRACY_WIDOM_SD = -1.2065335745820, 1.2679810790
_EULER = 0.57721566490153286


def gaussian(rng: np.random.Generator, H: int, gain: float = 1.0, count: tuple[int, ...] = ()) -> Array:
    """Entries N(0, gain^2/H).   (*count, H, H)"""
    return rng.normal(size=(*count, H, H)) * (gain / math.sqrt(H))


def complex_gaussian(rng: np.random.Generator, H: int, gain: float = 1.0, count: tuple[int, ...] = ()) -> Array:
    """Real and imaginary parts N(0, gain^2/2H) each.   (*count, H, H)"""
    return np.asarray((gaussian(rng, H, gain, count) + 1j * gaussian(rng, H, gain, count)) / math.sqrt(2))


def orthogonal(rng: np.random.Generator, H: int, gain: float = 1.0) -> Array:
    """gain times an orthogonal matrix of the uniform (Haar) law: Q of a Gaussian matrix, with the signs of R's diagonal undone."""
    Q, R = np.linalg.qr(gaussian(rng, H))
    return np.asarray(gain * Q * np.sign(np.diagonal(R)))


def newman_exponents(H: int, gain: float = 1.0) -> Array:
    """All H exponents of a product of independent Gaussian matrices: LE_i = log g + (psi((H-i+1)/2) + log(2/H)) / 2.

    Each step, whatever came before: R_ii^2 of J Q = Q R is g^2/H times chi-squared of H - i + 1 degrees of freedom.
    """
    return np.array([math.log(gain) + (digamma(n) + math.log(2 / H)) / 2 for n in range(H, 0, -1)])


def newman_errors(H: int, T: int) -> Array:
    """Exact standard errors of the means of log R_ii over T steps: sqrt(psi'((H-i+1)/2) / 4T)."""
    return np.array([math.sqrt(trigamma(n) / (4 * T)) for n in range(H, 0, -1)])


def digamma(twice: int) -> float:
    """psi(twice / 2), from psi(1/2) = -gamma - 2 log 2, psi(1) = -gamma and psi(x + 1) = psi(x) + 1/x."""
    start = -_EULER - 2 * math.log(2) if twice % 2 else -_EULER
    return start + math.fsum(2 / n for n in range(2 - twice % 2, twice, 2))


def trigamma(twice: int) -> float:
    """psi'(twice / 2), from psi'(1/2) = pi^2/2, psi'(1) = pi^2/6 and psi'(x + 1) = psi'(x) - 1/x^2."""
    start = math.pi**2 / 2 if twice % 2 else math.pi**2 / 6
    return start - math.fsum(4 / n**2 for n in range(2 - twice % 2, twice, 2))


def fuss_catalan_edge(t: int) -> float:
    """The limit of ||W^t||_2 at gain 1: sqrt((t+1)^(t+1) / t^t), although the spectral radius tends to 1."""
    return math.sqrt((t + 1) ** (t + 1) / t**t)


def edge_shift(t: int, H: int) -> float:
    """Relative width of the largest singular value of a product of t: times Tracy-Widom's mean (sd) it is its shift (sd) at finite H.

    Squared singular values have the density (A/pi) sqrt(x_+ - x) at their edge x_+ = (t+1)^(t+1) / t^t, with
    A = t^(t-1) / (t+1)^t sqrt(2 / (t (t+1) x_+)), from x = sin((t+1)u)^(t+1) / (sin(u) sin(tu)^t) for small u; then the
    largest is x_+ + (A H)^(-2/3) times the Tracy-Widom variable.  For powers of one W the mean is the same; the spread is larger.
    """
    edge = fuss_catalan_edge(t) ** 2
    A = t ** (t - 1) / (t + 1) ** t * math.sqrt(2 / (t * (t + 1) * edge))
    return float((A * H) ** (-2 / 3) / edge / 2)


def fuss_catalan_density(t: int, points: int = 400) -> tuple[Array, Array]:
    """s and the density of the singular values of a product of t at gain 1, in the limit of large H.

    x = s^2 = sin((t+1)u)^(t+1) / (sin(u) sin(tu)^t),  density of x = sin(u)^2 sin(tu)^(t-1) / (pi sin((t+1)u)^t),  0 < u < pi/(t+1)
    """
    u = np.pi / (t + 1) * (np.arange(points, 0, -1) - 0.5) / points
    x = np.sin((t + 1) * u) ** (t + 1) / (np.sin(u) * np.sin(t * u) ** t)
    density = np.sin(u) ** 2 * np.sin(t * u) ** (t - 1) / (np.pi * np.sin((t + 1) * u) ** t)
    s = np.sqrt(x)
    return s, 2 * s * density


def norm_moment(t: int, H: int, k: int) -> float:
    """E ||v_t||^(2k) for v_t = W_t ... W_1 v_0, independent W_i of gain 1, ||v_0|| = 1: (prod over j < k of (1 + 2j/H))^t.

    k = 1: exactly 1.  k = 2: (1 + 2/H)^t, so the relative variance of ||v_t||^2 is (1 + 2/H)^t - 1.
    """
    return math.prod(1 + 2 * j / H for j in range(k)) ** t


def tied_square(H: int) -> float:
    """E ||W^2 v||^2 for one real W of gain 1, ||v|| = 1: 1 + 2/H^2, and not 1."""
    return 1 + 2 / H**2


def tied_complex(t: int, H: int) -> float:
    """E ||W^t v||^2 for one complex W of gain 1: (H(H+1)..(H+t+1) - H(H-1)..(H-t-1)) / ((t+1)(t+2) H^(t+1)).

    Integers until the division, so exact: the two products are Hultman's numbers in closed form.
    """
    rise = math.prod(range(H, H + t + 2))
    fall = math.prod(range(H, H - t - 2, -1))
    return float((rise - fall) / ((t + 1) * (t + 2) * H ** (t + 1)))
