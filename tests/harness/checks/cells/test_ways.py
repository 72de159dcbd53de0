"""An option of speed that changes a number is found; one that changes none is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bptt.harness.checks.cells import ways
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import NotApplicable
from bptt.harness.subject import Array, Arrays
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
