from __future__ import annotations

import math

import numpy as np
import pytest

from bptt.harness.experiments.theory import mean_field
from bptt.harness.experiments.theory.mean_field import critical_gain, exponent, gaussian_mean, root, slope_moment, variance


def test_moments_of_the_normal_distribution() -> None:
    for k, exact in ((0, 1), (2, 1), (4, 3), (6, 15), (8, 105)):
        assert gaussian_mean(lambda z, k=k: z**k) == pytest.approx(exact, rel=1e-13)  # type: ignore[misc]
    assert gaussian_mean(np.cos, 2.0) == pytest.approx(math.exp(-1), rel=1e-13)


@pytest.mark.parametrize(("gain", "known"), [(1.5, 0.0652), (2.0, 0.1547), (3.0, 0.3102), (5.0, 0.5324)])
def test_exponents_without_noise(gain: float, known: float) -> None:
    assert exponent(gain, 0.0) == pytest.approx(known, abs=5e-5)


@pytest.mark.parametrize(("sigma", "known"), [(0.5, 1.5497), (1.0, 1.8556)])
def test_critical_gains(sigma: float, known: float) -> None:
    g = critical_gain(sigma)
    assert g == pytest.approx(known, abs=5e-5)
    assert exponent(g, sigma) == pytest.approx(0, abs=1e-13)


@pytest.mark.parametrize(("gain", "sigma"), [(0.5, 0.5), (1.2, 0.3), (5.0, 0.0), (1.02, 0.0)])
def test_the_variance_is_a_fixed_point(gain: float, sigma: float) -> None:
    q = variance(gain, sigma)
    assert gain**2 * gaussian_mean(lambda a: np.tanh(a) ** 2, q) + sigma**2 == pytest.approx(q, rel=1e-12)
    assert q > 0


def test_at_rest_there_is_no_variance_and_the_exponent_is_log_g() -> None:
    assert variance(0.8, 0.0) == 0
    assert exponent(0.8, 0.0) == pytest.approx(math.log(0.8), abs=1e-14)
    assert critical_gain(0.0) == 1


def test_few_gauss_hermite_nodes_are_not_enough() -> None:
    """80 nodes at gain 5, where tanh' is narrow beside the spread of the pre-activations: 0.38 in place of 0.53."""
    q = variance(5.0, 0.0)
    z, w = np.polynomial.hermite_e.hermegauss(80)
    by_nodes = math.log(25 * np.sum(w * (1 - np.tanh(math.sqrt(q) * z) ** 2) ** 2) / math.sqrt(2 * math.pi)) / 2
    assert abs(by_nodes - exponent(5.0, 0.0)) > 1e-3


def test_more_nodes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [slope_moment(k, 20.0) for k in (1, 2)]
    z = np.linspace(-14, 14, 40_001)
    monkeypatch.setattr(mean_field, "_Z", z)
    monkeypatch.setattr(mean_field, "_WEIGHTS", np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0]))
    assert [slope_moment(k, 20.0) for k in (1, 2)] == pytest.approx(before, rel=1e-12)


def test_a_root_to_the_last_digit_in_either_direction() -> None:
    assert root(lambda x: x * x - 2, 0, 5) == pytest.approx(math.sqrt(2), abs=1e-15)
    assert root(lambda x: 2 - x * x, 5, 0) == pytest.approx(math.sqrt(2), abs=1e-15)
    with pytest.raises(ValueError, match=r"f\(2\) = 2 and f\(3\) = 7, wanted below and above zero"):
        root(lambda x: x * x - 2, 2, 3)
