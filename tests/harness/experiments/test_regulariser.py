from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments import regulariser
from bptt.harness.experiments.regulariser import DEFINITION, errors, network
from bptt.harness.experiments.theory.omega import printed
from bptt.refimpl.cells import CELLS
from bptt.refimpl.unroll import backward, forward
from tests.harness.experiments.measuring import is_sound, run, wrong

SMALL: dict[str, Any] = {"H": 8, "T": 6, "N": 3, "steps": 8}


def test_all_claims_hold() -> None:
    e = run(DEFINITION, **SMALL)
    assert wrong(e) == []
    assert "times Omega as printed" in str(e.words)
    is_sound(DEFINITION)


def test_the_printed_form_in_place_of_the_coded_one_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regulariser, "coded", printed)
    monkeypatch.setitem(regulariser.FORMS, "coded", printed)
    assert any("not of (r - 1)^2" in name for name in wrong(run(DEFINITION, **SMALL)))


def test_a_wrong_derivative_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def transposed(W_h: np.ndarray, d: np.ndarray, slopes: np.ndarray) -> object:
        found = printed(W_h, d, slopes)
        return type(found)(found.value, found.gradient.T, found.ratios, found.counted)

    monkeypatch.setitem(regulariser.FORMS, "printed", transposed)
    assert any("against a complex step" in name for name in wrong(run(DEFINITION, **SMALL)))


def test_errors_are_those_of_bptt() -> None:
    rng = np.random.default_rng(0)
    params, xs = network(1.2, 5, 7, 2, rng)
    v = rng.normal(size=(2, 5))
    d, _ = errors(params, xs, v)
    cell = CELLS["elman"]
    ys, _, tapes = forward(cell, params, xs, {"h": np.zeros((2, 5))})
    for t in range(7):  # dL/dh_t is the initial state's gradient of what comes after
        _, _, dstate = backward(cell, params, xs[t + 1 :], tapes[t + 1 :], np.zeros_like(ys[t + 1 :]), {"h": v})
        np.testing.assert_allclose(d[t], dstate["h"], atol=1e-14)
