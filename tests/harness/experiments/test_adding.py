from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments import adding
from bptt.harness.experiments.adding import DEFINITION, STARTS, drawn, gather, point
from bptt.harness.experiments.engine.definition import Point
from bptt.harness.subject import Array
from bptt.refimpl import layers
from bptt.refimpl.activations import sigmoid
from bptt.refimpl.training import Batch
from tests.harness.experiments.measuring import is_sound, named, run, wrong

SMALL: dict[str, Any] = {"T": 4, "H": 6, "N": 4, "cap": 20, "every": 10, "seed": (0, 1)}
ONE: dict[str, Any] = {**DEFINITION.settings, **SMALL, "start": "GRU", "seed": 0}


@pytest.mark.thorough
def test_all_claims_hold_for_every_start() -> None:
    e = run(DEFINITION, **SMALL)
    assert wrong(e) == []
    assert [row[0] for row in e.tables[0].rows] == list(STARTS)
    assert len([c for c in e.claims if "random direction" in c.name]) == len(STARTS)
    assert named(e, "1/6").measured == pytest.approx(1 / 6, abs=2e-3)
    is_sound(DEFINITION)


def test_a_point_is_a_function_of_its_settings() -> None:
    assert point(ONE) == point(ONE)
    assert point(ONE)["losses"] != point({**ONE, "seed": 1})["losses"]


def test_a_training_stops_where_the_task_is_solved() -> None:
    found: Any = point({**ONE, "start": "IRNN", "T": 4, "H": 20, "N": 20, "lr": 5e-3, "cap": 600, "every": 25})
    assert isinstance(found["solved"], int) and found["solved"] == 25 * len(found["losses"])  # type: ignore[arg-type]  # a list
    assert found["losses"][-1] < 0.02 <= min(found["losses"][:-1])  # type: ignore[index]  # and here


def test_the_starts_are_what_they_say() -> None:
    H, T = 50, 40
    params = {name: drawn(name, np.random.default_rng(0), H, T)[1] for name in STARTS}
    np.testing.assert_array_equal(params["IRNN"]["W_h"], np.eye(H))
    assert not np.any(params["IRNN"]["b"]) and params["IRNN of Le"]["W_x"].std() == pytest.approx(0.001, rel=0.2)
    for b_f in (1, 3):
        np.testing.assert_array_equal(params[f"LSTM b_f = {b_f}"]["b"].reshape(4, H), np.outer([0, b_f, 0, 0], np.ones(H)))
    i, f, g, o = params["LSTM chrono"]["b"].reshape(4, H)
    np.testing.assert_allclose(sigmoid(i) + sigmoid(f), 1, rtol=1e-15)
    assert np.all((np.exp(f) >= 1) & (np.exp(f) <= T - 1)) and np.exp(f).max() > T / 2
    assert not np.any(g) and not np.any(o)


def test_a_target_that_forgets_a_mark_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = adding.adding

    def first_only(rng: np.random.Generator, T: int, N: int) -> Batch:
        batch = right(rng, T, N)
        values, marks = batch.inputs[: T // 2, :, 0], batch.inputs[: T // 2, :, 1]
        return Batch(batch.inputs, (values * marks).sum(axis=0)[:, None], fresh=True)

    monkeypatch.setattr(adding, "adding", first_only)
    assert wrong(run(DEFINITION, **SMALL, start=("tanh",))) == ["squared error of the constant 1: 1/6"]


def test_a_gradient_that_is_half_of_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = layers.squared_error_backward
    monkeypatch.setattr(layers, "squared_error_backward", lambda *of: right(*of) / 2)
    assert wrong(run(DEFINITION, **SMALL, start=("LSTM",))) == ["LSTM: relative error of dL along a random direction"]


@pytest.mark.parametrize(
    ("T", "solved", "lowest", "verdicts"),
    [
        (100, 700, 0.16, {"tanh": "agrees", "IRNN": "agrees"}),
        (100, 1600, 0.14, {"tanh": "differs", "IRNN": "differs"}),
        (100, None, 0.16, {"tanh": "agrees", "IRNN": "differs"}),
        (50, None, 0.01, {}),
    ],
)
def test_what_is_known_of_a_hundred_steps_is_judged_there(T: int, solved: int | None, lowest: float, verdicts: dict[str, str]) -> None:
    values: dict[str, Any] = {"constant": 1 / 6, "derivative": 0.0, "losses": [0.05] + [lowest] * 10, "solved": solved}
    points = [Point({**DEFINITION.settings, "T": T, "start": start, "seed": 0}, dict(values)) for start in ("tanh", "IRNN")]
    claims = {c.name.partition(":")[0]: c.verdict for c in gather(points).claims if "lowest" in c.name or "slowest" in c.name}
    assert claims == verdicts


def test_the_answer_names_who_was_first_and_who_never() -> None:
    values: dict[str, Array | float | list[float]] = {"constant": 1 / 6, "derivative": 0.0, "losses": [0.1]}
    when = {"GRU": (300, 500, None), "IRNN": (100, 200, 300), "tanh": (None, 400, None)}
    points = [
        Point({**DEFINITION.settings, "start": start, "seed": seed}, {**values, "solved": k})  # type: ignore[dict-item]  # numbers
        for start, ks in when.items()
        for seed, k in enumerate(ks)
    ]
    words = str(gather(points).words)
    assert "IRNN 200, GRU 500" in words and words.endswith("in 1,000: tanh")


@pytest.mark.thorough
@pytest.mark.parametrize("cell", ["refimpl:gru_reset_after", "examples/numpy_gru.py:GRU"])
def test_a_cell_of_yours_is_trained_beside_them(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    e = run(DEFINITION, **{**SMALL, "start": ("GRU", "yours"), "cell": cell, "H": 20, "N": 20, "lr": 5e-3, "cap": 500, "every": 25})
    assert wrong(e) == []
    name = cell.rpartition(":")[2]
    rows = {row[0]: row for row in e.tables[0].rows}
    assert rows.keys() == {"GRU", name} and rows[name][1] == rows["GRU"][1] == "2 of 2"


def test_a_cell_that_cannot_be_trained_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    e = run(DEFINITION, **{**SMALL, "start": ("GRU", "yours"), "cell": "examples/wordmodel.py:WordModel"})
    assert "your cell was not trained: it is a network with its loss inside" in str(e.words)
    assert [row[0] for row in e.tables[0].rows] == ["GRU"]
