from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments import moments
from bptt.harness.experiments.moments import DEFINITION
from tests.harness.experiments.measuring import is_sound, named, run, wrong

SMALL: dict[str, Any] = {"H": (3, 8), "entries": 200_000, "seed": (0, 1)}


def test_every_exact_moment_holds() -> None:
    e = run(DEFINITION, **SMALL)
    assert wrong(e) == []
    assert named(e, "H = 3, one real W: E ||W^2 v||^2").measured == pytest.approx(1.2222, abs=0.03)
    is_sound(DEFINITION)


def test_what_rare_draws_decide_is_not_judged() -> None:
    names = [c.name for c in run(DEFINITION, **SMALL).claims]
    assert "H = 8, a new W each step: E ||v_4||^2 = g^8" in names
    assert not any("H = 3" in name and "||v_12||" in name for name in names)


def test_skewness_and_error_of_the_variance_are_those_of_chi_squared() -> None:
    """||v_1||^2 is chi-squared of H degrees over H: skewness sqrt(8/H), kurtosis 3 + 12/H."""
    assert moments._skewness(1, 5) == pytest.approx((8 / 5) ** 0.5)
    assert moments._error_of_variance(1, 5) == pytest.approx((2 + 12 / 5) ** 0.5)


@pytest.mark.parametrize("factor", ["sqrt(H)", "uniform"])
def test_weights_of_the_wrong_law_are_seen(monkeypatch: pytest.MonkeyPatch, factor: str) -> None:
    """A scale of 1/(H+1) in place of 1/H; and uniform entries of the right variance, whose fourth moment is smaller."""
    right = moments.gaussian

    def wrong_law(rng, H, gain=1.0, count=()):  # type: ignore[no-untyped-def]
        if factor == "uniform":
            return rng.uniform(-1, 1, size=(*count, H, H)) * np.sqrt(3 / H)
        return right(rng, H, gain, count) * np.sqrt(H / (H + 1))

    monkeypatch.setattr(moments, "gaussian", wrong_law)
    names = wrong(run(DEFINITION, **SMALL))
    assert any("relative variance" in name for name in names)
    assert any("= g^2" in name for name in names) == (factor != "uniform")


def test_one_matrix_taken_for_many_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "tied_square", lambda H: 1.0)
    assert wrong(run(DEFINITION, **SMALL | {"H": (3, 8)})) == ["H = 3, one real W: E ||W^2 v||^2"]
