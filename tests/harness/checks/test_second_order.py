"""What GRD230 says, and where it says nothing."""

from __future__ import annotations

import pytest

from bptt.harness.run.runner import check
from bptt.harness.subject import Array, Arrays
from bptt.refimpl.unroll import forward, truncated_backward
from tests.harness.checks.planted import Clean, CleanLSTM, CleanNetwork, Gradients
from tests.harness.checks.right import Float32Only


@pytest.mark.thorough
def test_the_gate_that_does_not_fit_is_named() -> None:
    class ForgetGateTooLarge(CleanLSTM):
        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
            H = params["W_h"].shape[0]
            wrong = dparams["W_h"].copy()
            wrong[:, H : 2 * H] *= 1.01
            return dparams | {"W_h": wrong}, dxs, dstate

    run = check(ForgetGateTooLarge, isolate=False, select=["GRD230"])
    finding = run["GRD230"].finding
    assert finding is not None
    assert (finding.code, finding.where.tensor, finding.where.gate) == ("BUG", "W_h", "f")
    assert finding.headline.startswith("backward is not the gradient of any function: dL/dW_h, gate f does not fit")
    assert finding.causes
    assert "factor" in finding.causes[0].hypothesis


@pytest.mark.thorough
def test_a_path_that_is_forgotten_in_one_gradient_only() -> None:
    class OneStepForInputs(Clean):
        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            _, _, tapes = forward(self.cell, params, xs, state)
            dparams, _, dstate = super().backward(params, xs, state, dys, dfinal)
            return dparams, truncated_backward(self.cell, params, xs, tapes, dys, dfinal, 0)[1], dstate

    finding = check(OneStepForInputs, isolate=False, select=["GRD230"])["GRD230"].finding
    assert finding is not None
    assert finding.where.tensor == "xs"


@pytest.mark.parametrize("cell", [Clean, CleanLSTM, CleanNetwork])
def test_right_cells_and_networks_fit(cell: type) -> None:
    result = check(cell, isolate=False, select=["GRD230"], seed=1)["GRD230"]
    assert (result.status, result.finding) == ("passed", None)
    assert result.metrics["second derivatives by"] == "complex step through its backward"
    assert result.metrics["max_relative_error"] < 1e-12


def test_it_does_not_apply_in_float32_or_without_a_backward() -> None:
    result = check(Float32Only, isolate=False, select=["GRD230"])["GRD230"]
    assert result.status == "not_applicable"
    assert "float32" in str(result.reason)


def test_a_truncated_backward_is_asked_within_its_window() -> None:
    class Window(Clean):
        truncation = 3

        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            _, _, tapes = forward(self.cell, params, xs, state)
            return truncated_backward(self.cell, params, xs, tapes, dys, dfinal, 3)

    assert check(Window, isolate=False, select=["GRD230"])["GRD230"].status == "passed"
    assert check(Window, isolate=False, select=["GRD180"])["GRD180"].status == "not_applicable"
