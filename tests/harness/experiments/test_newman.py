from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments import newman
from bptt.harness.experiments.engine.estimates import chi_squared_tail
from bptt.harness.experiments.newman import DEFINITION
from bptt.harness.experiments.theory.lyapunov import Spectrum
from tests.harness.experiments.measuring import is_sound, named, run, wrong

SMALL: dict[str, Any] = {"H": 16, "steps": 800}


def test_all_exponents_are_newmans() -> None:
    e = run(DEFINITION, **SMALL)
    assert wrong(e) == []
    assert named(e, "furthest").measured < 3.5
    is_sound(DEFINITION)


@pytest.mark.thorough
def test_chi_squared_over_many_seeds_is_what_it_should_be() -> None:
    """Neither too large nor too small: the standard errors are exact."""
    e = run(DEFINITION, **SMALL | {"H": 8, "steps": 200, "seed": tuple(range(25))})
    tails = [c.measured for c in e.claims if "probability" in c.name]
    statistic = -2 * float(np.sum(np.log(tails)))  # Fisher: chi-squared of 2 degrees each, where the tails are uniform
    assert 1e-3 < chi_squared_tail(statistic, 50) < 1 - 1e-3


@pytest.mark.thorough
@pytest.mark.parametrize("plant", ["transposed", "/ H", "a gain of 1.02"])
def test_wrong_matrices_are_seen(monkeypatch: pytest.MonkeyPatch, plant: str) -> None:
    right = newman.gaussian

    def drawn(rng, H, gain):  # type: ignore[no-untyped-def]
        W = right(rng, H, gain)
        return {"transposed": W + W.T, "/ H": W / np.sqrt(H), "a gain of 1.02": 1.02 * W}[plant]

    monkeypatch.setattr(newman, "gaussian", drawn)
    assert wrong(run(DEFINITION, H=32, steps=2000, seed=0))


def test_an_engine_that_forgets_to_orthogonalise_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lengths of the columns in place of R's diagonal."""

    def lengths(jacobians, Q, batches):  # type: ignore[no-untyped-def]
        logs = []
        for J in jacobians:
            M = J @ Q
            logs.append(np.log(np.linalg.norm(M, axis=0)))
            Q = np.linalg.qr(M)[0]
        return Spectrum(np.mean(logs, axis=0), np.std(logs, axis=0) / len(logs) ** 0.5, np.zeros(Q.shape[1]), len(logs))

    monkeypatch.setattr(newman, "spectrum", lengths)
    assert any("furthest" in name for name in wrong(run(DEFINITION, **SMALL)))
