"""Charts as small inline SVG: a heatmap of signed errors, curves, benchmark ratios.

Each chart is one Vega-Lite specification, made with altair and drawn by vl-convert, without network.  Colours are
placeholders that `reports.svg` turns into classes of the page's style sheet; legends are HTML and belong to the page.

Logarithmic axes are linear axes over log10(y) made here, with one rule for what has no logarithm: a value that is 0 or
negative is drawn as a mark at the lower edge, an infinite one at the upper edge, NaN is a gap; each is counted in the
chart's notes.  Denormals (1e-320) are drawn.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.records import Bench, Series
from reports.svg import tidy
from reports.view import plural, without_controls

Spec = Any  # an altair chart: altair is imported when the first chart is drawn, and has no types of use here

#: Lower bounds of |relative error| of the heatmap's levels 1 to 5; below the first is level 0.
LEVELS = (1e-12, 1e-8, 1e-4, 1e-2, 1.0)
MOST_ROWS, MOST_COLUMNS, MOST_CELLS, MOST_SIGNS = 40, 48, 960, 300
MOST_CURVES, MOST_POINTS, MOST_BENCHES = 6, 160, 36

_INK, _SOFT, _PAPER = "#101010", "#202020", "#303030"
_HEAT = {level: f"#40{level + 5:02x}00" for level in range(-5, 6)}
_CURVE = tuple(f"#50{i:02x}00" for i in range(MOST_CURVES))
_EXPECTED, _GOOD, _BAD, _BUDGET = "#600000", "#600100", "#600200", "#600300"
_CLASSES = (
    {_INK: "ink", _SOFT: "soft", _PAPER: "paper", _EXPECTED: "expected", _GOOD: "good", _BAD: "bad", _BUDGET: "budget"}
    | {colour: f"h{'n' if level < 0 else 'p'}{abs(level)}" if level else "h0" for level, colour in _HEAT.items()}
    | {colour: f"k{i}" for i, colour in enumerate(_CURVE)}
)


@dataclass(frozen=True)
class Chart:
    """`svg` to put into a page, the sentences that must stand beside it, and the names of its curves (classes k0, k1, ...)."""

    svg: str
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    has_expected: bool = False


def heatmap(table: Mapping[str, Any], chart_id: str) -> Chart | None:
    """Signed relative errors, `table` as `Result.metrics["heatmap"]` has it.  None where it holds no numbers.

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
    cells = [
        {"r": r, "c": c, "k": _heat_colour(v), "s": _sign(v, signed)} for r, row in enumerate(pooled) for c, v in enumerate(row)
    ]
    rows = _labels(table.get("rows"), height)[::down]
    columns = _labels(table.get("columns"), width)[::across]
    size = max(8, min(18, 620 // len(columns)))
    notes = [f"each cell shows the largest error among up to {down} × {across} entries"] if down * across > 1 else []
    notes += [] if signed else ["too many cells to mark their signs: the colour tells them"]
    odd = sum(not math.isfinite(v) for row in values for v in row)
    notes += [f"{plural(odd, 'entry' if odd == 1 else 'entrie')} not finite: framed cells"] if odd else []
    title = _text(table.get("title")) or "signed relative error"
    spec = _heatmap_spec(cells, rows, columns, _text(table.get("row_label")), _text(table.get("column_label")), size)
    return Chart(_draw(spec, chart_id, f"Heatmap: {title}"), tuple(notes))


def curves(series: Sequence[Series], chart_id: str) -> Chart | None:
    """Curves that share axes (the labels are those of the first), at most six.  None where there is no point to draw."""
    shown = series[:MOST_CURVES]
    if not shown or not any(s.x for s in shown):
        return None
    log = any(s.log_y for s in shown)
    notes = [f"{len(series) - len(shown)} more curves are in the record"] if len(series) > len(shown) else []
    lines: list[dict[str, Any]] = []
    odd: list[tuple[float, str, str]] = []
    for i, s in enumerate(shown):
        for values, colour in ((s.y, _CURVE[i]), (s.expected, _EXPECTED)):
            points, edges = _points(s.x, values, log)
            lines += [{"x": x, "y": y, "g": f"{i}{colour}{part}", "k": colour} for part, x, y in _thinned(points)]
            odd += [(x, edge, colour) for x, edge in edges]
    ys = [p["y"] for p in lines] or [0.0]
    low, high = _padded(min(ys), max(ys))
    marks = [{"x": x, "y": low if edge == "low" else high, "k": colour, "e": edge} for x, edge, colour in odd if edge != "gap"]
    notes += _edge_notes([edge for _, edge, _ in odd], log)
    spec = _curves_spec(lines, marks[:40], shown[0], log, (low, high))
    names = tuple(_text(s.name) for s in shown)
    title = f"Curve: {_text(shown[0].y_label)} over {_text(shown[0].x_label)}"
    return Chart(_draw(spec, chart_id, title), tuple(notes), names, any(s.expected for s in shown))


def ratios(benches: Sequence[Bench], chart_id: str) -> Chart | None:
    """Ratios ours / theirs with their interval and budget on a logarithmic axis, one line a benchmark."""
    shown = [b for b in benches if math.isfinite(b.ratio) and b.ratio > 0][:MOST_BENCHES]
    if not shown:
        return None
    left_out = len(benches) - len(shown)
    notes = (f"{plural(left_out, 'benchmark')} not drawn (see the table)",) if left_out else ()
    return Chart(_draw(_ratios_spec(shown), chart_id, "Benchmark ratios, ours / theirs"), notes)


def _draw(spec: Spec, chart_id: str, title: str) -> str:
    import vl_convert  # takes a while to start: only a page with charts should pay for it

    svg = vl_convert.vegalite_to_svg(spec.to_dict())
    return tidy(svg, prefix=chart_id, title=title, classes=_CLASSES)


def _heatmap_spec(
    cells: list[dict[str, Any]], rows: list[str], columns: list[str], row_label: str, column_label: str, size: int
) -> Spec:
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
        base.transform_filter("abs(datum.s) == 1").mark_rect(width=sign, height=1.5, color=_INK).encode(x=x, y=y),
        base.transform_filter("datum.s == 1").mark_rect(width=1.5, height=sign, color=_INK).encode(x=x, y=y),
        base.transform_filter("datum.s == 2").mark_rect(width=size - 4, height=size - 4, color=_PAPER).encode(x=x, y=y),
    ]
    step = alt.Step(size)
    return _styled(alt.layer(*layers).properties(width=step, height=step))


def _curves_spec(
    lines: list[dict[str, Any]], edges: list[dict[str, Any]], like: Series, log: bool, domain: tuple[float, float]
) -> Spec:
    import altair as alt

    ticks, expression = _log_ticks(*domain) if log else (None, "format(datum.value, '~g')")
    ticking = {"values": ticks} if ticks is not None else {"tickCount": 5}
    y_axis = alt.Axis(labelExpr=expression, title=_text(like.y_label) or None, **ticking)
    x = alt.X(
        "x:Q", axis=alt.Axis(title=_text(like.x_label) or None, tickCount=6, grid=False), scale=alt.Scale(nice=False, zero=False)
    )
    y = alt.Y("y:Q", axis=y_axis, scale=alt.Scale(domain=list(domain), nice=False, zero=False))
    colour = alt.Color("k:N", scale=None, legend=None)
    single = [p for p in lines if sum(q["g"] == p["g"] for q in lines) == 1] if len(lines) < 2000 else []
    layers = [alt.Chart(alt.InlineData(values=lines)).mark_line(strokeWidth=1.6).encode(x=x, y=y, color=colour, detail="g:N")]
    if single:
        layers.append(
            alt.Chart(alt.InlineData(values=single)).mark_point(filled=True, size=14, opacity=1).encode(x=x, y=y, color=colour)
        )
    for edge, shape in (("low", "triangle-down"), ("high", "triangle-up")):
        marks = [e for e in edges if e["e"] == edge]
        if marks:
            point = alt.Chart(alt.InlineData(values=marks)).mark_point(filled=True, size=30, opacity=1, shape=shape, clip=False)
            layers.append(point.encode(x=x, y=y, color=colour))
    return _styled(alt.layer(*layers).properties(width=290, height=150))


def _ratios_spec(benches: Sequence[Bench]) -> Spec:
    import altair as alt

    rows: list[dict[str, Any]] = []
    for i, b in enumerate(benches):
        over = b.budget is not None and b.ratio > b.budget
        low, high, budget = (
            math.log10(v) if v is not None and math.isfinite(v) and v > 0 else None for v in (b.low, b.high, b.budget)
        )
        at = math.log10(b.ratio)
        row = {
            "i": i,
            "x": at,
            "low": at if low is None else low,
            "high": at if high is None else high,
            "k": _BAD if over else _GOOD,
            "over": over,
        }
        rows.append(row if budget is None else {**row, "budget": budget})
    labels = [" ".join(p for p in (_text(b.size), _text(b.dtype)) if p) or _text(b.name) for b in benches]
    known = [v for r in rows for key in ("x", "low", "high", "budget") if (v := r.get(key)) is not None]
    domain = _padded(min(*known, 0.0), max(*known, 0.0))
    ticks, expression = _log_ticks(*domain)
    base = alt.Chart(alt.InlineData(values=rows))
    y = alt.Y(
        "i:O",
        axis=alt.Axis(labelExpr=f"{json.dumps(labels)}[datum.value]", title=None, labelLimit=190, ticks=False, domain=False),
    )
    scale = alt.Scale(domain=list(domain), nice=False, zero=False)
    x = alt.X("x:Q", scale=scale, axis=alt.Axis(values=ticks, labelExpr=expression, title="ours / theirs (below 1 is faster)"))
    colour = alt.Color("k:N", scale=None, legend=None)
    layers = [
        alt.Chart(alt.InlineData(values=[{"x": 0.0}])).mark_rule(color=_INK).encode(x=alt.X("x:Q", scale=scale)),
        base.transform_filter("isValid(datum.budget)")
        .mark_tick(color=_BUDGET, thickness=2, size=12)
        .encode(x=alt.X("budget:Q", scale=scale), y=y),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=scale), x2="high:Q", y=y, color=colour),
        base.transform_filter("!datum.over").mark_point(filled=True, size=40, opacity=1).encode(x=x, y=y, color=colour),
        base.transform_filter("datum.over")
        .mark_point(filled=True, size=50, opacity=1, shape="diamond")
        .encode(x=x, y=y, color=colour),
    ]
    return _styled(alt.layer(*layers).properties(width=250, height=alt.Step(17)), left=2 + min(30, max(map(len, labels))))


