"""An option of speed that changes a number is found; one that changes none is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bptt.harness.checks.cells import ways
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import NotApplicable
from bptt.harness.subject import Array, Arrays, Pair
from tests.harness.checks.cells.asked import SMALL, context, failures, verdicts
from tests.harness.checks.planted import Clean


class Unrolled(Clean):
    """The same, but for what is planted: the last step of a loop that is unrolled by two is left out, or its gradient is."""

    def __init__(self, forward: bool = False, back: bool = False) -> None:
        self.wrong, self.back = forward, back

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, final = super().run(params, xs, state)
        if self.wrong and len(xs) % 2:
            final = dict.fromkeys(final, ys[-2])
        return ys, final

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Any:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        return dparams, dxs * (np.arange(len(dxs)) < len(dxs) - self.back)[:, None, None], dstate


def asked(*implementations: Any) -> CheckContext:
    it = context(Clean)
    return replace(it, subject=replace(it.subject, ways=tuple(("unroll=2", each) for each in implementations)))


def test_without_such_an_option_there_is_nothing_to_ask() -> None:
    with pytest.raises(NotApplicable, match="matter of speed"):
        list(ways.options_of_speed_change_no_number(context(Clean), SMALL))


def test_one_that_changes_nothing_holds() -> None:
    assert all(verdicts(ways.options_of_speed_change_no_number(asked(Unrolled()), SMALL)))


def test_one_that_leaves_a_step_out_is_found_where_it_does() -> None:
    (found,) = failures(ways.options_of_speed_change_no_number(asked(Unrolled(forward=True)), SMALL))
    assert found.headline == "final h with unroll=2 differ from those without it"
    (found,) = failures(ways.options_of_speed_change_no_number(asked(Unrolled(back=True)), SMALL))
    assert (found.headline, found.where.index and found.where.index[0]) == ("dL/dxs with unroll=2 differ from those without it", 2)


def paired(*pairs: Pair) -> CheckContext:
    it = context(Clean)
    return replace(it, subject=replace(it.subject, combinations=lambda rng: iter(pairs)))


every_combination = ways.every_combination_of_options_and_masks_is_what_its_steps_give
RIGHT = Pair("no option, no mask", "ys", np.ones(3), np.ones(3), own=True)


def test_combinations_that_agree_hold() -> None:
    assert all(verdicts(every_combination(paired(RIGHT, RIGHT), SMALL)))
    with pytest.raises(NotApplicable, match="no options or masks"):
        list(every_combination(context(Clean), SMALL))


@pytest.mark.parametrize(("own", "severity"), [(True, "error"), (False, "warning")])
def test_one_that_differs_is_a_mistake_of_the_object_that_has_it(own: bool, severity: str) -> None:
    wrong = Pair("unroll=True, a mask with holes", "final state 0", np.ones(3), np.zeros(3), own)
    raising = Pair("unroll=True, no mask", "", np.zeros(0), np.zeros(0), own, "ValueError: no")
    found = [e for e in every_combination(paired(RIGHT, raising, wrong), SMALL) if not e.holds]
    assert [(e.severity, e.code, e.where.tensor) for e in found] == [(severity, "BUG", "final state 0")]
    assert found[0].headline == (
        "final state 0 with unroll=True, a mask with holes differ from what its cell gives step by step (2 of 3 comparisons)"
    )
