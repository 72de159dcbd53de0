"""What the results of one check make of the test that stands for it, and how a failure is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from bptt.reports import accounting, view
from bptt.reports.records import UNDECIDED, Result, Run
from bptt.reports.text import terminal

if TYPE_CHECKING:
    from _pytest._code.code import ReprExceptionInfo

WIDTH = 100
#: How the ids of the items of --cell begin.
PREFIX = "bptt::"


class CellFailed(AssertionError):
    """A check of a target failed.  Its text is what the terminal would show; `results` are those that failed."""

    def __init__(self, text: str, results: Sequence[Result] = ()) -> None:
        super().__init__(text)
        self.results = tuple(results)


def settle(results: Sequence[Result], run: Run, level: str) -> None:
    """Pass, or raise: CellFailed where one of the results fails or is undecided, a skip with its reason where none passed."""
    if failed := [r for r in results if accounting.fails(r) or r.status in UNDECIDED]:
        text = "\n".join(line.plain for result in failed for line in terminal.failure_lines(result, run, width=WIDTH))
        raise CellFailed(text, failed)
    if any(result.status == "passed" for result in results):
        return
    why = view.reasons(results) or ", ".join(f"blocked by {result.blocked_by}" for result in results if result.blocked_by)
    if any(result.status == "xfailed" for result in results):
        pytest.xfail(why)
    raise pytest.skip.Exception(why or f"does not run at level {level}", _use_item_location=True)


def shown(error: BaseException, nodeid: str) -> ReprExceptionInfo:
    """A failure as pytest prints it, without our own frames: the terminal's text, and a sentence for the short summary and JUnit."""
    from _pytest._code.code import ReprEntryNative, ReprExceptionInfo, ReprFileLocation, ReprTraceback  # there is no public way to say it

    results: Sequence[Result] = getattr(error, "results", ()) or getattr(error, "failed", ())
    sentence = view.summary(results[0]) if results else next(iter(str(error).splitlines()), "")
    source = results[0].finding.source if results and results[0].finding else None
    at = ReprFileLocation(source.file if source else nodeid.partition("::")[0], source.line if source else 0, sentence)
    return ReprExceptionInfo(reprtraceback=ReprTraceback([ReprEntryNative([f"{error}\n"])], None, "native"), reprcrash=at)
