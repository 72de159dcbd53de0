"""What a comparison of two ways forgives: rounding as it is measured, and nothing where equal calls differ."""

from __future__ import annotations

import numpy as np

from bptt.harness.call.operator import Point
from bptt.harness.cases import Case
from bptt.harness.checks.evidence import agree
from bptt.harness.checks.operators import plan
from bptt.harness.subject import Array

AT = Point({}, {"x": np.array([1.0, 2.0])}, {}, None)


def test_what_a_unit_in_the_last_place_moves_is_a_hundred_times_no_difference() -> None:
    steep = plan.rounding(AT, Case(), lambda at: {"dx": 1e12 * (at.inputs["x"] - 1.5)})
    assert 1e-3 < steep("dx") < 1.0
    flat = plan.rounding(AT, Case(), lambda at: {"dx": at.inputs["x"]})
    assert flat("dx") < 1e-12 and flat("dy") == 0.0


def test_equal_calls_that_differ_are_forgiven_nothing() -> None:
    seen: list[int] = []

    def grown(at: Point) -> dict[str, Array]:
        seen.append(1)
        return {"dx": len(seen) * at.inputs["x"]}

    assert plan.rounding(AT, Case(), grown)("dx") == 0.0


def test_rounding_is_asked_for_where_two_ways_disagree_alone() -> None:
    asked: list[float] = []

    def compared(got: float) -> bool:
        def compare(floor: float) -> object:
            return agree("dx", got=np.array([got]), expected=np.array([1.0]), tolerance=1e-10, than="the other", floor=floor)

        return plan.beyond(compare, 0.0, lambda: asked.append(1.0) or 1e-3).holds  # type: ignore[arg-type, func-returns-value]

    assert compared(1.0) and not asked
    assert compared(1.0001) and not compared(1.1) and len(asked) == 2
