"""Pictures of an experiment as small inline SVG: heatmaps with contours, histograms beside their law, estimates with intervals.

One Vega-Lite specification each, colours as classes of the page.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from bptt.reports.charts import trend
from bptt.reports.charts.contours import contour
from bptt.reports.charts.drawing import (
    BAR,
    CONTOURS,
    CURVE,
    DIVERGING,
    EXPECTED,
    HEIGHT,
    RISING,
    WIDTH,
    Chart,
    Key,
    Spec,
    count_ticks,
    draw,
    heat_class,
    log_ticks,
    padded,
    spread_by_ratio,
    styled,
    text,
    title,
)
from bptt.reports.claims import number
from bptt.reports.records import Grid, Histogram, Interval, Table
from bptt.reports.view import plural

MOST_RUNS, MOST_CONTOUR_POINTS, MOST_BARS, MOST_LAW_POINTS = 700, 900, 80, 160
MOST_ROWS, MOST_COLUMNS = 40, 4
MOST_DATA_COLUMNS, MOST_DATA_CELLS = 16, 320


def heatmap(grid: Grid, chart_id: str) -> Chart | None:
    """Colours in steps, and its contours as lines.  None where no value is finite.

    Values on both sides of 0 are coloured by their distance from it, others from the lowest to the highest.  A grid too large
    for a page is drawn at every second, third, ... place; its contours are those of the whole.
    """
    x, y, values = _sorted(grid)
    finite = [v for row in values for v in row if math.isfinite(v)]
    if not finite:
        return None
    levels = _Levels.of(min(finite), max(finite))
    notes = _odd_notes([v for row in values for v in row if not math.isfinite(v)])
    across = down = 1
    while len(runs := _runs(x[::across], y[::down], [row[::across] for row in values[::down]], levels)) > MOST_RUNS:
        across, down = (across + 1, down) if len(x) / across > len(y) / down else (across, down + 1)
    if across * down > 1:
        thinned = [f"every {_ordinal(n)} {text(label)}" for n, label in ((across, grid.x_label), (down, grid.y_label)) if n > 1]
        notes.append(f"drawn at {' and '.join(thinned)}")
    shown = grid.contours[: len(CONTOURS)]
    lines = [(k, _thinned(line, x, y)) for k, level in enumerate(shown) for line in contour(x, y, values, level)]
    drawn = {k for k, _ in lines}
    if sum(len(line) for _, line in lines) > MOST_CONTOUR_POINTS:
        lines, drawn = [], set()
        notes.append("the contours are too ragged to draw")
    log_x, log_y = spread_by_ratio(x), spread_by_ratio(y)
    spec = _grid_spec(runs, lines, (text(grid.x_label), log_x, x), (text(grid.y_label), log_y, y))
    legend = [*levels.legend({r["k"] for r in runs}), *(Key(f"line c{k}", number(level)) for k, level in enumerate(shown) if k in drawn)]
    return Chart(draw(spec, chart_id, _grid_words(grid, x, y, values)), tuple(notes), tuple(legend), _grid_data(grid, x, y, values))


def histogram(h: Histogram, chart_id: str) -> Chart | None:
    """Bars of the density, and the law's as a line.  None where there is nothing to draw."""
    bars = [
        (low, high, density)
        for (low, high), density in zip(pairwise(h.edges), h.density, strict=False)
        if all(map(math.isfinite, (low, high, density))) and high > low
    ]
    if not bars:
        return None
    size = math.ceil(len(bars) / MOST_BARS)
    pooled = [_pooled(bars[k : k + size]) for k in range(0, len(bars), size)]
    law = [(x, y) for x, y in zip(h.law_x, h.law_density, strict=False) if math.isfinite(x) and math.isfinite(y)]
    law = law[:: math.ceil(len(law) / MOST_LAW_POINTS)] if law else []
    notes = [f"each bar stands for {size} of the record's"] if size > 1 else []
    legend = [Key("bar", "measured"), *([Key("line expected", text(h.source) or "law")] if law else [])]
    middles = [(low + high) / 2 for low, high, _ in pooled]
    words = f"Histogram: {text(h.name)}. The density over {text(h.x_label)} {trend.trend(middles, [d for *_, d in pooled])}."
    rows = tuple((f"{low:.4g} to {high:.4g}", number(d)) for low, high, d in pooled)
    data = Table("the numbers", (text(h.x_label), "density"), rows)
    return Chart(draw(_histogram_spec(pooled, law, text(h.x_label)), chart_id, words), tuple(notes), tuple(legend), data)


