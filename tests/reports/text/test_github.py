from __future__ import annotations

from dataclasses import replace

from bptt.reports.records import Run
from bptt.reports.text.github import annotated


def test_a_failure_is_an_error_at_its_line_and_a_warning_is_one(failing_run: Run) -> None:
    error, warning = annotated(failing_run)
    assert error.startswith("::error file=examples/gru_wrong.py,line=41,title=MyGRU GRD110::dL/dW_h is wrong in gate n")
    assert error.endswith("%0Abptt check examples/gru_wrong.py:MyGRU --select GRD110 --case T2-N1-D3-H4 --seed 0")
    assert warning.startswith("::warning title=MyGRU NUM100::")


def test_a_run_that_passes_says_nothing(passing_run: Run) -> None:
    assert annotated(passing_run) == []


def test_users_strings_start_no_command_of_their_own(nasty_run: Run) -> None:
    bad = "x\n::error::gone\r%0A"
    finding = replace(next(r.finding for r in nasty_run.results if r.finding), headline=bad)
    results = tuple(replace(r, finding=finding) if r.finding else r for r in nasty_run.results)
    for line in annotated(replace(nasty_run, results=results)):
        assert line.startswith(("::error ", "::warning ")) and not any(c in line for c in "\n\r\x1b\x00")
