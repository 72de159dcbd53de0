"""Sizes, values and lengths at which fast code takes another way: a mistake in each, found at the level that is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case
from bptt.harness.checks.registry import load as checks
from bptt.harness.run.runner import check
from bptt.harness.subject import Array, Arrays
from bptt.harness.targets import load
from tests.harness.checks.planted import Clean, CleanLSTM, CleanStateless, Gradients
from tests.harness.checks.right import Absolute, HardTanh, Relu

Where = Callable[[Arrays, Array, Arrays, Array], bool]


def wrong(where: Where, of: type = Clean) -> type:
    """A cell whose dL/db is a hundredth too large where `where(params, xs, state, dys)` says so."""

    class Wrong(of):  # type: ignore[misc, valid-type]  # a class that is chosen
        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
            return dparams | {"b": dparams["b"] * (1.01 if where(params, xs, state, dys) else 1.0)}, dxs, dstate

    return Wrong


def failed(cell: type, *ids: str) -> list[str]:
    run = check(cell, isolate=False, select=ids)
    assert not [r for r in run.run.results if r.status == "error"], run.text()
    return [r.check for r in run.failed]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("where", "id"),
    [
        (lambda params, xs, state, dys: dys.shape[2] > 64, "GRD160"),
        (lambda params, xs, state, dys: xs.shape[1] > 16, "GRD160"),
        (lambda params, xs, state, dys: xs.shape[2] > 16, "GRD160"),
        (lambda params, xs, state, dys: len(xs) > 64, "GRD150"),
        (lambda params, xs, state, dys: np.max(np.abs(xs)) > 4, "GRD140"),
        (lambda params, xs, state, dys: np.max(np.abs(state["h"])) > 2.6, "GRD140"),
        (lambda params, xs, state, dys: not xs.any(axis=(1, 2)).all(), "GRD140"),
        (lambda params, xs, state, dys: (~xs.any(axis=2) & xs.any(axis=(1, 2))[:, None]).any(), "GRD140"),
        (lambda params, xs, state, dys: not state["h"].any(), "GRD140"),
        (lambda params, xs, state, dys: not params["b"].any(), "GRD140"),
        (lambda params, xs, state, dys: not dys[-1].any() and dys.any(), "GRD130"),
    ],
    ids=["H>64", "N>16", "D>16", "T>64", "large-x", "large-state", "zero-step", "zero-row", "zero-state", "zero-bias", "zero-cotangent"],
)
def test_a_mistake_at_some_sizes_or_values_only_is_found_at_level_standard(where: Where, id: str) -> None:
    (of,) = [c for c in checks() if c.id == id]
    assert of.level in ("smoke", "standard")
    assert failed(wrong(where), id) == [id]


@pytest.mark.thorough
@pytest.mark.parametrize("cell", [Clean, CleanLSTM, Relu, Absolute, HardTanh], ids=lambda c: c.__name__)
def test_a_right_cell_is_right_there(cell: type) -> None:
    assert failed(cell, "GRD140", "GRD160", "GRD142", "NUM130", "TIM100") == []


@pytest.mark.thorough
def test_a_slope_that_jumps_at_zero_is_no_mistake_and_a_test_on_zero_is() -> None:
    class ReluOfInputs(Clean):
        """h' = tanh(max(x, 0) W_x + h W_h + b), its slope at x = 0 taken for 1: no mistake."""

        slope = 1.0

        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            return super().run(params, np.where(xs.real > 0, xs, 0 * xs), state)

        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            dparams, dxs, dstate = super().backward(params, np.maximum(xs, 0), state, dys, dfinal)
            return dparams, dxs * np.where(xs == 0, self.slope, xs > 0), dstate

    for slope in (0.0, 0.5, 1.0):
        assert failed(type("AtZero", (ReluOfInputs,), {"slope": slope}), "GRD140") == []

    class Sentinel(Clean):
        """dL/dx is zero where x is."""

        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
            return dparams, dxs * (xs != 0), dstate

    assert failed(Sentinel, "GRD140") == ["GRD140"]


