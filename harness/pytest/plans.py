"""Which checks a target has, so that pytest collects those alone: what its description rules out is no item.

The target is loaded in a process of its own, once; what came of it is kept in pytest's cache for as long as its file is unchanged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bptt.harness.run.events import Task

_KEY = "bptt/plans"
#: The one item of a target that could not be loaded.
LOAD = "LOAD"


@dataclass(frozen=True)
class Asked:
    """What is asked of a target, as `bptt.check` takes it."""

    level: str = "standard"
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


def plans(tasks: Sequence[Task], asked: Asked, config: pytest.Config) -> list[tuple[str, ...]]:
    """The ids of the checks of each task, in the order of the catalogue; (LOAD,) where it cannot be loaded.

    Raises pytest.UsageError for a check or family that does not exist.
    """
    marks = [_mark(task, asked) for task in tasks]
    cache = getattr(config, "cache", None)  # not there with -p no:cacheprovider
    known: dict[str, list[str]] = {} if cache is None else cache.get(_KEY, {})
    missing = [task for task, mark in zip(tasks, marks, strict=True) if mark not in known]
    found = dict(zip((_mark(task, asked) for task in missing), _looked_up(missing, asked), strict=True))
    lasting = {mark: list(plan) for mark, plan in found.items() if plan != (LOAD,)}
    if lasting and cache is not None and not hasattr(config, "workerinput"):
        cache.set(_KEY, dict(list((known | lasting).items())[-200:]))
    return [tuple(found[mark] if mark in found else known[mark]) for mark in marks]


def _looked_up(tasks: Sequence[Task], asked: Asked) -> list[tuple[str, ...]]:
    """By a run of no more than the first check."""
    from bptt.harness.checks.registry import names
    from bptt.harness.errors import UsageError
    from bptt.harness.run import runner

    if not tasks:
        return []
    catalogue = runner.catalogue()
    order = [entry.id for entry in catalogue]
    select, ignore = set(asked.select), set(asked.ignore)
    wanted = {e.id for e in catalogue if (not select or names(e.id, e.family) & select) and not names(e.id, e.family) & ignore}
    try:
        runner.check([], level=asked.level, select=asked.select, ignore=asked.ignore)  # refuses names that are nobody's
        run = runner.check(list(tasks), level=asked.level, select=order[:1]).run
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    found = []
    for task in tasks:
        own = [target for target in run.targets if target.asked == task.id]
        there = {check for target in own for check in (*target.planned, *target.left_out)} & set(order)
        asked_for = there & wanted | ({e.id for e in catalogue if e.id in select} if there else set())
        found.append(tuple(check for check in order if check in asked_for) if there else (LOAD,))
    return found


def _mark(task: Task, asked: Asked) -> str:
    """What a plan is kept under: the target, what is asked, and the text of its file."""
    file = Path(task.spec.rpartition(":")[0])
    try:
        text = file.read_bytes()
    except OSError:
        text = b""
    return hashlib.sha256(repr((task.id, asdict(asked), text)).encode()).hexdigest()
