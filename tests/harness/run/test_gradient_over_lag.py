from __future__ import annotations

import numpy as np
import pytest

from bptt.harness.checks.context import CheckContext
from bptt.harness.identify.identify import identify
from bptt.harness.run.gradient_over_lag import gradient_over_lag, words
from bptt.harness.targets import load
from tests.harness.checks.planted import CleanNetwork, NotTruncated, ParameterNotANumber
from tests.harness.gradient.support import reference


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (0.5, "vanishing 0.50 a step, half-life 1.0 steps"),
        (1.1, "exploding 1.10 a step, doubles in 7.3 steps"),
        (1.0, "neither vanishing nor exploding: 1.000 a step"),
    ],
)
def test_the_slope_is_told_in_words(factor: float, said: str) -> None:
    assert words(tuple(3 * factor**k for k in range(20))) == said


def test_a_gradient_that_stops_is_told() -> None:
    assert words((1.0, *[0.0] * 19)) == "no gradient reaches back"
    assert words((1.0, 0.5, 0.25, 0.1, *[0.0] * 16)) == "the gradient stops after a few steps"


def test_norms_of_the_subject_stand_beside_the_references() -> None:
    subject = reference("lstm")
    found = gradient_over_lag(CheckContext(subject, identify(subject, "lstm")))
    assert found is not None
    (series,) = found.series
    assert len(series.x) == len(series.y) == len(series.expected) == 40
    np.testing.assert_allclose(series.y, series.expected, rtol=1e-10)
    assert series.y[39] < series.y[5] < series.y[0]
    assert series.words == found.words
    assert str(found.words).startswith("vanishing")
    assert gradient_over_lag(CheckContext(subject)).series[0].expected == ()  # type: ignore[union-attr]  # it has gradients


def test_a_truncated_gradient_differs_from_the_references() -> None:
    (subject,) = load(NotTruncated)
    found = gradient_over_lag(CheckContext(subject, identify(subject)))
    assert found is not None
    (series,) = found.series
    assert series.y[4] == pytest.approx(series.expected[4])
    assert series.y[5] == 0 < series.expected[5]
    assert found.words == "the gradient stops after a few steps"


@pytest.mark.parametrize("cell", [CleanNetwork])
def test_what_has_no_such_gradient_has_no_curve(cell: type) -> None:
    (subject,) = load(cell)
    assert gradient_over_lag(CheckContext(subject)) is None


def test_norms_that_are_not_finite_are_no_crash() -> None:
    (subject,) = load(ParameterNotANumber)
    with np.errstate(all="ignore"):
        found = gradient_over_lag(CheckContext(subject))
    assert found is None or isinstance(found.words, str)
