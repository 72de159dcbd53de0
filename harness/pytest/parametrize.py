"""`@bptt.parametrize`: a test that runs once for each check of each target."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bptt.harness.pytest.plans import Asked, plans

if TYPE_CHECKING:
    from bptt.harness.run.events import Task
    from bptt.harness.run.runner import RunHandle
    from bptt.reports.records import Result

#: The mark that `@bptt.parametrize` leaves on a test.
MARK = "bptt_targets"


#: The targets of a session that are no strings, by the place where they are defined, each with its number within its `parametrize`.
_SEEN = pytest.StashKey[dict[str, list[tuple[object, int]]]]()


def parametrize(targets: Iterable[object], **options: Any) -> pytest.MarkDecorator:
    """Mark a test that takes `check`: it runs once for each check of each target, and `check()` raises where that one fails.

    targets   target strings, classes, instances or factories
    options   those of `bptt.check` (like, args, level, select, ignore, seed, expect, ...), for all of them
    """
    mark: pytest.MarkDecorator = getattr(pytest.mark, MARK)(list(targets), options)
    return mark


def expand(metafunc: pytest.Metafunc, mark: pytest.Mark) -> None:
    """One case for each check of each target, by ids such as GRD110-MyGRU, with the module in front where names repeat."""
    from bptt.reports.naming import display_names
    from bptt.reports.records import Target

    targets, options = mark.args
    subjects = [Checked(target, options, _number(targets, k, metafunc.config)) for k, target in enumerate(targets)]
    given = options.get("args") or {}
    ids = [_numbered(each.name, [other.name for other in subjects[:k]]) for k, each in enumerate(subjects)]
    shown = display_names([Target(each.name, each.task().spec, "", args=given, id=i) for i, each in zip(ids, subjects, strict=True)])
    names = [shown[i] for i in ids]
    asked = Asked(
        options.get("level", "standard"),
        _listed(options.get("select", ())),
        _listed(options.get("ignore", ())),
    )
    found = plans([each.task() for each in subjects], asked, metafunc.config)
    for each, plan in zip(subjects, found, strict=True):
        each.plan = plan
    cases = [
        pytest.param(Checker(each, check, metafunc.config), id=f"{check}-{name}", marks=pytest.mark.xdist_group(name))
        for each, plan, name in zip(subjects, found, names, strict=True)
        for check in plan
    ]
    metafunc.parametrize("check", cases)


class Checked:
    """One target of a `parametrize`: it is run once in a process, with the checks whose tests were not deselected.

    number   counts the targets of one `parametrize` that are alike in all else, and of all tests those defined at one place
    plan     its checks, all of which have a test
    runs     those that were made and that no report has taken yet
    """

    def __init__(self, target: object, options: dict[str, Any], number: int = 1) -> None:
        self.target = target
        self.options = options
        self.number = number
        self.plan: tuple[str, ...] = ()
        self.runs: list[RunHandle] = []
        self._made: dict[str, RunHandle] = {}

    @property
    def name(self) -> str:
        """A name without an address, the same in every process."""
        if isinstance(self.target, str):
            return self.target.rpartition(":")[2] or self.target
        return str(getattr(self.target, "__name__", type(self.target).__name__))

    def task(self, **options: Any) -> Task:
        """The target with its arguments, as a run is asked for it."""
        from bptt.harness.run.events import Task

        given = self.options | options
        return Task(self.target, given.get("args"), given.get("like"), number=self.number)

    def run(self, wanted: tuple[str, ...], options: dict[str, Any]) -> RunHandle:
        """The run of the checks that are `wanted`, made where it is first asked for.

        Raises UsageError where the target cannot be loaded.
        """
        from bptt.harness.errors import UsageError
        from bptt.harness.run.runner import check

        key = repr(sorted(options.items(), key=lambda item: item[0]))
        if key not in self._made:
            given = self.options | options
            rest = {name: value for name, value in given.items() if name not in ("args", "like", "select", "ignore")}
            self._made[key] = check([self.task(**options)], select=wanted, **rest)
            self.runs.append(self._made[key])
        found = self._made[key]
        if found.unloadable:
            raise UsageError(found.unloadable[0].reason)
        return found


class Checker:
    """What a test marked with `parametrize` gets as `check`: one check of one target."""

    def __init__(self, subject: Checked, check: str, config: pytest.Config) -> None:
        self.subject = subject
        self.check = check
        self._config = config

    def __call__(self, **options: Any) -> RunHandle:
        """Make the check; `options` of `bptt.check` go before those of `parametrize`.   Returns the run with this check's results.

        Raises CellFailed, an AssertionError, where the check fails or is not decided, and skips where it does not apply or is blocked.
        Raises UsageError where the target cannot be loaded.
        """
        from bptt.harness.pytest.outcome import CellFailed, settle
        from bptt.harness.run.runner import RunHandle
        from bptt.reports import accounting, view

        wanted = self._wanted()
        found = self.subject.run(wanted, options)
        doubts = [line for row in view.rows(found.run) if row.verdict.code == accounting.NOT_DECIDED for line in not_of_one_check(row)]
        others = [r for r in found.run.results if r.check not in self.subject.plan and accounting.fails(r)]
        if self._is_first() and (doubts or others):
            raise CellFailed("\n".join([*(f"not decided: {line}" for line in doubts), *map(view.summary, others)]), others)
        own: tuple[Result, ...] = tuple(result for result in found.run.results if result.check == self.check)
        settle(own, found.run, str((self.subject.options | options).get("level", "standard")))
        return RunHandle(replace(found.run, results=own))

    def _wanted(self) -> tuple[str, ...]:
        """The checks of this target whose tests were not deselected; () where they are all that it has."""
        checks = {each.check for each in self._siblings()} | {self.check}
        narrowed = self.subject.options.get("select") or self.subject.options.get("ignore")
        return () if checks >= set(self.subject.plan) and not narrowed else tuple(c for c in self.subject.plan if c in checks)

    def _siblings(self) -> list[Checker]:
        session = self._config.pluginmanager.get_plugin("session")
        found = [checker_of(item) for item in getattr(session, "items", ())]
        return [each for each in found if each is not None and each.subject is self.subject]

    def _is_first(self) -> bool:
        return next(iter(self._siblings()), self) is self


def checker_of(item: pytest.Item) -> Checker | None:
    """The `check` of an item of `parametrize`."""
    checker = getattr(getattr(item, "callspec", None), "params", {}).get("check")
    return checker if isinstance(checker, Checker) else None


def is_ours(error: BaseException, item: pytest.Item) -> bool:
    """Whether what a test raised is a verdict, or a refusal of its target: our frames say nothing of it."""
    from bptt.harness.errors import UsageError
    from bptt.harness.pytest.outcome import PREFIX, CellFailed
    from bptt.harness.run.runner import CheckFailed

    if isinstance(error, UsageError):
        return item.nodeid.startswith(PREFIX) or checker_of(item) is not None
    return isinstance(error, CellFailed | CheckFailed)


def not_of_one_check(row: Any) -> tuple[str, ...]:
    """Reasons why a target is not decided that no test has for its own: those of the plan as a whole, and of what is outside of checks."""
    from bptt.reports import accounting
    from bptt.reports.records import UNDECIDED

    decided = tuple(replace(r, status="passed") if r.status in UNDECIDED else r for r in row.results)
    return accounting.reasons(row.target, decided)


def _listed(names: Any) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _numbered(name: str, before: list[str]) -> str:
    return f"{name}#{before.count(name) + 1}" if name in before else name


def _number(targets: list[object], k: int, config: pytest.Config) -> int:
    """What tells the k-th of these targets from others that are defined at one place and yet are not the same.

    Two of one `parametrize` are told apart; so are instances of one class in two tests, and classes that one function has made.  Tests
    are collected in the same order in every process.
    """
    target = targets[k]
    here = 1 + sum(_alike(target, other) for other in targets[:k])
    if isinstance(target, str):
        return here
    from bptt.harness.run.events import defined_at

    alike = config.stash.setdefault(_SEEN, {}).setdefault(defined_at(target), [])
    known = [i for i, (other, number) in enumerate(alike) if other is target and number == here]
    if not known:
        alike.append((target, here))
    return known[0] + 1 if known else len(alike)


def _alike(a: object, b: object) -> bool:
    """Whether two targets of one `parametrize` have nothing but their number to tell them apart."""
    if isinstance(a, str) or isinstance(b, str):
        return isinstance(a, str) and isinstance(b, str) and a == b
    from bptt.harness.run.events import defined_at

    return defined_at(a) == defined_at(b)
