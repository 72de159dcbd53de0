"""Curves that share their axes, each beside what is expected of it.

Logarithmic axes are linear axes over log10(y) made here, with one rule for what has no logarithm: a value that is 0 or
negative is drawn as a mark at the lower edge, an infinite one at the upper edge, NaN is a gap; each is counted in the
chart's notes.  Denormals (1e-320) are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bptt.reports.charts import trend
from bptt.reports.charts.drawing import (
    BAND,
    CURVE,
    HEIGHT,
    THEORY,
    WIDTH,
    Chart,
    Key,
    Spec,
    count_ticks,
    draw,
    log_ticks,
    padded,
    spread_by_ratio,
    styled,
    text,
    title,
)
from bptt.reports.records import Series, Table
from bptt.reports.view import short

MOST_CURVES, MOST_POINTS, MOST_ROWS = len(CURVE), 160, 60


def curves(series: Sequence[Series], chart_id: str) -> Chart | None:
    """Curves that share axes (the labels are those of the first), at most six.  None where there is no point to draw."""
    shown = list(series[:MOST_CURVES])
    if not shown or not any(s.x for s in shown):
        return None
    log, log_x = any(s.log_y for s in shown), all(spread_by_ratio(s.x) for s in shown if s.x)
    said, data = trend.words(shown), _data(shown)
    if log_x:
        shown = [replace(s, x=tuple(map(math.log10, s.x))) for s in shown]
    notes = [f"{len(series) - len(shown)} more curves are in the record"] if len(series) > len(shown) else []
    lines: list[dict[str, Any]] = []
    theory: list[dict[str, Any]] = []
    odd: list[tuple[float, str, str]] = []
    for i, s in enumerate(shown):
        for values, colour, into in ((s.y, CURVE[i], lines), (s.expected, THEORY[i], theory)):
            points, edges = _points(s.x, values, log)
            into += [{"x": x, "y": y, "g": f"{i}{colour}{part}", "k": colour} for part, x, y in _thinned(points)]
            odd += [(x, edge, colour) for x, edge in edges]
    ys = [p["y"] for p in (*lines, *theory)] or [0.0]
    low, high = padded(min(ys), max(ys))
    bands = [b for i, s in enumerate(shown) for b in _band(s, i, log, (low, high))]
    marks = [{"x": x, "y": low if edge == "low" else high, "k": colour, "e": edge} for x, edge, colour in odd if edge != "gap"]
    notes += _edge_notes([edge for _, edge, _ in odd], log)
    spec = _curves_spec(lines, theory, bands, marks[:40], shown[0], log, log_x, (low, high))
    return Chart(draw(spec, chart_id, said), tuple(notes), _legend(shown, bool(bands)), data)


def _legend(shown: Sequence[Series], bands: bool) -> tuple[Key, ...]:
    """One curve alone has its name above it; what is expected of it is always told."""
    keys = [Key(f"line k{i}", text(s.name)) for i, s in enumerate(shown)]
    expected = [i for i, s in enumerate(shown) if s.expected]
    if len(expected) == 1:
        keys.append(Key(f"theory t{expected[0]}", "expected"))
    elif expected:
        keys.append(Key("theory t0", "expected, each in the colour of its curve"))
    keys += [Key("band", "its tolerance")] if bands else []
    return tuple(keys) if len(keys) > 1 else ()


def _data(shown: Sequence[Series]) -> Table | None:
    """The curves' numbers, a row for each x: all of them, or as many as a page has room for."""
    xs = sorted({x for s in shown for x in s.x if math.isfinite(x)})
    kept = xs if len(xs) <= MOST_ROWS else [xs[round(k * (len(xs) - 1) / (MOST_ROWS - 1))] for k in range(MOST_ROWS)]
    columns, values = [text(shown[0].x_label)], []
    for s in shown:
        columns.append(text(s.name))
        values.append(dict(zip(s.x, s.y, strict=False)))
        if s.expected:
            columns.append(f"{text(s.name)}, expected")
            values.append(dict(zip(s.x, s.expected, strict=False)))
    rows = tuple((f"{x:.6g}", *(short(v[x]) if x in v else "" for v in values)) for x in kept)
    note = f"{len(kept)} of {len(xs)} rows, all are in the record" if len(kept) < len(xs) else None
    return Table("the numbers", tuple(columns), rows, note) if rows else None


