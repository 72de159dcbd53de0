"""`@bptt.parametrize`: a test that runs once for each target."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from bptt.harness.run.runner import RunHandle


def parametrize(targets: Iterable[object], **options: Any) -> pytest.MarkDecorator:
    """Mark a test that takes `check`: it runs once for each target, and `check()` raises where the target does not conform.

    targets   target strings, classes, instances or factories
    options   those of `bptt.check` (like, args, level, select, ignore, seed, expect, ...), for all of them
    """
    checkers = [Checker(target, options) for target in targets]
    return pytest.mark.parametrize("check", checkers, ids=[checker.name for checker in checkers])


class Checker:
    """What a test marked with `parametrize` gets as `check`.  `runs` are those that it made, for the report."""

    def __init__(self, target: object, options: dict[str, Any]) -> None:
        self.target = target
        self.options = options
        self.runs: list[RunHandle] = []

    @property
    def name(self) -> str:
        """A name without an address, the same in every process."""
        if isinstance(self.target, str):
            return self.target
        return str(getattr(self.target, "__name__", type(self.target).__name__))

    def __call__(self, **options: Any) -> RunHandle:
        """Check the target; `options` go before those of `parametrize`.  Raises CheckFailed, an AssertionError."""
        from bptt.harness.run.runner import check

        found = check(self.target, **(self.options | options))
        self.runs.append(found)
        found.raise_for_failures()
        return found
