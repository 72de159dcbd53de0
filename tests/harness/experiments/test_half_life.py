from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments import half_life
from bptt.harness.experiments.half_life import DEFINITION, _linear
from tests.harness.experiments.measuring import is_sound, named, run, wrong

SMALL: dict[str, Any] = {"b": (0.0, 3.0), "gain": (0.0, 1.0), "H": 6, "N": 2, "T": 40, "lag": 20, "far": 2000}


def test_the_half_life_of_a_bias() -> None:
    known = {0: 1.0000, 1: 2.2127, 2: 5.4609, 3: 14.2660, 5: 103.2183}
    assert {b: round(half_life.half_life(float(b)), 4) for b in known} == known


def test_all_claims_hold_at_any_size() -> None:
    e = run(DEFINITION, **SMALL)
    assert wrong(e) == []
    assert "1.0 steps at b = 0" in str(e.words)
    assert named(e, "lstm, b = 3: half-life").measured == pytest.approx(14.2660, abs=1e-4)
    is_sound(DEFINITION)


@pytest.mark.thorough
def test_a_hundred_thousand_steps_neither_under_nor_overflow() -> None:
    logs = _linear(0.0, 32, 100_000, np.random.default_rng(0))["log norm"]
    assert isinstance(logs, list)
    assert logs[-1] == pytest.approx(-69312.985, abs=1e-3)


def test_the_same_settings_give_the_same_numbers() -> None:
    settings = {**DEFINITION.settings, **SMALL, "kind": "lstm", "b": 1.0, "gain": 1.0}
    assert half_life.point(settings) == half_life.point(settings)


def test_a_bias_on_the_wrong_gate_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(half_life.GATE, "lstm", "i")
    found = wrong(run(DEFINITION, **SMALL | {"kind": ("lstm",)}))
    assert any("b = 3: half-life" in name for name in found)


def test_a_gru_that_closes_where_it_should_open_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(half_life.GATE, "gru_reset_after", "r")
    assert any("half-life" in name for name in wrong(run(DEFINITION, **SMALL | {"kind": ("gru_reset_after",)})))
