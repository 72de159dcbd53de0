"""`@bptt.parametrize`: a test that runs once for each target."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from bptt.harness.run.events import Task
    from bptt.harness.run.runner import RunHandle


def parametrize(targets: Iterable[object], **options: Any) -> pytest.MarkDecorator:
    """Mark a test that takes `check`: it runs once for each target, and `check()` raises where the target does not conform.

    targets   target strings, classes, instances or factories
    options   those of `bptt.check` (like, args, level, select, ignore, seed, expect, ...), for all of them
    """
    targets = list(targets)
    checkers = [Checker(target, options, 1 + sum(_alike(target, other) for other in targets[:k])) for k, target in enumerate(targets)]
    return pytest.mark.parametrize("check", checkers, ids=[checker.name for checker in checkers])


class Checker:
    """What a test marked with `parametrize` gets as `check`.

    number   counts the targets of one `parametrize` that are alike in all else
    runs     those that it made and that no report has taken yet
    """

    def __init__(self, target: object, options: dict[str, Any], number: int = 1) -> None:
        self.target = target
        self.options = options
        self.number = number
        self.runs: list[RunHandle] = []

    @property
    def name(self) -> str:
        """A name without an address, the same in every process."""
        if isinstance(self.target, str):
            return self.target
        return str(getattr(self.target, "__name__", type(self.target).__name__))

    def task(self, **options: Any) -> Task:
        """The target with its arguments, as a run is asked for it."""
        from bptt.harness.run.events import Task

        given = self.options | options
        return Task(self.target, given.get("args"), given.get("like"), number=self.number)

    def __call__(self, **options: Any) -> RunHandle:
        """Check the target; `options` go before those of `parametrize`.  Raises CheckFailed, an AssertionError.

        Raises UsageError where the target cannot be loaded.
        """
        from bptt.harness.errors import UsageError
        from bptt.harness.run.runner import check

        rest = {name: value for name, value in (self.options | options).items() if name not in ("args", "like")}
        found = check([self.task(**options)], **rest)
        self.runs.append(found)
        if found.unloadable:
            raise UsageError(found.unloadable[0].reason)
        found.raise_for_failures()
        return found


def _alike(a: object, b: object) -> bool:
    """Whether two targets of one `parametrize` have nothing but their number to tell them apart."""
    if isinstance(a, str) or isinstance(b, str):
        return isinstance(a, str) and isinstance(b, str) and a == b
    from bptt.harness.run.events import defined_at

    return defined_at(a) == defined_at(b)
