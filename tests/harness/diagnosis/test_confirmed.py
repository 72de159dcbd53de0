"""What the numbers of one case suggest is said only where it holds at another one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bptt.harness.run.runner import RunHandle, check
from bptt.harness.subject import Array, Arrays
from bptt.reports.records import Finding
from tests.harness.checks.planted import Clean, CleanLSTM, Gradients, OneStepOnly


def found(run: RunHandle) -> Finding:
    (failed,) = run.failed
    assert failed.finding is not None
    return failed.finding


class Unpublished(Clean):
    """An Elman cell whose outputs are 1.5 times its state: no published cell, and right."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, final = super().run(params, xs, state)
        return 1.5 * ys, final

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        return super().backward(params, xs, state, 1.5 * dys, dfinal)


class FirstStepSkipped(Unpublished):
    """dL/dx of the first step is left out: the loop ends one step too early for it."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        if len(xs) > 1:
            dxs[0] = 0
        return dparams, dxs, dstate


@pytest.mark.thorough
def test_a_skipped_first_step_is_no_truncation() -> None:
    finding = found(check(FirstStepSkipped, isolate=False))
    said = " ".join(cause.hypothesis + cause.fix for cause in finding.causes)
    assert "truncation" not in said and "go back" not in said


@pytest.mark.thorough
@pytest.mark.slow
def test_what_alone_is_wrong_in_dxs_is_not_called_the_carry() -> None:
    class Halved(Unpublished):
        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
            dxs[:-1] *= np.linspace(0.5, 0.9, len(xs) - 1)[:, None, None]
            return dparams, dxs, dstate

    finding = found(check(Halved, isolate=False))
    said = " ".join(cause.hypothesis for cause in finding.causes)
    assert "the gradient carried" not in said, finding.causes


@pytest.mark.thorough
def test_a_window_is_told_by_its_largest_lag() -> None:
    class Window(Unpublished):
        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            dparams, _, dstate = super().backward(params, xs, state, dys, dfinal)
            return dparams, self.windowed(params, xs, state, 1.5 * dys, dfinal), dstate

        def windowed(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Array:
            hs, total = [state["h"], *Clean.run(self, params, xs, state)[0]], np.zeros_like(xs)
            for t in range(len(xs)):
                dh = dys[t] + (dfinal["h"] if t == len(xs) - 1 else 0)
                for s in range(t, max(t - 3, -1), -1):
                    da = dh * (1 - hs[s + 1] ** 2)
                    total[s] += da @ params["W_x"].T
                    dh = da @ params["W_h"].T
            return total

    finding = found(check(Window, isolate=False, select=["GRD130"], case="T6-N2-D3-H7"))
    cut = [cause for cause in finding.causes if cause.code == "gradient-cut-at-lag"]
    assert [cause.hypothesis for cause in cut] == ["gradients go back 2 steps and no further: lags 0 to 2"]
    assert "say truncation = 2, the largest lag" in cut[0].fix


@pytest.mark.thorough
def test_a_mean_over_the_batch_is_not_a_mean_over_something_of_the_same_size() -> None:
    class Mean(Unpublished):
        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
            return {k: g / xs.shape[1] for k, g in dparams.items()}, dxs, dstate

    finding = found(check(Mean, isolate=False))
    said = finding.causes[0].hypothesis
    assert "a mean over the batch" in said or "divided by N, the size of the batch" in said


class Rough(Unpublished):
    """Every entry of dL/dW_h is off by a number of its own: nothing that has a name."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        # numbers of Python's own: no operation of a graph
        odd = [float(v) * (1 + 0.1 * math.sin(k)) for k, v in enumerate(dparams["W_h"].flat)]
        return dparams | {"W_h": np.array(odd).reshape(dparams["W_h"].shape)}, dxs, dstate


@pytest.mark.thorough
@pytest.mark.every(2)
@pytest.mark.parametrize("known", [True, False])
def test_what_is_unknown_is_a_sentence(known: bool) -> None:

    class Scaled(CleanLSTM):
        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
            # numbers of Python's own: no operation of a graph
            odd = [float(v) * (1 + 0.1 * math.sin(k)) for k, v in enumerate(dparams["W_h"].flat)]
            return dparams | {"W_h": np.array(odd).reshape(dparams["W_h"].shape)}, dxs, dstate

    finding = found(check(Scaled if known else Rough, isolate=False))
    last = finding.causes[-1]
    assert last.score < 0.5
    if last.code == "unknown":
        assert last.hypothesis.startswith("not known why")
        assert ("known mistakes of lstm" in last.evidence) == known


@pytest.mark.thorough
def test_a_mistake_of_a_single_step_case_is_not_named_by_what_the_larger_case_refutes() -> None:
    class OnlyLast(CleanLSTM):
        """dL/dc_0 is zero where the sequence has one step, and every gradient is right elsewhere."""

        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
            return dparams, dxs, dstate | ({"c": 0 * dstate["c"]} if len(xs) == 1 else {})

    finding = found(check(OnlyLast, isolate=False))
    assert all("nothing is wrong" in c.evidence and c.score < 1 for c in finding.causes if "reproduces" in c.evidence), finding.causes


@pytest.mark.thorough
def test_one_step_only_is_still_named() -> None:
    assert found(check(type("Known", (OneStepOnly,), {"like": "elman"}), isolate=False)).causes[0].score == 1.0
