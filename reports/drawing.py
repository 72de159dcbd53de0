"""What every chart needs: colours that become classes of the page, axes, and drawing as a small SVG.

Charts are made with altair and drawn by vl-convert, without network.  Colours are placeholders that `bptt.reports.svg` turns into
classes of the page's style sheet; legends are HTML and belong to the page.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bptt.reports.svg import tidy
from bptt.reports.view import without_controls

Spec = Any  # an altair chart: altair is imported when the first chart is drawn, and has no types of use here


def heat_class(letter: str, level: int) -> str:
    """ "hn5" to "hp5": which side of the middle, and how far."""
    return f"{letter}{'n' if level < 0 else 'p'}{abs(level)}" if level else f"{letter}0"


INK, SOFT, PAPER = "#101010", "#202020", "#303030"
HEAT = {level: f"#40{level + 5:02x}00" for level in range(-5, 6)}
CURVE = tuple(f"#50{i:02x}00" for i in range(6))
EXPECTED, GOOD, BAD, BUDGET, BAND = "#600000", "#600100", "#600200", "#600300", "#600400"
#: Colours of pictures: levels on both sides of a middle, levels from low to high, contours, bars.
DIVERGING = {level: f"#41{level + 5:02x}00" for level in range(-5, 6)}
RISING = tuple(f"#42{level:02x}00" for level in range(9))
CONTOURS = tuple(f"#61{k:02x}00" for k in range(3))
BAR = "#610300"
CLASSES = (
    {INK: "ink", SOFT: "soft", PAPER: "paper", EXPECTED: "expected", GOOD: "good", BAD: "bad", BUDGET: "budget"}
    | {colour: heat_class("h", level) for level, colour in HEAT.items()}
    | {colour: f"k{i}" for i, colour in enumerate(CURVE)}
    | {colour: heat_class("g", level) for level, colour in DIVERGING.items()}
    | {colour: f"r{level}" for level, colour in enumerate(RISING)}
    | {colour: f"c{k}" for k, colour in enumerate(CONTOURS)}
    | {BAND: "band", BAR: "bar"}
)


@dataclass(frozen=True)
class Chart:
    """`svg` to put into a page, the sentences that must stand beside it, and the names of its curves (classes k0, k1, ...)."""

    svg: str
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    has_expected: bool = False
    has_band: bool = False
    legend: tuple[tuple[str, str], ...] = ()  # classes of a swatch, and what it means


def draw(spec: Spec, chart_id: str, title: str) -> str:
    import vl_convert  # takes a while to start: only a page with charts should pay for it

    svg = vl_convert.vegalite_to_svg(spec.to_dict())
    return tidy(svg, prefix=chart_id, title=title, classes=CLASSES)


def styled(chart: Spec, left: int = 2) -> Spec:
    """`left` is room for labels in a font that is wider than the one they were measured with."""
    axis = {"labelColor": INK, "titleColor": INK, "gridColor": SOFT, "domainColor": SOFT, "tickColor": SOFT}
    sizes = {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "titlePadding": 11}
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


def text(value: Any) -> str:
    return without_controls(str(value))[:60] if value is not None else ""