def intervals(table: Table, chart_id: str) -> Chart | None:
    """The table's estimates with their intervals, a line a row.  None where it has none.

    Of several columns those that are shares (within 0 and 1) are drawn together, else the first: others may have other units.
    """
    found = {j: _estimates(table, j) for j in range(len(table.columns))}
    shares = [j for j, cells in found.items() if cells and all(c.low >= 0 and c.high <= 1 for c in cells.values())]
    shown = shares[:MOST_COLUMNS] or [j for j, cells in found.items() if cells][:1]
    if not shown:
        return None
    rows = [
        {"i": i, "v": c.value, "low": c.low, "high": c.high, "k": CURVE[n], "n": n}
        for n, j in enumerate(shown)
        for i, c in found[j].items()
    ]
    first = min(j for j, cells in found.items() if cells)
    labels = [", ".join(_short(c) for c in row[:first]) or str(i + 1) for i, row in enumerate(table.rows[:MOST_ROWS])]
    notes = [f"{plural(len(table.rows) - MOST_ROWS, 'more row')} in the table"] if len(table.rows) > MOST_ROWS else []
    names = [text(table.columns[j]) for j in shown]
    legend = [Key(f"line k{n}", name) for n, name in enumerate(names)] if len(names) > 1 else []
    svg = draw(
        _intervals_spec(rows, labels, names),
        chart_id,
        f"Estimates with intervals: {text(table.name)}; the table beside it has the numbers.",
    )
    return Chart(svg, tuple(notes), legend=tuple(legend))


def _grid_words(grid: Grid, x: Sequence[float], y: Sequence[float], values: Sequence[Sequence[float]]) -> str:
    """What is drawn over what, and where it is lowest and highest."""
    places = [(v, x[j], y[i]) for i, row in enumerate(values) for j, v in enumerate(row) if math.isfinite(v)]
    (low, *at_low), (high, *at_high) = min(places), max(places)
    ends = "; ".join(
        f"{word} {number(v, 3)} at {text(grid.x_label)} {at[0]:.3g}, {text(grid.y_label)} {at[1]:.3g}"
        for word, v, at in (("lowest", low, at_low), ("highest", high, at_high))
    )
    return f"Heatmap: {text(grid.value_label)} over {text(grid.x_label)} and {text(grid.y_label)}: {ends}."


def _grid_data(grid: Grid, x: Sequence[float], y: Sequence[float], values: Sequence[Sequence[float]]) -> Table | None:
    """The grid's numbers, where they are few enough for a page."""
    if len(x) > MOST_DATA_COLUMNS or len(x) * len(y) > MOST_DATA_CELLS:
        return None
    rows = tuple((f"{b:.4g}", *(number(v, 3) for v in row)) for b, row in zip(y, values, strict=True))
    return Table("the numbers", (f"{text(grid.y_label)} \\ {text(grid.x_label)}", *(f"{a:.4g}" for a in x)), rows)


def _estimates(table: Table, column: int) -> dict[int, Interval]:
    """Row -> estimate, of the first MOST_ROWS rows; those that are not finite stay in the table."""
    cells = {i: row[column] for i, row in enumerate(table.rows[:MOST_ROWS]) if column < len(row)}
    return {i: c for i, c in cells.items() if isinstance(c, Interval) and all(map(math.isfinite, (c.value, c.low, c.high)))}


@dataclass(frozen=True)
class _Levels:
    """Steps of colour: value -> colour, and what each colour means.  `middle` is None where values rise from `start`."""

    start: float
    step: float
    diverging: bool

    @classmethod
    def of(cls, low: float, high: float) -> _Levels:
        if low < 0 < high:
            return cls(0.0, _nice(max(-low, high) / 5.4), True)
        step = _nice((high - low) / (len(RISING) - 1) or abs(high) or 1.0)
        return cls(math.floor(low / step + 1e-9) * step, step, False)

    def colour(self, value: float) -> str:
        if self.diverging:
            return DIVERGING[_clipped(value / self.step, -5, 5)]
        return RISING[_clipped((value - self.start) / self.step, 0, len(RISING) - 1)]

    def legend(self, used: Container[str]) -> list[Key]:
        """Each colour that is used, with the value in its middle."""
        if self.diverging:
            levels = [(colour, heat_class("g", k), k * self.step) for k, colour in DIVERGING.items()]
        else:
            levels = [(colour, f"r{k}", self.start + k * self.step) for k, colour in enumerate(RISING)]
        return [Key(name, number(round(value / self.step) * self.step, 6)) for colour, name, value in levels if colour in used]


