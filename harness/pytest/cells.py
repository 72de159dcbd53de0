"""Items for `pytest --cell`: one for each check of each cell, all of a cell's in one process.

With xdist every worker collects the same items; `Scheduling` sends all of a target to one of them, whatever `--dist` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bptt.harness.errors import UsageError
from bptt.harness.pytest.outcome import PREFIX, CellFailed, settle
from bptt.harness.pytest.parametrize import not_of_one_check
from bptt.harness.pytest.plans import Asked, plans
from bptt.reports import accounting, view
from bptt.reports.naming import display_names
from bptt.reports.records import Experiment, Run, Target

if TYPE_CHECKING:
    from bptt.harness.run.events import Task


def tasks_of(config: pytest.Config) -> list[Task]:
    """The targets of `--cell`, each once."""
    from bptt.harness.run.events import Task, numbered

    return numbered([Task(target) for target in dict.fromkeys(config.option.bptt_cells)])


class Cells:
    """Adds an item for each check of each cell."""

    def __init__(self, config: pytest.Config) -> None:
        self.tasks = tasks_of(config)
        self.asked = Asked(config.option.bptt_level, tuple(config.option.bptt_select), tuple(config.option.bptt_ignore))
        self.plans = plans(self.tasks, self.asked, config)
        self.executed = False

    @pytest.hookimpl(tryfirst=True)  # before -k and -m choose
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        names = display_names([Target(task.spec.rpartition(":")[2] or task.spec, task.spec, "", id=task.id) for task in self.tasks])
        for task, plan in zip(self.tasks, self.plans, strict=True):
            node = CellNode.from_parent(session, name="bptt", nodeid="bptt", task=task, plan=plan, asked=self.asked, label=names[task.id])
            items.extend(node.collect())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.nodeid.startswith(PREFIX) and report.outcome != "skipped":
            self.executed = True

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        asked = not session.config.option.collectonly and not hasattr(session.config, "workerinput")
        if exitstatus == pytest.ExitCode.OK and not self.executed and asked:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED  # only skips: nothing was checked, and that is no pass


class Scheduling:
    """xdist alone calls this: all items of a target in one worker, since each process checks the whole target once."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        if config.getvalue("dist") not in ("load", "worksteal", "loadgroup"):
            return None  # what goes by file or scope keeps our items together, what goes everywhere is asked to
        from xdist.scheduler import LoadGroupScheduling

        class ByTarget(LoadGroupScheduling):  # type: ignore[misc]  # xdist has no types
            def _split_scope(self, nodeid: str) -> str:
                if nodeid.startswith(PREFIX):
                    return f"{PREFIX}{nodeid.removeprefix(PREFIX).partition('-')[2]}"
                return str(super()._split_scope(nodeid))

        return ByTarget(config, log)


class CellNode(pytest.Collector):
    """One target.  It is checked once in a process, when its first item runs, with the checks that were not deselected."""

    def __init__(self, *, task: Task, plan: tuple[str, ...], asked: Asked, label: str, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.task = task
        self.plan = plan
        self.asked = asked
        self.label = label
        self._run: Run | None = None
        self._refused: str | None = None
        self._curves: tuple[Experiment, ...] = ()

    def collect(self) -> Iterator[CellItem]:
        for check in self.plan:
            yield CellItem.from_parent(self, name=f"{check}-{self.label}", check=check)

    def run(self, item: CellItem) -> Run:
        """The whole run, made where its first item asks for it.   Raises UsageError, and from the second item on skips, where the target
        cannot be loaded; raises CellFailed at the first item where its accounts do not add up."""
        if self._refused is not None:
            pytest.skip(f"not checked: {self._refused}")
        if self._run is not None:
            return self._run
        from bptt.harness.run import runner

        wanted = {each.check for each in self.session.items if isinstance(each, CellItem) and each.parent is self}
        whole = wanted >= set(self.plan) and not (self.asked.select or self.asked.ignore)
        option = self.config.option
        found = runner.check(
            [self.task],
            level=self.asked.level,
            select=() if whole else tuple(check for check in self.plan if check in wanted),
            seed=option.bptt_seed,
            expect=expectations(self.config),
        )
        self._run, self._curves = found.run, found.run.experiments
        if found.unloadable:
            self._refused = found.unloadable[0].reason
            item.found = found.run
            raise UsageError(self._refused)
        doubts = [line for row in view.rows(found.run) if row.verdict.code == accounting.NOT_DECIDED for line in not_of_one_check(row)]
        others = [r for r in found.run.results if r.check not in self.plan and accounting.fails(r)]
        if doubts or others:
            item.found = self.part(item, others=True)
            raise CellFailed("\n".join([*(f"not decided: {line}" for line in doubts), *map(view.summary, others)]), others)
        return self._run

    def part(self, item: CellItem, others: bool = False) -> Run:
        """What the run found at one item's check, and at `others` that have no item; its experiments go with the first that
        asks: once is enough for the report."""
        assert self._run is not None
        curves, self._curves = self._curves, ()
        results = tuple(result for result in self._run.results if result.check == item.check or (others and result.check not in self.plan))
        return replace(self._run, results=results, catalogue=(), experiments=curves)


def expectations(config: pytest.Config) -> dict[str, Mapping[str, Any]]:
    """Known failures: those of pyproject.toml, and of --bptt-expect CHECK[:CODE]=REASON before them.   Raises pytest.UsageError."""
    from bptt.harness.config import read

    found: dict[str, Mapping[str, Any]] = dict(read(config.rootpath / "pyproject.toml").expect)
    for text in config.option.bptt_expect:
        what, equals, reason = text.partition("=")
        check, _, code = what.partition(":")
        if not equals or not reason.strip() or not check:
            raise pytest.UsageError(f"--bptt-expect: got {text!r}, wanted CHECK=REASON or CHECK:CODE=REASON")
        found[check] = {"reason": reason.strip()} | ({"code": code} if code else {})
    return found


class CellItem(pytest.Item):
    """One check of one target.   `found` is what is known of it, for the report."""

    parent: CellNode

    def __init__(self, *, check: str, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.check = check
        self.found: Run | None = None

    def runtest(self) -> None:
        run = self.parent.run(self)
        self.found = self.parent.part(self)
        settle(self.found.results, run, self.parent.asked.level)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.config.rootpath / "bptt", 0, self.name
