"""Points of the complex plane beside the unit circle: small multiples that share their axes, on the disc that theory gives, pale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bptt.reports.charts.drawing import CURVE, INK, SOFT, THEORY, TYPE, Chart, Key, Spec, draw, styled, text
from bptt.reports.records import Cloud, Discs, Table
from bptt.reports.view import short

SIZE, ACROSS, MOST_POINTS = 150, 4, 300


def discs(d: Discs, chart_id: str) -> Chart | None:
    """One panel a cloud.  None where there is no point to draw."""
    clouds = [c for c in d.clouds if _points(c)]
    if not clouds:
        return None
    said = [
        f"{text(c.name)}: largest modulus {_largest(c):.2f}, {_outside(c)} of {len(_points(c))} outside the unit circle" for c in clouds
    ]
    legend: tuple[Key, ...] = (Key("line k0", "eigenvalue"), Key("line expected", "unit circle"))
    legend = (*legend, Key("theory t0", "the disc of theory")) if any(c.radius for c in clouds) else legend
    rows = tuple(
        (text(c.name), short(_largest(c)), short(c.radius) if c.radius else "", f"{_outside(c)} of {len(_points(c))}") for c in clouds
    )
    data = Table("the numbers", ("", "largest modulus", "radius by theory", "outside the unit circle"), rows)
    return Chart(draw(_spec(clouds), chart_id, f"{text(d.name)}: eigenvalues in the complex plane. {'; '.join(said)}."), (), legend, data)


def _points(c: Cloud) -> list[tuple[float, float]]:
    return [(x, y) for x, y in zip(c.re, c.im, strict=False) if math.isfinite(x) and math.isfinite(y)]


def _largest(c: Cloud) -> float:
    return max(math.hypot(x, y) for x, y in _points(c))


def _outside(c: Cloud) -> int:
    return sum(math.hypot(x, y) > 1 for x, y in _points(c))


def _spec(clouds: Sequence[Cloud]) -> Spec:
    import altair as alt

    reach = 1.06 * max(1.0, *(max(_largest(c), c.radius or 0.0) for c in clouds))
    scale = alt.Scale(domain=[-reach, reach], nice=False, zero=False)
    axis: dict[str, Any] = {"grid": False, "tickCount": 3, "title": None}
    x, y = alt.X("x:Q", scale=scale, axis=alt.Axis(**axis)), alt.Y("y:Q", scale=scale, axis=alt.Axis(**axis))

    def circle(radius: float) -> Any:
        turns = [2 * math.pi * k / 72 for k in range(73)]
        places = [{"x": radius * math.cos(a), "y": radius * math.sin(a), "o": k} for k, a in enumerate(turns)]
        return alt.Chart(alt.InlineData(values=places))

    panels = []
    for c in clouds:
        layers = []
        if c.radius:
            layers.append(circle(c.radius).mark_line(filled=True, fill=THEORY[0], stroke=None).encode(x=x, y=y, order="o:Q"))
        layers.append(circle(1.0).mark_line(color=INK, strokeWidth=1.2, filled=False).encode(x=x, y=y, order="o:Q"))
        points = [{"x": a, "y": b} for a, b in _points(c)[:MOST_POINTS]]
        layers.append(alt.Chart(alt.InlineData(values=points)).mark_point(filled=True, size=9, opacity=1, color=CURVE[0]).encode(x=x, y=y))
        titled = alt.TitleParams(text(c.name), fontSize=TYPE, fontWeight="normal", color=INK)
        panels.append(alt.layer(*layers).properties(width=SIZE, height=SIZE, title=titled))
    rows = [alt.hconcat(*panels[k : k + ACROSS], spacing=14) for k in range(0, len(panels), ACROSS)]
    return styled(alt.vconcat(*rows).configure_axis(domainColor=SOFT))
