"""One mutant against the tests that reach it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from tests.mutants.operators import Mutant
from tests.mutants.reach import QUIET
from tests.mutants.switch import sitecustomize as switch

Verdict = Literal["killed", "survived", "equivalent", "not reached", "not tried", "error"]


@dataclass(frozen=True)
class Judged:
    """by: the test that failed, or the reason.  A mutant that hangs is killed; `tried` of `of` tests were run before the time was over."""

    mutant: Mutant
    verdict: Verdict
    by: str
    tried: int = 0
    of: int = 0
    seconds: float = 0.0


def used() -> float:
    """CPU seconds of this process and its children."""
    return sum(os.times()[:4])


class Watch:
    """A plug-in that stops at the first failure, or when the CPU time is over."""

    def __init__(self, seconds: float) -> None:
        self.end = used() + seconds
        self.tried, self.by, self.cut = 0, "", False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.by:
            self.by = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.by:
            self.by = f"import of {report.nodeid}"

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logfinish(self) -> None:
        self.tried += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        if used() > self.end:
            self.cut = True
            item.session.shouldstop = "the time is over"


def judged_here(mutant: Mutant, tests: Sequence[str], seconds: float) -> dict[str, Any]:
    """Import the mutant in this process, which has not imported its file yet, and run the tests; the fields of `Judged` but the mutant."""
    switch.install(mutant.file, mutant.index)
    watch, start = Watch(seconds), used()
    code = pytest.main(["-x", "-q", "-m", "", "-p", "no:cacheprovider", *QUIET, *tests], plugins=[watch])
    on = any(getattr(module, "__mutant__", None) == mutant.index for module in list(sys.modules.values()))
    counts = {"tried": watch.tried, "of": len(tests), "seconds": round(used() - start, 1)}
    if watch.by:
        return {"verdict": "killed", "by": watch.by, **counts}
    if not on:
        return {"verdict": "error", "by": "it was not switched on: no test imported its file", **counts}
    if code in (pytest.ExitCode.OK, pytest.ExitCode.INTERRUPTED) and watch.tried:
        return {"verdict": "survived", "by": "the time was over" if watch.cut else "", **counts}
    return {"verdict": "error", "by": f"pytest ended with {code!r}", **counts}
