from __future__ import annotations

import math

from bptt.reports.charts.discs import discs
from bptt.reports.records import Cloud, Discs

INSIDE = Cloud("gain 0.5", (0.1, -0.4), (0.2, 0.0), 0.5)
OUTSIDE = Cloud("gain 2", (1.5, 0.3), (0.0, 0.4), 2.0)


def test_clouds_stand_beside_the_unit_circle_and_their_discs() -> None:
    chart = discs(Discs("one step", (INSIDE, OUTSIDE)), "a")
    assert chart is not None and "gain 0.5" in chart.svg and "f-t0" in chart.svg
    assert "gain 0.5: largest modulus 0.40, 0 of 2 outside the unit circle" in chart.svg
    assert "gain 2: largest modulus 1.50, 1 of 2 outside the unit circle" in chart.svg
    assert [key.words for key in chart.legend] == ["eigenvalue", "unit circle", "the disc of theory"]
    assert chart.data is not None and chart.data.rows[1][0] == "gain 2"


def test_no_point_is_no_chart() -> None:
    assert discs(Discs("none", (Cloud("a", (math.nan,), (0.0,)),)), "a") is None