def _styled(chart: Spec, left: int = 2) -> Spec:
    """`left` is room for labels in a font that is wider than the one they were measured with."""
    axis = {"labelColor": _INK, "titleColor": _INK, "gridColor": _SOFT, "domainColor": _SOFT, "tickColor": _SOFT}
    sizes = {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "titlePadding": 11}
    return (
        chart.configure(background="transparent", padding={"left": left, "right": 8, "top": 2, "bottom": 2}, font="sans-serif")
        .configure_axis(**axis, **sizes)
        .configure_view(stroke=None)
    )


def _points(
    xs: Sequence[float], values: Sequence[float], log: bool
) -> tuple[list[tuple[int, float, float]], list[tuple[float, str]]]:
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


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = 0.04 * (high - low) or max(0.5, 0.1 * abs(high))
    return low - margin, high + margin


def _log_ticks(low: float, high: float) -> tuple[list[float], str]:
    """Places of ticks on an axis of log10 values, and the Vega expression that labels them."""
    first, last = math.ceil(low), math.floor(high)
    if last - first >= 2:
        step = math.ceil((last - first + 1) / 7)
        return [float(t) for t in range(first, last + 1) if t % step == 0], "'1e' + datum.value"
    if high - low < 0.9:
        ticks = [math.log10(t) for t in _nice_steps(10**low, 10**high)]
    else:
        ticks = [math.log10(m) + e for e in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
    return [t for t in ticks if low <= t <= high], "format(pow(10, datum.value), '.4~g')"


def _nice_steps(low: float, high: float) -> list[float]:
    """Three to eight multiples of 1, 2 or 5 times a power of ten between two positive numbers."""
    power = 10.0 ** math.floor(math.log10((high - low) / 3))
    step = max((m * power for m in (1, 2, 5) if m * power <= (high - low) / 3), default=power)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _matrix(values: Any) -> list[list[float]]:
    """`values` as a rectangle of floats, short rows filled up with NaN."""
    if not isinstance(values, list | tuple) or not values or not all(isinstance(row, list | tuple) for row in values):
        return []
    width = max(map(len, values))
    rows = [[float(v) if isinstance(v, int | float) else math.nan for v in row] for row in values]
    return [row + [math.nan] * (width - len(row)) for row in rows] if width else []


def _labels(names: Any, count: int) -> list[str]:
    given = [_text(n) for n in names] if isinstance(names, list | tuple) else []
    return (given + [str(i) for i in range(len(given), count)])[:count]


def _largest(values: Sequence[float]) -> float:
    """The one of largest magnitude; one that is not finite wins."""
    return max(values, key=lambda v: abs(v) if math.isfinite(v) else math.inf)


def _heat_colour(value: float) -> str:
    if not math.isfinite(value):
        return _INK
    level = sum(abs(value) >= bound for bound in LEVELS)
    return _HEAT[level if value > 0 else -level]


def _sign(value: float, signed: bool) -> int:
    """1 and -1 for an error that is drawn with its sign, 2 for one that is not finite, 0 for none."""
    if not math.isfinite(value):
        return 2
    return 0 if abs(value) < LEVELS[0] or not signed else 1 if value > 0 else -1


def _text(value: Any) -> str:
    return without_controls(str(value))[:60] if value is not None else ""
