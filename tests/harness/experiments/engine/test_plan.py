"""Grids, sizes, seeds and cells: what is asked for becomes points."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptt.harness.errors import UsageError
from bptt.harness.experiments.engine import plan as plan_
from bptt.harness.experiments.engine.definition import Definition
from bptt.harness.experiments.engine.grids import parse
from bptt.harness.experiments.engine.plan import plan

GAIN = Definition(
    "gain",
    "?",
    "x",
    {"gain": (0.5, 1.0), "H": 64, "seed": (0, 1), "name": "a", "flag": False, "K": None},
    dict,
    lambda points: None,  # type: ignore[arg-type, return-value]  # never run
    quick={"H": 8, "seed": 0},
    full={"H": 512},
)
CELL = Definition("cell", "?", "x", {"cell": ("refimpl:lstm", "refimpl:elman"), "T": 5, "seed": 7}, dict, GAIN.gather, of_cell=True)


@pytest.fixture(autouse=True)
def _two_experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {d.name: d for d in (GAIN, CELL)}
    monkeypatch.setattr(plan_, "definitions", lambda names=(): tuple(known[n] for n in names or known))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("gain=0.5:3:6", (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)),
        ("gain=0.1:0.3:3", (0.1, 0.2, 0.3)),
        ("gain=3:1:3", (3.0, 2.0, 1.0)),
        ("gain=2:2:1", (2.0,)),
        ("seed=0:9", tuple(range(10))),
        ("seed=2:-1", (2, 1, 0, -1)),
        ("b=0,1,3", (0, 1, 3)),
        ("b= 0.5 , 1e3", (0.5, 1000.0)),
        ("b=true,none,word", (True, None, "word")),
        ("b=3", (3,)),
    ],
)
def test_a_grid_is_read(text: str, values: tuple[object, ...]) -> None:
    (found,) = parse([text]).values()
    assert found == values and [type(v) for v in found] == [type(v) for v in values]


MALFORMED = ("gain", "=1", "gain=", "gain=1:2:0", "gain=1:2:1", "gain=a:b:3", "gain=1:2:3:4", "seed=0.5:2", "b=1,,2")


@pytest.mark.parametrize("text", [*MALFORMED, "a=1:inf:3", "a=1/0:2:3"])
def test_a_malformed_grid_is_one_clear_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"--grid: got .*, wanted gain=0.5:3:20") as raised:
        parse([text])
    assert "\n" not in str(raised.value)


def test_slips_of_the_finger_are_seen() -> None:
    with pytest.raises(UsageError, match="gain is given twice"):
        parse(["gain=1", "gain=2"])
    for text in ("seed=0:99999999", "gain=0:1:99999999"):
        with pytest.raises(UsageError, match="wanted at most 1,000,000"):
            parse([text])


@given(low=st.integers(-1000, 1000), high=st.integers(-1000, 1000), count=st.integers(2, 50))
def test_values_are_evenly_spread_and_have_both_ends(low: int, high: int, count: int) -> None:
    (values,) = parse([f"a={low / 8}:{high / 8}:{count}"]).values()
    numbers = [v for v in values if isinstance(v, float)]
    assert len(numbers) == count and (numbers[0], numbers[-1]) == (low / 8, high / 8)
    step = (high - low) / 8 / (count - 1)
    assert all(abs(v - (low / 8 + k * step)) < 1e-9 for k, v in enumerate(numbers))


def test_points_are_the_product_in_the_order_of_the_settings() -> None:
    (planned,) = plan(["gain"])
    assert [(p["gain"], p["seed"]) for p in planned.points] == [(0.5, 0), (0.5, 1), (1.0, 0), (1.0, 1)]
    assert all(p["H"] == 64 and p["K"] is None for p in planned.points)


def test_sizes_replace_settings() -> None:
    assert [len(plan(["gain"], size=size)[0].points) for size in ("quick", "normal", "full")] == [2, 4, 4]
    assert [plan(["gain"], size=size)[0].settings["H"] for size in ("quick", "normal", "full")] == [8, 64, 512]


def test_a_seed_is_added_to_every_seed_but_to_one_of_a_grid() -> None:
    gain, cell = plan(seed=10)
    assert gain.settings["seed"] == (10, 11) and cell.settings["seed"] == 17
    assert plan(["gain"], seed=10, grids=["seed=0:2"])[0].settings["seed"] == (0, 1, 2)


def test_a_grid_replaces_the_setting_of_each_experiment_that_has_it_in_its_own_type() -> None:
    gain, cell = plan(grids=["gain=1,2", "seed=5", "H=8:16:2"])
    assert gain.settings["gain"] == (1.0, 2.0) and gain.settings["seed"] == (5,) and cell.settings["seed"] == 5
    assert gain.settings["H"] == (8, 16) and all(type(h) is int for h in gain.settings["H"])
    assert plan(["gain"], grids=["name=3", "flag=true", "K=2"])[0].settings == {
        **GAIN.settings,
        "name": "3",
        "flag": True,
        "K": 2,
    }


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"grids": ["gian=1"]}, "no experiment that was asked for has a setting 'gian', did you mean 'gain'"),
        ({"names": ["cell"], "grids": ["gain=1"]}, "has a setting 'gain'"),
        ({"grids": ["H=1.5"]}, "--grid: H of experiment 'gain': got 1.5, wanted whole numbers"),
        ({"grids": ["gain=big"]}, "--grid: gain of experiment 'gain': got 'big', wanted numbers"),
        ({"grids": ["flag=1"]}, "got 1, wanted true or false"),
        ({"names": ["gain"], "cells": ["a:B"]}, "--cell: experiment 'gain' takes no cell, wanted one of cell"),
        ({"cells": ["a:B"], "grids": ["cell=x"]}, "cell is given by --cell already"),
    ],
)
def test_what_fits_nowhere_is_one_clear_line(asked: dict[str, list[str]], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plan(**asked)  # type: ignore[arg-type]  # names, cells and grids are lists of strings


def test_each_cell_is_an_experiment_of_its_own() -> None:
    planned = plan(cells=["a:B", "c:D", "a:B"])
    assert [(p.definition.name, p.cell, p.settings["cell"]) for p in planned] == [("cell", "a:B", "a:B"), ("cell", "c:D", "c:D")]
    assert [p.cell for p in plan()] == [None, None]
