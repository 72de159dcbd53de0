"""Charts as small inline SVG: a heatmap of signed errors, curves, benchmark ratios.

Logarithmic axes are linear axes over log10(y) made here, with one rule for what has no logarithm: a value that is 0 or
negative is drawn as a mark at the lower edge, an infinite one at the upper edge, NaN is a gap; each is counted in the
chart's notes.  Denormals (1e-320) are drawn.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bptt.reports.drawing import (
    BAD,
    BAND,
    BUDGET,
    CURVE,
    EXPECTED,
    GOOD,
    HEAT,
    INK,
    PAPER,
    Chart,
    Spec,
    draw,
    log_ticks,
    padded,
    spread_by_ratio,
    styled,
    text,
    title,
)
from bptt.reports.records import Bench, Series
from bptt.reports.view import plural

#: Lower bounds of |relative error| of the heatmap's levels 1 to 5; below the first is level 0.
LEVELS = (1e-12, 1e-8, 1e-4, 1e-2, 1.0)
MOST_ROWS, MOST_COLUMNS, MOST_CELLS, MOST_SIGNS = 40, 48, 960, 300
MOST_CURVES, MOST_POINTS, MOST_BENCHES = len(CURVE), 160, 36


def heatmap(table: Mapping[str, Any], chart_id: str) -> Chart | None:
    """Signed relative errors, `table` as `Result.heatmap` has it.  None where it holds no numbers.

    Larger tables are pooled: a cell then shows the error of largest magnitude among those it stands for.
    """
    values = _matrix(table.get("values"))
    if not values:
        return None
    height, width = len(values), len(values[0])
    across = math.ceil(width / MOST_COLUMNS)
    down = math.ceil(height / min(MOST_ROWS, MOST_CELLS // math.ceil(width / across)))
    pooled = [
        [_largest([v for row in values[i : i + down] for v in row[j : j + across]]) for j in range(0, width, across)]
        for i in range(0, height, down)
    ]
    signed = len(pooled) * len(pooled[0]) <= MOST_SIGNS
    cells = [{"r": r, "c": c, "k": _heat_colour(v), "s": _sign(v, signed)} for r, row in enumerate(pooled) for c, v in enumerate(row)]
    rows = _labels(table.get("rows"), height)[::down]
    columns = _labels(table.get("columns"), width)[::across]
    size = max(8, min(18, 620 // len(columns)))
    notes = [f"each cell shows the largest error among up to {down} × {across} entries"] if down * across > 1 else []
    notes += [] if signed else ["too many cells to mark their signs: the colour tells them"]
    odd = sum(not math.isfinite(v) for row in values for v in row)
    notes += [f"{plural(odd, 'entry' if odd == 1 else 'entrie')} not finite: framed cells"] if odd else []
    title = text(table.get("title")) or "signed relative error"
    spec = _heatmap_spec(cells, rows, columns, text(table.get("row_label")), text(table.get("column_label")), size)
    return Chart(draw(spec, chart_id, f"Heatmap: {title}"), tuple(notes))


def curves(series: Sequence[Series], chart_id: str) -> Chart | None:
    """Curves that share axes (the labels are those of the first), at most six.  None where there is no point to draw."""
    shown = list(series[:MOST_CURVES])
    if not shown or not any(s.x for s in shown):
        return None
    log, log_x = any(s.log_y for s in shown), all(spread_by_ratio(s.x) for s in shown if s.x)
    if log_x:
        shown = [replace(s, x=tuple(map(math.log10, s.x))) for s in shown]
    notes = [f"{len(series) - len(shown)} more curves are in the record"] if len(series) > len(shown) else []
    lines: list[dict[str, Any]] = []
    odd: list[tuple[float, str, str]] = []
    for i, s in enumerate(shown):
        for values, colour in ((s.y, CURVE[i]), (s.expected, EXPECTED)):
            points, edges = _points(s.x, values, log)
            lines += [{"x": x, "y": y, "g": f"{i}{colour}{part}", "k": colour} for part, x, y in _thinned(points)]
            odd += [(x, edge, colour) for x, edge in edges]
    ys = [p["y"] for p in lines] or [0.0]
    low, high = padded(min(ys), max(ys))
    bands = [b for i, s in enumerate(shown) for b in _band(s, i, log, (low, high))]
    marks = [{"x": x, "y": low if edge == "low" else high, "k": colour, "e": edge} for x, edge, colour in odd if edge != "gap"]
    notes += _edge_notes([edge for _, edge, _ in odd], log)
    spec = _curves_spec(lines, bands, marks[:40], shown[0], log, log_x, (low, high))
    names = tuple(text(s.name) for s in shown)
    words = f"Curve: {text(shown[0].y_label)} over {text(shown[0].x_label)}"
    return Chart(draw(spec, chart_id, words), tuple(notes), names, any(s.expected for s in shown), bool(bands))


def ratios(benches: Sequence[Bench], chart_id: str) -> Chart | None:
    """Ratios ours / theirs with their interval and budget on a logarithmic axis, one line a benchmark."""
    shown = [b for b in benches if math.isfinite(b.ratio) and b.ratio > 0][:MOST_BENCHES]
    if not shown:
        return None
    left_out = len(benches) - len(shown)
    notes = (f"{plural(left_out, 'benchmark')} not drawn (see the table)",) if left_out else ()
    return Chart(draw(_ratios_spec(shown), chart_id, "Benchmark ratios, ours / theirs"), notes)


def _heatmap_spec(cells: list[dict[str, Any]], rows: list[str], columns: list[str], row_label: str, column_label: str, size: int) -> Spec:
    import altair as alt

    def axis(labels: list[str], title: str, **more: Any) -> Any:
        return alt.Axis(
            labelExpr=f"{json.dumps(labels)}[datum.value]",
            title=title or None,
            labelOverlap=True,
            labelLimit=90,
            ticks=False,
            domain=False,
            **more,
        )

    x = alt.X("c:O", axis=axis(columns, column_label, orient="top", labelAngle=-90 if max(map(len, columns)) * 6 > size else 0))
    y = alt.Y("r:O", axis=axis(rows, row_label, titleAngle=-90))
    colour = alt.Color("k:N", scale=None, legend=None)
    sign = max(4, round(size * 0.4))
    base = alt.Chart(alt.InlineData(values=cells))
    layers = [
        base.mark_rect().encode(x=x, y=y, color=colour),
        base.transform_filter("abs(datum.s) == 1").mark_rect(width=sign, height=1.5, color=INK).encode(x=x, y=y),
        base.transform_filter("datum.s == 1").mark_rect(width=1.5, height=sign, color=INK).encode(x=x, y=y),
        base.transform_filter("datum.s == 2").mark_rect(width=size - 4, height=size - 4, color=PAPER).encode(x=x, y=y),
    ]
    step = alt.Step(size)
    return styled(alt.layer(*layers).properties(width=step, height=step))


def _curves_spec(
    lines: list[dict[str, Any]],
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
    y_axis = alt.Axis(labelExpr=expression, title=title(like.y_label, 26), **ticking)
    across: dict[str, Any] = {"tickCount": 6}
    if log_x:
        x_ticks, x_expression = log_ticks(min(p["x"] for p in lines), max(p["x"] for p in lines)) if lines else ([], "''")
        across = {"values": x_ticks, "labelExpr": x_expression}
    x = alt.X("x:Q", axis=alt.Axis(title=title(like.x_label, 50), grid=False, **across), scale=alt.Scale(nice=False, zero=False))
    y = alt.Y("y:Q", axis=y_axis, scale=alt.Scale(domain=list(domain), nice=False, zero=False))
    colour = alt.Color("k:N", scale=None, legend=None)
    single = [p for p in lines if sum(q["g"] == p["g"] for q in lines) == 1] if len(lines) < 2000 else []
    layers = []
    if bands:
        area = alt.Chart(alt.InlineData(values=bands)).mark_area(color=BAND)
        layers.append(area.encode(x=x, y=y, y2="y2:Q", detail="g:N"))
    layers += [alt.Chart(alt.InlineData(values=lines)).mark_line(strokeWidth=1.6).encode(x=x, y=y, color=colour, detail="g:N")]
    if single:
        layers.append(alt.Chart(alt.InlineData(values=single)).mark_point(filled=True, size=14, opacity=1).encode(x=x, y=y, color=colour))
    for edge, shape in (("low", "triangle-down"), ("high", "triangle-up")):
        marks = [e for e in edges if e["e"] == edge]
        if marks:
            point = alt.Chart(alt.InlineData(values=marks)).mark_point(filled=True, size=30, opacity=1, shape=shape, clip=False)
            layers.append(point.encode(x=x, y=y, color=colour))
    return styled(alt.layer(*layers).properties(width=290, height=150))


def _band(s: Series, i: int, log: bool, domain: tuple[float, float]) -> list[dict[str, Any]]:
    """Where the curve may run, where that is wide enough to be seen.  On a logarithmic axis the tolerance is relative."""
    if not s.tolerance or not s.expected or not math.isfinite(s.tolerance):
        return []
    points, _ = _points(s.x, s.expected, log)
    if not log:
        below = above = s.tolerance
    else:
        below, above = -math.log10(max(1 - s.tolerance, 1e-300)), math.log10(1 + s.tolerance)
    if below + above < 0.01 * (domain[1] - domain[0]):
        return []
    low, high = domain
    return [{"x": x, "y": max(y - below, low), "y2": min(y + above, high), "g": f"{i}.{part}"} for part, x, y in _thinned(points)]


def _ratios_spec(benches: Sequence[Bench]) -> Spec:
    import altair as alt

    rows: list[dict[str, Any]] = []
    for i, b in enumerate(benches):
        over = b.budget is not None and b.ratio > b.budget
        low, high, budget = (math.log10(v) if v is not None and math.isfinite(v) and v > 0 else None for v in (b.low, b.high, b.budget))
        at = math.log10(b.ratio)
        row = {
            "i": i,
            "x": at,
            "low": at if low is None else low,
            "high": at if high is None else high,
            "k": BAD if over else GOOD,
            "over": over,
        }
        rows.append(row if budget is None else {**row, "budget": budget})
    labels = [" ".join(p for p in (text(b.size), text(b.dtype)) if p) or text(b.name) for b in benches]
    known = [v for r in rows for key in ("x", "low", "high", "budget") if (v := r.get(key)) is not None]
    domain = padded(min(*known, 0.0), max(*known, 0.0))
    ticks, expression = log_ticks(*domain)
    base = alt.Chart(alt.InlineData(values=rows))
    y = alt.Y(
        "i:O",
        axis=alt.Axis(labelExpr=f"{json.dumps(labels)}[datum.value]", title=None, labelLimit=190, ticks=False, domain=False),
    )
    scale = alt.Scale(domain=list(domain), nice=False, zero=False)
    x = alt.X("x:Q", scale=scale, axis=alt.Axis(values=ticks, labelExpr=expression, title="ours / theirs (below 1 is faster)"))
    colour = alt.Color("k:N", scale=None, legend=None)
    layers = [
        alt.Chart(alt.InlineData(values=[{"x": 0.0}])).mark_rule(color=INK).encode(x=alt.X("x:Q", scale=scale)),
        base.transform_filter("isValid(datum.budget)")
        .mark_tick(color=BUDGET, thickness=2, size=12)
        .encode(x=alt.X("budget:Q", scale=scale), y=y),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=scale), x2="high:Q", y=y, color=colour),
        base.transform_filter("!datum.over").mark_point(filled=True, size=40, opacity=1).encode(x=x, y=y, color=colour),
        base.transform_filter("datum.over").mark_point(filled=True, size=50, opacity=1, shape="diamond").encode(x=x, y=y, color=colour),
    ]
    return styled(alt.layer(*layers).properties(width=250, height=alt.Step(17)), left=2 + min(30, max(map(len, labels))))


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


def _matrix(values: Any) -> list[list[float]]:
    """`values` as a rectangle of floats, short rows filled up with NaN."""
    if not isinstance(values, list | tuple) or not values or not all(isinstance(row, list | tuple) for row in values):
        return []
    width = max(map(len, values))
    rows = [[float(v) if isinstance(v, int | float) else math.nan for v in row] for row in values]
    return [row + [math.nan] * (width - len(row)) for row in rows] if width else []


def _labels(names: Any, count: int) -> list[str]:
    given = [text(n) for n in names] if isinstance(names, list | tuple) else []
    return (given + [str(i) for i in range(len(given), count)])[:count]


def _largest(values: Sequence[float]) -> float:
    """The one of largest magnitude; one that is not finite wins."""
    return max(values, key=lambda v: abs(v) if math.isfinite(v) else math.inf)


def _heat_colour(value: float) -> str:
    if not math.isfinite(value):
        return INK
    level = sum(abs(value) >= bound for bound in LEVELS)
    return HEAT[level if value > 0 else -level]


def _sign(value: float, signed: bool) -> int:
    """1 and -1 for an error that is drawn with its sign, 2 for one that is not finite, 0 for none."""
    if not math.isfinite(value):
        return 2
    return 0 if abs(value) < LEVELS[0] or not signed else 1 if value > 0 else -1
