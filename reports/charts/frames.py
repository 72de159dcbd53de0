"""Curves of several things in one chart, each labelled at its end; the halves above and below a level are shaded and said.

Values are logarithms to base 10, the axis says 1e-3 and the like.  A curve that ends early ends where nothing is left of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from bptt.reports.charts.drawing import ABOVE, BELOW, CURVE, INK, SOFT, TYPE, Chart, Spec, draw, log_ticks, styled, text, title
from bptt.reports.charts.trend import trend
from bptt.reports.records import Frame, Series, Table
from bptt.reports.view import short

WIDTH, HEIGHT = 560, 320
#: Least distance of two labels, in points.
LINE = 16
MOST_POINTS, MOST_ROWS = 120, 26


def frame(f: Frame, chart_id: str) -> Chart | None:
    """The chart, as many curves as there are colours.  None where there is no point to draw."""
    curves = [c for c in f.curves if any(map(math.isfinite, c.y))][: len(CURVE)]
    if not curves:
        return None
    left_out = [c.name for c in f.curves if c not in curves]
    notes = (f"not drawn: {', '.join(map(text, left_out))}",) if left_out else ()
    return Chart(draw(_spec(f, curves), chart_id, alternative(f, curves)), notes, data=_data(f, curves))


def _data(f: Frame, curves: Sequence[Series]) -> Table:
    """The numbers, a row for each place on the x axis, or as many as a page has room for."""
    xs = sorted({x for c in curves for x in c.x if math.isfinite(x)})
    kept = xs if len(xs) <= MOST_ROWS else [xs[round(k * (len(xs) - 1) / (MOST_ROWS - 1))] for k in range(MOST_ROWS)]
    values = [dict(zip(c.x, c.y, strict=False)) for c in curves]
    said = _power if f.log else short
    rows = tuple((f"{x:.6g}", *(said(v[x]) if math.isfinite(v.get(x, math.nan)) else "" for v in values)) for x in kept)
    note = f"{len(kept)} of {len(xs)} rows, all are in the record" if len(kept) < len(xs) else None
    return Table("the numbers", (text(f.x_label), *(text(c.name) for c in curves)), rows, note)


def alternative(f: Frame, curves: Sequence[Series]) -> str:
    """The chart in words: where each curve begins and ends, and which way it goes."""
    said = []
    for c in curves:
        points = _points(c)
        if not f.log:
            said.append(f"{text(c.name)} {trend([x for x, _ in points], [y for _, y in points])}")
            continue
        (x0, y0), (x1, y1) = points[0], points[-1]
        way = "falls" if y1 < y0 - 0.05 else "rises" if y1 > y0 + 0.05 else "stays"
        said.append(f"{text(c.name)} {way} from {_power(y0)} at {x0:g} to {_power(y1)} at {x1:g}")
    return f"{text(f.name)}: {text(f.y_label)} over {text(f.x_label)}. {'; '.join(said)}."


def _power(y: float) -> str:
    """The number whose logarithm is y, also where it is beyond what a float can hold."""
    exponent = math.floor(y)
    return f"{10**y:.2g}" if -2 < y < 3 else f"{10 ** (y - exponent):.1f}e{exponent}"


def _points(c: Series) -> list[tuple[float, float]]:
    points = [(x, y) for x, y in zip(c.x, c.y, strict=False) if math.isfinite(x) and math.isfinite(y)]
    return [p for i, p in enumerate(points) if i % math.ceil(len(points) / MOST_POINTS) == 0 or i == len(points) - 1]


def _spec(f: Frame, curves: Sequence[Series]) -> Spec:
    import altair as alt

    drawn = [_points(c) for c in curves]
    xs = [x for points in drawn for x, _ in points]
    low, high = _domain([y for points in drawn for _, y in points], f.level)
    ticks, expression = log_ticks(low, high) if f.log else (None, "format(datum.value, '~g')")
    ticking = {"values": ticks} if ticks is not None else {"tickCount": 5}
    x_axis = alt.Axis(title=title(f.x_label, 70), grid=False, tickCount=6)
    x = alt.X("x:Q", axis=x_axis, scale=alt.Scale(domain=[min(xs), max(xs)], nice=False, zero=False))
    y_axis = alt.Axis(**ticking, labelExpr=expression, title=title(f.y_label, 44))
    y = alt.Y("y:Q", axis=y_axis, scale=alt.Scale(domain=[low, high], nice=False, zero=False))
    colour = alt.Color("k:N", scale=None, legend=None)
    layers = _halves(f, x, y, (min(xs), max(xs)), (low, high))
    for width, marked in ((1.6, False), (3.2, True)):
        which = [i for i, c in enumerate(curves) if (c.name in f.marked) == marked]
        lines = [{"x": px, "y": py, "g": i, "k": CURVE[i]} for i in which for px, py in drawn[i]]
        if lines:
            line = alt.Chart(alt.InlineData(values=lines)).mark_line(strokeWidth=width)
            layers.append(line.encode(x=x, y=y, color=colour, detail="g:N"))
    ends = _apart([points[-1][1] for points in drawn], (low, high))
    labels = [
        {"x": points[-1][0], "y": end, "t": text(c.name), "k": CURVE[i]}
        for i, (c, points, end) in enumerate(zip(curves, drawn, ends, strict=True))
    ]
    written = alt.Chart(alt.InlineData(values=labels)).mark_text(align="left", dx=6, fontSize=TYPE, clip=False)
    layers.append(written.encode(x=x, y=y, color=colour, text="t:N"))
    return styled(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT))


def _halves(f: Frame, x: Any, y: Any, across: tuple[float, float], domain: tuple[float, float]) -> list[Any]:
    """The shaded halves, the line between them, and what they are called."""
    import altair as alt

    if f.level is None:
        return []
    (left, right), (low, high) = across, domain
    halves = [(f.level, high, ABOVE, f.above), (low, f.level, BELOW, f.below)]
    shaded = [{"x": left, "x2": right, "y": a, "y2": b, "k": k} for a, b, k, _ in halves]
    colour = alt.Color("k:N", scale=None, legend=None)
    areas = alt.Chart(alt.InlineData(values=shaded)).mark_rect().encode(x=x, x2="x2:Q", y=y, y2="y2:Q", color=colour)
    between = alt.Chart(alt.InlineData(values=[{"y": f.level}])).mark_rule(color=SOFT).encode(y=y)
    words = [areas, between]
    for a, b, _, said in halves:
        if (b - a) * HEIGHT / (high - low) < 1.6 * LINE:
            continue
        top = b == high
        place = [{"x": left, "y": b if top else a, "t": said}]
        mark = alt.Chart(alt.InlineData(values=place)).mark_text(
            align="left", baseline="top" if top else "bottom", dx=8, dy=7 if top else -7, fontSize=TYPE, fontStyle="italic", color=INK
        )
        words.append(mark.encode(x=x, y=y, text="t:N"))
    return words


def _domain(ys: Sequence[float], level: float | None) -> tuple[float, float]:
    """All values, and a tenth of the height at least on each side of the level."""
    low, high = min(ys), max(ys)
    if level is None:
        margin = 0.05 * (high - low) or 0.5
        return low - margin, high + margin
    low, high = min(low, level), max(high, level)
    room = max(0.12 * (high - low), 0.3)
    return (
        low - 0.05 * (high - low) if level - low > room else level - room,
        high + 0.05 * (high - low) if high - level > room else level + room,
    )


def _apart(ends: Sequence[float], domain: tuple[float, float]) -> list[float]:
    """Places of the labels: as near to the ends of their curves as lets each have a line of its own."""
    low, high = domain
    line = LINE * (high - low) / HEIGHT
    order = sorted(range(len(ends)), key=lambda i: ends[i])
    places = {i: min(max(ends[i], low + line / 2), high - line / 2) for i in order}
    for _ in range(200):
        moved = False
        for a, b in pairwise(order):
            short = line - (places[b] - places[a])
            if short > 1e-9 * line:
                places[a], places[b], moved = places[a] - short / 2, places[b] + short / 2, True
        if order:
            low_short, high_over = low + line / 2 - places[order[0]], places[order[-1]] - (high - line / 2)
            places[order[0]] += max(low_short, 0)
            places[order[-1]] -= max(high_over, 0)
        if not moved:
            break
    return [places[i] for i in range(len(ends))]