def _curves_spec(
    lines: list[dict[str, Any]],
    theory: list[dict[str, Any]],
    bands: list[dict[str, Any]],
    edges: list[dict[str, Any]],
    like: Series,
    log: bool,
    log_x: bool,
    domain: tuple[float, float],
) -> Spec:
    import altair as alt

    ticks, expression = log_ticks(*domain) if log else (None, "format(datum.value, '~g')")
    ticking = {"values": ticks} if ticks is not None else {"tickCount": 5}
    y_axis = alt.Axis(labelExpr=expression, title=title(like.y_label, 30), **ticking)
    across: dict[str, Any] = {"tickCount": 6}
    if log_x:
        x_ticks, x_expression = count_ticks(min(p["x"] for p in lines), max(p["x"] for p in lines)) if lines else ([], "''")
        across = {"values": x_ticks, "labelExpr": x_expression}
    x = alt.X("x:Q", axis=alt.Axis(title=title(like.x_label, 60), grid=False, **across), scale=alt.Scale(nice=False, zero=False))
    y = alt.Y("y:Q", axis=y_axis, scale=alt.Scale(domain=list(domain), nice=False, zero=False))
    colour = alt.Color("k:N", scale=None, legend=None)
    layers = []
    if bands:
        area = alt.Chart(alt.InlineData(values=bands)).mark_area(color=BAND)
        layers.append(area.encode(x=x, y=y, y2="y2:Q", detail="g:N"))
    for points, width, size in ((theory, 9, 120), (lines, 1.8, 20)):
        if points:
            drawn = alt.Chart(alt.InlineData(values=points)).mark_line(strokeWidth=width)
            layers.append(drawn.encode(x=x, y=y, color=colour, detail="g:N"))
        single = [p for p in points if sum(q["g"] == p["g"] for q in points) == 1] if len(points) < 2000 else []
        if single:
            dot = alt.Chart(alt.InlineData(values=single)).mark_point(filled=True, size=size, opacity=1)
            layers.append(dot.encode(x=x, y=y, color=colour))
    for edge, shape in (("low", "triangle-down"), ("high", "triangle-up")):
        marks = [e for e in edges if e["e"] == edge]
        if marks:
            point = alt.Chart(alt.InlineData(values=marks)).mark_point(filled=True, size=30, opacity=1, shape=shape, clip=False)
            layers.append(point.encode(x=x, y=y, color=colour))
    return styled(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT))


def _band(s: Series, i: int, log: bool, domain: tuple[float, float]) -> list[dict[str, Any]]:
    """Where the curve may run, where that is wide enough to be seen.  On a logarithmic axis the tolerance is relative."""
    if not s.tolerance or not s.expected or not math.isfinite(s.tolerance):
        return []
    points, _ = _points(s.x, s.expected, log)
    if not log:
        below = above = s.tolerance
    else:
        below, above = -math.log10(max(1 - s.tolerance, 1e-300)), math.log10(1 + s.tolerance)
    if below + above < 0.06 * (domain[1] - domain[0]):
        return []
    low, high = domain
    return [{"x": x, "y": max(y - below, low), "y2": min(y + above, high), "g": f"{i}.{part}"} for part, x, y in _thinned(points)]


def _points(xs: Sequence[float], values: Sequence[float], log: bool) -> tuple[list[tuple[int, float, float]], list[tuple[float, str]]]:
    """(part, x, y) of what can be drawn, parts being unbroken stretches, and (x, edge) of what cannot."""
    points: list[tuple[int, float, float]] = []
    odd: list[tuple[float, str]] = []
    part = 0
    for x, value in zip(xs, values, strict=False):
        if not math.isfinite(x):
            continue
        if math.isnan(value):
            edge = "gap"
        elif value > 1e300 and (math.isinf(value) or not log):
            edge = "high"
        elif value <= 0 if log else value < -1e300:
            edge = "low"
        else:
            points.append((part, x, math.log10(value) if log else value))
            continue
        odd.append((x, edge))
        part += 1
    return points, odd


def _thinned(points: list[tuple[int, float, float]]) -> list[tuple[int, float, float]]:
    """At most about MOST_POINTS points that keep the lowest and the highest of every stretch between them."""
    if len(points) <= MOST_POINTS:
        return points
    step = math.ceil(2 * len(points) / MOST_POINTS)
    keep: set[int] = {0, len(points) - 1}
    for start in range(0, len(points), step):
        stretch = range(start, min(start + step, len(points)))
        keep |= {min(stretch, key=lambda i: points[i][2]), max(stretch, key=lambda i: points[i][2])}
    return [points[i] for i in sorted(keep)]


def _edge_notes(edges: Sequence[str], log: bool) -> list[str]:
    named = {
        "low": ("value is 0 or below", "values are 0 or below") if log else ("value is below -1e300", "values are below -1e300"),
        "high": ("value is infinite", "values are infinite") if log else ("value is above 1e300", "values are above 1e300"),
        "gap": ("value is NaN", "values are NaN"),
    }
    marks = {"low": "▼ at the lower edge", "high": "▲ at the upper edge", "gap": "a gap in the line"}
    return [f"{n} {named[edge][n > 1]}: {marks[edge]}" for edge in named if (n := edges.count(edge))]
