from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from bptt.reports.charts import pictures
from bptt.reports.records import Grid, Histogram, Interval, Table
from tests.reports.charts.test_curves import cells, parsed
from tests.reports.samples import gain_by_lag, spectrum

GRID = gain_by_lag().grids[0]
HISTOGRAM = spectrum().histograms[0]


def grid(values: tuple[tuple[float, ...], ...], **more: Any) -> Grid:
    x, y = tuple(map(float, range(len(values[0])))), tuple(map(float, range(len(values))))
    return replace(Grid("g", "x", "y", "v", x, y, values), **more)


def test_values_on_both_sides_of_zero_are_coloured_by_their_distance_from_it() -> None:
    chart = pictures.heatmap(grid(((-10.0, 0.0, 5.0), (10.0, 10.0, -0.1)), contours=(0.0,)), "x")
    root = parsed(chart)
    drawn = {n: cells(root, n) for n in ("gn5", "g0", "gp2", "gp3", "gp5")}
    assert drawn == {"gn5": 1, "g0": 2, "gp2": 1, "gp3": 0, "gp5": 1}  # two neighbours of one colour are one
    assert chart is not None and dict(chart.legend) == {"gn5": "-10", "g0": "0", "gp2": "4", "gp5": "10", "line c0": "0"}
    assert any(p.get("class") == "s-c0" for p in root.iter("path"))


def test_values_of_one_sign_rise_from_the_lowest() -> None:
    chart = pictures.heatmap(grid(((1.0, 2.0), (5.0, 9.0))), "x")
    assert chart is not None and chart.legend == (("r0", "1"), ("r1", "2"), ("r4", "5"), ("r8", "9"))


def test_a_row_at_the_top_of_the_record_is_at_the_top_only_if_its_y_is_large() -> None:
    up = pictures.heatmap(grid(((1.0, 1.0), (9.0, 9.0)), y=(0.0, 1.0)), "x")
    down = pictures.heatmap(grid(((9.0, 9.0), (1.0, 1.0)), y=(1.0, 0.0)), "x")
    assert up is not None and down is not None and up.svg == down.svg


def test_what_is_not_finite_is_left_empty_or_at_the_ends_and_said() -> None:
    chart = pictures.heatmap(grid(((math.nan, 1.0, -math.inf), (2.0, math.inf, 3.0)), contours=(1.5,)), "x")
    root = parsed(chart)
    assert sum(cells(root, f"r{k}") for k in range(9)) == 3  # 1 and -inf, 2, inf and 3
    assert chart is not None and chart.notes == ("1 value NaN: left empty", "2 values infinite: in the colour of the ends")
    assert pictures.heatmap(grid(((math.nan,),)), "x") is None
    assert pictures.heatmap(replace(GRID, x=(), y=(), values=()), "x") is None


@pytest.mark.parametrize(
    "values",
    [((0.0,),), ((3.0, 3.0),), ((1e300, -1e300), (0.0, 1.0)), ((1e-320, 2e-320), (0.0, 0.0)), ((1.0, 2.0, 3.0),), ((1.0,), (2.0,))],
)
def test_degenerate_grids_are_drawn(values: tuple[tuple[float, ...], ...]) -> None:
    parsed(pictures.heatmap(grid(values, contours=(0.0, 1.0, 2.0, 3.0)), "x"))


@pytest.mark.thorough
def test_noise_and_large_grids_stay_in_the_budget() -> None:
    rng = random.Random(0)
    noise = tuple(tuple(rng.gauss(0, 1) for _ in range(120)) for _ in range(60))
    chart = pictures.heatmap(grid(noise, contours=(0.0,)), "x")
    parsed(chart)
    assert chart is not None and chart.notes[-1] == "the contours are too ragged to draw" and "drawn at every" in chart.notes[0]
    smooth = tuple(tuple(math.sin(r / 40) * math.cos(c / 40) for c in range(200)) for r in range(200))
    large = pictures.heatmap(grid(smooth, contours=(0.0, 0.5, -0.5)), "x")
    parsed(large)
    assert large is not None and {"line c0", "line c1", "line c2"} <= set(dict(large.legend))