def test_what_changes_after_some_steps_is_no_state() -> None:
    class Warm(Clean):
        """Outputs are a hundredth larger from step 40 on."""

        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            return ys * np.where(np.arange(len(ys)) < 40, 1.0, 1.01)[:, None, None], final

    assert failed(Warm, "TIM100") == ["TIM100"]

    class WarmStateless(CleanStateless):
        """The same without a state, where no sequence can be cut."""

        like = "elman"

        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            return ys * np.where(np.arange(len(ys)) < 40, 1.0, 1.01)[:, None, None], final

    assert failed(WarmStateless, "TIM100", "PAR110") == ["PAR110"]


def test_rows_that_mix_do_not_make_the_oracle_wrong() -> None:
    class Centred(Clean):
        """Inputs have their mean over the batch taken off, forward and backward: rows mix, and the gradient is right."""

        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            return super().run(params, xs - xs.mean(axis=1, keepdims=True), state)

        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            dparams, d, dstate = super().backward(params, xs - xs.mean(axis=1, keepdims=True), state, dys, dfinal)
            return dparams, d - d.mean(axis=1, keepdims=True), dstate

    run = check(Centred, isolate=False)
    assert [r.check for r in run.failed] == ["BAT100"], run.text()
    assert not [r for r in run.run.results if r.check.startswith("GRD") and r.finding], run.text()


def test_what_the_regimes_are() -> None:
    (subject,) = load(Clean)
    zeros, unbiased, large = (draw(subject, Case(T=4, regime=r)) for r in ("zeros", "unbiased", "large"))
    assert not zeros.state["h"].any() and zeros.params["b"].all()
    assert zeros.xs.any(axis=2).tolist() == [[True, True], [True, True], [False, False], [False, True]]
    assert not unbiased.params["b"].any() and unbiased.params["W_h"].all() and unbiased.state["h"].all()
    assert 4 < np.max(np.abs(large.xs)) <= 10 and 2.6 < np.max(np.abs(large.state["h"])) <= 6
    assert draw(subject, Case(T=1, regime="zeros")).xs.all()


class TimeConstants:
    """h = h + (tanh(x W) - h) / tau: where tau is zero it has no outputs, and no gradient."""

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return {"W": rng.normal(size=(input_size, hidden_size)), "tau": 1 + 3 * rng.random(hidden_size)}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {"h": np.zeros((batch_size, len(params["tau"])))}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        h, ys = state["h"], []
        for x in xs:
            h = h + (np.tanh(x @ params["W"]) - h) / params["tau"]
            ys.append(h)
        return np.array(ys), {"h": h}

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        ys, _ = self.run(params, xs, state)
        before = np.concatenate([state["h"][None], ys[:-1]])
        dh, dxs, dW, dtau = dfinal["h"], np.zeros_like(xs), np.zeros_like(params["W"]), np.zeros_like(params["tau"])
        for t in reversed(range(len(xs))):
            dh = dh + dys[t]
            u = np.tanh(xs[t] @ params["W"])
            da = dh / params["tau"] * (1 - u**2)
            dtau -= (dh * (u - before[t]) / params["tau"] ** 2).sum(0)
            dW += xs[t].T @ da
            dxs[t] = da @ params["W"].T
            dh = dh - dh / params["tau"]
        return {"W": dW, "tau": dtau}, dxs, {"h": dh}


@pytest.mark.thorough
@pytest.mark.parametrize("case", ["T1-N1-D1-H1-unbiased", "T4-N2-D3-H5-unbiased"])
@pytest.mark.parametrize("id", ["GRD140", "GRD170"])
def test_what_a_cell_divides_by_may_be_zero_nowhere(id: str, case: str) -> None:
    with np.errstate(all="ignore"):
        run = check(TimeConstants, isolate=False, select=[id], block=False, case=case)
    assert run.failed == (), run.text()


@pytest.mark.parametrize("id", ["GRD140", "GRD170"])
def test_a_slope_that_jumps_at_zero_accuses_nobody_in_a_drawn_case_either(id: str) -> None:
    assert check(Relu, isolate=False, select=[id], block=False, case="T3-N2-D3-H5-zeros").failed == ()
