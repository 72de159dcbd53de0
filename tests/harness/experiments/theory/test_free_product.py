from __future__ import annotations

import math

import numpy as np
import pytest

from bptt.harness.experiments.theory import mean_field
from bptt.harness.experiments.theory.free_product import law, mean_exponent
from bptt.harness.experiments.theory.lyapunov import attractor_dimension, random_start, spectrum
from bptt.harness.experiments.theory.random_matrices import gaussian

AT = np.array([0.001, 0.1, 0.25, 0.5, 0.75, 0.9])


def test_without_saturation_it_is_newmans_law() -> None:
    assert law(0.7, 0.0).at(AT) == pytest.approx(math.log(0.7) + np.log(1 - AT) / 2, abs=1e-4)


@pytest.mark.parametrize(("gain", "sigma"), [(1.5, 0.5), (3.0, 0.0), (5.0, 1.0)])
def test_the_largest_exponent_and_the_mean_are_those_that_are_known(gain: float, sigma: float) -> None:
    found = law(gain, sigma)
    assert found.exponents[0] == pytest.approx(mean_field.exponent(gain, sigma), abs=1e-9)
    assert np.trapezoid(found.exponents, found.x) == pytest.approx(mean_exponent(gain, sigma), abs=2e-4)
    assert np.all(np.diff(found.x) > 0) and np.all(np.diff(found.exponents) < 1e-9)
    assert found.x[-1] == pytest.approx(1, abs=1e-11)


def test_entropy_and_dimension_are_those_of_the_curve_in_many_points() -> None:
    found, x = law(3.0, 0.5), (np.arange(20_000) + 0.5) / 20_000
    each = found.at(x)
    assert found.entropy == pytest.approx(np.maximum(each, 0).mean(), abs=1e-5) and 0.02 < found.entropy < 0.03
    assert found.dimension == pytest.approx(attractor_dimension(each) / 20_000, abs=1e-4)
    assert law(1.0, 0.5).entropy == law(1.0, 0.5).dimension == 0


def test_independent_factors_have_this_spectrum() -> None:
    """D_t and W_t anew at every step, so that nothing is assumed: the exponents of H = 100, within a few times what 1/H makes."""
    gain, sigma, H, rng = 2.0, 0.5, 100, np.random.default_rng(0)
    deviation = math.sqrt(mean_field.variance(gain, sigma))
    slopes = (1 - np.tanh(deviation * rng.normal(size=H)) ** 2 for _ in range(120))
    found = spectrum((d[:, None] * gaussian(rng, H, gain) for d in slopes), random_start(rng, H, H)).exponents
    x = (np.arange(H) + 0.5) / H
    off = found - law(gain, sigma).at(x)
    assert np.max(np.abs(off[:80])) < 0.06 and abs(off.mean()) < 0.03
    assert np.max(np.abs(found - math.log(gain) - np.log(1 - x) / 2)) > 1  # Newman's alone is not
