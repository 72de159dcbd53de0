"""A curve in words with its numbers: what is said of a chart to who cannot see it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bptt.reports.records import Series
from bptt.reports.view import short, without_controls


def trend(x: Sequence[float], y: Sequence[float], log: bool = False) -> str:
    """ "falls from 1.2 at 0 to 3.1e-09 at 39, by a factor of 0.6 a step", "rises from 1 at 0 to 3 at 5, then falls to 1 at 39"

    The rate is said where the axis is logarithmic.
    """
    points = [(a, b) for a, b in zip(x, y, strict=False) if math.isfinite(a) and math.isfinite(b)]
    if not points:
        return "has no value that can be drawn"
    (x0, y0), (x1, y1) = points[0], points[-1]
    if len(points) == 1:
        return f"is {short(y0)} at {x0:g}"
    low, high = (extreme(points, key=lambda point: point[1]) for extreme in (min, max))
    size = max(abs(low[1]), abs(high[1]))
    if high[1] - low[1] <= 0.02 * size:
        return f"stays at {short(y0)} from {x0:g} to {x1:g}"
    for turn, word, back in ((high, "rises", "falls"), (low, "falls", "rises")):
        if turn[0] not in (x0, x1) and _apart(turn[1], y0, log, size) and _apart(turn[1], y1, log, size):
            return f"{word} from {short(y0)} at {x0:g} to {short(turn[1])} at {turn[0]:g}, then {back} to {short(y1)} at {x1:g}"
    word = "falls" if y1 < y0 else "rises"
    rate = f", by a factor of {short((y1 / y0) ** (1 / (x1 - x0)))} a step" if log and y0 > 0 and y1 > 0 and x1 > x0 else ""
    return f"{word} from {short(y0)} at {x0:g} to {short(y1)} at {x1:g}{rate}"


def against_theory(s: Series) -> str:
    """ "at most 4.1e-03 of its size away from theory"; "" where nothing is expected."""
    pairs = [(a, b) for a, b in zip(s.y, s.expected, strict=False) if math.isfinite(a) and math.isfinite(b)]
    if not pairs:
        return ""
    if s.log_y and all(b > 0 for _, b in pairs):
        return f"at most {short(max(abs(a / b - 1) for a, b in pairs))} of its size away from what is expected"
    return f"at most {short(max(abs(a - b) for a, b in pairs))} away from what is expected"


def words(series: Sequence[Series]) -> str:
    """What a chart of these curves shows: axes, then each curve."""
    said = [f"{s.y_label} over {s.x_label}" for s in series[:1]]
    for s in series:
        beside = against_theory(s)
        said.append(f"{s.name} {trend(s.x, s.y, s.log_y)}{f', {beside}' if beside else ''}")
    return without_controls(". ".join(said)) + "."


def _apart(turn: float, end: float, log: bool, size: float) -> bool:
    """Whether a turn is far enough from an end to be called one."""
    if log and turn > 0 and end > 0:
        return abs(math.log(turn / end)) > 0.5
    return abs(turn - end) > 0.15 * size
