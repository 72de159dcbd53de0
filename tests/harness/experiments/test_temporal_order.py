from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments import temporal_order
from bptt.harness.experiments.engine.definition import Point, Settings
from bptt.harness.experiments.temporal_order import DEFINITION, JUDGED, VARIANTS, gather, point
from bptt.harness.experiments.theory.omega import printed
from bptt.harness.subject import Array
from bptt.reports.records import Experiment
from tests.harness.experiments.measuring import is_sound, named, run

SMALL: dict[str, Any] = {"T_min": 10, "T_max": 12, "H": 20, "N": 5, "cap": 40, "check": 20, "seed": (0,)}
ONE: dict[str, Any] = {**DEFINITION.settings, **SMALL, "variant": "SGD-CR", "seed": 0}


def wrong(e: Experiment) -> list[str]:
    """Names of the claims that are judged and do not hold."""
    return [c.name for c in e.claims if c.verdict == "differs"]


def test_all_claims_hold() -> None:
    e = run(DEFINITION, **SMALL)
    assert wrong(e) == []
    assert sum(c.verdict == "agrees" for c in e.claims) == 3
    assert named(e, "share that SGD-CR").verdict == "not judged"
    assert "SGD-C solves 0 of 1" in str(e.words)
    assert [s.name for s in e.series] == list(VARIANTS) and len(e.series[0].y) == 2
    is_sound(DEFINITION)


def test_a_point_is_a_function_of_its_settings() -> None:
    assert point(ONE) == point(ONE)
    assert point(ONE)["losses"] != point({**ONE, "seed": 1})["losses"]


def test_an_easy_task_is_learnt_and_training_stops_there() -> None:
    easy = {**ONE, "H": 50, "N": 20, "cap": 2000, "check": 100, "T_max": 13}
    found = point(easy)
    assert isinstance(found["solved"], int) and found["solved"] < 2000
    assert len(found["losses"]) == found["solved"] // 100  # type: ignore[arg-type]  # a list
    assert float(str(found["errors"])) < 1e-3


def test_trainings_of_one_seed_differ_in_the_update_alone() -> None:
    """With a norm that nothing reaches, clipping changes nothing; and alpha = 0 takes Omega out."""
    plain, clipped, off = ({**ONE, "variant": v, "theta": 1e6, "alpha": 0.0} for v in VARIANTS)
    assert point(plain)["losses"] == point(clipped)["losses"] == point(off)["losses"]
    assert point({**off, "alpha": 0.5})["losses"] != point(off)["losses"]
    for either in (clipped, off):
        assert point({**either, "theta": 1e-3})["losses"] != point(clipped)["losses"]


def test_a_training_that_leaves_the_numbers_ends() -> None:
    found = point({**ONE, "variant": "SGD", "lr": 1e39})
    assert found["finite"] == 0 and found["solved"] is None and found["losses"] == []
    e = gather([Point({**ONE, "variant": "SGD"}, found)])
    assert wrong(e) == []
    assert e.tables[0].rows[0][-1] == "none finite"


def test_omega_as_printed_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporal_order, "coded", printed)
    assert wrong(run(DEFINITION, **SMALL)) == ["largest relative error of dOmega/dW_h"]


def test_a_transposed_gradient_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = temporal_order.backward

    def transposed(*of: Array) -> object:
        value, grads, d, u = right(*of)  # type: ignore[arg-type]  # what it was called with
        return value, grads | {"W_h": grads["W_h"].T.copy()}, d, u

    monkeypatch.setattr(temporal_order, "backward", transposed)
    assert wrong(run(DEFINITION, **SMALL)) == ["largest relative error of dL along a random direction"]


def test_labels_that_say_more_than_the_order_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of a network that has learnt something are not equal: the loss is not ln 4."""
    right = temporal_order.loss
    monkeypatch.setattr(temporal_order, "loss", lambda z, targets: right(z[:, :2], targets % 2))
    assert "loss of equal scores: ln 4" in wrong(run(DEFINITION, **SMALL))


@pytest.mark.parametrize(
    ("solved", "names"),
    [
        ((0, 4, 10), []),
        ((1, 1, 9), []),
        ((2, 4, 10), ["share that SGD solves"]),
        ((0, 4, 8), ["share that SGD-CR solves"]),
        ((1, 0, 9), ["share that SGD-C solves, over SGD"]),
    ],
)
def test_the_published_table_is_judged(solved: tuple[int, ...], names: list[str]) -> None:
    of_step = {"uniform": math.log(4), "derivative": 0.0, "derivative of omega": 0.0}
    values = {"losses": [1.4], "errors": 0.5, "rho": 1.0, "finite": 1, **of_step}
    points = [
        Point({**DEFINITION.settings, **JUDGED, "variant": v, "seed": seed}, {**values, "solved": 500 if seed < k else None})
        for v, k in zip(VARIANTS, solved, strict=True)
        for seed in range(10)
    ]
    assert wrong(gather(points)) == names
    few = [p for p in points if p.settings["seed"] in range(9)]
    assert {c.verdict for c in gather(few).claims if "share" in c.name} == {"not judged"}


def test_errors_are_counted_in_groups_of_one_length() -> None:
    params = {"W_x": np.zeros((6, 3)), "W_h": np.zeros((3, 3)), "b": np.zeros(3), "W_y": np.zeros((3, 4)), "b_y": np.array([1.0, 0, 0, 0])}
    settings: Settings = {"T_min": 10, "T_max": 20}
    whole = temporal_order.errors(params, settings, np.random.default_rng(0))
    first = temporal_order.errors(params, settings, np.random.default_rng(0), until_one=True)
    assert 0.7 * 2500 < whole < 0.8 * 2500
    assert 60 < first < 90
