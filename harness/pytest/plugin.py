"""pytest plug-in: `pytest --cell TARGET`, and tests marked with `@bptt.parametrize`.

It is loaded in every pytest run of an environment that has bptt, so that it imports nothing but pytest until a cell is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Generator

import pytest

from bptt.harness.levels import LEVELS
from bptt.harness.pytest.parametrize import MARK, is_ours


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
    group.addoption(
        "--bptt-select", action="append", default=[], dest="bptt_select", metavar="ID", help="only this check or family; repeatable"
    )
    group.addoption(
        "--bptt-ignore", action="append", default=[], dest="bptt_ignore", metavar="ID", help="not this check or family; repeatable"
    )
    group.addoption("--bptt-seed", type=int, default=0, dest="bptt_seed", metavar="N", help="of every random number of a --cell")
    group.addoption(
        "--bptt-expect",
        action="append",
        default=[],
        dest="bptt_expect",
        metavar="CHECK=REASON",
        help="a known failure of a --cell, CHECK:CODE=REASON for one of a certain code; repeatable, beside those of pyproject.toml",
    )
    group.addoption("--bptt-level", choices=LEVELS, default="standard", dest="bptt_level", help="how much is tried of each --cell")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARK}(targets, options): left by @bptt.parametrize")
    if config.option.bptt_cells or config.option.bptt_reports:
        from bptt.harness.pytest.register import register

        register(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    mark = metafunc.definition.get_closest_marker(MARK)
    if mark is not None:
        from bptt.harness.pytest.parametrize import expand

        expand(metafunc, mark)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A cell that does not conform is shown as the terminal shows it: where our own code raised says nothing."""
    report = yield
    runner = sys.modules.get("bptt.harness.run.runner")
    if runner is not None and call.excinfo is not None:
        from bptt.harness.pytest.outcome import shown

        if is_ours(call.excinfo.value, item):
            report.longrepr = shown(call.excinfo.value, report.nodeid)
    return report
