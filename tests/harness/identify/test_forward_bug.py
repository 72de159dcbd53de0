from __future__ import annotations

import numpy as np
import pytest

import bptt
from bptt.harness import targets
from bptt.harness.identify.forward_bug import forward_bug
from bptt.harness.identify.published_cell import identify
from bptt.harness.known import BACKWARD, FORWARD, cells_of, forward_of_cell
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.plant import plant
from bptt.harness.known.subjects import PlantedCell
from bptt.harness.subject import Array, Arrays
from bptt.refimpl import CELLS, unroll
from bptt.refimpl.unroll import forward
from tests.harness.diagnosis.table import TABLE, WRONG
from tests.harness.identify.variants import subject

PAIRS = [(bug, cell) for bug in FORWARD for cell in cells_of(bug)]


def shown(value: object) -> str:
    return value.name if isinstance(value, KnownMistake) else str(value)


@pytest.mark.parametrize(("bug", "cell"), PAIRS, ids=shown)
def test_each_difference_changes_the_outputs(bug: KnownMistake, cell: str) -> None:
    planted, rng = plant(bug), np.random.default_rng(0)
    params = {name: np.asarray(rng.normal(scale=0.7, size=value.shape)) for name, value in CELLS[cell].init(rng, 3, 7).items()}
    state = {name: np.asarray(rng.normal(scale=0.6, size=value.shape)) for name, value in CELLS[cell].zero_state(params, 2).items()}
    xs = rng.normal(size=(5, 2, 3))
    right = forward(CELLS[cell], params, xs, state)[0]
    wrong = planted.forward(planted.cell(CELLS[cell]), params, xs, state)[0]
    assert np.max(np.abs(right - wrong)) > 1e-3 * np.max(np.abs(right))


@pytest.mark.every(6)
@pytest.mark.parametrize("bug", FORWARD, ids=shown)
def test_each_difference_is_named(bug: KnownMistake) -> None:
    cell = cells_of(bug)[0]
    planted = targets.load(PlantedCell(cell, (bug,)))[0]
    assert identify(planted) is None
    found = forward_bug(planted, cell)
    assert found is not None
    assert (found.mistake.name, found.identification.cell) == (bug.name, cell)
    assert found.identification.max_error < 1e-9
    assert bug.sentence in found.convention


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["lstm as tf1 with peepholes", "gru as keras", "elman relu"])
def test_a_right_cell_has_no_difference(name: str) -> None:
    """The search with a difference planted never fits a cell without it."""
    assert forward_bug(subject(TABLE[name][0])) is None


@pytest.mark.every(4)
@pytest.mark.parametrize("name", WRONG)
def test_what_is_named_is_named_to_rounding(name: str) -> None:
    found = forward_bug(subject(WRONG[name]))
    assert found is None or found.identification.max_error < 1e-9


def test_names_are_unique_within_a_cell_and_apart_from_those_of_the_backward_pass() -> None:
    for cell in CELLS:
        names = [bug.name for bug in forward_of_cell(cell)]
        assert len(names) == len(set(names))
    assert not {bug.name for bug in FORWARD} & {bug.name for bug in BACKWARD}


