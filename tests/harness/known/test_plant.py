from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import pytest

from bptt.harness.errors import BpttError
from bptt.harness.known import mistake
from bptt.harness.known.mistake import KnownMistake, of_cell
from bptt.harness.known.plant import PlantError, plant
from bptt.harness.known.subjects import PlantedCell
from bptt.refimpl import CELLS, unroll
from bptt.refimpl.cells.cell import Outer


def _bug(before: str, after: str, **more: Any) -> KnownMistake:
    return of_cell("a-plant", ("elman",), "step_backward", before, after, "it is wrong", "write it right", **more)


def test_a_mutant_differs_in_one_function_and_leaves_the_cell_alone() -> None:
    cell = CELLS["elman"]
    wrong = plant(_bug("da = dh * tanh_derivative(a)", "da = dh")).cell(cell)
    assert wrong.step is cell.step and wrong.step_backward is not cell.step_backward
    a = np.full((1, 2), 0.7)
    params = {"W_h": np.eye(2)}
    zero = {"h": np.zeros((1, 2))}
    assert np.array_equal(wrong.step_backward(params, (a, a), np.ones((1, 2)), zero)[0], np.ones((1, 2)))
    assert np.allclose(cell.step_backward(params, (a, a), np.ones((1, 2)), zero)[0], 1 - np.tanh(0.7) ** 2)


@pytest.mark.parametrize(("before", "count"), [("da = dh * no_such_derivative(a)", 0), ("tape", 2)], ids=["not there", "there twice"])
def test_a_plant_that_does_not_match_once_is_an_error_naming_bug_and_text(before: str, count: int) -> None:
    words = f"mistake a-plant: {before!r} stands {count} times in step_backward, wanted 1"
    with pytest.raises(PlantError, match=f"^{re.escape(words)}$") as caught:
        plant(_bug(before, "da = dh")).cell(CELLS["elman"])
    assert isinstance(caught.value, BpttError)


def test_the_nth_of_several_places_can_be_meant() -> None:
    cell = CELLS["elman"]
    wrong = plant(_bug("h_prev", "0 * h_prev", occurrences=4, which=4)).cell(cell)  # the one in Outer(h_prev, da)
    one = np.ones((1, 1))
    right, planted = (c.step_backward({"W_h": one}, (one, one), one, {"h": one})[2]["W_h"] for c in (cell, wrong))
    assert isinstance(right, Outer) and isinstance(planted, Outer)
    assert right.left == 1 and planted.left == 0 and right.right == planted.right


def test_further_lines_are_indented_like_the_first() -> None:
    wrong = plant(_bug("da = dh * tanh_derivative(a)", "da = dh\nif True:\n    da = 2 * da")).cell(CELLS["elman"])
    one = np.ones((1, 1))
    assert wrong.step_backward({"W_h": one}, (one, one), one, {"h": 0 * one})[0] == 2


def test_a_bug_of_the_loop_goes_into_the_loop_and_not_into_the_cell() -> None:
    cell, found = CELLS["lstm"], mistake("lstm", "dh0-zero")
    planted = plant(found)
    assert planted.cell(cell) is cell and planted.backward is not unroll.backward


def test_without_a_bug_everything_is_right() -> None:
    assert plant().backward is unroll.backward and plant().cell(CELLS["lstm"]) is CELLS["lstm"]


def test_several_bugs_can_be_planted_together() -> None:
    cell = CELLS["lstm"]
    both = plant(mistake("lstm", "f-derivative-missing"), mistake("lstm", "i-derivative-missing"), mistake("lstm", "dh0-zero"))
    assert both.cell(cell).step_backward is not cell.step_backward and both.backward is not unroll.backward
    with pytest.raises(PlantError):
        plant(mistake("lstm", "f-derivative-missing"), mistake("lstm", "f-derivative-sign")).cell(cell)


def test_a_planted_cell_travels_to_another_process() -> None:
    cell = PlantedCell("lstm", (mistake("lstm", "f-derivative-missing"),))
    again = pickle.loads(pickle.dumps(cell))
    params = cell.init(np.random.default_rng(0), 2, 3)
    state, xs = cell.zero_state(params, 1), np.ones((2, 1, 2))
    ys, final = cell.run(params, xs, state)
    one, other = (c.backward(params, xs, state, ys, final) for c in (cell, again))
    assert all(np.array_equal(one[0][name], other[0][name]) for name in params)
