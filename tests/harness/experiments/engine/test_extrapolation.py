from __future__ import annotations

import numpy as np
import pytest

from bptt.harness.experiments.engine.extrapolation import crossings, limit, near


def test_a_straight_line_in_one_over_h_has_its_end_exactly() -> None:
    found = limit({H: [2 + (3 + e) / H + e for e in (-0.1, 0.1)] for H in (50, 100, 200)})
    assert found.end.value == pytest.approx(2) and found.end.error == pytest.approx(0.1)
    assert (found.at_smallest, found.ratio) == (pytest.approx(2.06), 0.25)


def test_what_bends_is_allowed_and_what_stays_is_not() -> None:
    """A second term as large as the first at the smallest size is allowed; a deviation that is the same at every size is not."""

    def said(c: float, bend: float) -> str:
        of = limit({H: [1 + c + 4 / H + bend / H**2 + e * 1e-9 for e in (-1, 0, 1)] for H in (50, 100)})
        return near("x", of, 1.0, 1, "theory").verdict

    assert said(0.0, 0.0) == said(0.0, 200.0) == "agrees"
    assert said(0.3, 0.0) == "differs"


def test_the_theorys_own_error_is_in_the_tolerance() -> None:
    of = limit({50: [1.0, 1.0 + 1e-9], 100: [1.0, 1.0]})
    wide = near("x", of, 1.05, 1, "theory", 0.1)
    assert wide.verdict == "agrees" and "the theory's own sampling 0.1" in str(wide.words)
    assert near("x", of, 1.05, 1, "theory").verdict == "differs"


@pytest.mark.parametrize("x", [[0.9, 1.1], [0.9, 1.0, 1.2]])
def test_crossings_of_straight_lines(x: list[float]) -> None:
    found = crossings(x, [[2 * (at - 1 - d) for at in x] for d in (0.0, 0.02, -0.02)])
    assert np.allclose(found, [1.0, 1.02, 0.98])
