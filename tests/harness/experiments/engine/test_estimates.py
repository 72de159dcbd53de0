from __future__ import annotations

import math

import numpy as np
import pytest

from bptt.harness.experiments.engine.estimates import FALSE_ALARM, chi_squared_tail, intercept, mean, sigmas


def test_sigmas_are_the_tables() -> None:
    assert sigmas(1, false_alarm=0.05) == pytest.approx(1.959964, abs=1e-6)
    for count, p, known in ((4, 0.05, 3.182446), (10, 0.05, 2.262157), (4, 0.001, 12.923979), (31, 0.01, 2.749996)):
        assert sigmas(1, count, false_alarm=p) == pytest.approx(known, abs=2e-6)


def test_more_comparisons_and_fewer_values_allow_more() -> None:
    assert sigmas(32) == sigmas(1, false_alarm=FALSE_ALARM / 32) > sigmas(1)
    assert sigmas(1, 5) > sigmas(1, 50) > sigmas(1) > 4.5
    assert sigmas(1, 100_000) == pytest.approx(sigmas(1), rel=1e-3)


def test_a_normal_mean_is_off_as_often_as_it_should() -> None:
    values = np.random.default_rng(0).normal(size=(20_000, 6))
    off = np.abs(values.mean(axis=1)) / (values.std(axis=1, ddof=1) / math.sqrt(6))
    assert np.mean(off > sigmas(1, 6, false_alarm=0.02)) == pytest.approx(0.02, abs=5 * math.sqrt(0.02 / 20_000))


def test_a_mean_and_its_interval() -> None:
    m = mean([1.0, 2.0, 3.0])
    assert (m.value, m.count) == (2.0, 3)
    assert m.error == pytest.approx(1 / math.sqrt(3))
    assert m.interval.high - 2 == pytest.approx(2 - m.interval.low) == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


def test_one_value_has_no_error() -> None:
    with pytest.raises(ValueError, match="of 1 values, wanted at least 2"):
        mean([1.0])


@pytest.mark.parametrize(
    ("x", "degrees", "p"), [(3.841459, 1, 0.05), (5.991465, 2, 0.05), (7.814728, 3, 0.05), (46.194260, 32, 0.05), (0, 5, 1), (0, 4, 1)]
)
def test_the_tail_of_chi_squared(x: float, degrees: int, p: float) -> None:
    assert chi_squared_tail(x, degrees) == pytest.approx(p, abs=1e-7)


def test_the_limit_of_large_networks() -> None:
    assert intercept([1 / 64, 1 / 128, 1 / 256], [1.5 + 4 / H for H in (64, 128, 256)]) == pytest.approx(1.5, abs=1e-13)
