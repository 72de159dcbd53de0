"""Which test reaches which line, and how long it takes: the tests are run once, traced, on the code as it stands."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.mutants.operators import Mutant

#: Plug-ins are loaded before pytest starts.
QUIET = ("-W", "ignore::pytest.PytestAssertRewriteWarning")


@dataclass
class Reach:
    """tests: {id: seconds}; lines: {file: {line: ids}}; failed: ids that fail without any mutant, and are left out."""

    tests: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[int, list[str]]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def add(self, part: dict[str, Any]) -> None:
        self.failed += part["failed"]
        for test, (seconds, files) in part["tests"].items():
            if test in part["failed"]:
                continue
            self.tests[test] = seconds
            for file, numbers in files.items():
                for number in numbers:
                    self.lines.setdefault(file, {}).setdefault(number, []).append(test)

    def of(self, mutant: Mutant, top_level: set[int]) -> list[str]:
        """The tests that reach a mutant, the nearest first: those of the file's own test file, then the quick ones.

        A line that runs when the file is imported is reached by every test that reaches the file.
        """
        lines = self.lines.get(mutant.file, {})
        first, last = mutant.lines
        wanted = lines if mutant.line in top_level else {n: lines.get(n, []) for n in range(first, last + 1)}
        tests = {test for reached in wanted.values() for test in reached}
        own = f"/test_{Path(mutant.file).stem}.py"
        return sorted(tests, key=lambda test: (own not in test, self.tests[test], test))


class Tracer:
    """A plug-in that notes for each test the lines of `files` that it runs."""

    def __init__(self, files: Iterable[str]) -> None:
        self.files = frozenset(files)
        self.seen: dict[str, set[int]] = {}
        self.tests: dict[str, tuple[float, dict[str, list[int]]]] = {}
        self.failed: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self.seen = {}
        start = time.process_time()
        sys.settrace(self._call)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            found = {file: sorted(lines) for file, lines in self.seen.items()}
            self.tests[item.nodeid] = (time.process_time() - start, found)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and report.nodeid not in self.failed:
            self.failed.append(report.nodeid)
        if report.skipped and report.nodeid in self.tests:
            del self.tests[report.nodeid]

    def _call(self, frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        file = frame.f_code.co_filename
        if file not in self.files:
            return None
        lines = self.seen.setdefault(file, set())
        lines.add(frame.f_lineno)

        def line(frame: FrameType, event: str, _: object) -> Callable[..., Any]:
            lines.add(frame.f_lineno)
            return line

        return line