def _nice(step: float) -> float:
    """The next short number: 1, 1.5, 2, ... times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next((m * power for m in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8) if m * power >= step * (1 - 1e-9)), 10 * power)


def _clipped(value: float, low: int, high: int) -> int:
    return low if value <= low else high if value >= high else round(value)


def _sorted(grid: Grid) -> tuple[list[float], list[float], list[list[float]]]:
    """The grid with rising axes; values that are missing are NaN."""
    columns = sorted((x, j) for j, x in enumerate(grid.x) if math.isfinite(x))
    rows = sorted((y, i) for i, y in enumerate(grid.y) if math.isfinite(y))

    def at(i: int, j: int) -> float:
        return grid.values[i][j] if i < len(grid.values) and j < len(grid.values[i]) else math.nan

    return [x for x, _ in columns], [y for y, _ in rows], [[at(i, j) for _, j in columns] for _, i in rows]


def _thinned(line: Sequence[tuple[float, float]], x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    """The line's ends, and of the places between them those that are further from the last one than an eye can see."""
    wide, high = (1e-2 * (axis[-1] - axis[0]) or 1.0 for axis in (x, y))
    if spread_by_ratio(x) or spread_by_ratio(y):
        return list(line)
    kept = [line[0]]
    for place in line[1:-1]:
        if math.hypot((place[0] - kept[-1][0]) / wide, (place[1] - kept[-1][1]) / high) >= 1:
            kept.append(place)
    return [*kept, line[-1]]


def _runs(x: Sequence[float], y: Sequence[float], values: Sequence[Sequence[float]], levels: _Levels) -> list[dict[str, Any]]:
    """Rectangles: neighbours of one colour in a row are one.  NaN is left empty."""
    x_edges, y_edges = _edges(x), _edges(y)
    runs = []
    for row, low, high in zip(values, y_edges, y_edges[1:], strict=False):
        cells = [(None if math.isnan(v) else levels.colour(v), j) for j, v in enumerate(row)]
        for colour, members in groupby(cells, key=lambda cell: cell[0]):
            where = [j for _, j in members]
            if colour is not None:
                runs.append({"x": x_edges[where[0]], "x2": x_edges[where[-1] + 1], "y": low, "y2": high, "k": colour})
    return runs


def _edges(values: Sequence[float]) -> list[float]:
    """Places halfway between neighbours, on a logarithmic axis in its measure."""
    if spread_by_ratio(values):
        return [10**v for v in _edges([math.log10(v) for v in values])]
    if len(values) == 1:
        return [values[0] - 0.5, values[0] + 0.5]
    inner = [(a + b) / 2 for a, b in pairwise(values)]
    return [2 * values[0] - inner[0], *inner, 2 * values[-1] - inner[-1]]


def _grid_spec(
    runs: list[dict[str, Any]],
    lines: Sequence[tuple[int, Sequence[tuple[float, float]]]],
    x_axis: tuple[str, bool, Sequence[float]],
    y_axis: tuple[str, bool, Sequence[float]],
) -> Spec:
    import altair as alt

    def place(axis: tuple[str, bool, Sequence[float]], v: float) -> float:
        return math.log10(v) if axis[1] else v

    def channel(kind: Any, field: str, axis: tuple[str, bool, Sequence[float]], ends: tuple[float, float]) -> Any:
        label, log, values = axis
        ticks, expression = count_ticks(*ends) if log else (None, "format(datum.value, '~g')")
        if not log and len(values) <= 8:
            ticks = list(values)
        ticking = {"values": ticks} if ticks is not None else {"tickCount": 6}
        words = title(label, 36 if kind is alt.Y else 50)
        shown = alt.Axis(title=words, grid=False, labelExpr=expression, labelOverlap=True, domain=False, **ticking)
        return kind(f"{field}:Q", axis=shown, scale=alt.Scale(domain=list(ends), nice=False, zero=False))

    x_ends, y_ends = ((place(axis, edges[0]), place(axis, edges[-1])) for axis in (x_axis, y_axis) if (edges := _edges(axis[2])))
    x, y = channel(alt.X, "x", x_axis, x_ends), channel(alt.Y, "y", y_axis, y_ends)

    def inside(axis: tuple[str, bool, Sequence[float]], ends: tuple[float, float], v: float) -> float:
        return min(max(place(axis, v), ends[0]), ends[1])

    cells = [
        {key: inside(*((x_axis, x_ends) if key[0] == "x" else (y_axis, y_ends)), r[key]) for key in ("x", "x2", "y", "y2")} | {"k": r["k"]}
        for r in runs
    ]
    colour = alt.Color("k:N", scale=None, legend=None)
    layers = [alt.Chart(alt.InlineData(values=cells)).mark_rect().encode(x=x, x2="x2:Q", y=y, y2="y2:Q", color=colour)]
    places = [
        {"x": place(x_axis, px), "y": place(y_axis, py), "o": o, "g": g, "k": CONTOURS[k]}
        for g, (k, line) in enumerate(lines)
        for o, (px, py) in enumerate(line)
    ]
    if places:
        base = alt.Chart(alt.InlineData(values=places)).mark_line(strokeWidth=1.8)
        layers.append(base.encode(x=x, y=y, order="o:Q", detail="g:N", color=colour))
    return styled(alt.layer(*layers).properties(width=WIDTH, height=300))


