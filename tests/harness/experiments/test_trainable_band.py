from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments import trainable_band
from bptt.harness.experiments.engine.plan import plan
from bptt.harness.experiments.trainable_band import DEFINITION, crossing, width
from tests.harness.experiments.measuring import is_sound, named, run, wrong

SMALL: dict[str, Any] = {"variant": ("RNN", "LSTM, b_f = 1"), "H": 64, "N": 2, "settle": 30, "gains": 15, "seed": (0, 1)}


def test_the_width_of_a_straight_line_is_six_decades_over_its_slope() -> None:
    gains = np.geomspace(0.1, 10, 30)
    assert width(gains, 5 * np.log(gains)) == pytest.approx(6 / 5)
    assert width(gains, 0 * gains) == pytest.approx(math.log(100))
    assert width(gains, 0 * gains + 4) == 0
    assert width(gains, -5 * np.log(gains)) == pytest.approx(6 / 5)


def test_a_band_in_two_pieces_counts_both() -> None:
    assert width(np.exp([0.0, 1.0, 2.0]), [-6.0, 6.0, -6.0]) == pytest.approx(1.0)


def test_where_the_norm_is_one() -> None:
    assert crossing(np.exp([0.0, 1.0, 2.0]), [-3.0, 1.0, 2.0]) == pytest.approx(math.exp(0.75))
    assert crossing([1.0, 2.0], [-3.0, -1.0]) is None


def test_gates_widen_the_band() -> None:
    e = run(DEFINITION, **SMALL)
    assert wrong(e) == []
    assert [len(g.values) for g in e.grids] == [15] * 2
    assert all(len(row) == len(g.x) for g in e.grids for row in g.values)
    assert all(g.contours == (0.0,) for g in e.grids)
    assert all(row[0] == pytest.approx(0) for g in e.grids for row in g.values)  # an error of norm one at lag 0
    assert "times as wide" in str(e.words)
    is_sound(DEFINITION)


def test_a_norm_is_that_of_the_gradient_at_its_lag() -> None:
    """The first gain of the grid alone gives the same row as among others."""
    point = {**DEFINITION.settings, **SMALL, "variant": "RNN", "seed": 0}
    lags = len(trainable_band._lags(100))
    whole = trainable_band.point(point)["log10 norm"]
    one = trainable_band.point({**point, "highest": point["lowest"], "gains": 1})["log10 norm"]
    assert isinstance(whole, list)
    assert one == whole[:lags]


@pytest.mark.thorough
def test_without_the_forget_bias_the_claim_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(trainable_band.VARIANTS, "LSTM, b_f = 1", ("lstm", -1.0))
    e = run(DEFINITION, **SMALL)
    assert named(e, "band of").verdict == "differs"


def test_a_cell_of_yours_stands_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    small = {**SMALL, "variant": ("RNN", "yours"), "T": 20, "gains": 5, "H": 8}
    e = run(DEFINITION, cell="refimpl:elman", **small)
    assert {g.name for g in e.grids} == {"RNN: norm of the gradient", "elman: norm of the gradient"}
    mine = next(g for g in e.grids if g.name.startswith("elman"))
    assert all(row[0] == 0 for row in mine.values) and mine.values[0][-1] < mine.values[1][-1]  # it fades less with more gain
    assert [g.name for g in run(DEFINITION, **small).grids] == ["RNN: norm of the gradient"]
    assert "trainable_band" not in {p.definition.name for p in plan(cells=["refimpl:elman"])}
    assert [p.cell for p in plan(["trainable_band"], cells=["refimpl:elman"])] == ["refimpl:elman"]
