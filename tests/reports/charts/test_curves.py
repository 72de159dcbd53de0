from __future__ import annotations

import math
import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from bptt.reports.charts import curves, errors, ratios
from bptt.reports.charts.drawing import Chart
from bptt.reports.records import Bench, Series
from tests.reports.samples import benches, flow
from tests.reports.samples import heatmap as table

BUDGET = 24 * 1024


def parsed(chart: Chart | None) -> ET.Element:
    """The chart's SVG, after what holds for every chart."""
    assert chart is not None
    assert len(chart.svg.encode()) <= BUDGET
    assert "NaN" not in chart.svg and "Infinity" not in chart.svg and "undefined" not in chart.svg
    root = ET.fromstring(chart.svg)
    for element in root.iter():
        assert not any("://" in value or value.startswith("url(") for value in element.attrib.values())
        assert element.get("style") is None
        colour = {element.get("fill"), element.get("stroke")} - {None, "none", "transparent"}
        assert not colour, f"{element.tag} has a colour of its own: {colour}"
    return root


def cells(root: ET.Element, name: str) -> int:
    """How many rectangles the path of a class draws."""
    return sum(p.get("d", "").count("M") for p in root.iter("path") if p.get("class") == f"f-{name}")


def test_a_heatmap_draws_each_entry_in_the_colour_of_its_size_and_sign() -> None:
    values = ((0.0, 1e-16, -1e-10), (1e-6, -1e-3, 0.5), (-7.0, math.inf, math.nan))
    chart = errors.heatmap({"title": "t", "values": values, "rows": ("a", "b", "c"), "columns": ("d", "e", "f")}, "x")
    root = parsed(chart)
    drawn = {n: cells(root, n) for n in ("h0", "hn1", "hp2", "hn3", "hp4", "hn5")}
    assert drawn == {"h0": 2, "hn1": 1, "hp2": 1, "hn3": 1, "hp4": 1, "hn5": 1}
    assert cells(root, "paper") == 2
    assert chart is not None and chart.notes == ("2 entries not finite: framed cells",)
    assert {t.text for t in root.iter("text")} >= {"a", "b", "c", "d", "e", "f"}


def test_signs_are_marks_as_well_as_colours() -> None:
    up, down = (parsed(errors.heatmap({"values": ((v,),)}, "x")) for v in (1e-3, -1e-3))
    assert cells(up, "ink") == 2 and cells(down, "ink") == 1  # a plus has two strokes, a minus one


def test_a_large_heatmap_is_pooled_and_shows_the_largest_error() -> None:
    values = [[0.0] * 500 for _ in range(300)]
    values[217][333] = -0.5
    chart = errors.heatmap({"values": values}, "x")
    assert cells(parsed(chart), "hn4") == 1
    assert chart is not None and "largest error among up to" in chart.notes[0]


@pytest.mark.parametrize("values", [None, (), ((),), 3, "x", ((), ())])
def test_a_heatmap_without_numbers_is_none(values: Any) -> None:
    assert errors.heatmap({"values": values}, "x") is None


def test_rows_of_unequal_length_and_missing_labels_are_drawn() -> None:
    root = parsed(errors.heatmap({"values": ((1.0,), (1.0, 2.0)), "rows": ("a",)}, "x"))
    assert {t.text for t in root.iter("text")} == {"a", "1", "0"}


@pytest.mark.thorough
def test_random_noise_stays_in_the_budget() -> None:
    values = [[math.sin(i * j + 1) * 10.0 ** -((i * 7 + j * 3) % 15) for j in range(60)] for i in range(50)]
    parsed(errors.heatmap({"values": values, "rows": [f"row number {i}" for i in range(50)]}, "x"))
    parsed(errors.heatmap({"values": [row[:30] for row in values[:10]]}, "x"))


