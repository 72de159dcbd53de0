"""Speeds as ratios ours / theirs, one line a benchmark."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from bptt.reports.charts.drawing import BAD, BUDGET, GOOD, INK, Chart, Spec, count_ticks, draw, padded, styled, text
from bptt.reports.records import Bench
from bptt.reports.view import plural, short

MOST_BENCHES = 36


def ratios(benches: Sequence[Bench], chart_id: str) -> Chart | None:
    """Ratios ours / theirs with their interval and budget on a logarithmic axis, one line a benchmark."""
    shown = [b for b in benches if math.isfinite(b.ratio) and b.ratio > 0][:MOST_BENCHES]
    if not shown:
        return None
    left_out = len(benches) - len(shown)
    notes = (f"{plural(left_out, 'benchmark')} not drawn (see the table)",) if left_out else ()
    return Chart(draw(_ratios_spec(shown), chart_id, _said(shown)), notes)


def _said(shown: Sequence[Bench]) -> str:
    each = [f"{text(b.size) or text(b.name)} {text(b.dtype)} {short(b.ratio)}" for b in shown[:8]]
    over = sum(b.budget is not None and b.ratio > b.budget for b in shown)
    more = [f"{len(shown) - 8} more"] if len(shown) > 8 else []
    return f"Ratios ours / theirs: {', '.join([*each, *more])}; {over} above the budget."


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
    ticks, expression = count_ticks(*domain)
    base = alt.Chart(alt.InlineData(values=rows))
    y = alt.Y(
        "i:O",
        axis=alt.Axis(labelExpr=f"{json.dumps(labels)}[datum.value]", title=None, labelLimit=220, ticks=False, domain=False),
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
    return styled(alt.layer(*layers).properties(width=340, height=alt.Step(22)), left=2 + min(30, max(map(len, labels))))
