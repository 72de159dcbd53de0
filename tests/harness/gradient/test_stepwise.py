from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bptt.harness.call.drawing import draw
from bptt.harness.call.network import as_cell
from bptt.harness.cases import Case
from bptt.harness.gradient.derivatives.stepwise import OneStepAtATime, stepwise
from bptt.harness.gradient.derivatives.tangent import Direction
from bptt.harness.targets import load
from tests.harness.gradient.support import drawn, exact, forgetful_lstm, on, reference


@pytest.mark.parametrize("lag", [0, 8, 30, 59])
def test_differences_a_step_at_a_time_agree_at_any_lag_and_say_so(lag: int) -> None:
    subject, data = forgetful_lstm(T=60)
    v = on(subject, data, "last output only")
    truth = exact("lstm", data, v).xs
    assert truth is not None
    u = np.zeros_like(data.xs)
    u[59 - lag] = [[1.0, -0.7, 1.3]]
    expected = float(np.sum(truth * u))
    together = OneStepAtATime(subject, data)
    assert together.chain is not None
    for value, error in (together.along(Direction(xs=u), v), stepwise(subject, data, Direction(xs=u), v)):
        assert value == pytest.approx(expected, rel=1e-6, abs=0)
        assert abs(value - expected) <= error <= 1e-6 * abs(expected)


@pytest.mark.parametrize("name", ["elman", "lstm_peephole", "gru_reset_before"])
def test_it_differentiates_along_parameters_and_states_too(name: str) -> None:
    subject = reference(name)
    data = drawn(subject)
    v = on(subject, data, "every output and final state")
    truth = exact(name, data, v)
    for direction, g in (
        (Direction(params={"W_h": np.ones_like(data.params["W_h"])}), truth.params["W_h"]),
        (Direction(state={"h": np.ones_like(data.state["h"])}), truth.state["h"]),
    ):
        for value, error in (OneStepAtATime(subject, data).along(direction, v), stepwise(subject, data, direction, v)):
            assert value == pytest.approx(float(g.sum()), rel=1e-8)
            assert abs(value - float(g.sum())) <= error < 1e-6 * float(np.abs(g).sum())


def test_a_loss_is_not_walked_step_by_step() -> None:
    """Its steps are inside of it: a run gives no state to go on from, and a network that wants one would raise."""
    network = load(f"{Path(__file__).parents[3] / 'examples' / 'wordmodel.py'}:WordModel")[0]
    cell = as_cell(network, Case())
    assert draw(cell, Case()).state and not OneStepAtATime(cell, draw(cell, Case())).possible
