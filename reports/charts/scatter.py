"""Yours against exact, entry by entry: a right gradient lies on the line, one with a constant factor on another line through 0."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bptt.reports.charts.drawing import BAD, CURVE, HEIGHT, THEORY, Chart, Key, Spec, draw, padded, styled
from bptt.reports.records import Table
from bptt.reports.view import number

MOST_POINTS, MOST_ROWS = 200, 40
#: Relative to the largest exact entry: further from the line than this is a wrong entry.
_WRONG = 1e-6


def scatter(table: Mapping[str, Any], chart_id: str) -> Chart | None:
    """`table` as `Result.heatmap` has it, with "pairs".  None where it has none that are finite."""
    pairs = _finite(table.get("pairs"))
    if len(pairs) < 2:
        return None
    size = max(abs(exact) for exact, _ in pairs) or 1.0
    wrong = [abs(yours - exact) > _WRONG * size for exact, yours in pairs]
    ends = padded(min(map(min, pairs)), max(map(max, pairs)))
    fine = (ends[1] - ends[0]) / HEIGHT
    # no two where an eye sees one
    seen = {(round(x / fine), round(y / fine), bad): (x, y, bad) for (x, y), bad in zip(pairs, wrong, strict=True)}
    points = [{"x": x, "y": y, "k": BAD if bad else CURVE[0], "bad": bad} for x, y, bad in seen.values()]
    said = f"Yours against exact: {sum(wrong)} of {len(pairs)} entries lie off the line on which they are equal"
    ratios = sorted(yours / exact for exact, yours in pairs if abs(exact) > _WRONG * size)
    if ratios:
        said += f"; yours / exact runs from {number(ratios[0])} to {number(ratios[-1])}"
    keys = (Key("theory t0", "equal"), Key("dot k0", "right"), Key("dot bad", "wrong"))
    worst = sorted(zip(pairs, wrong, strict=True), key=lambda each: -abs(each[0][1] - each[0][0]))[:MOST_ROWS]
    rows = tuple((number(exact), number(yours), "wrong" if bad else "right") for (exact, yours), bad in worst)
    data = Table("the numbers", ("exact", "yours", ""), rows, None if len(pairs) <= MOST_ROWS else f"the {MOST_ROWS} furthest apart")
    return Chart(draw(_spec(points, ends), chart_id, f"{said}."), (), keys, data)


def _finite(pairs: Any) -> list[tuple[float, float]]:
    if not isinstance(pairs, list | tuple):
        return []
    read = [(float(p[0]), float(p[1])) for p in pairs if isinstance(p, list | tuple) and len(p) == 2 and all(map(_is_number, p))]
    return [p for p in read if all(map(math.isfinite, p)) and max(map(abs, p)) < 1e150][:MOST_POINTS]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _spec(points: list[dict[str, Any]], ends: tuple[float, float]) -> Spec:
    import altair as alt

    scale = alt.Scale(domain=list(ends), nice=False, zero=False)
    x = alt.X("x:Q", scale=scale, axis=alt.Axis(title="exact", tickCount=5, labelExpr="format(datum.value, '~g')"))
    y = alt.Y("y:Q", scale=scale, axis=alt.Axis(title="yours", tickCount=5, labelExpr="format(datum.value, '~g')"))
    colour = alt.Color("k:N", scale=None, legend=None)
    base = alt.Chart(alt.InlineData(values=points))
    layers = [
        alt.Chart(alt.InlineData(values=[{"x": e, "y": e} for e in ends])).mark_line(strokeWidth=9, color=THEORY[0]).encode(x=x, y=y),
        base.transform_filter("!datum.bad").mark_point(filled=True, size=26, opacity=1).encode(x=x, y=y, color=colour),
        base.transform_filter("datum.bad").mark_point(filled=True, size=40, opacity=1, shape="diamond").encode(x=x, y=y, color=colour),
    ]
    return styled(alt.layer(*layers).properties(width=HEIGHT + 40, height=HEIGHT))