def test_a_curve_and_what_was_expected() -> None:
    chart = curves.curves(flow("x").series, "x")
    root = parsed(chart)
    assert chart is not None and chart.legend == (("line k0", "|dL/dh|"), ("theory t0", "expected"))
    drawn = {p.get("class"): p for p in root.iter("path")}
    assert float(drawn["s-t0"].get("stroke-width", "1")) > 4 * float(drawn["s-k0"].get("stroke-width", "1"))  # seen beneath the line
    assert list(drawn).index("s-t0") < list(drawn).index("s-k0")
    assert "1e-3" in {t.text for t in root.iter("text")}


def test_a_chart_says_its_trend_with_numbers_and_has_them_as_a_table() -> None:
    chart = curves.curves(flow("x").series, "x")
    said = parsed(chart).findtext("title")
    assert said is not None and "norm of dh_T/dh_(T-lag) over lag" in said
    assert (
        "|dL/dh| falls from 1 at 0 to 1.9e-06 at 39, by a factor of 0.71 a step, at most 0.2 of its size away from what is expected" in said
    )
    assert chart is not None and chart.data is not None
    assert chart.data.columns == ("lag", "|dL/dh|", "|dL/dh|, expected") and len(chart.data.rows) == 40


def test_axes_of_sizes_are_written_in_one_way() -> None:
    for y in ((1.0, 1e-9), (1.0, 2e-2), (1.0, 0.8), (3e4, 2e5)):
        root = parsed(curves.curves((Series("s", "lag", "norm", (0.0, 1.0), y, log_y=True),), "x"))
        ticks = [t.text or "" for t in root.iter("text") if re.match(r"[\d.]+e", t.text or "")]
        assert len(ticks) >= 2 and all(re.fullmatch(r"[\d.]+e-?\d+", tick) for tick in ticks)


def test_values_without_a_logarithm_do_not_break_the_axis() -> None:
    y = (1.0, 1e-3, 0.0, 1e-320, math.nan, 1e-5, math.inf, 1e-7, -1.0, 1e-9, 1e-10)
    chart = curves.curves((Series("s", "lag", "norm", tuple(map(float, range(11))), y, log_y=True),), "x")
    root = parsed(chart)
    assert chart is not None and chart.notes == (
        "2 values are 0 or below: ▼ at the lower edge",
        "1 value is infinite: ▲ at the upper edge",
        "1 value is NaN: a gap in the line",
    )
    assert {"1e0", "1e-300"} <= {t.text for t in root.iter("text")}
    line = next(p for p in root.iter("path") if p.get("class") == "s-k0")
    assert line.get("d", "").count("M") == 5  # the stretches between what cannot be drawn


@pytest.mark.parametrize("y", [(0.0,) * 3, (math.nan,) * 3, (math.inf,) * 3, (2.0,) * 3, (1e308, -1e308, 0.0), (5e-324, 1e308, 1.0)])
@pytest.mark.parametrize("log", [True, False])
def test_degenerate_curves_are_drawn(y: tuple[float, ...], log: bool) -> None:
    parsed(curves.curves((Series("s", "x", "y", (0.0, 1.0, 2.0), y, log_y=log),), "x"))
    parsed(curves.curves((Series("s", "x", "y", (1.0,), y[:1], log_y=log),), "x"))


def test_curves_without_points_are_none() -> None:
    assert curves.curves((), "x") is None
    assert curves.curves((Series("s", "x", "y", (), ()),), "x") is None


def test_long_curves_are_thinned_but_keep_their_extremes() -> None:
    y = [math.sin(k / 50) for k in range(20_000)]
    y[12_345] = 40.0
    chart = curves.curves([Series(f"s{i}", "x", "y", tuple(map(float, range(20_000))), tuple(y)) for i in range(8)], "x")
    root = parsed(chart)
    assert "40" in {t.text for t in root.iter("text")}
    assert chart is not None and chart.notes == ("2 more curves are in the record",)


