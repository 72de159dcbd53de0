"""The record of a pytest run: what each item found travels in `report.user_properties`, and the controller alone puts it together.

The parts of one run of a target are put together by the run's id; runs of the same target are merged as any others are.  A red run
of pytest leaves no green record: a test that fails outside of `check()` makes its target undecided, and what fails beside all
targets has a row of its own.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bptt.harness.pytest.cells import CellItem, tasks_of
from bptt.harness.pytest.parametrize import checker_of
from bptt.harness.run.record.actions import tell
from bptt.harness.run.record.report_files import write_all
from bptt.reports import accounting
from bptt.reports.merging import merge_runs
from bptt.reports.records import CatalogueEntry, Remark, Result, Run, Target
from bptt.reports.serial import from_dict, to_dict
from bptt.reports.store import remove_earlier

#: Names under which things travel in `report.user_properties`: a run, the id of an item's target, and what was raised outside of check().
RUN, TARGET, RAISED = "bptt", "bptt-target", "bptt-raised"
#: The one check of the pytest run as a whole.
TESTS = CatalogueEntry("TESTS", "pytest", "every test passes", "Tests that pytest ran beside the checks of targets.")


class Properties:
    """Puts what an item found, and whose it is, into its report."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        from bptt.harness.pytest.outcome import CellFailed
        from bptt.harness.run.runner import CheckFailed

        report = yield
        report.user_properties += [(RUN, json.dumps(to_dict(run))) for run in _runs_of(item)]
        if (checker := checker_of(item)) is not None:
            report.user_properties.append((TARGET, checker.subject.task().id))
            if call.excinfo is not None and not isinstance(call.excinfo.value, CheckFailed | CellFailed | pytest.skip.Exception):
                said = str(call.excinfo.value).splitlines()
                report.user_properties.append((RAISED, f"{call.excinfo.typename}{f': {said[0]}' if said else ''}"))
        return report


class Report:
    """Gathers what all items found, here and in workers, and writes the files at the end."""

    def __init__(self, config: pytest.Config, paths: list[Path]) -> None:
        from bptt.harness.run.record.gathering import new_run_id

        self.paths = paths
        self.command = f"pytest {' '.join(map(str, config.invocation_params.args))}"
        self.run_id = new_run_id()
        self.asked = [task.id for task in tasks_of(config)]
        self.runs: list[Run] = []
        self.remarks: dict[str, list[Remark]] = {}
        self.failed: list[str] = []
        self.refused: dict[Path, str] = {}
        self.run: Run | None = None

    @pytest.hookimpl(tryfirst=True)  # what runs the loop, here or in workers, keeps all that come after from being asked
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """From here on this run owns its reports: none of an earlier run is left, whatever becomes of it."""
        if session.config.option.collectonly:
            return
        for path in self.paths:
            try:
                remove_earlier(path)
            except OSError as error:
                self.refused[path] = error.strerror or str(error)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        named = [(name, str(value)) for name, value in report.user_properties]
        self.runs += [from_dict(json.loads(text)) for name, text in named if name == RUN]
        if report.failed:
            self.failed.append(report.nodeid)
        for target in (value for name, value in named if name == TARGET):
            self.asked.append(target)
            for said in (value for name, value in named if name == RAISED and report.failed):
                remark = Remark("pytest", f"{report.nodeid} failed outside of check(), at {report.when}: {said}", "error")
                self.remarks.setdefault(target, []).append(remark)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    @pytest.hookimpl(trylast=True)  # whatever else makes a run red has done so
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.config.option.collectonly:
            return
        run = gathered(self.runs, self.remarks, self.asked, self.command, self.run_id)
        run = with_the_rest(run, int(session.exitstatus), list(dict.fromkeys(self.failed)))
        self.refused = write_all(run, self.paths)
        self.run = run

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.run is None:
            return
        tell(self.run, terminalreporter.write_line)
        names = [str(path) for path in self.paths if path not in self.refused]
        if names:
            terminalreporter.write_sep("-", f"bptt report: {'  '.join(names)}")
        for path, why in self.refused.items():
            left = ", and what stands there is not it" if path.is_file() else ""
            terminalreporter.write_line(f"bptt: report {path} could not be written ({why}){left}", red=True)


def gathered(parts: Sequence[Run], remarks: dict[str, list[Remark]], asked: Sequence[str], command: str, run_id: str) -> Run:
    """One run of what many items found, in an order that does not depend on which came first."""
    from bptt.harness.run.environment import environment
    from bptt.harness.run.runner import catalogue

    runs = [_remarked(run, remarks) for run in _whole(parts)]
    merged = merge_runs(sorted(runs, key=lambda run: (run.asked, run.run_id))) if runs else Run(command, 0)
    order = {entry.id: k for k, entry in enumerate(catalogue())}
    return replace(
        merged,
        command=command,
        env=environment() | dict(merged.env),
        catalogue=catalogue(),
        targets=tuple(sorted(merged.targets, key=lambda t: t.id)),
        results=tuple(sorted(merged.results, key=lambda r: (r.target, order.get(r.check, len(order))))),
        experiments=tuple(sorted(merged.experiments, key=lambda e: (e.target or "", e.name))),
        duration_s=sum(result.duration_s for result in merged.results),
        asked=tuple(sorted({*asked, *merged.asked})),
        run_id=run_id,
    )


def with_the_rest(run: Run, exit_status: int, failed: Sequence[str]) -> Run:
    """The run with what pytest says of it: a row for what failed beside all targets, an interruption, and the exit code."""
    interrupted = exit_status == pytest.ExitCode.INTERRUPTED and not failed
    if interrupted or exit_status == pytest.ExitCode.INTERNAL_ERROR:
        run = replace(run, complete=False, exit_code=accounting.INTERRUPTED if interrupted else accounting.NOT_DECIDED)
    red = exit_status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    code = accounting.exit_code(replace(run, exit_code=run.exit_code if not run.complete else accounting.CONFORMS))
    if red and code in (accounting.CONFORMS, accounting.NOTHING_CHECKED):
        shown = ", ".join(failed[:3]) + (f" and {len(failed) - 3} more" if len(failed) > 3 else "")
        why = f"pytest ended with {exit_status}: {shown or 'no test of a target failed'}"
        target = Target("pytest", "pytest", "", id="pytest", planned=(TESTS.id,))
        run = replace(
            run,
            targets=(*run.targets, target),
            results=(*run.results, Result(target.id, TESTS.id, "error", reason=why)),
            catalogue=(TESTS, *run.catalogue),
        )
        code = accounting.NOT_DECIDED
    return replace(run, exit_code=code)


def _whole(parts: Sequence[Run]) -> list[Run]:
    """The runs whose parts came with many items, by their ids."""
    found: dict[str, Run] = {}
    for part in parts:
        known = found.get(part.run_id)
        if known is None:
            found[part.run_id] = part
        else:
            found[part.run_id] = replace(
                known, results=(*known.results, *part.results), experiments=(*known.experiments, *part.experiments)
            )
    return list(found.values())


def _remarked(run: Run, remarks: dict[str, list[Remark]]) -> Run:
    return replace(run, targets=tuple(replace(t, remarks=(*t.remarks, *remarks.get(t.asked, ()))) for t in run.targets))


def _runs_of(item: pytest.Item) -> list[Run]:
    if isinstance(item, CellItem):
        found, item.found = item.found, None
        return [] if found is None else [found]
    checker = checker_of(item)
    if checker is None:
        return []
    runs, checker.subject.runs = [found.run for found in checker.subject.runs], []
    return runs
