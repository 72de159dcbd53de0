from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.harness.experiments import chrono
from bptt.harness.experiments.chrono import DEFINITION, closed_form, mean_power
from tests.harness.experiments.measuring import is_sound, named, run, wrong

SMALL: dict[str, Any] = {"T_max": (20, 100), "draws": 20_000, "H": 8}


@pytest.mark.parametrize(("t", "known"), [(1, 0.9601), (10, 0.7326), (50, 0.3302), (100, 0.1497), (300, 0.0106)])
def test_the_mean_of_a_power_of_the_forget_gate(t: int, known: float) -> None:
    assert mean_power(100, t) == pytest.approx(known, abs=1e-4)


@settings(deadline=None)
@given(T_max=st.integers(3, 2000), t=st.integers(0, 4))
def test_the_integral_is_its_closed_form(T_max: int, t: int) -> None:
    assert mean_power(T_max, t) == pytest.approx(closed_form(T_max, t), abs=1e-12)


@settings(deadline=None)
@given(T_max=st.integers(3, 500), t=st.integers(0, 400))
def test_more_nodes_change_nothing(T_max: int, t: int) -> None:
    assert mean_power(T_max, t) == pytest.approx(mean_power(T_max, t, nodes=80), rel=1e-10)


def test_all_claims_hold() -> None:
    e = run(DEFINITION, **SMALL)
    assert wrong(e) == []
    assert "27 steps for T_max = 100" in str(e.words)
    is_sound(DEFINITION)


def test_a_range_that_starts_at_zero_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def from_zero(rng: np.random.Generator, T_max: int, count: int) -> np.ndarray:
        u = rng.uniform(0, T_max - 1, count)
        return np.asarray(u / (1 + u))

    monkeypatch.setattr(chrono, "forget_gates", from_zero)
    assert any("mean of f^t" in name for name in wrong(run(DEFINITION, **SMALL)))


@pytest.mark.parametrize("cell", ["refimpl:lstm", "refimpl:gru_reset_after", "examples/numpy_gru.py:GRU"])
def test_the_memory_of_a_cell_of_yours_fades_by_its_own_gates(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    e = run(DEFINITION, cell=cell, T_max=(20,), H=8, draws=2000)
    name = cell.rpartition(":")[2]
    assert wrong(e) == [] and named(e, f"{name}: largest relative error").measured < 1e-11
    assert [s.name for s in e.series] == ["chrono", "b_f = 1", name]


def test_a_cell_without_a_gate_that_keeps_is_said() -> None:
    e = run(DEFINITION, cell="refimpl:elman", T_max=(20,), H=8, draws=2000)
    assert "your cell: no gate is known" in str(e.words) and len(e.series) == 2
