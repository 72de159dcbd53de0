from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bptt.reports.charts.contours import contour


def test_a_circle_is_one_closed_line_around_the_middle() -> None:
    axis = [k / 10 for k in range(-20, 21)]
    values = [[x * x + y * y for x in axis] for y in axis]
    (line,) = contour(axis, axis, values, 1.0)
    assert line[0] == line[-1] and len(line) > 50
    assert all(abs(math.hypot(x, y) - 1) < 0.005 for x, y in line)
    turn = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(line)) / 2
    assert abs(abs(turn) - math.pi) < 0.01


def test_a_plane_gives_the_straight_line() -> None:
    x, y = [0.0, 1.0, 3.0, 4.0], [0.0, 2.0, 3.0]
    (line,) = contour(x, y, [[2 * a + b for a in x] for b in y], 5.0)
    assert all(abs(2 * a + b - 5) < 1e-12 for a, b in line)
    assert {(1.0, 3.0), (2.5, 0.0)} <= set(line)


def test_a_saddle_has_two_lines_and_its_mean_decides() -> None:
    for high, together in ((1.6, True), (0.4, False)):  # at (0, 0) and (1, 1); -1 at the other two
        lines = contour([0.0, 1.0], [0.0, 1.0], [[high, -1.0], [-1.0, high]], 0.0)
        assert len(lines) == 2
        around_the_origin = [all(0.0 in place for place in line) for line in lines]
        assert any(around_the_origin) is not together


@pytest.mark.parametrize("hole", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_gives_no_nan(hole: float) -> None:
    values = [[float(c - 2 * r) for c in range(6)] for r in range(6)]
    values[2][3] = hole
    lines = contour(range(6), range(6), values, 0.5)
    assert lines and all(math.isfinite(v) for line in lines for place in line for v in place)


shapes = st.tuples(st.integers(1, 6), st.integers(1, 6))
grids = shapes.flatmap(lambda shape: arrays(float, shape, elements=st.sampled_from([-2.0, -1.0, 0.0, 1.0, 3.0])))


@given(values=grids)
def test_every_crossed_edge_is_on_exactly_one_line(values: Any) -> None:
    rows, columns = values.shape
    above = values >= 0.5
    crossed = int((above[:, 1:] != above[:, :-1]).sum() + (above[1:] != above[:-1]).sum()) if min(rows, columns) > 1 else 0
    lines = contour(range(columns), range(rows), values.tolist(), 0.5)
    assert sum(len(line) - (line[0] == line[-1]) for line in lines) == crossed
