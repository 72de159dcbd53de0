from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.harness.experiments import bounds
from bptt.harness.experiments.bounds import DEFINITION, product_norms
from tests.harness.experiments.measuring import is_sound, run, wrong

SMALL: dict[str, Any] = {"gain": (0.6, 1.5), "seed": (0,), "H": 10, "lag": 12, "steps": 100, "draws": 10}


def test_all_claims_hold() -> None:
    e = run(DEFINITION, **SMALL)
    assert wrong(e) == []
    assert "holds everywhere" in str(e.words)
    is_sound(DEFINITION)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), H=st.integers(1, 8), gain=st.floats(0.2, 3), sigma=st.sampled_from([0.0, 0.1, 1.0]))
def test_no_product_is_larger_than_its_bounds(seed: int, H: int, gain: float, sigma: float) -> None:
    rng = np.random.default_rng(seed)
    W = gain / np.sqrt(H) * rng.normal(size=(H, H))
    actual, steps = product_norms(W, sigma, 8, rng)
    assert np.all(actual <= steps + 1e-12)
    assert np.all(steps <= np.arange(9) * np.log(np.linalg.norm(W, 2)) + 1e-12)


def test_one_step_is_the_norm_of_its_jacobian() -> None:
    W = np.array([[0.5, 0.2], [-0.3, 0.4]])
    actual, steps = product_norms(W, 0.0, 1, np.random.default_rng(0))
    assert actual[1] == steps[1] == pytest.approx(np.log(np.linalg.norm(W, 2)), abs=1e-12)  # the state has died out: phi' = 1


def test_slopes_of_the_other_side_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def inverted(W: np.ndarray, sigma: float, lag: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        actual, steps = product_norms(W, sigma, lag, rng)
        return -actual, steps

    monkeypatch.setattr(bounds, "product_norms", inverted)
    assert any("||product||" in name for name in wrong(run(DEFINITION, **SMALL | {"gain": (0.3,)})))
