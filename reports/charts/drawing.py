"""What every chart needs: colours that become classes of the page, axes, and drawing as a small SVG.

Charts are made with altair and drawn by vl-convert, without network.  Colours are placeholders that `svg.tidy` turns into
classes of the page's style sheet; legends are HTML and belong to the page.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from bptt.reports.charts.svg import tidy
from bptt.reports.records import Table
from bptt.reports.view import without_controls

Spec = Any  # an altair chart: altair is imported when the first chart is drawn, and has no types of use here


def heat_class(letter: str, level: int) -> str:
    """ "hn5" to "hp5": which side of the middle, and how far."""
    return f"{letter}{'n' if level < 0 else 'p'}{abs(level)}" if level else f"{letter}0"


INK, SOFT, PAPER = "#101010", "#202020", "#303030"
HEAT = {level: f"#40{level + 5:02x}00" for level in range(-5, 6)}
CURVE = tuple(f"#50{i:02x}00" for i in range(6))
THEORY = tuple(f"#51{i:02x}00" for i in range(6))
EXPECTED, GOOD, BAD, BUDGET, BAND = "#600000", "#600100", "#600200", "#600300", "#600400"
#: Colours of pictures: levels on both sides of a middle, levels from low to high, contours, bars.
DIVERGING = {level: f"#41{level + 5:02x}00" for level in range(-5, 6)}
RISING = tuple(f"#42{level:02x}00" for level in range(9))
CONTOURS = tuple(f"#61{k:02x}00" for k in range(3))
BAR = "#610300"
#: The halves of a chart above and below a level.
ABOVE, BELOW = "#620000", "#620100"
CLASSES = (
    {INK: "ink", SOFT: "soft", PAPER: "paper", EXPECTED: "expected", GOOD: "good", BAD: "bad", BUDGET: "budget"}
    | {colour: heat_class("h", level) for level, colour in HEAT.items()}
    | {colour: f"k{i}" for i, colour in enumerate(CURVE)}
    | {colour: f"t{i}" for i, colour in enumerate(THEORY)}
    | {colour: heat_class("g", level) for level, colour in DIVERGING.items()}
    | {colour: f"r{level}" for level, colour in enumerate(RISING)}
    | {colour: f"c{k}" for k, colour in enumerate(CONTOURS)}
    | {BAND: "band", BAR: "bar", ABOVE: "above", BELOW: "below"}
)


#: Of the place where a chart's curves are: wide enough for a page, narrow enough that its type is read on a phone.
WIDTH, HEIGHT, TYPE = 470, 220, 14


class Key(NamedTuple):
    """One entry of a legend: the classes of its swatch ("line k0", "theory t0", "band", "bar", "hn5"), and what it means."""

    look: str
    words: str


@dataclass(frozen=True)
class Chart:
    """`svg` to put into a page, the sentences that must stand beside it, its legend, and its data."""

    svg: str
    notes: tuple[str, ...] = ()
    legend: tuple[Key, ...] = ()
    data: Table | None = None


def draw(spec: Spec, chart_id: str, title: str) -> str:
    """title   what a screen reader says instead of the picture: what is drawn, its trend, its numbers"""
    import vl_convert  # takes a while to start: only a page with charts should pay for it

    svg = vl_convert.vegalite_to_svg(spec.to_dict())
    return tidy(svg, prefix=chart_id, title=title, classes=CLASSES)


def styled(chart: Spec, left: int = 2) -> Spec:
    """`left` is room for labels in a font that is wider than the one they were measured with."""
    axis = {"labelColor": INK, "titleColor": INK, "gridColor": SOFT, "domainColor": SOFT, "tickColor": SOFT}
    sizes = {"labelFontSize": TYPE, "titleFontSize": TYPE, "titleFontWeight": "normal", "titlePadding": 10}
    return (
        chart.configure(background="transparent", padding={"left": left, "right": 8, "top": 2, "bottom": 2}, font="sans-serif")
        .configure_axis(**axis, **sizes)
        .configure_view(stroke=None)
    )


def title(value: Any, most: int) -> list[str] | None:
    """An axis' title in lines of at most about `most` letters, None where there is none."""
    return textwrap.wrap(text(value), most, break_long_words=False)[:3] or None


def spread_by_ratio(values: Sequence[float]) -> bool:
    """Whether rising places are positive, span most of a decade, and lie more evenly by their ratios than by their differences."""
    if len(values) < 3 or values[0] <= 0 or values[-1] < 8 * values[0]:
        return False
    by_difference = [b - a for a, b in pairwise(values)]
    by_ratio = [math.log(b / a) for a, b in pairwise(values)]
    return min(by_difference) > 0 and max(by_ratio) / min(by_ratio) < max(by_difference) / min(by_difference)


def padded(low: float, high: float) -> tuple[float, float]:
    margin = 0.04 * (high - low) or max(0.5, 0.1 * abs(high))
    return low - margin, high + margin


def log_ticks(low: float, high: float) -> tuple[list[float], str]:
    """Places of ticks on an axis of log10 of a size, and the Vega expression that labels them: 1e-3, 2e-3, 1e0."""
    first, last = math.ceil(low), math.floor(high)
    if last - first >= 2:
        step = math.ceil((last - first + 1) / 7)
        return [float(t) for t in range(first, last + 1) if t % step == 0], "'1e' + datum.value"
    if high - low < 0.9:
        steps = _nice_steps(10**low, 10**high)
        places = {math.log10(t): _with_exponent(t) for t in steps}
    else:
        places = {math.log10(m) + e: f"{m}e{e}" for e in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)}
    return _labelled({t: label for t, label in places.items() if low <= t <= high})


def _with_exponent(t: float) -> str:
    exponent = math.floor(math.log10(t) + 1e-12)
    return f"{t / 10.0**exponent:.4g}e{exponent}"


def count_ticks(low: float, high: float) -> tuple[list[float], str]:
    """The same on an axis of log10 of a count or a ratio: 1, 2, 5, 10, 0.5."""
    if high - low > 6:
        return log_ticks(low, high)
    if high - low < 0.9:
        return _labelled({math.log10(t): f"{t:.4g}" for t in _nice_steps(10**low, 10**high)})
    mantissas = (1, 2, 5) if high - low < 2.2 else (1, 3) if high - low < 3.5 else (1,)
    places = {math.log10(m) + e: f"{m * 10.0**e:g}" for e in range(math.floor(low), math.ceil(high) + 1) for m in mantissas}
    return _labelled({t: label for t, label in places.items() if low <= t <= high})


def _labelled(places: Mapping[float, str]) -> tuple[list[float], str]:
    """Ticks at these places, each with its own label: the one whose place is nearest, since Vega may round it."""
    ticks, labels = list(places), list(places.values())
    expression = "".join(f"abs(datum.value - {t!r}) < 1e-9 ? {json.dumps(label)} : " for t, label in zip(ticks, labels, strict=True))
    return ticks, f"{expression}''"


def _nice_steps(low: float, high: float) -> list[float]:
    """Three to eight multiples of 1, 2 or 5 times a power of ten between two positive numbers."""
    power = 10.0 ** math.floor(math.log10((high - low) / 3))
    step = max((m * power for m in (1, 2, 5) if m * power <= (high - low) / 3), default=power)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def text(value: Any) -> str:
    return without_controls(str(value))[:60] if value is not None else ""
