from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bptt.reports.charts.frames import HEIGHT, LINE, _apart, alternative, frame
from bptt.reports.records import Frame, Series

AXES = ("lag (steps)", "norm of the gradient")


def curve(name: str, slope: float, T: int = 50) -> Series:
    return Series(name, *AXES, tuple(map(float, range(T))), tuple(slope * k for k in range(T)))


def test_each_curve_is_labelled_and_the_halves_are_said() -> None:
    f = Frame("side by side", *AXES, (curve("mine", -0.2), curve("RNN", 0.05)), 0.0, "explodes", "vanishes", marked=("mine",))
    chart = frame(f, "a")
    assert chart is not None and chart.notes == ()
    for words in ("mine", "RNN", "explodes", "vanishes", "1e-6", 'class="f-above"', 'class="f-below"', 'stroke-width="3.2"'):
        assert words in chart.svg, words


def test_the_alternative_says_trend_and_numbers() -> None:
    f = Frame("side by side", *AXES, (curve("mine", -20.0), curve("RNN", 0.02), curve("flat", 0.0)))
    assert alternative(f, f.curves) == (
        "side by side: norm of the gradient over lag (steps). mine falls from 1 at 0 to 1.0e-980 at 49; "
        "RNN rises from 1 at 0 to 9.5 at 49; flat stays from 1 at 0 to 1 at 49."
    )


def test_what_is_not_drawn_is_said_and_nothing_is_no_chart() -> None:
    nothing = Series("none", *AXES, (0.0, 1.0), (-math.inf, math.nan))
    many = tuple(curve(f"c{k}", -0.1 * k) for k in range(8))
    chart = frame(Frame("many", *AXES, (nothing, *many)), "a")
    assert chart is not None and chart.notes == ("not drawn: none, c6, c7",)
    assert frame(Frame("none", *AXES, (nothing,)), "a") is None


@given(st.lists(st.floats(-30, 5), min_size=1, max_size=8))
def test_labels_do_not_lie_on_each_other(ends: list[float]) -> None:
    low, high = -35.0, 10.0
    places = _apart(ends, (low, high))
    line = LINE * (high - low) / HEIGHT
    ordered = sorted(places)
    assert all(b - a > 0.9 * line for a, b in pairwise(ordered))
    for a, b in pairwise(sorted(range(len(ends)), key=lambda i: ends[i])):
        assert places[a] < places[b]
