"""The part of the pytest plug-in that works: items for `--cell`, and the report.  Imported only where one of our options is used.

With xdist every worker collects the same items and checks a target when its first item there runs; what is found travels in
`report.user_properties`, and the controller alone writes files.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bptt.harness.errors import UsageError
from bptt.harness.pytest.parametrize import Checker
from bptt.harness.run.exit_codes import CONFORMS, DOES_NOT_CONFORM, NOTHING_CHECKED
from bptt.harness.run.report_files import checked_path, write
from bptt.reports import accounting, terminal, view
from bptt.reports.naming import display_names
from bptt.reports.records import Experiment, Result, Run, Target
from bptt.reports.serial import from_dict, to_dict

if TYPE_CHECKING:
    from bptt.harness.run.events import Task

#: Name under which a record travels in `report.user_properties`.
PROPERTY = "bptt"


def register(config: pytest.Config) -> None:
    """Raises pytest.UsageError for a report that cannot be written."""
    try:
        reports = [checked_path(path, "--bptt-report") for path in config.option.bptt_reports]
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    if config.option.bptt_cells:
        config.pluginmanager.register(Cells(config), "bptt-cells")
        if config.args_source is not pytest.Config.ArgsSource.ARGS:
            config.args = []  # `pytest --cell TARGET` without paths is about the cell, not about the tests around it
    if reports:
        config.pluginmanager.register(Properties(), "bptt-properties")
        if not hasattr(config, "workerinput"):
            config.pluginmanager.register(Report(config, reports), "bptt-report")


class Cells:
    """Adds an item for each check of each cell."""

    def __init__(self, config: pytest.Config) -> None:
        self.targets: list[str] = config.option.bptt_cells
        self.executed = False

    @pytest.hookimpl(tryfirst=True)  # before -k and -m choose
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        from bptt.harness.run.events import Task, numbered

        tasks = numbered([Task(target) for target in dict.fromkeys(self.targets)])
        names = display_names([Target(task.spec.rpartition(":")[2] or task.spec, task.spec, "", id=task.id) for task in tasks])
        for task in tasks:
            items.extend(CellNode.from_parent(session, name="bptt", nodeid="bptt", task=task, label=names[task.id]).collect())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.nodeid.startswith("bptt::") and report.outcome != "skipped":
            self.executed = True

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.OK and not self.executed and not hasattr(session.config, "workerinput"):
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED  # only skips: nothing was checked, and that is no pass


class CellNode(pytest.Collector):
    """One target.  It is checked once in a process, when its first item runs, with the checks that were not deselected."""

    def __init__(self, *, task: Task, label: str, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.task = task
        self.label = label
        self._run: Run | None = None
        self._refused: str | None = None
        self._curves: tuple[Experiment, ...] = ()

    def collect(self) -> Iterator[CellItem]:
        from bptt.harness.run.runner import catalogue

        self._all = tuple(entry.id for entry in catalogue())
        for check in self._all:
            yield CellItem.from_parent(self, name=f"{check}-{self.label}", check=check)

    def run(self) -> Run:
        """Raises UsageError where the target cannot be loaded; from the second time on, skips."""
        if self._refused is not None:
            pytest.skip(f"not checked: {self._refused}")
        if self._run is None:
            from bptt.harness.run import runner

            wanted = {item.check for item in self.session.items if isinstance(item, CellItem) and item.parent is self}
            select = () if wanted == set(self._all) else tuple(check for check in self._all if check in wanted)
            try:
                self._run = runner.check(self.task, level=self.config.option.bptt_level, select=select).run
                self._curves = self._run.experiments
            except UsageError as error:
                self._refused = str(error)
                raise
        return self._run

    def experiments(self) -> tuple[Experiment, ...]:
        """Those of the run, for the first item that asks: once is enough for the report."""
        curves, self._curves = self._curves, ()
        return curves


class CellItem(pytest.Item):
    """One check of one target."""

    parent: CellNode

    def __init__(self, *, check: str, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.check = check
        self.found: Run | None = None

    def runtest(self) -> None:
        run = self.parent.run()
        results = tuple(result for result in run.results if result.check == self.check)
        self.found = replace(run, results=results, catalogue=(), experiments=self.parent.experiments())
        if failed := [result for result in results if accounting.fails(result)]:
            raise CellFailed("\n".join(line.plain for result in failed for line in terminal.failure_lines(result, run)))
        if any(result.status == "passed" for result in results):
            return
        why = view.reasons(results) or ", ".join(f"blocked by {result.blocked_by}" for result in results if result.blocked_by)
        if any(result.status == "xfailed" for result in results):
            pytest.xfail(why)
        pytest.skip(why or f"does not run at level {self.config.option.bptt_level}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, CellFailed | UsageError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.config.rootpath / "bptt", None, self.name


class CellFailed(AssertionError):
    """Its text is what the terminal would show."""


class Properties:
    """Puts what an item found into its report."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.when == "call":
            report.user_properties += [(PROPERTY, json.dumps(to_dict(run))) for run in _runs_of(item)]
        return report


class Report:
    """Gathers what all items found, here and in workers, and writes the files at the end."""

    def __init__(self, config: pytest.Config, paths: list[Path]) -> None:
        self.paths = paths
        self.command = f"pytest {' '.join(map(str, config.invocation_params.args))}"
        self.runs: list[Run] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.runs += [from_dict(json.loads(str(text))) for name, text in report.user_properties if name == PROPERTY]

    def pytest_sessionfinish(self) -> None:
        run = gathered(self.runs, self.command)
        for path in self.paths:
            write(run, path)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_sep("-", f"bptt report: {'  '.join(map(str, self.paths))}")


def gathered(runs: list[Run], command: str) -> Run:
    """One run of what many items found, in an order that does not depend on which came first."""
    from bptt.harness.run.environment import environment
    from bptt.harness.run.runner import catalogue

    targets: dict[str, Target] = {target.id: target for run in runs for target in run.targets}
    results: dict[tuple[str, str, str], Result] = {
        (result.target, result.check, view.test_id(result)): result for run in runs for result in run.results
    }
    order = {entry.id: k for k, entry in enumerate(catalogue())}
    curves = {(experiment.target or "", experiment.name): experiment for run in runs for experiment in run.experiments}
    executed = any(result.status not in ("skipped", "not_applicable", "blocked") for result in results.values())
    failed = any(accounting.fails(result) for result in results.values())
    return Run(
        command=command,
        seed=runs[0].seed if runs else 0,
        env=environment() | {key: value for run in runs[:1] for key, value in run.env.items()},
        targets=tuple(targets[name] for name in sorted(targets)),
        catalogue=catalogue(),
        results=tuple(results[key] for key in sorted(results, key=lambda k: (k[0], order.get(k[1], len(order)), k[2]))),
        experiments=tuple(curves[key] for key in sorted(curves)),
        exit_code=DOES_NOT_CONFORM if failed else CONFORMS if executed else NOTHING_CHECKED,
        duration_s=sum(result.duration_s for result in results.values()),
    )


def _runs_of(item: pytest.Item) -> list[Run]:
    if isinstance(item, CellItem):
        return [] if item.found is None else [item.found]
    checker = getattr(getattr(item, "callspec", None), "params", {}).get("check")
    if not isinstance(checker, Checker):
        return []
    runs, checker.runs = [found.run for found in checker.runs], []
    return runs
