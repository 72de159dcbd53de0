from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptt.harness.experiments.engine.definition import Point
from bptt.harness.experiments.engine.outcomes import Z, iterations, share, solved_at
from bptt.reports.records import Interval


@pytest.mark.thorough
@given(of=st.integers(1, 200), data=st.data())
def test_the_ends_of_a_share_are_where_the_observed_one_is_z_deviations_off(of: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, of))
    found = share(k, of)
    assert 0 <= found.low <= found.value <= found.high <= 1
    for end in (found.low, found.high):
        if 1e-9 < end < 1 - 1e-9:
            assert abs(found.value - end) == pytest.approx(Z * math.sqrt(end * (1 - end) / of), rel=1e-6, abs=1e-9)


def test_none_and_all_of_ten() -> None:
    assert share(0, 10).high == pytest.approx(0.2775, abs=1e-4)
    assert share(10, 10).low == pytest.approx(0.7225, abs=1e-4)
    with pytest.raises(ValueError, match="3 of 2"):
        share(3, 2)
    with pytest.raises(ValueError, match="0 of 0"):
        share(0, 0)


def test_iterations_are_those_of_the_solved() -> None:
    assert iterations([None, None], 2000) == "none in 2,000"
    assert iterations([None, 400], 2000) == 400
    found = iterations([100, None, 400], 2000)
    assert isinstance(found, Interval)
    assert found.value == pytest.approx(200)
    assert found.low * found.high == pytest.approx(200**2)


def test_a_training_that_was_not_solved_has_none() -> None:
    assert solved_at([Point({}, {"solved": 20}), Point({}, {"solved": None})]) == [20, None]
