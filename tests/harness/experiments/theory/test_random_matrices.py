from __future__ import annotations

import math

import numpy as np
import pytest

from bptt.harness.experiments.engine.estimates import sigmas
from bptt.harness.experiments.theory import random_matrices as of


def test_draws_have_the_variance_of_their_gain() -> None:
    rng = np.random.default_rng(0)
    for draw in (of.gaussian, of.complex_gaussian):
        W = draw(rng, 40, 1.5, (30,))
        assert W.shape == (30, 40, 40)
        assert np.mean(np.abs(W) ** 2) * 40 == pytest.approx(1.5**2, rel=sigmas(1) * math.sqrt(2 / W.size))


def test_an_orthogonal_matrix_is_of_the_uniform_law() -> None:
    """Orthogonal to rounding; and E (tr Q)^2 = 1, which QR without the signs of its diagonal does not give."""
    rng = np.random.default_rng(1)
    Q = of.orthogonal(rng, 30, 0.9)
    np.testing.assert_allclose(Q @ Q.T, 0.81 * np.eye(30), atol=1e-14)
    traces = np.array([np.trace(of.orthogonal(rng, 5)) for _ in range(4000)])
    assert np.mean(traces**2) == pytest.approx(1, abs=sigmas(1) * math.sqrt(2 / 4000))
    assert np.mean(traces) == pytest.approx(0, abs=sigmas(1) / math.sqrt(4000))


def test_digamma_and_trigamma() -> None:
    gamma = 0.57721566490153286
    assert of.digamma(2) == pytest.approx(-gamma, abs=1e-15)
    assert of.digamma(8) == pytest.approx(-gamma + 1 + 1 / 2 + 1 / 3, abs=1e-15)
    assert of.digamma(5) == pytest.approx(-gamma - 2 * math.log(2) + 2 + 2 / 3, abs=1e-14)
    assert of.trigamma(2) == pytest.approx(math.pi**2 / 6)
    assert of.trigamma(7) == pytest.approx(math.pi**2 / 2 - 4 - 4 / 9 - 4 / 25)
    for twice in (1, 2, 9, 30):  # psi' is the derivative of log gamma, twice
        x, h = twice / 2, 1e-3
        assert of.digamma(twice) == pytest.approx((math.lgamma(x + h) - math.lgamma(x - h)) / (2 * h), rel=1e-4)


def test_newman_for_one_unit_and_for_two_steps() -> None:
    """H = 1: E log|w|, w normal, is -(gamma + log 2) / 2.   All H: their sum is E log|det W| = sum of E log chi_k / sqrt(H)."""
    assert of.newman_exponents(1)[0] == pytest.approx(-(0.57721566490153286 + math.log(2)) / 2)
    rng = np.random.default_rng(2)
    logs = [np.linalg.slogdet(W)[1] for W in of.gaussian(rng, 6, 0.7, (4000,))]
    error = np.std(logs) / math.sqrt(len(logs))
    assert np.sum(of.newman_exponents(6, 0.7)) == pytest.approx(np.mean(logs), abs=sigmas(1) * error)
    assert math.sqrt(np.sum(of.newman_errors(6, 4000) ** 2)) == pytest.approx(error, rel=0.06)


def test_the_fuss_catalan_law() -> None:
    assert [round(of.fuss_catalan_edge(t), 3) for t in (1, 2, 4, 8, 12)] == [2, 2.598, 3.494, 4.805, 5.828]
    for t in (1, 2, 5):
        s, density = of.fuss_catalan_density(t, 20_000)
        assert np.all(np.diff(s) > 0)
        assert s[-1] == pytest.approx(of.fuss_catalan_edge(t), rel=1e-6)
        moments = [np.trapezoid(density * s ** (2 * k), s) for k in (1, 2)]
        assert moments == pytest.approx([1, 1 + t], rel=1e-3)  # E s^2 = 1, E s^4 = 1 + t


def test_the_density_at_the_edge_is_the_one_behind_the_shift() -> None:
    for t in (1, 2, 5):
        s, density = of.fuss_catalan_density(t, 20_000)
        x, of_x, edge = s**2, density / (2 * s), of.fuss_catalan_edge(t) ** 2
        near = (x > 0.9995 * edge) & (x < 0.99999 * edge)
        A = np.pi * np.mean(of_x[near] / np.sqrt(edge - x[near]))
        H = 300
        assert of.edge_shift(t, H) == pytest.approx((A * H) ** (-2 / 3) / edge / 2, rel=2e-3)


def test_a_product_of_one_has_the_edge_of_a_wishart_matrix() -> None:
    """Johnstone 2001: s^2 = (4 H + 2^(4/3) H^(1/3) TW) / H for large H."""
    H = 1000
    assert of.edge_shift(1, H) == pytest.approx(2 ** (4 / 3) * H ** (-2 / 3) / 8, rel=1e-12)


def test_moments_of_norms() -> None:
    assert of.norm_moment(5, 3, 1) == 1
    assert of.norm_moment(5, 3, 2) == pytest.approx((1 + 2 / 3) ** 5)
    rng = np.random.default_rng(3)
    chi = np.prod(rng.chisquare(4, size=(400_000, 2)) / 4, axis=1)  # ||v_2||^2 at H = 4
    for k in (2, 3):
        assert of.norm_moment(2, 4, k) == pytest.approx(np.mean(chi**k), rel=0.05)


def test_one_matrix_for_all_steps() -> None:
    assert of.tied_square(3) == pytest.approx(1.2222, abs=5e-5)
    assert of.tied_complex(1, 5) == 1
    assert of.tied_complex(2, 3) == pytest.approx(1 + 1 / 9)
    assert of.tied_complex(4, 10**6) == pytest.approx(1, abs=1e-6)
    for t in (1, 2, 5):  # H = 1: E |w|^2t = t!
        assert of.tied_complex(t, 1) == pytest.approx(math.factorial(t))