def test_places_spread_by_ratio_have_a_logarithmic_axis() -> None:
    lags = tuple(2.0**k for k in range(8))
    texts = {t.text for t in parsed(pictures.heatmap(grid((tuple(range(8)),) * 2, x=lags), "x")).iter("text")}
    assert {"1", "10", "100"} <= texts
    texts = {t.text for t in parsed(pictures.heatmap(grid((tuple(range(8)),) * 2), "x")).iter("text")}
    assert {"1", "2", "3"} <= texts


def test_a_histogram_stands_beside_its_law() -> None:
    chart = pictures.histogram(HISTOGRAM, "x")
    root = parsed(chart)
    assert cells(root, "bar") == 40
    assert chart is not None and chart.legend == (("bar", "measured"), ("line expected", "semicircle law"))
    assert any(p.get("class") == "s-expected" for p in root.iter("path"))


def test_many_bars_are_pooled_without_losing_area() -> None:
    edges = tuple(k / 1000 for k in range(1001))
    chart = pictures.histogram(Histogram("h", "x", edges, tuple(1.0 + 0.5 * (k % 2) for k in range(1000))), "x")
    assert cells(parsed(chart), "bar") == 77
    assert chart is not None and chart.notes == ("each bar stands for 13 of the record's",)
    assert pictures._pooled([(0.0, 1.0, 2.0), (1.0, 3.0, 0.5)]) == (0.0, 3.0, 1.0)


def test_odd_histograms() -> None:
    assert pictures.histogram(Histogram("h", "x", (), ()), "x") is None
    assert pictures.histogram(Histogram("h", "x", (0.0, 1.0), (math.nan,)), "x") is None
    parsed(pictures.histogram(Histogram("h", "x", (0.0, 1.0, 1.0, 2.0), (0.0, math.inf, 0.0), (0.5,), (math.inf,)), "x"))
    parsed(pictures.histogram(Histogram("h", "x", (0.0, 1.0), (1.0,), (0.0, 0.5), (1e9, 1.0)), "x"))


def test_estimates_have_their_intervals() -> None:
    chart = pictures.intervals(spectrum().tables[0], "x")
    root = parsed(chart)
    assert {"tanh, 100", "GRU, 100", "share solved"} <= {t.text for t in root.iter("text")}
    assert pictures.intervals(Table("t", ("a", "b"), (("x", 1.0),)), "x") is None
    rows = tuple((f"row {i}", Interval(i, i - 1, i + 1), Interval(0.5, 0.4, math.nan)) for i in range(60))
    chart = pictures.intervals(Table("t", ("a", "p", "q"), rows), "x")
    assert chart is not None and chart.notes == ("20 more rows in the table",) and chart.legend == ()
    assert "p" in {t.text for t in parsed(chart).iter("text")}
    shares = tuple((f"row {i}", Interval(i, i, i), Interval(0.5, 0.4, 0.6), Interval(0.1, 0.0, 0.2)) for i in range(3))
    chart = pictures.intervals(Table("t", ("a", "steps", "p", "q"), shares), "x")
    parsed(chart)
    assert chart is not None and chart.legend == (("line k0", "p"), ("line k1", "q"))
    wide = pictures.intervals(Table("t", ("a", "v"), (("x", Interval(1, 0.5, 2)), ("y", Interval(1e6, 5e5, 2e6)))), "x")
    assert "1e6" in {t.text for t in parsed(wide).iter("text")}


def test_users_strings_are_text() -> None:
    bad = "</title><script>alert('x')</script>\x00\"]; alert(1)//\\"
    found = (
        pictures.heatmap(Grid(bad, bad, bad, bad, (0.0, 1.0), (0.0,), ((1.0, 2.0),)), "a"),
        pictures.histogram(Histogram(bad, bad, (0.0, 1.0), (1.0,), source=bad), "b"),
        pictures.intervals(Table(bad, (bad, bad), ((bad, Interval(0.5, 0.0, 1.0)),)), "c"),
    )
    for chart in found:
        assert not list(parsed(chart).iter("script"))
        assert chart is not None and "<script" not in chart.svg
