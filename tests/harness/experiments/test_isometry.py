from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments import isometry
from bptt.harness.experiments.isometry import DEFINITION, spread, spread_at
from bptt.harness.experiments.theory.random_matrices import gaussian
from tests.harness.experiments.measuring import is_sound, named, run, wrong

SMALL: dict[str, Any] = {"H": 128, "T": 5, "settle": 60, "windows": 6, "drive": ("linear", "strong"), "seed": tuple(range(12))}


def test_the_law_of_the_spread() -> None:
    known = {("orthogonal", "weak"): 0.126, ("orthogonal", "middle"): 1.401, ("orthogonal", "strong"): 7.103}
    known |= {("Gaussian", "weak"): 5.126, ("Gaussian", "middle"): 6.401, ("Gaussian", "strong"): 12.10}
    assert {group: pytest.approx(spread(*group, 5), abs=5e-3) for group in known} == known


def test_the_law_at_finite_size_is_exact_for_new_matrices() -> None:
    """P <- D W P with diagonal slopes of two values: means of tr(P P^T)^2 and of its square's trace over many draws."""
    rng, H, t, draws = np.random.default_rng(0), 6, 3, 40_000
    P = np.tile(np.eye(H), (draws, 1, 1))
    for _ in range(t):
        P = gaussian(rng, H, count=(draws,)) @ P
    B = P @ P.swapaxes(1, 2)
    ratio = np.mean(np.sum(B * B, axis=(1, 2))) / H / (np.mean(np.trace(B, axis1=1, axis2=2) ** 2) / H**2)
    assert spread_at(H, "Gaussian", "linear", t) == pytest.approx(ratio - 1, rel=0.05)
    assert spread_at(10**7, "Gaussian", "strong", 5) == pytest.approx(spread("Gaussian", "strong", 5), rel=1e-5)
    assert spread_at(4, "orthogonal", "strong", 5) == spread("orthogonal", "strong", 5)


def test_orthogonal_weights_are_an_isometry_and_tanh_undoes_it() -> None:
    e = run(DEFINITION, **SMALL)
    assert wrong(e) == []
    assert named(e, "linear network, orthogonal W: condition").measured == pytest.approx(1, abs=1e-12)
    is_sound(DEFINITION)
    for h in e.histograms:
        assert np.sum(np.array(h.density) * np.diff(h.edges)) == pytest.approx(1, abs=0.05)


def test_weights_that_are_not_orthogonal_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(isometry.WEIGHTS, "orthogonal", gaussian)
    names = wrong(run(DEFINITION, **SMALL))
    assert sum("orthogonal" in name for name in names) == 3


def test_slopes_at_the_wrong_place_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """tanh' at the activation: 1 - tanh(h)^2 in place of 1 - h^2."""
    right = isometry._trajectory
    monkeypatch.setattr(isometry, "_trajectory", lambda *of: (1 - np.tanh(np.sqrt(1 - d)) ** 2 for d in right(*of)))
    assert sum("strong" in name for name in wrong(run(DEFINITION, **SMALL))) == 2
