from __future__ import annotations

from bptt.reports.charts.drawing import log_ticks


def test_ticks_of_less_than_a_decade_have_one_digit_before_the_point() -> None:
    _, expression = log_ticks(-0.4, 0.3)
    assert [label for label in ("5e-1", "1e0", "1.5e0") if f'"{label}"' in expression] == ["5e-1", "1e0", "1.5e0"]
    assert '"10e-1"' not in expression
