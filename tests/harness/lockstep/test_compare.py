"""What holding two loops together finds, on loops made by hand: the step, the tensor, the entry, and what is only rounding."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.harness.lockstep.compare import BLIND, MARGIN, Held, gradients, hold

EPS = float(np.finfo(np.float64).eps)
START = {"W": np.ones((3, 8)), "b": np.full(4, 2.0)}
Steps = list[tuple[float, dict[str, Any]]]


def gates(name: str) -> tuple[str, ...]:
    return ("i", "f", "g", "o") if name == "W" else ()


def run(count: int) -> Steps:
    """A loss that falls and weights that move."""
    return [(5.0 / t, {"W": START["W"] * (1 + t) + np.arange(24.0).reshape(3, 8), "b": START["b"] + t}) for t in range(1, count + 1)]


def moved(steps: Steps, step: int, tensor: str, index: tuple[int, ...], by: float) -> Steps:
    """One number of one step, moved by so much of the largest of its tensor."""
    loss, params = steps[step - 1]
    if tensor == "loss":
        return [*steps[: step - 1], (loss * (1 + by), params), *steps[step:]]
    value = params[tensor].copy()
    value[index] += by * np.abs(value).max()
    return [*steps[: step - 1], (loss, {**params, tensor: value}), *steps[step:]]


def held(mine: Steps, shadow: Steps | None = None) -> Held:
    reference = run(len(mine))
    return hold(iter(mine), iter(reference), iter(shadow or reference), START, gates, dict.fromkeys(("loss", *START), EPS))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_a_number_that_is_moved_is_found_where_it_is(data: st.DataObject) -> None:
    step = data.draw(st.integers(1, 9), "step")
    tensor = data.draw(st.sampled_from(["loss", "W", "b"]), "tensor")
    index = {"W": (data.draw(st.integers(0, 2)), data.draw(st.integers(0, 7))), "b": (data.draw(st.integers(0, 3)),), "loss": ()}[tensor]
    by = data.draw(st.floats(1e-12, 10.0)) * data.draw(st.sampled_from([-1, 1]))
    found = held(moved(run(9), step, tensor, index, by))
    parting = found.parting
    assert parting is not None
    assert (parting.step, parting.tensor, parting.index) == (step, tensor, index)
    assert parting.gates == ((gates("W")[index[1] // 2],) if tensor == "W" else ())
    assert parting.gap.relative == pytest.approx(abs(by), rel=1e-2)
    assert parting.gap.tolerance == MARGIN * EPS
    assert len(found.losses) == step


@settings(max_examples=40, deadline=None, derandomize=True)
@given(step=st.integers(1, 9), tensor=st.sampled_from(["loss", "W"]), by=st.floats(-20 * EPS, 20 * EPS))
def test_some_units_in_the_last_place_are_no_difference(step: int, tensor: str, by: float) -> None:
    found = held(moved(run(9), step, tensor, (1, 2) if tensor == "W" else (), by))
    assert found.parting is None
    assert found.blind is None
    assert len(found.losses) == 9


def test_what_the_shadow_does_as_well_is_rounding_from_there_on_and_in_that_tensor_alone() -> None:
    shadow = moved(run(9), 4, "W", (0, 0), 1e-9)
    assert held(moved(run(9), 5, "W", (2, 3), 50e-9), shadow).parting is None
    early, late, other = (
        held(moved(run(9), step, tensor, index, by), shadow).parting
        for step, tensor, index, by in ((3, "W", (2, 3), 50e-9), (5, "W", (2, 3), 150e-9), (5, "b", (1,), 50e-9))
    )
    assert early is not None
    assert early.step == 3
    assert late is not None
    assert late.gap.tolerance == pytest.approx(1e-7)
    assert other is not None
    assert other.tensor == "b"


def test_nothing_is_judged_once_rounding_alone_parts_two_runs() -> None:
    found = held(moved(run(9), 7, "W", (0, 0), 1.0), moved(run(9), 6, "b", (0,), 1.1 * BLIND / MARGIN))
    assert found.parting is None
    assert found.blind == 6
    assert len(found.losses) == len(found.gaps) == 5


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("tensor", ["loss", "W"])
def test_what_is_not_finite_parts(tensor: str, wrong: float) -> None:
    steps = run(4)
    value = np.array(steps[2][1]["W"])
    value[1, 5] = wrong
    steps[2] = (wrong, steps[2][1]) if tensor == "loss" else (steps[2][0], {**steps[2][1], "W": value})
    parting = held(steps).parting
    assert parting is not None
    assert (parting.step, parting.tensor) == (3, tensor)
    assert parting.index == ((1, 5) if tensor == "W" else ())
    assert parting.gap.relative == math.inf


def test_all_that_parts_in_a_step_is_named_the_farthest_first() -> None:
    steps = moved(moved(run(3), 2, "W", (0, 0), 1e-6), 2, "b", (0,), 1e-3)
    parting = held(steps).parting
    assert parting is not None
    assert (parting.tensor, parting.others) == ("b", ("W",))


def test_gates_are_named_only_where_not_all_of_them_part() -> None:
    two = moved(moved(run(2), 2, "W", (0, 2), 1e-6), 2, "W", (1, 7), 1e-6)
    every = run(2)
    every[1] = (every[1][0], {**every[1][1], "W": every[1][1]["W"] * 1.001})
    found = [held(steps).parting for steps in (two, every)]
    assert [parting and parting.gates for parting in found] == [("f", "o"), ()]


def test_how_far_a_parameter_moved_is_told() -> None:
    def loop(factors: dict[str, float]) -> Iterator[tuple[float, dict[str, Any]]]:
        for loss, params in run(2):
            yield loss, {name: START[name] + factors[name] * (p - START[name]) for name, p in params.items()}

    words = [
        held(list(loop({"W": W, "b": b}))).parting.words  # type: ignore[union-attr]  # it parts
        for W, b in ((1.5, 1.5), (1.0, 0.0), (1.0, 1.5), (1.5, 3.0))
    ]
    assert words[0] == "every parameter moved 1.5 times as far"
    assert words[1] == "it did not move; all others agree"
    assert words[2] == "it moved 1.5 times as far; all others agree"
    assert words[3] == "it moved 3 times as far"


def test_gradients_are_held_together_by_the_same_rule() -> None:
    reference = {"W": np.arange(24.0).reshape(3, 8), "b": np.ones(4)}
    wrong = {**reference, "W": reference["W"].copy()}
    wrong["W"][2, 4] *= 1 + 1e-9
    shadow = {name: d * (1 + 1e-13) for name, d in reference.items()}
    gap, parting = gradients(wrong, reference, shadow, gates, EPS)
    assert parting is not None
    assert parting.gradient
    assert (parting.step, parting.tensor, parting.gates, parting.index) == (1, "W", ("g",), (2, 4))
    assert gap == parting.gap
    assert gap.tolerance == pytest.approx(1e-11, rel=1e-2)
    wide = {name: d * (1 + 1e-10) for name, d in reference.items()}
    assert gradients(wrong, reference, wide, gates, EPS)[1] is None
