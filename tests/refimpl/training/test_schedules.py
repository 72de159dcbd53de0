"""Learning rates after a series of losses, each as its source says."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.refimpl.training.schedules import Constant, DivideOnPlateau, HalveOnRise, Rate, Schedule

quick = settings(max_examples=50, deadline=None, derandomize=True)
losses_ = st.lists(st.floats(0, 10) | st.just(math.inf), max_size=12)


def rates(schedule: Schedule, losses: list[float]) -> list[Rate]:
    return list(accumulate(losses, schedule.after, initial=schedule.start()))


def test_halved_when_the_loss_rises_from_one_evaluation_to_the_next() -> None:
    assert [rate.lr for rate in rates(HalveOnRise(8.0), [5, 4, 6, 5, 5, 7, 8, 1])] == [8, 8, 8, 4, 4, 4, 2, 1, 1]


def test_a_quarter_when_the_loss_is_not_below_the_best() -> None:
    after = rates(DivideOnPlateau(16.0), [5, 4, 6, 4.5, 3, 3, 2])
    assert [rate.lr for rate in after] == [16, 16, 16, 4, 1, 1, 0.25, 0.25]
    assert [rate.improved for rate in after] == [False, True, True, False, False, True, False, True]


@quick
@given(losses_)
def test_halve_on_rise_counts_the_rises(losses: list[float]) -> None:
    rises = sum(b > a for a, b in pairwise(losses))
    assert rates(HalveOnRise(1.0), losses)[-1].lr == 0.5**rises


@quick
@given(losses_)
def test_the_best_is_the_lowest_and_constant_stays(losses: list[float]) -> None:
    for schedule in (Constant(0.1), HalveOnRise(0.1), DivideOnPlateau(0.1)):
        last = rates(schedule, losses)[-1]
        assert last.best == min(losses, default=math.inf)
        assert last.previous == (losses[-1] if losses else math.inf)
    assert {rate.lr for rate in rates(Constant(0.1), losses)} == {0.1}


@pytest.mark.parametrize("schedule", [Constant(1.0), HalveOnRise(), DivideOnPlateau()])
def test_nan_is_refused(schedule: Schedule) -> None:
    with pytest.raises(ValueError, match="loss of the evaluation is nan"):
        schedule.after(schedule.start(), math.nan)


@pytest.mark.parametrize("lr", [0.0, -1.0, math.inf, math.nan])
def test_a_learning_rate_is_a_number_above_zero(lr: float) -> None:
    for schedule in (Constant(lr), HalveOnRise(lr), DivideOnPlateau(lr)):
        with pytest.raises(ValueError, match="should be a number above 0"):
            schedule.start()
