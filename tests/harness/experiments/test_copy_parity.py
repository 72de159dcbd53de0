from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments.copy_parity import DEFINITION, TASKS, gather, played, point
from bptt.harness.experiments.engine.definition import Point
from bptt.harness.experiments.engine.plan import plan
from bptt.harness.experiments.training.sequence_tasks import copying, copying_baseline
from bptt.refimpl import layers
from bptt.refimpl.training import Batch
from tests.harness.experiments.measuring import is_sound, named, run, wrong

SMALL: dict[str, Any] = {"T": 1, "H": 16, "N": 12, "lr": 0.04, "iterations": 200, "every": 50, "seed": (0,)}
ONE: dict[str, Any] = {**DEFINITION.settings, **SMALL, "task": "parity", "cell": "GRU", "seed": 0}


@pytest.mark.slow
def test_all_claims_hold() -> None:
    e = run(DEFINITION, **SMALL)
    assert wrong(e) == []
    assert len(e.tables[0].rows) == 6
    assert named(e, "copying, T = 1, LSTM: loss of the best guess").expected == pytest.approx(copying_baseline(1))
    is_sound(DEFINITION)


def test_a_point_is_a_function_of_its_settings() -> None:
    assert point(ONE) == point(ONE)
    assert point(ONE)["losses"] != point({**ONE, "seed": 1})["losses"]


def test_memory_comes_below_the_loss_without_it() -> None:
    e = run(DEFINITION, **{**SMALL, "iterations": 200, "N": 32, "T": 2}, task=("parity",), cell=("GRU",))
    assert float(str(e.tables[0].rows[0][-1])) < 0.5
    assert "GRU to 0." in str(e.words)


@pytest.mark.parametrize("T", [1, 7, 100])
@pytest.mark.parametrize("task", sorted(TASKS))
def test_the_best_guess_without_memory_costs_what_it_should(task: str, T: int) -> None:
    assert played(TASKS[task], T, 8, np.random.default_rng(0)) == pytest.approx(TASKS[task].baseline(T), abs=1e-14)


def test_an_answer_that_comes_one_step_early_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def early(rng: np.random.Generator, T: int, N: int) -> Batch:
        batch = copying(rng, T, N)
        return Batch(batch.inputs, np.roll(batch.targets, -1, axis=0), fresh=True)

    monkeypatch.setitem(TASKS, "copying", replace(TASKS["copying"], draw=early))
    names = wrong(run(DEFINITION, **SMALL, task=("copying",), cell=("tanh",)))
    assert "copying, T = 1, tanh: loss of the best guess without memory" in names


def test_a_training_that_does_not_move_is_seen() -> None:
    names = wrong(run(DEFINITION, **{**SMALL, "lr": 1e-9}, task=("copying",), cell=("LSTM",)))
    assert names == ["copying, T = 1, LSTM: loss after the training over that without memory, largest of 1 seeds"]


def test_a_gradient_of_a_loss_that_is_summed_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = layers.cross_entropy_backward
    monkeypatch.setattr(layers, "cross_entropy_backward", lambda tape, dlosses: right(tape, np.ones_like(dlosses)))
    names = wrong(run(DEFINITION, **SMALL, task=("parity",), cell=("tanh",)))
    assert "parity, T = 1, tanh: relative error of dL along a random direction" in names


def test_seeds_give_an_interval_and_the_answer_says_where_they_stay() -> None:
    values = {"blind": np.log(2), "derivative": 0.0}
    points = [
        Point({**DEFINITION.settings, "task": "parity", "cell": cell, "seed": seed}, {**values, "losses": [0.7, last + 0.001 * seed]})
        for cell, last in (("GRU", 0.3), ("tanh", 0.69))
        for seed in range(2)
    ]
    e = gather(points)
    assert str(e.words).startswith("below the loss without memory come GRU to 0.43 on parity; 1 of 2 stay at it")
    assert e.tables[0].rows[0][4].low < 0.3005 < e.tables[0].rows[0][4].high  # type: ignore[union-attr]  # an Interval


@pytest.mark.parametrize("task", ["copying", "parity"])
def test_a_cell_of_yours_is_trained_beside_them(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    cell = "examples/numpy_gru.py:GRU"
    (planned,) = plan(["copy_parity"], cells=[cell])
    assert planned.settings["cell"] == (cell, "tanh", "GRU", "LSTM")
    e = run(DEFINITION, cell=(cell,), task=(task,), T=3, H=8, N=8, iterations=40, every=20, seed=(0,))
    assert [c.verdict for c in e.claims] == ["agrees", "not judged"] and e.series[0].name == "GRU"
    assert e.series[0].y[-1] < e.series[0].y[0]
    words = str(run(DEFINITION, cell=("examples/wordmodel.py:WordModel",), task=(task,), seed=(0,)).words)
    assert words.startswith("examples/wordmodel.py:WordModel was not trained: it is a network with its loss inside")
