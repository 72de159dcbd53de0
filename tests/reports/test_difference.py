from __future__ import annotations

from dataclasses import replace

import pytest

from bptt.reports.difference import counts_text, difference
from bptt.reports.records import Bench, Result, Run, Status
from tests.reports.samples import bug


def with_status(run: Run, check: str, status: Status, **more: object) -> Run:
    changed = [replace(r, status=status, **more) if r.check == check else r for r in run.results]  # type: ignore[arg-type]  # fields
    return replace(run, results=tuple(changed))


def words(old: Run, new: Run) -> list[tuple[str, str]]:
    return [(change.word, change.check) for change in difference(old, new).changes]


def test_two_equal_runs_have_nothing_new(failing_run: Run) -> None:
    found = difference(failing_run, failing_run)
    assert found.changes == () and found.exit_code == 0 and counts_text(found) == "nothing new"


def test_what_fails_now_is_new_and_the_other_way_round_fixed(failing_run: Run) -> None:
    passing = with_status(failing_run, "GRD110", "passed", finding=None)
    assert words(passing, failing_run) == [("new", "GRD110")] and difference(passing, failing_run).exit_code == 1
    assert words(failing_run, passing) == [("fixed", "GRD110")] and difference(failing_run, passing).exit_code == 0


@pytest.mark.parametrize("status", ["blocked", "skipped", "not_applicable"])
def test_a_failure_that_is_not_checked_any_more_is_not_fixed(failing_run: Run, status: Status) -> None:
    assert words(failing_run, with_status(failing_run, "GRD110", status, finding=None)) == [("gone", "GRD110")]
    assert words(failing_run, replace(failing_run, results=()))[0] == ("gone", "GRD110")


def test_another_cause_is_a_change_and_other_numbers_are_none(failing_run: Run) -> None:
    numbers = with_status(failing_run, "GRD110", "failed", finding=replace(bug(), observed=1.0, bad=3))
    assert words(failing_run, numbers) == []
    other = with_status(failing_run, "GRD110", "failed", finding=replace(bug(), causes=bug().causes[1:]))
    assert words(failing_run, other) == [("changed", "GRD110")]


def test_a_check_that_is_not_decided_any_more_is_lost(failing_run: Run) -> None:
    lost = with_status(failing_run, "CON100", "timeout")
    assert words(failing_run, lost) == [("lost", "CON100")] and difference(failing_run, lost).exit_code == 3


def test_a_benchmark_is_slower_only_beyond_both_intervals() -> None:
    was = Bench("a", "g", "s", "float64", 1.0, 0.9, 1.1)
    for now, wanted in ((replace(was, ratio=1.3, low=1.2, high=1.4), [("slower", "s float64")]), (replace(was, ratio=1.3, low=1.0), [])):
        assert words(Run("", 0, benches=(was,)), Run("", 0, benches=(now,))) == wanted
    slow = Run("", 0, benches=(replace(was, ratio=1.3, low=1.2),))
    assert difference(Run("", 0, benches=(was,)), slow).exit_code == 5


def test_a_target_that_is_new_is_new_with_all_its_failures(failing_run: Run) -> None:
    assert words(Run("", 0), failing_run) == [("new", "GRD110")]
    assert isinstance(failing_run.results[0], Result)
