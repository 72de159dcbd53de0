"""pytest plug-in: `pytest --cell TARGET`, and tests marked with `@bptt.parametrize`.

It is loaded in every pytest run of an environment that has bptt, so that it imports nothing but pytest until a cell is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Generator

import pytest

from bptt.harness.levels import LEVELS
from bptt.harness.pytest.parametrize import parametrize as parametrize


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bptt", "recurrent cells put to the test")
    group.addoption("--cell", action="append", default=[], dest="bptt_cells", metavar="TARGET", help="check this cell; repeatable")
    group.addoption(
        "--bptt-report",
        action="append",
        default=[],
        dest="bptt_reports",
        metavar="PATH",
        help="write what was found of cells to a .html, .json, .jsonl, .xml or .md file; repeatable",
    )
    group.addoption("--bptt-level", choices=LEVELS, default="standard", dest="bptt_level", help="how much is tried of each --cell")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.bptt_cells or config.option.bptt_reports:
        from bptt.harness.pytest.register import register

        register(config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A cell that does not conform is shown as the terminal shows it: where our own code raised says nothing."""
    report = yield
    runner = sys.modules.get("bptt.harness.run.runner")
    if runner is not None and call.excinfo is not None and isinstance(call.excinfo.value, runner.CheckFailed):
        report.longrepr = str(call.excinfo.value)
    return report
