from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments.engine.definition import Point
from bptt.harness.experiments.sine import DEFINITION, MODELS, ROLLED, series
from bptt.refimpl.models.regressor import Regressor
from bptt.reports.records import Experiment
from tests.harness.experiments.measuring import is_sound, named, run, wrong

TINY: dict[str, Any] = {"values": 300, "T": 10, "N": 64, "H": 8, "lr": 0.02, "epochs": 10, "torch_epochs": 3, "dtype": "float64"}


def tiny(**more: Any) -> Experiment:
    return run(DEFINITION, **{**TINY, **more})


def test_all_claims_hold_and_torch_does_the_same() -> None:
    pytest.importorskip("torch")
    e = tiny()
    assert wrong(e) == []
    assert sum("from torch, squared error of 3 epochs" in c.name for c in e.claims) == len(MODELS)
    rolled = [s for s in e.series if s.source == "the sine"]
    assert [len(s.y) for s in rolled] == [ROLLED] * len(MODELS)
    np.testing.assert_allclose(rolled[0].expected, np.sin(np.linspace(-100, 100, 300))[-ROLLED:])
    is_sound(DEFINITION)


def test_a_linear_recurrence_follows_a_sine_that_is_sampled_often() -> None:
    settings = {**DEFINITION.settings, **TINY, "model": "minimal", "epochs": 60, "beside": "nothing", "lr": 0.01}
    values = DEFINITION.point(settings)
    assert values["losses"][-1] < 1e-5  # type: ignore[index, operator]
    assert values == DEFINITION.point(settings)


def test_a_model_of_the_sources_size_is_held_to_the_bound() -> None:
    settings = {**DEFINITION.settings, "model": "lstm"}
    values = {"losses": [0.5, 1e-4], "variance": 0.5, "rolled": [0.0] * ROLLED, "rmse": 0.06, "next": 0.01}
    assert wrong(DEFINITION.gather([Point(settings, values)])) == [  # type: ignore[arg-type]
        f"lstm, 128 units: error of {ROLLED} values rolled out, root mean square"
    ]


def test_a_wrong_gradient_is_seen_beside_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    right = Regressor.loss

    def doubled(*args: Any, **more: Any) -> Any:
        loss, dparams, final = right(*args, **more)
        return loss, {**dparams, "W_h": dparams["W_h"] + dparams["W_h"].mean()}, final

    monkeypatch.setattr(Regressor, "loss", doubled)
    assert len([name for name in wrong(tiny()) if "from torch" in name]) == len(MODELS)


def test_what_is_rolled_out_was_held_back() -> None:
    settings: Any = DEFINITION.settings
    assert series(settings).shape == (1000,)
    assert named(tiny(beside="nothing", model=("minimal",)), "error of the next value").expected == pytest.approx(2**-0.5, rel=0.02)