def _histogram_spec(bars: Sequence[tuple[float, float, float]], law: Sequence[tuple[float, float]], x_label: str) -> Spec:
    import altair as alt

    top = max([d for *_, d in bars] + [min(d, 3 * max(b[2] for b in bars)) for _, d in law]) * 1.04 or 1.0
    x_scale = alt.Scale(domain=[bars[0][0], bars[-1][1]], nice=False, zero=False)
    y_scale = alt.Scale(domain=[0, top], nice=False)
    x = alt.X("x:Q", scale=x_scale, axis=alt.Axis(title=title(x_label, 50), grid=False, tickCount=6))
    y = alt.Y("y:Q", scale=y_scale, axis=alt.Axis(title="density", tickCount=4))
    values = [{"x": low, "x2": high, "y": density, "zero": 0} for low, high, density in bars if density > 0]
    layers = [alt.Chart(alt.InlineData(values=values)).mark_rect(color=BAR).encode(x=x, x2="x2:Q", y=y, y2="zero:Q")]
    within = [{"x": px, "y": min(py, top)} for px, py in law if bars[0][0] <= px <= bars[-1][1]]
    if within:
        layers.append(alt.Chart(alt.InlineData(values=within)).mark_line(strokeWidth=2.2, color=EXPECTED).encode(x=x, y=y))
    return styled(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT))


def _intervals_spec(rows: list[dict[str, Any]], labels: Sequence[str], names: Sequence[str]) -> Spec:
    import altair as alt

    low, high = min(r["low"] for r in rows), max(r["high"] for r in rows)
    log = low > 0 and high > 1000 * low
    if log:
        rows = [{**r, **{key: math.log10(r[key]) for key in ("v", "low", "high")}} for r in rows]
        low, high = math.log10(low), math.log10(high)
    domain = (0.0, 1.0) if low >= 0 and high <= 1 and not log else padded(low, high)
    ticks, expression = log_ticks(*domain) if log else (None, "format(datum.value, '~g')")
    ticking = {"values": ticks} if ticks is not None else {"tickCount": 5}
    scale = alt.Scale(domain=list(domain), nice=False, zero=False)
    x = alt.X("v:Q", scale=scale, axis=alt.Axis(title=title(names[0], 44) if len(names) == 1 else None, labelExpr=expression, **ticking))
    axis = alt.Axis(labelExpr=f"{json.dumps(list(labels))}[datum.value]", title=None, labelLimit=220, ticks=False, domain=False)
    y = alt.Y("i:O", axis=axis)
    colour = alt.Color("k:N", scale=None, legend=None)
    apart = {"yOffset": alt.YOffset("n:O")} if len(names) > 1 else {}
    base = alt.Chart(alt.InlineData(values=rows))
    layers = [
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=scale), x2="high:Q", y=y, color=colour, **apart),
        base.mark_point(filled=True, size=40, opacity=1).encode(x=x, y=y, color=colour, **apart),
    ]
    height = len({r["i"] for r in rows}) * max(22, 11 * len(names))
    return styled(alt.layer(*layers).properties(width=340, height=height), left=2 + min(30, max(map(len, labels))))


def _pooled(bars: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    """One bar of the same area."""
    low, high = bars[0][0], bars[-1][1]
    return low, high, sum((b - a) * density for a, b, density in bars) / (high - low)


def _odd_notes(odd: Sequence[float]) -> list[str]:
    empty = sum(map(math.isnan, odd))
    ends = len(odd) - empty
    notes = [f"{plural(empty, 'value')} NaN: left empty"] if empty else []
    return notes + ([f"{plural(ends, 'value')} infinite: in the colour of the {'ends' if ends > 1 else 'end'}"] if ends else [])


def _ordinal(n: int) -> str:
    return {2: "second", 3: "third"}.get(n, f"{n}th")


def _short(cell: str | float | Interval) -> str:
    return text(cell) if isinstance(cell, str) else number(cell, 3) if isinstance(cell, int | float) else ""
