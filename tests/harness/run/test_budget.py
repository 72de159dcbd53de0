"""Seconds that a target may have: the first case of every check runs, the others while there is time, and what is left out is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from bptt.harness.adapters.triton import told
from bptt.harness.cases import Case
from bptt.harness.errors import UsageError
from bptt.harness.run.budget import LAUNCHED, STANDARD, Budget, seconds
from bptt.harness.run.runner import check
from bptt.harness.targets import load

CASES = [Case(T=t) for t in (1, 2, 3)]


@pytest.mark.parametrize(("given", "wanted"), [("60s", 60.0), ("2m", 120.0), (1.5, 1.5), ("0.5 h", 1800.0), (None, None)])
def test_a_budget_is_read(given: str | float | None, wanted: float | None) -> None:
    assert seconds(given) == wanted


@pytest.mark.parametrize("given", ["", "soon", "-3", "0s", "10 passes"])
def test_what_is_no_time_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="--budget"):
        seconds(given)


def test_without_a_limit_all_cases_run() -> None:
    budget = Budget(None, ["contract", "gradient"])
    assert list(budget.cases("A", CASES)) == CASES
    assert budget.words == ""


def test_the_first_case_of_every_check_runs_and_what_is_left_out_is_said() -> None:
    budget = Budget(1e-9, ["contract", "gradient"])
    assert list(budget.cases("A", CASES)) == CASES[:1]
    assert list(budget.cases("B", CASES[:2])) == CASES[:1]
    assert budget.left_out == {"A": 2, "B": 1}
    assert "3 cases were left out for a budget of 1e-09 s (A 2, B 1)" in budget.words


def test_a_run_says_what_its_budget_left_out() -> None:
    run = check("refimpl:elman", isolate=False, select=("CON100", "CON110"), budget="0.000001s")
    (target,) = run.run.targets
    assert [r.cases for r in run.run.results] == [1, 1]
    assert [r.where for r in target.remarks] == ["budget"]
    assert "CON110" in target.remarks[0].text


def test_every_target_has_a_budget_where_none_is_given() -> None:
    (subject,) = load("refimpl:elman")
    interpreted = replace(subject, detected=(*subject.detected, told(["kernel"])))
    budgets: list[Budget] = []

    class Kept(Budget):
        def cases(self, check: str, every: Sequence[Case]) -> Iterator[Case]:
            budgets.append(self)
            yield from super().cases(check, every)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("bptt.harness.run.judging.Budget", Kept)
        for one in (subject, interpreted):
            check(one, isolate=False, select=("CON110",))
        check(interpreted, isolate=False, select=("CON110",), budget="9s")
    limits = [b.limit for b in budgets]
    assert limits == [STANDARD] * (len(limits) // 3) + [LAUNCHED] * (len(limits) // 3) + [9.0] * (len(limits) // 3)
    own, asked = replace(budgets[-1], limit=1e-9, given=False, left_out={"A": 1}), replace(budgets[-1], left_out={"A": 1})
    assert "--budget 30m spends more" in own.words and "spends more" not in asked.words
