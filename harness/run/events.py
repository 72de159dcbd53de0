"""What a run tells while it goes on, and what is asked of it.

Each event carries the id of its target, and nothing but records of reports/records.py, so that it passes between processes as JSON.
Of one target they come in this order:

    Began   (Outside | Recognised | Checking, [Explaining], Found | Remarked | Measured) ...   Ended

or `Unloadable`, before `Began` or after it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bptt.harness.cases import Case
from bptt.harness.subject import Device, Subject
from bptt.reports.errors import RecordError
from bptt.reports.records import Experiment, Identified, Remark, Result, Target, identity_of
from bptt.reports.serial import Json, record_from_dict, record_to_dict


@dataclass(frozen=True)
class Began:
    """A subject is loaded, and `target.planned` says which checks are to be made of it."""

    target: Target


@dataclass(frozen=True)
class Outside:
    """Something outside of checks begins: `where` is "admission", "identification" or "gradient over lag"."""

    target_id: str
    where: str


@dataclass(frozen=True)
class Recognised:
    """What the subject was identified as."""

    target_id: str
    identified: Identified


@dataclass(frozen=True)
class Checking:
    """A check begins."""

    target_id: str
    check: str


@dataclass(frozen=True)
class Explaining:
    """The check failed, and its smallest case and its cause are sought: `result` is what is known until then."""

    result: Result

    @property
    def target_id(self) -> str:
        return self.result.target


@dataclass(frozen=True)
class Found:
    """The result of a check."""

    result: Result

    @property
    def target_id(self) -> str:
        return self.result.target


@dataclass(frozen=True)
class Measured:
    """An experiment beside the checks; `experiment.target` is the target's id."""

    target_id: str
    experiment: Experiment


@dataclass(frozen=True)
class Remarked:
    """A fault or a note outside of checks."""

    target_id: str
    remark: Remark


@dataclass(frozen=True)
class Unloadable:
    """A target that is no subject, or cannot even be run, and why, in one line.   absent   its framework is not installed"""

    target_id: str
    spec: str
    reason: str
    absent: bool = False


@dataclass(frozen=True)
class Ended:
    """All checks of the target have been made."""

    target_id: str


Event = Began | Outside | Recognised | Checking | Explaining | Found | Measured | Remarked | Unloadable | Ended
OnEvent = Callable[[Event], None]
KINDS: Mapping[str, type[Event]] = {
    kind.__name__: kind for kind in (Began, Outside, Recognised, Checking, Explaining, Found, Measured, Remarked, Unloadable, Ended)
}


def event_to_dict(event: Event) -> dict[str, Json]:
    """The event as a dict that strict JSON takes.  Raises RecordError where a result holds something that JSON has no word for."""
    return {"event": type(event).__name__, **record_to_dict(event)}


def event_from_dict(data: Json) -> Event:
    """The event that `event_to_dict` wrote.  Raises RecordError for anything else: another kind, a key too many or too few."""
    kind = KINDS.get(name) if isinstance(data, dict) and isinstance(name := data.get("event"), str) else None
    if kind is None:
        raise RecordError(f"not an event: found {str(data)[:60]!r}, wanted one of {', '.join(KINDS)}")
    wanted, given = {f.name for f in fields(kind)} | {"event"}, set(data)
    if given != wanted:
        raise RecordError(f"event {name}: found the keys {', '.join(sorted(given))}, wanted {', '.join(sorted(wanted))}")
    return record_from_dict(kind, {k: v for k, v in data.items() if k != "event"}, place=f"event {name}")


@dataclass(frozen=True)
class Options:
    """How hard to look, and at what.

    select, ignore   check ids or families; an empty select means all
    skip             (target id, check id or place outside of checks) pairs that are known already, when a process is started again
    failed           those of them that did not pass
    case             only this case, for every check
    block            whether a failed check blocks those that need it
    expect           known failures {check: {code, reason, expires}}
    budget           seconds by the clock for a target, which every check has its first case of; None for as many as it takes
    prints           what its code prints is shown as it comes, and not only the end of it where its process dies
    device           "cpu", or "cuda": functions over tensors, and the kernels in them, run there
    """

    level: str = "standard"
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    seed: int = 0
    case: Case | None = None
    block: bool = True
    expect: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    skip: frozenset[tuple[str, str]] = frozenset()
    failed: frozenset[tuple[str, str]] = frozenset()
    budget: float | None = None
    prints: bool = False
    device: Device = "cpu"


@dataclass(frozen=True)
class Task:
    """One target to check: a string, an object or a Subject, with its arguments.

    paste    a target string for an object, 'FILE.py:Name', where it has one
    number   counts the tasks of a run that are alike in all else
    place    the `spec` of an object that has come from another process, where that was to be seen
    """

    target: Any
    args: Mapping[str, object] | None = None
    like: str | None = None
    paste: str | None = None
    number: int = 1
    place: str | None = None

    @property
    def spec(self) -> str:
        """What the user wrote, or where the object is defined, 'FILE.py:Qualified.name' or 'module:Qualified.name': never an address."""
        if isinstance(self.target, str):
            return self.target
        if self.place is not None:
            return self.place
        return self.target.spec if isinstance(self.target, Subject) else defined_at(self.target)

    @property
    def id(self) -> str:
        """The id of its target, or of the first part of it where the string names a file with several."""
        return self.id_of(self.spec)

    def id_of(self, spec: str) -> str:
        """The id of the subject of this task that is called `spec`: several come of a file without a name behind it."""
        return identity_of(spec if isinstance(self.target, str) else self.spec, self.args, self.like, self.number)


def defined_at(target: object) -> str:
    """'FILE.py:Qualified.name' of an object's class or function; with its module where there is no such file."""
    itself = inspect.isclass(target) or inspect.isroutine(target) or inspect.ismodule(target)
    owner: Any = target if itself else type(target)
    name = str(getattr(owner, "__qualname__", getattr(owner, "__name__", type(target).__qualname__)))
    try:
        file = inspect.getsourcefile(owner)
    except TypeError:  # built in, or made without a file
        file = None
    return f"{getattr(owner, '__module__', '')}:{name}" if file is None or "<" in file else f"{from_here(file)}:{name}"


def pasteable(target: object) -> str | None:
    """A target string for an object: 'FILE.py:Name' of its class or function, where there is such a file."""
    if isinstance(target, str):
        return None
    spec = defined_at(target)
    return None if "<" in spec or ".py:" not in spec else spec


def from_here(file: str) -> str:
    """The path as seen from the current folder, where it lies inside it."""
    path = Path(file)
    try:
        return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else file
    except FileNotFoundError:  # the folder is gone
        return file


def numbered(tasks: Sequence[Task]) -> list[Task]:
    """The same tasks, each with a number where another before it has the same identity; a number that one has stays.

    A whole file and one name in it may give the same subject: the file's are counted behind the name's.
    """
    seen: dict[str, int] = {}
    places = {task.spec.rpartition(":")[0] for task in tasks}
    found = []
    for task in tasks:
        whole = isinstance(task.target, str) and task.spec in places
        key = replace(task, number=1).id
        seen[key] = max(task.number, seen.get(key, 1 if whole else 0) + 1)
        found.append(replace(task, number=seen[key]))
    return found
