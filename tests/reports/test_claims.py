from __future__ import annotations

import math
from dataclasses import replace

import pytest

from bptt.reports import claims
from bptt.reports.records import Claim, ClaimVerdict, Experiment, Interval, Run


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (("agrees", "differs", "explained"), "differs"),
        (("agrees", "explained", "not judged"), "explained"),
        (("not judged", "agrees"), "agrees"),
        (("not judged",), "not judged"),
        ((), "not judged"),
    ],
)
def test_the_gravest_claim_is_the_verdict(found: tuple[ClaimVerdict, ...], verdict: ClaimVerdict) -> None:
    e = Experiment("e", None, (), claims=tuple(Claim("c", 1.0, verdict=v) for v in found))
    assert claims.verdict(e) == verdict


@pytest.mark.parametrize(
    ("c", "measured", "expected"),
    [
        (Claim("c", 1.5548, 1.5497, 0.01, verdict="agrees"), "1.5548", "1.5497 ± 0.01"),
        (Claim("c", 2.468406809458, 2.46840680946, 2.5e-10, verdict="agrees"), "2.468406809458", "2.46840680946 ± 2.5e-10"),
        (Claim("c", 1.0000001, 1.0, verdict="differs"), "1.0000001", "1"),
        (Claim("c", 0.5, 1.0, 1e-12, "at most", verdict="agrees"), "0.5", "at most 1 + 1e-12"),
        (Claim("c", 2.0, 1.0, None, "at least", verdict="agrees"), "2", "at least 1"),
        (Claim("c", math.nan, 1.0, 0.1, verdict="differs"), "nan", "1 ± 0.1"),
        (Claim("c", math.inf, 0.0, 0.1, verdict="differs"), "inf", "0 ± 0.1"),
        (Claim("c", 0.123456), "0.1235", ""),
    ],
)
def test_numbers_have_the_digits_that_decide(c: Claim, measured: str, expected: str) -> None:
    assert (claims.measured_text(c), claims.expected_text(c)) == (measured, expected)


def test_the_headline_says_how_many_differ(experiments_run: Run) -> None:
    first, second = experiments_run.experiments
    assert claims.headline((first, second)) == "1 of 2 experiments differs from theory"
    assert claims.headline((first,)) == "gain_by_lag (refimpl:elman) differs from theory"
    assert claims.headline((second,)) == "spectrum is as theory says"
    assert claims.headline((second, second)) == "2 experiments, as theory says"
    assert claims.headline((second, replace(second, claims=()))) == "2 experiments, as theory says (1 not judged)"
    assert claims.headline((replace(second, claims=()),)) == "1 experiment, none of them judged"
    assert claims.headline(()) == "Nothing was measured"


def test_curves_of_a_check_are_no_experiment(failing_run: Run, experiments_run: Run) -> None:
    assert claims.experiments_of(failing_run) == ()
    assert claims.experiments_of(experiments_run) == experiments_run.experiments


def test_cells_of_tables() -> None:
    assert [claims.cell_text(c) for c in ("x", 3.0, 0.25, Interval(0.93, 0.83, 0.98), math.nan)] == [
        "x",
        "3",
        "0.25",
        "0.93 (0.83 to 0.98)",
        "nan",
    ]
