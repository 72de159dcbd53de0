"""What must be found at level standard, and where."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bptt.harness.call.cell import Gradients as GivenGradients
from bptt.harness.cases import Case
from bptt.harness.checks.cells.gradients import _is_wrong_at
from bptt.harness.checks.context import CheckContext
from bptt.harness.run.runner import RunHandle, check
from bptt.harness.subject import Array, Arrays
from bptt.refimpl.unroll import forward, truncated_backward
from tests.harness.checks.planted import ROAMING, Clean, CleanLSTM, CleanNetwork, Float32OnTheWay, Gradients, NothingBeyondEightSteps
from tests.harness.gradient.support import changed, reference


def ids(run: RunHandle) -> list[str]:
    return [r.check for r in run.failed]


@pytest.mark.thorough
def test_dependencies_longer_than_8_steps_that_are_dropped_while_gradients_vanish() -> None:
    class Forgetful(NothingBeyondEightSteps):
        def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
            params = super().init(rng, input_size, hidden_size)
            params["b"][hidden_size : 2 * hidden_size] = -2
            return params

    run = check(Forgetful, isolate=False, select=["gradient"], block=False, seed=1)
    assert set(ids(run)) - ROAMING == {"GRD150"}
    finding = run["GRD150"].finding
    assert finding is not None
    assert (finding.code, finding.where.lag) == ("BUG", 9)
    assert finding.smallest_case is not None
    assert finding.smallest_case.T == 10


@pytest.mark.thorough
@pytest.mark.parametrize("window", [20, 58])
def test_dependencies_that_are_dropped_far_later(window: int) -> None:
    class Cut(Clean):
        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            _, _, tapes = forward(self.cell, params, xs, state)
            return truncated_backward(self.cell, params, xs, tapes, dys, dfinal, window)

    run = check(Cut, isolate=False, select=["GRD150"], block=False)
    finding = run["GRD150"].finding
    assert ids(run) == ["GRD150"]
    assert finding is not None
    assert finding.where.lag == window + 1


@pytest.mark.thorough
@pytest.mark.every(4)
@pytest.mark.parametrize(
    ("tensor", "index", "gate"), [("W_h", (4, 9), "f"), ("W_x", (1, 26), "o"), ("b", (15,), "g"), ("W_h", (0, 0), "i")]
)
def test_one_entry_of_one_weight_off_by_1e_4_of_its_value(tensor: str, index: tuple[int, ...], gate: str) -> None:
    class OneEntry(CleanLSTM):
        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
            wrong = dparams[tensor].copy()
            if wrong.shape[-1] > index[-1] and wrong.ndim == len(index) and all(k < n for k, n in zip(index, wrong.shape, strict=True)):
                wrong[index] *= 1 + 1e-4
            return dparams | {tensor: wrong}, dxs, dstate

    alone = tensor == "b"  # that no other check fails is asked of one of them
    run = check(OneEntry, isolate=False, select=["contract", "linearity", "gradient"] if alone else ["GRD110"])
    finding = run[ids(run)[0]].finding
    assert ids(run) == ["GRD110"]
    assert finding is not None
    assert (finding.code, finding.where.tensor, finding.where.gate, finding.where.index) == ("BUG", tensor, gate, index)
    assert finding.bad == 1
    assert finding.relative_error == pytest.approx(1e-4, rel=1e-3)


@pytest.mark.thorough
def test_a_float32_cast_in_forward() -> None:
    run = check(Float32OnTheWay, isolate=False, select=["contract", "linearity", "numerics", "gradient"])
    finding = run["NUM100"].finding
    assert ids(run) == ["NUM100"]
    assert finding is not None
    assert (finding.code, finding.where.tensor) == ("PRECISION_LOSS", "ys")
    assert "float32" in finding.headline


@pytest.mark.thorough
@pytest.mark.parametrize("tensor", ["W_h", "b"])
def test_a_float32_cast_in_backward(tensor: str) -> None:
    class Narrow(CleanLSTM):
        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
            return dparams | {tensor: dparams[tensor].astype(np.float32).astype(dparams[tensor].dtype)}, dxs, dstate

    run = check(Narrow, isolate=False, select=["contract", "linearity", "numerics", "gradient"])
    assert ids(run) == ["LIN110"]  # rounding to float32 is not linear, which shows first
    finding = run["LIN110"].finding
    assert finding is not None
    assert finding.where.tensor == tensor
    assert finding.where.index is not None
    assert finding.relative_error is not None
    assert 1e-9 < finding.relative_error < 1e-6
    assert "float32" in finding.causes[0].hypothesis
    gradients = check(Narrow, isolate=False, select=["GRD110"], block=False)["GRD110"].finding
    assert gradients is not None
    assert (gradients.where.tensor, gradients.where.gate in ("i", "f", "g", "o")) == (tensor, True)


def test_every_verdict_says_how_sharp_it_was() -> None:
    run = check(CleanLSTM, isolate=False, select=["GRD130"])
    metrics = run["GRD130"].metrics
    assert metrics["oracle"] == "complex step through the reference lstm"
    assert metrics["miss_probability"] < 2e-9
    assert metrics["sensitivity"] < 1e-9
    assert metrics["max_relative_error"] < 1e-13


def test_a_cell_without_gradients_is_not_called_right() -> None:
    class ForwardOnly:
        def init(self, *args: Any) -> Any:
            return Clean().init(*args)

        def zero_state(self, *args: Any) -> Any:
            return Clean().zero_state(*args)

        def run(self, *args: Any) -> Any:
            return Clean().run(*args)

    run = check(ForwardOnly, isolate=False, select=["gradient", "linearity", "CON160", "PAR120", "BAT110"])
    assert {r.status for r in run.run.results} == {"not_applicable"}
    assert all("no backward" in str(r.reason) for r in run.run.results if r.check != "GRD145")  # that is asked of declared windows
    assert run.exit_code == 4


def test_gradients_that_are_not_given_are_not_called_right() -> None:
    class WithoutState(Clean):
        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> tuple[Any, Any, Any]:
            return super().backward(params, xs, state, dys, dfinal)[0], None, {}

    run = check(WithoutState, isolate=False, select=["GRD110", "GRD120", "CON180"])
    assert [(r.check, r.status) for r in run.run.results] == [
        ("CON180", "not_applicable"),
        ("GRD110", "passed"),
        ("GRD120", "not_applicable"),
    ]
    assert "no gradient of xs or state" in str(run["GRD120"].reason)


def test_a_truncated_backward_is_held_against_its_window() -> None:
    class Window(Clean):
        truncation = 3

        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            _, _, tapes = forward(self.cell, params, xs, state)
            return truncated_backward(self.cell, params, xs, tapes, dys, dfinal, 3)

    run = check(Window, isolate=False, select=["GRD130", "GRD150", "PAR120", "PAR130"])
    assert [r.status for r in run.run.results] == ["passed", "not_applicable", "not_applicable", "passed"]


def test_a_network_is_certified_through_its_loss() -> None:
    run = check(CleanNetwork, isolate=False)
    assert run.ok
    assert {r.check for r in run.run.results} >= {"CON200", "CON210", "CON220", "GRD210", "GRD220"}


class RealBand(Clean):
    """A cell that takes no complex numbers, and whose dxs has a hundredth too much at lags 25 to 31."""

    of = "lstm"
    low, high = 25, 31

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        if xs.dtype.kind == "c" or any(p.dtype.kind == "c" for p in params.values()):
            raise TypeError("real numbers only")
        ys, final = super().run(params, xs, state)
        return 1.5 * ys, final  # so that it is no published cell

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, 1.5 * dys, dfinal)
        _, _, tapes = forward(self.cell, params, xs, state)
        upto = {k: truncated_backward(self.cell, params, xs, tapes, 1.5 * dys, dfinal, k)[1] for k in (self.low - 1, self.high)}
        return dparams, dxs + 0.01 * (upto[self.high] - upto[self.low - 1]), dstate


@pytest.mark.thorough
def test_a_band_of_long_lags_is_seen_by_differences_of_single_steps() -> None:
    run = check(RealBand, isolate=False, select=["GRD150"], block=False)
    finding = run["GRD150"].finding
    assert finding is not None
    assert run["GRD150"].metrics["oracle"] == "central differences"
    assert "dL/dxs is wrong at lag 25 and at no other" in finding.headline  # at its smallest case, T = 26
    assert finding.where.lag == 25


def test_the_map_of_lags_is_in_the_record() -> None:
    run = check(CleanLSTM, isolate=False, select=["GRD180"], case="T50-N1-D2-H3-closed")
    metrics = run["GRD180"].metrics
    assert metrics["max_relative_error"] < 1e-10
    assert metrics["blocks"] == 50 * 51 // 2 + 2 * 50
    assert metrics["decades"] > 20
    table = metrics["heatmap"]
    assert len(table["rows"]) == len(table["values"]) <= 40
    assert all(len(row) == len(table["columns"]) <= 42 for row in table["values"])
    assert table["columns"][:3] == ["h0", "c0", "0"]
    assert all(abs(x) < 1e-10 for row in table["values"] for x in row)


@pytest.mark.parametrize("gate", ["i", "f", "g", "o", None])
def test_a_case_fails_as_the_first_one_did_only_where_the_same_gate_is_wrong(gate: str | None) -> None:
    """What a smaller case is taken for: the same mistake, not another one beside it."""

    def wrong(g: GivenGradients) -> GivenGradients:
        W_h = g.params["W_h"].copy()
        H = len(W_h)
        W_h[:, H : 2 * H] *= 2
        return replace(g, params=g.params | {"W_h": W_h})

    bad = changed(reference("lstm"), wrong)
    assert _is_wrong_at(CheckContext(bad), Case(), ("params",), gate) is (gate == "f")
    assert not _is_wrong_at(CheckContext(reference("lstm")), Case(), ("params",), gate)
