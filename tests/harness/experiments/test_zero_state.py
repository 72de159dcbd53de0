from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.harness.experiments import zero_state
from bptt.harness.experiments.zero_state import DEFINITION, critical_gain, keep_and_scale
from tests.harness.experiments.measuring import is_sound, named, run, wrong

SMALL: dict[str, Any] = {"H": 12, "steps": 200, "bias": (0.0, 1.0), "seed": (0,)}


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.floats(0.01, 0.99), st.floats(0.01, 1.0), st.integers(0, 2**32 - 1))
def test_at_the_critical_gain_the_largest_eigenvalue_has_modulus_one(H: int, keep: float, scale: float, seed: int) -> None:
    values = np.linalg.eigvals(np.random.default_rng(seed).normal(size=(H, H)))
    g = critical_gain(values, keep, scale)
    assert np.max(np.abs(keep + scale * g * values)) == pytest.approx(1, abs=1e-9)
    assert np.max(np.abs(keep + 0.99 * scale * g * values)) < 1


def test_critical_gains_of_large_networks() -> None:
    """2 for both GRUs; 4 (1 - sigmoid(b_f)) for the LSTM."""
    for name, bias, known in (("gru_reset_after", 1.0, 2), ("lstm", 0.0, 2.0), ("lstm", 1.0, 1.0758), ("lstm", 3.0, 0.1897)):
        keep, scale = keep_and_scale(name, bias)
        assert (1 - keep) / scale == pytest.approx(known, abs=5e-5)


@pytest.mark.thorough
def test_measured_gains_are_the_exact_ones() -> None:
    e = run(DEFINITION, **SMALL)
    assert wrong(e) == []
    assert named(e, "lstm, b_f = 1, seed 0: exponents that are -inf").measured == 12
    assert len(e.series) == 3
    is_sound(DEFINITION)


@pytest.mark.thorough
def test_an_eigenvalue_that_is_real_takes_one_direction() -> None:
    e = run(DEFINITION, **SMALL | {"H": 1, "bias": (1.0,), "seed": tuple(range(4)), "cell_name": ("lstm",)})
    assert wrong(e) == []


@pytest.mark.parametrize("plant", ["missing 1 - z", "bias on the wrong gate", "h alone"])
def test_a_wrong_cell_is_seen(monkeypatch: pytest.MonkeyPatch, plant: str) -> None:
    right, cells = zero_state.cell_jacobians, ("gru_reset_after",)
    if plant == "missing 1 - z":
        monkeypatch.setattr(zero_state, "keep_and_scale", lambda name, bias: (1 / (1 + math.exp(-bias)), 0.5))
    if plant == "bias on the wrong gate":
        monkeypatch.setitem(zero_state.KEEPS, "gru_reset_after", "r")
    if plant == "h alone":
        cells = ("lstm",)
        monkeypatch.setattr(zero_state, "cell_jacobians", lambda *of: ([[1.0, 0.0], [0.0, 1.0]] * J for J in right(*of)))
    replaced = SMALL | {"cell_name": cells, "bias": (1.0,), "seed": (0,), "H": 1 if plant == "h alone" else 12}
    try:
        assert any("critical gain" in name for name in wrong(run(DEFINITION, **replaced)))
    except ValueError as error:  # the zero is not between 0.9 and 1.1 of where it should be
        assert "wanted below and above zero" in str(error)
