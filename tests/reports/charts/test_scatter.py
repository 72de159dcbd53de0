from __future__ import annotations

import math
from typing import Any

import pytest

from bptt.reports.charts.scatter import scatter
from tests.reports.charts.test_curves import parsed


def test_entries_off_the_line_are_told_by_shape_and_in_words() -> None:
    chart = scatter({"pairs": [[1.0, 1.0], [2.0, 4.0], [-1.0, -1.0 + 1e-12]]}, "x")
    said = parsed(chart).findtext("title")
    assert (
        said
        == "Yours against exact: 1 of 3 entries lie off the line on which they are equal; yours / exact runs from 1.000e+00 to 2.000e+00."
    )
    assert chart is not None and chart.data is not None and chart.data.rows[0] == ("2.000e+00", "4.000e+00", "wrong")


@pytest.mark.parametrize("pairs", [None, (), "x", [[1.0]], [["a", 1.0], [2.0, math.nan]], [[1.0, 2.0]]])
def test_without_two_numbers_there_is_none(pairs: Any) -> None:
    assert scatter({"pairs": pairs}, "x") is None


@pytest.mark.parametrize("pairs", [[[0.0, 0.0], [0.0, 0.0]], [[1e149, 1e148], [1e-300, 0.0]], [[1.0, 1.0]] * 999])
def test_degenerate_pairs_are_drawn(pairs: Any) -> None:
    parsed(scatter({"pairs": pairs}, "x"))