def test_ratios_show_what_is_over_budget() -> None:
    root = parsed(ratios.ratios(benches(), "x"))
    over = sum(b.budget is not None and b.ratio > b.budget for b in benches())
    assert 0 < over < len(benches())
    points = [p.get("class") for p in root.iter("path") if "transform" in p.attrib]
    assert points.count("f-bad") == over and points.count("f-good") == len(benches()) - over
    assert "1" in {t.text for t in root.iter("text")}


@pytest.mark.thorough
def test_odd_ratios_are_left_to_the_table() -> None:
    odd = tuple(Bench(str(v), "g", "s", "d", v) for v in (0.0, -1.0, math.inf, math.nan))
    assert ratios.ratios(odd, "x") is None
    chart = ratios.ratios((*odd, Bench("a", "g", "s", "d", 0.5, low=0.0, high=math.inf, budget=math.nan)), "x")
    parsed(chart)
    assert chart is not None and chart.notes == ("4 benchmarks not drawn (see the table)",)
    parsed(ratios.ratios([Bench(f"b{i}", "g", "a long name of a size " * 3, "float64", 1.0 + i) for i in range(99)], "x"))


@pytest.mark.thorough
def test_users_strings_are_text() -> None:
    bad = "</title><script>alert('x')</script>\x00\"]; alert(1)//\\"
    chart = errors.heatmap(
        {**table(), "title": bad, "row_label": bad, "column_label": bad, "rows": (bad,) * 7, "columns": (bad,) * 21}, "x"
    )
    curve = curves.curves((Series(bad, bad, bad, (0.0, 1.0), (1.0, 2.0)),), "y")
    ratio = ratios.ratios((Bench(bad, bad, bad, bad, 1.0),), "z")
    for found in (chart, curve, ratio):
        assert not list(parsed(found).iter("script"))
        assert found is not None and "<script" not in found.svg


def test_ids_differ_from_chart_to_chart() -> None:
    made = [errors.heatmap(table(), "a"), errors.heatmap(table(), "b"), curves.curves(flow("x").series, "c")]
    ids = [i for c in made if c for i in re.findall(r'\bid="([^"]*)"', c.svg)]
    assert len(ids) == len(set(ids)) >= 3


def test_the_same_record_gives_the_same_chart() -> None:
    assert errors.heatmap(table(), "a") == errors.heatmap(table(), "a")


def test_a_tolerance_is_a_band_where_it_can_be_seen() -> None:
    x, y = (0.0, 1.0, 2.0), (1.0, 2.0, 4.0)
    wide, thin = (curves.curves((Series("s", "x", "y", x, y, y, tolerance),), "x") for tolerance in (0.5, 1e-10))
    assert wide is not None and ("band", "its tolerance") in wide.legend and cells(parsed(wide), "band") == 1
    assert thin is not None and ("band", "its tolerance") not in thin.legend and cells(parsed(thin), "band") == 0
    parsed(curves.curves((Series("s", "x", "y", x, y, y, 0.3, log_y=True),), "x"))
    parsed(curves.curves((Series("s", "x", "y", x, y, y, 3.0, log_y=True),), "x"))
    assert curves.curves((Series("s", "x", "y", x, y, (), 0.5),), "x") is not None


def test_places_spread_by_ratio_have_a_logarithmic_axis() -> None:
    places = ((1.0, 10.0, 100.0, 1e3), (1.0, 2.0, 3.0, 4.0))
    by_ratio, evenly = (curves.curves((Series("s", "x", "y", x, (1.0,) * 4),), "x") for x in places)
    assert {"1", "1000"} <= {t.text for t in parsed(by_ratio).iter("text")}
    assert "1000" not in {t.text for t in parsed(evenly).iter("text")}


def test_long_titles_stand_in_lines() -> None:
    words = "the largest Lyapunov exponent of all of the states"
    root = parsed(curves.curves((Series("s", "x", words, (0.0, 1.0), (1.0, 2.0)),), "x"))
    assert not any(t.text == words for t in root.iter())
    assert {"the largest Lyapunov exponent", "of all of the states"} <= {t.text for t in root.iter()}
