from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments import gain
from bptt.harness.experiments.engine.definition import Point
from bptt.harness.experiments.gain import DEFINITION
from tests.harness.experiments.measuring import is_sound, named, run, wrong

SMALL: dict[str, Any] = {"H": (48, 96), "units": 96, "steps": 120, "seed": (0, 1, 2, 3)}


def test_below_the_transition_the_exponent_is_exact_at_any_size() -> None:
    e = run(DEFINITION, **SMALL)
    below = [c for c in e.claims if "/ rho(W)" in c.name]
    assert len(below) == 2 * len(gain.BELOW)
    assert all(c.verdict == "agrees" and abs(c.measured) < 1e-12 for c in below)
    assert named(e, "gain 1.5").verdict == "not judged"
    assert "1 / rho(W)" in str(e.words)
    is_sound(DEFINITION)


def test_without_eigenvalues_there_is_still_theory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gain, "EXACT_TO", 0)
    e = run(DEFINITION, **SMALL)
    assert not any("rho" in c.name for c in e.claims)
    assert "above the transition" in str(e.words)


def test_weights_that_are_used_transposed_have_the_same_eigenvalues_and_a_bias_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that is not at rest changes the slopes: there the exponent is no longer log(g rho)."""
    monkeypatch.setattr(gain, "settled", lambda W, g, rng, below: np.full((1, len(W)), 0.1))
    names = wrong(run(DEFINITION, **SMALL))
    assert sum("/ rho(W)" in name for name in names) == 2 * len(gain.BELOW)


def test_a_gain_that_is_squared_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = gain.exponents
    monkeypatch.setattr(gain, "exponents", lambda W, gains, *rest, **more: right(W, [g * g for g in gains], *rest, **more))
    differs = [c.name for c in run(DEFINITION, **SMALL).claims if c.verdict == "differs"]
    assert differs == [f"exponent at gain {g:g}, extrapolated in 1/H" for g in (2, 3, 5)]


@pytest.mark.thorough
def test_a_cell_of_yours_has_its_exponent_over_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    points = [
        Point(s, gain.point(s))  # type: ignore[arg-type]  # of the settings those that are swept are given one value
        for s in ({**DEFINITION.settings, "H": 16, "units": 16, "steps": 60, "seed": k, "cell": "refimpl:elman"} for k in (0, 1))
    ]
    (own,) = gain._own_curve(points)
    assert own.x == gain.OWN_GAINS and own.y[0] < own.y[1] < 0.2 and own.y[-1] > own.y[0]
    assert "yours" not in gain.point({**DEFINITION.settings, "H": 256, "units": 16, "steps": 20, "seed": 0, "cell": "refimpl:elman"})
    said = gain.point({**points[0].settings, "cell": "examples/wordmodel.py:WordModel"})
    assert "network with its loss inside" in str(said["why"])
