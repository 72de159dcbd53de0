"""Signed relative errors of a tensor, entry by entry, as a heatmap."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from bptt.reports.charts.drawing import HEAT, INK, PAPER, Chart, Spec, draw, styled, text
from bptt.reports.records import Table
from bptt.reports.view import plural, short

#: Lower bounds of |relative error| of the heatmap's levels 1 to 5; below the first is level 0.
LEVELS = (1e-12, 1e-8, 1e-4, 1e-2, 1.0)
MOST_ROWS, MOST_COLUMNS, MOST_CELLS, MOST_SIGNS, MOST_WORST = 40, 48, 960, 300, 10


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
    all_rows, all_columns = _labels(table.get("rows"), height), _labels(table.get("columns"), width)
    rows, columns = all_rows[::down], all_columns[::across]
    size = max(8, min(18, 620 // len(columns)))
    notes = [f"each cell shows the largest error among up to {down} × {across} entries"] if down * across > 1 else []
    notes += [] if signed else ["too many cells to mark their signs: the colour tells them"]
    odd = sum(not math.isfinite(v) for row in values for v in row)
    notes += [f"{plural(odd, 'entry' if odd == 1 else 'entrie')} not finite: framed cells"] if odd else []
    title = text(table.get("title")) or "signed relative error"
    spec = _heatmap_spec(cells, rows, columns, text(table.get("row_label")), text(table.get("column_label")), size)
    worst = _worst(values, all_rows, all_columns)
    said = [f"Heatmap: {title}", f"{sum(abs(v) >= LEVELS[0] for row in values for v in row)} of {height * width} entries are wrong"]
    said += [f"the largest error is {worst.rows[0][2]} at row {worst.rows[0][0]}, column {worst.rows[0][1]}"] if worst.rows else []
    return Chart(draw(spec, chart_id, ", ".join(said)), tuple(notes), data=worst if worst.rows else None)


def _worst(values: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str]) -> Table:
    """The entries that are most wrong, with their signs."""
    found = [(v, i, j) for i, row in enumerate(values) for j, v in enumerate(row) if not math.isfinite(v) or abs(v) >= LEVELS[0]]
    found.sort(key=lambda entry: -abs(entry[0]) if math.isfinite(entry[0]) else -math.inf)
    shown = tuple((rows[i], columns[j], f"{'+' if v > 0 else ''}{short(v)}") for v, i, j in found[:MOST_WORST])
    return Table("the largest errors", ("row", "column", "relative error"), shown)


def _heatmap_spec(cells: list[dict[str, Any]], rows: list[str], columns: list[str], row_label: str, column_label: str, size: int) -> Spec:
    import altair as alt

    def axis(labels: list[str], title: str, **more: Any) -> Any:
        return alt.Axis(
            labelExpr=f"{json.dumps(labels)}[datum.value]",
            title=title or None,
            labelOverlap=True,
            labelLimit=110,
            ticks=False,
            domain=False,
            **more,
        )

    x = alt.X("c:O", axis=axis(columns, column_label, orient="top", labelAngle=-90 if max(map(len, columns)) * 7 > size else 0))
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
