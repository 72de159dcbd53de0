from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments import flossing
from bptt.harness.experiments.flossing import DEFINITION, long_term, point
from bptt.harness.subject import Array
from tests.harness.experiments.measuring import is_sound, named, run, wrong

SMALL: dict[str, Any] = {"H": 20, "k": 4, "T": 30, "burn_in": 8, "steps": 60, "lr": 3e-3, "target": 0.02, "seed": (0,)}
ONE: dict[str, Any] = {**DEFINITION.settings, **SMALL, "sequences": "one sequence", "seed": 0}


@pytest.mark.thorough
def test_all_claims_hold() -> None:
    e = run(DEFINITION, **SMALL)
    assert wrong(e) == []
    assert named(e, "one sequence: largest mean |LE|").measured < 0.02
    assert "singular value of the long-term Jacobian from 10^" in str(e.words)
    assert len(e.histograms) == 4 and len(e.tables[0].rows) == 2
    for h in e.histograms:
        assert np.sum(np.array(h.density) * np.diff(h.edges)) == pytest.approx(1)
    is_sound(DEFINITION)


def test_a_point_is_a_function_of_its_settings() -> None:
    one = {**ONE, "steps": 3}
    assert point(one) == point(one)
    assert point(one)["sizes"] != point({**one, "seed": 1})["sizes"]


def test_new_sequences_are_new_and_the_measured_ones_were_not_seen() -> None:
    fixed, new = (point({**ONE, "lr": 0.0, "steps": 3, "sequences": s}) for s in ("one sequence", "new sequences"))
    assert len(set(fixed["sizes"])) == 1 and len(set(new["sizes"])) == 3  # type: ignore[arg-type]  # lists
    assert fixed["unseen"] == new["unseen"] == new["size"] != fixed["size"]


def test_the_long_term_jacobian_is_the_product_in_the_order_of_time() -> None:
    rng = np.random.default_rng(0)
    params = {"W_x": rng.normal(size=(1, 5)), "W_h": rng.normal(size=(5, 5)), "b": np.zeros(5)}
    xs, h, product = rng.normal(size=(6, 1)), np.zeros(5), np.eye(5)
    for t, x in enumerate(xs):
        h = np.tanh(x @ params["W_x"] + h @ params["W_h"])
        product = (1 - h * h)[:, None] * params["W_h"].T @ product if t >= 2 else product
    np.testing.assert_allclose(long_term(params, xs, 2), np.linalg.svd(product, compute_uv=False), rtol=1e-10)


def test_a_transposed_gradient_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = flossing.gradient

    def transposed(*of: object) -> dict[str, Array]:
        found = right(*of)  # type: ignore[arg-type]  # what it was called with
        return found | {"W_h": found["W_h"].T.copy()}

    monkeypatch.setattr(flossing, "gradient", transposed)
    names = wrong(run(DEFINITION, **SMALL, sequences=("one sequence",)))
    assert "one sequence: relative error of d(mean LE^2) through QR" in names


def test_jacobians_against_time_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = flossing.cell_jacobians

    def backwards(*of: object) -> Iterator[Array]:
        return iter([J.T for J in right(*of)])  # type: ignore[arg-type]  # what it was called with

    monkeypatch.setattr(flossing, "cell_jacobians", backwards)
    names = wrong(run(DEFINITION, **{**SMALL, "steps": 2}, sequences=("one sequence",)))
    assert "one sequence: exponents against those of the reference cell" in names


def test_no_descent_reaches_no_target() -> None:
    names = wrong(run(DEFINITION, **{**SMALL, "lr": 0.0, "steps": 1}))
    assert sum("largest mean |LE|" in name for name in names) == 2
