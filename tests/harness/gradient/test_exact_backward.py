"""A forward pass with its exact derivative for a backward, and what is said of a single step that is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from bptt.harness.call.cell import backward, run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, cotangents
from bptt.harness.gradient.exact_backward import one_step, with_exact_backward
from bptt.harness.targets import load
from tests.harness.checks.planted import Clean, CleanLSTM, CleanStateless, ForgotDirectPath, OneStepOnly


@pytest.mark.parametrize("cell", [Clean, CleanLSTM, CleanStateless])
@pytest.mark.parametrize("T", [1, 4])
def test_it_is_the_gradient_of_a_right_cell(cell: type, T: int) -> None:
    (subject,) = load(cell)
    data = draw(subject, Case(T=T))
    for v in cotangents(subject, Case(T=T), *run(subject, data)):
        right, found = backward(subject, data, v), backward(with_exact_backward(subject), data, v)
        for name, g in right.params.items():
            np.testing.assert_allclose(found.params[name], g, rtol=1e-10, atol=1e-12)
        assert found.xs is not None and right.xs is not None
        np.testing.assert_allclose(found.xs, right.xs, rtol=1e-10, atol=1e-12)
        for name, g in right.state.items():
            np.testing.assert_allclose(found.state[name], g, rtol=1e-10, atol=1e-12)


def test_a_single_step_that_is_wrong_is_named_with_its_size() -> None:
    (wrong,), (right,), (later,) = load(ForgotDirectPath), load(Clean), load(OneStepOnly)
    found = one_step(wrong, Case())
    assert found is not None
    assert found.wrong == ("h0",) and found.error > 0.01
    assert found.words == "your gradient of a single step is wrong in dL/dh0"
    assert one_step(right, Case()) is None
    assert one_step(later, Case()) is None  # it shows in two steps
