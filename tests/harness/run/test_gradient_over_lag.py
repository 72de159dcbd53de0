from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bptt.harness.checks.context import CheckContext
from bptt.harness.identify.published_cell import identify
from bptt.harness.run.gradient_over_lag import gradient_over_lag, words
from bptt.harness.run.runner import check
from bptt.harness.subject import Array, Arrays
from bptt.harness.targets import load
from bptt.refimpl.unroll import backward, forward
from tests.harness.checks.planted import CleanLSTM, CleanNetwork, Gradients, NotTruncated, ParameterNotANumber
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


def test_a_gradient_that_is_truncated_on_purpose_is_drawn_beside_the_reference() -> None:
    (subject,) = load(NotTruncated)
    found = gradient_over_lag(CheckContext(subject, identify(subject)))
    assert found is not None
    (series,) = found.series
    assert series.y[4] == pytest.approx(series.expected[4])
    assert series.y[5] == 0 < series.expected[5]
    assert found.words == "the gradient stops after a few steps"
    unknown = gradient_over_lag(CheckContext(subject))
    assert unknown is not None and unknown.series[0].expected == pytest.approx(series.expected)


class HalfCarried(CleanLSTM):
    """backward hands on half of dL/dh from a step to the one before, which no single step shows."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        _, _, tapes = forward(self.cell, params, xs, state)
        dxs, carried = np.zeros_like(xs), dict(dfinal)
        for t in reversed(range(len(xs))):
            _, x, after = backward(self.cell, params, xs[t : t + 1], tapes[t : t + 1], dys[t : t + 1], carried)
            dxs[t], carried = x[0], {name: 0.5 * d for name, d in after.items()}
        dparams, _, dstate = super().backward(params, xs, state, dys, dfinal)
        return dparams, dxs, dstate


@pytest.mark.parametrize("known", [True, False])
def test_a_flow_is_drawn_from_the_exact_derivative_where_the_gradient_is_wrong(known: bool) -> None:
    (subject,), (right,) = load(HalfCarried), load(CleanLSTM)
    found = gradient_over_lag(CheckContext(subject, identify(subject) if known else None))
    clean = gradient_over_lag(CheckContext(right))
    assert found is not None and clean is not None
    exact, yours = found.series
    assert (yours.name, yours.verdict, exact.verdict) == ("yours", "differs", "differs")
    np.testing.assert_allclose(exact.y, clean.series[0].y, rtol=1e-9)
    np.testing.assert_allclose(yours.y[:10], [y * 0.5**k for k, y in enumerate(exact.y[:10])], rtol=1e-9)
    assert str(found.words).startswith("your gradient is wrong from lag 1 on: drawn from the exact derivative of your forward pass")
    assert str(clean.words) in str(found.words) and clean.series[0].verdict is None


def test_what_no_exact_derivative_is_known_of_is_said_to_be_not_certified() -> None:
    class Real(CleanLSTM):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
            if xs.dtype.kind == "c":
                raise TypeError("real numbers only")
            return super().run(params, xs, state)

    (subject,) = load(Real)
    found = gradient_over_lag(CheckContext(subject))
    assert found is not None and "not certified" in str(found.words)


@pytest.mark.thorough
def test_the_page_says_in_red_that_a_flow_is_not_yours(tmp_path: Path) -> None:
    run = check(HalfCarried, isolate=False, level="smoke")
    run.to_html(tmp_path / "x.html")
    assert '<strong class="wrong">your gradient is wrong from lag 1 on' in (tmp_path / "x.html").read_text()


@pytest.mark.parametrize("cell", [CleanNetwork])
def test_what_has_no_such_gradient_has_no_curve(cell: type) -> None:
    (subject,) = load(cell)
    assert gradient_over_lag(CheckContext(subject)) is None


def test_norms_that_are_not_finite_are_no_crash() -> None:
    (subject,) = load(ParameterNotANumber)
    with np.errstate(all="ignore"):
        found = gradient_over_lag(CheckContext(subject))
    assert found is None or isinstance(found.words, str)
