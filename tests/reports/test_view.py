from __future__ import annotations

from bptt.reports import view
from bptt.reports.records import Finding, Result, Where


def test_blocked_checks_fold_under_their_root() -> None:
    results = (
        Result("t", "A", "failed"),
        Result("t", "B", "blocked", blocked_by="A"),
        Result("t", "C", "blocked", blocked_by="B"),
        Result("t", "D", "blocked", blocked_by="E"),
        Result("t", "E", "blocked", blocked_by="D"),
    )
    folded = view.blocked_by(results)
    assert [r.check for r in folded["A"]] == ["B", "C"]
    assert sum(map(len, folded.values())) == 4


def test_a_soft_failure_is_a_warning_but_a_soft_crash_is_not() -> None:
    assert view.kind(Result("t", "A", "failed", "warning")) == "warning"
    assert view.kind(Result("t", "A", "crashed", "warning")) == "crashed"
    assert view.kind(Result("t", "A", "passed", "warning")) == "passed"


def test_the_sensitivity_is_that_of_the_least_sensitive_check() -> None:
    results = tuple(Result("t", "A", "passed", metrics={"sensitivity": s}) for s in (1e-12, float("nan"), 2e-9, "unknown"))
    assert view.sensitivity(results) == 2e-9
    assert view.sensitivity(()) is None


def test_places_read_as_the_field_writes_them() -> None:
    wrong = Finding("BUG", "dL/dW_h, gate f is wrong")
    assert view.place(wrong, Where("W_h", "f", (1, 5), 3, 2, "reverse", 1), 32, 32) == (
        "dL/dW_h[1, 5], gate f, step 3, lag 2, layer 1, reverse direction (32 of 32 entries)"
    )
    assert view.place(wrong, Where()) == ""
    assert view.place(Finding("CONTRACT", "ys has shape (2, 7)"), Where("ys")) == "ys"
