from __future__ import annotations

import math
from typing import Any

import pytest

from bptt.harness.experiments import driven_gain
from bptt.harness.experiments.driven_gain import DEFINITION, crossings, gains
from bptt.harness.experiments.engine.definition import Point
from bptt.harness.experiments.theory import mean_field
from tests.harness.experiments.measuring import is_sound, named, run, wrong

SMALL: dict[str, Any] = {"sigma": (1.0,), "H": (64, 128), "units": 128, "steps": 100, "seed": (0, 1, 2, 3)}


def test_crossings_of_curves_that_are_known() -> None:
    """Theory itself crosses at the critical gain; a curve that lies lower crosses later, by the shift over the slope."""
    at = gains(0.5)
    settings = {"sigma": 0.5}
    shifts = (0.0, 0.004, -0.004)
    points = [Point(settings, {"gains": at, "exponents": [mean_field.exponent(g, 0.5) - d for g in at]}) for d in shifts]
    found = crossings(points)
    critical = mean_field.critical_gain(0.5)
    slope = (mean_field.exponent(critical + 1e-4, 0.5) - mean_field.exponent(critical - 1e-4, 0.5)) / 2e-4
    assert [g - critical for g in found] == pytest.approx([d / slope for d in shifts], abs=2e-4)


def test_a_smaller_run_comes_near() -> None:
    e = run(DEFINITION, **SMALL)
    limit = named(e, "sigma = 1")
    assert limit.measured == pytest.approx(1.8556, abs=0.06)
    assert limit.expected == pytest.approx(1.8556, abs=5e-5)
    assert limit.tolerance == 0.01
    assert "crosses zero at" in str(e.words)
    (table,) = e.tables
    finite = [row for row in table.rows if row[1] != "infinity"]
    assert all(row[2].value > 1.8556 for row in finite)  # type: ignore[union-attr]  # at finite H it crosses later
    is_sound(DEFINITION)


def test_noise_of_the_wrong_size_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variance in place of standard deviation: sigma^2 = .25 for .5."""
    right = driven_gain.exponents
    monkeypatch.setattr(driven_gain, "exponents", lambda W, g, sigma, *rest, **more: right(W, g, sigma**2, *rest, **more))
    (name,) = wrong(run(DEFINITION, **SMALL | {"sigma": (0.5,)}))
    assert name.startswith("sigma = 0.5")


def test_a_curve_for_each_size_with_theory_beside_it() -> None:
    e = run(DEFINITION, **SMALL)
    assert [s.name for s in e.series] == ["sigma = 1, H = 64", "sigma = 1, H = 128"]
    for s in e.series:
        assert len(s.x) == len(s.y) == len(s.expected) == 6
        assert max(abs(a - b) for a, b in zip(s.y, s.expected, strict=True)) < 0.1
        assert math.isclose(s.expected[s.x.index(0.5)], mean_field.exponent(0.5, 1.0))