class TanhOfC:
    """An LSTM as one text has it, c = f * tanh(c) + i * g, forward only, in another layout than ours."""

    like = "lstm"

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        shapes = {"kernel": (input_size + hidden_size, 4 * hidden_size), "bias": (4 * hidden_size,)}
        return {name: rng.normal(scale=0.4, size=shape) for name, shape in shapes.items()}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {name: np.zeros((batch_size, len(params["bias"]) // 4)) for name in ("c", "h")}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        h, c, ys = state["h"], state["c"], []
        for x in xs:
            o, i, f, g = np.split(np.concatenate([x, h], axis=1) @ params["kernel"] + params["bias"], 4, axis=1)
            i, f, o = (1 / (1 + np.exp(-a)) for a in (i, f, o))
            c = f * np.tanh(c) + i * np.tanh(g)
            h = o * np.tanh(c)
            ys.append(h)
        return np.stack(ys), {"c": c, "h": h}


class Coupled(TanhOfC):
    """The forget gate's complement for the input gate: a convention of its own."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        h, c, ys = state["h"], state["c"], []
        for x in xs:
            o, _, f, g = np.split(np.concatenate([x, h], axis=1) @ params["kernel"] + params["bias"], 4, axis=1)
            f, o = (1 / (1 + np.exp(-a)) for a in (f, o))
            c = f * c + (1 - f) * np.tanh(g)
            h = o * np.tanh(c)
            ys.append(h)
        return np.stack(ys), {"c": c, "h": h}


class StaleH(TanhOfC):
    """Every step reads h0."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        h, c, ys = state["h"], state["c"], []
        for x in xs:
            o, i, f, g = np.split(np.concatenate([x, state["h"]], axis=1) @ params["kernel"] + params["bias"], 4, axis=1)
            i, f, o = (1 / (1 + np.exp(-a)) for a in (i, f, o))
            c = f * c + i * np.tanh(g)
            h = o * np.tanh(c)
            ys.append(h)
        return np.stack(ys), {"c": c, "h": h}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("cell", "code", "words"),
    [
        (TanhOfC, "BUG", "one bias, forget bias 0, state (c, h), but f multiplies tanh(c_(t-1)) and not c_(t-1)"),
        (StaleH, "BUG", "but every step reads the initial h0 and not h_(t-1)"),
        (Coupled, None, ""),
    ],
)
def test_a_wrong_forward_pass_is_one_failure_with_its_cause(cell: type, code: str | None, words: str) -> None:
    run = bptt.check(cell(), isolate=False).run
    failed = [result for result in run.results if result.status == "failed"]
    assert [result.check for result in failed] == ["PAR100"]
    finding = failed[0].finding
    assert finding is not None
    if code is None:  # its weights make four blocks, one of which does nothing: no arrangement is found
        return
    assert finding.code == code
    assert words in finding.headline
    assert finding.causes[0].score == 1.0
    assert {result.check for result in run.results if result.blocked_by == "PAR100"} >= {"TIM100", "BAT100", "PAR110"}


class IntendedBackward(TanhOfC):
    """c = f * tanh(c) + i * g forward, and the backward pass of the LSTM that was meant."""

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays
    ) -> tuple[dict[str, Array], Array, dict[str, Array]]:
        D, H = xs.shape[2], len(params["bias"]) // 4
        order = np.r_[H : 2 * H, 2 * H : 3 * H, 3 * H : 4 * H, 0:H]
        ours = {"W_x": params["kernel"][:D, order], "W_h": params["kernel"][D:, order], "b": params["bias"][order]}
        tapes = forward(CELLS["lstm"], ours, xs, state)[2]
        dparams, dxs, dstate = unroll.backward(CELLS["lstm"], ours, xs, tapes, dys, dfinal)
        dkernel = np.concatenate([dparams["W_x"], dparams["W_h"]])[:, np.argsort(order)]
        return {"kernel": dkernel, "bias": dparams["b"][np.argsort(order)]}, dxs, dstate


def test_biases_that_act_alike_with_a_mistake_are_one_of_each_kind_and_the_backward_is_seen_to_be_the_right_cells() -> None:
    mistake = next(m for m in forward_of_cell("gru_reset_after") if m.name == "reset-on-x-too")
    run = bptt.check(PlantedCell("gru_reset_after", (mistake,)), like="gru_reset_after", isolate=False).run
    assert [result.check for result in run.results if result.status == "failed"] == ["PAR100"]


def test_a_backward_of_the_cell_that_was_meant_is_not_a_second_failure() -> None:
    run = bptt.check(IntendedBackward(), isolate=False).run
    assert [result.check for result in run.results if result.status == "failed"] == ["PAR100"]
    assert {result.check for result in run.results if result.blocked_by == "PAR100"} >= {"GRD110", "GRD130", "LIN110"}


def test_an_exact_backward_of_the_wrong_forward_pass_is_still_judged() -> None:
    bug = next(bug for bug in FORWARD if bug.name == "c-of-tanh-c")

    class Forward(PlantedCell):
        like = "lstm"

    run = bptt.check(Forward("lstm", (bug,)), isolate=False, select=["GRD110", "PAR100"]).run
    assert {result.check: result.status for result in run.results}["PAR100"] == "failed"
