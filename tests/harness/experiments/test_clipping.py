from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bptt.harness.experiments import clipping
from bptt.harness.experiments.clipping import DEFINITION, cliff, pascanu_rule, slope_by_bptt, torch_rule
from bptt.harness.subject import Array
from tests.harness.experiments.measuring import is_sound, named, run, wrong

SMALL: dict[str, Any] = {"n": 200}


def test_all_claims_hold() -> None:
    e = run(DEFINITION, **SMALL)
    assert wrong(e) == []
    assert "keeps the direction" in str(e.words)
    is_sound(DEFINITION)


def test_torchs_small_number_is_told_from_none() -> None:
    e = run(DEFINITION, **SMALL, theta=(0.5,))
    exact, torchs = (named(e, f"{rule}, theta = 0.5: norm over theta") for rule in ("global norm", "torch"))
    assert exact.measured == pytest.approx(1, abs=1e-15)
    assert 1e-10 < 1 - torchs.measured < 1e-6


@pytest.mark.parametrize("entries", [[3.0, -4.0], [0.1, 0.2], [0.4, math.inf], [0.4, -math.inf], [0.4, math.nan], [0.0, 0.0]])
def test_torchs_rule_is_torchs(entries: list[float]) -> None:
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    parameter.grad = torch.tensor(entries, dtype=torch.float64)
    torch.nn.utils.clip_grad_norm_([parameter], 1.0)
    np.testing.assert_array_equal(torch_rule(np.array(entries), 1.0), parameter.grad.numpy())


def test_one_infinity_makes_a_nan_and_zeros() -> None:
    np.testing.assert_array_equal(torch_rule(np.array([0.4, np.inf]), 1.0), [0, np.nan])


@settings(deadline=None)
@given(g=arrays(float, 4, elements=st.floats(-1e3, 1e3)), theta=st.floats(0.1, 100))
def test_pascanus_rule_is_the_global_norms_where_it_can_be(g: Array, theta: float) -> None:
    found = pascanu_rule({"W_h": g[:3], "b": g[3:]}, np.ones(3), theta)
    norm = float(np.linalg.norm(g))
    both = np.concatenate([found["W_h"], found["b"]])
    np.testing.assert_allclose(both, g * min(1.0, theta / norm) if norm else g, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e11, 1e200])
def test_pascanus_rule_shrinks_the_weights_where_it_cannot(bad: float) -> None:
    W_h = np.arange(4.0).reshape(2, 2)
    found = pascanu_rule({"W_h": np.ones((2, 2)), "b": np.array([bad, 1.0])}, W_h, 1.0)
    np.testing.assert_array_equal(found["W_h"], 0.02 * W_h)
    np.testing.assert_array_equal(found["b"], [0, 0])


@settings(deadline=None)
@given(w=st.floats(3.5, 4.5))
def test_the_cliffs_slope_is_its_derivative(w: float) -> None:
    at = np.array([w - 1e-6, w, w + 1e-6])
    loss, slope = cliff(at, -2.4)
    assert slope[1] == pytest.approx((loss[2] - loss[0]) / 2e-6, rel=1e-3, abs=1e-6)
    assert slope_by_bptt(w, -2.4) == pytest.approx(slope[1], rel=1e-9, abs=1e-12)


def test_a_rule_with_the_squared_norm_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def squared(grads: dict[str, Array], theta: float) -> tuple[dict[str, Array], float]:
        norm = float(np.linalg.norm(grads["g"] if "g" in grads else grads["w"]))
        return {name: g * min(1.0, theta / norm**2) for name, g in grads.items()}, norm

    monkeypatch.setitem(clipping.RULES, "global norm", squared)
    assert any("norm over theta" in name for name in wrong(run(DEFINITION, **SMALL)))


def test_clipping_each_entry_where_the_norm_is_meant_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(clipping.RULES, "torch", clipping.RULES["elementwise"])
    assert any(name.startswith("torch") and "direction is kept" in name for name in wrong(run(DEFINITION, **SMALL)))


def test_the_gradient_of_a_cell_of_yours_is_clipped() -> None:
    e = run(DEFINITION, cell="refimpl:lstm", theta=(0.01, 1.0))
    assert wrong(e) == [] and e.tables[0].name == "clipping the gradient of lstm"
