from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.harness.experiments import memory_curse
from bptt.harness.experiments.memory_curse import DEFINITION, Simulated, by_bptt, pair, pair_after, simulate
from tests.harness.experiments.measuring import is_sound, run, wrong

SMALL: dict[str, Any] = {"lam": (0.5, 0.9), "N": 500}


def test_all_claims_hold() -> None:
    e = run(DEFINITION, **SMALL)
    assert wrong(e) == []
    assert "with the cube of the memory" in str(e.words)
    is_sound(DEFINITION)


@settings(deadline=None)
@given(a=st.floats(0, 0.9), b=st.floats(0, 0.9), rho=st.floats(-0.9, 0.9))
def test_two_averages_by_a_double_sum(a: float, b: float, rho: float) -> None:
    k = np.arange(150)
    summed = (1 - a) * (1 - b) * (a**k @ (rho ** np.abs(k[:, None] - k)) @ b**k) if rho != 0 else (1 - a) * (1 - b) * np.sum((a * b) ** k)
    assert pair(a, b, rho) == pytest.approx(summed, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(a=st.floats(0, 0.95), b=st.floats(0, 0.95), rho=st.floats(0, 0.95), T=st.integers(1, 40))
def test_two_averages_after_few_steps(a: float, b: float, rho: float, T: int) -> None:
    k = np.arange(T)
    summed = (1 - a) * (1 - b) * sum(a**i * b**j * rho ** abs(i - j) for i in k.tolist() for j in k.tolist())
    assert pair_after(a, b, rho, T) == pytest.approx(summed, abs=1e-12)


def test_the_sensitivity_is_the_gradient_of_bptt() -> None:
    found = simulate(0.9, 30, 5, np.random.default_rng(0))
    np.testing.assert_allclose(by_bptt(0.9, found.x), found.s[:3], rtol=1e-12)


def test_a_sensitivity_that_sees_the_new_state_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(lam: float, T: int, N: int, rng: np.random.Generator) -> Simulated:
        h, s, kept = np.zeros(N), np.zeros(N), []
        for _ in range(T):
            x = rng.normal(size=N)
            h = lam * h + x
            s = lam * s + h
            kept.append(x[:3])
        return Simulated(h, s, np.array(kept))

    monkeypatch.setattr(memory_curse, "simulate", late)
    assert any("BPTT" in name for name in wrong(run(DEFINITION, **SMALL)))


def test_a_simulation_with_a_wrong_start_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def noisier(lam: float, T: int, N: int, rng: np.random.Generator) -> Simulated:
        found = simulate(lam, T, N, rng)
        return Simulated(found.h + rng.normal(size=N), 1.3 * found.s, found.x)

    monkeypatch.setattr(memory_curse, "simulate", noisier)
    found = wrong(run(DEFINITION, **SMALL))
    assert any("E[h^2] after" in name for name in found)
    assert any("E[(dh/dlam)^2] after" in name for name in found)


def test_a_memory_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="below 1"):
        run(DEFINITION, lam=(1.0,))
