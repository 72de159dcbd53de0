"""What a run tells while it goes on, and what is asked of it.  Events are plain tuples, so that they pass between processes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bptt.harness.cases import Case

#: ("start", target name, number of checks)   ("target", records.Target)   ("checking", target name, check id)
#: ("result", records.Result)   ("experiment", records.Experiment)   ("unloadable", spec, reason)   ("done", None)
Event = tuple[Any, ...]
OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Options:
    """How hard to look, and at what.

    select, ignore   check ids or families; an empty select means all
    skip             (target name, check id) pairs that are known already, when a worker is started again
    case             only this case, for every check
    block            whether a failed check blocks those that need it
    expect           known failures {check: {code, reason, expires}}
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


@dataclass(frozen=True)
class Task:
    """One target to check: a string, an object or a Subject, with its arguments.

    paste            a target string for an object, 'FILE.py:Name', where it has one
    prefix, suffix   put around the subject's own name, so that no two targets of a run have the same
    """

    target: Any
    args: Mapping[str, object] | None = None
    like: str | None = None
    prefix: str = ""
    suffix: str = ""
    paste: str | None = None

    @property
    def spec(self) -> str:
        """What the user wrote, or the object's name: never an address."""
        if isinstance(self.target, str):
            return self.target
        spec = getattr(self.target, "spec", None)
        return spec if isinstance(spec, str) else str(getattr(self.target, "__name__", type(self.target).__name__))


def pasteable(target: object) -> str | None:
    """A target string for an object: 'FILE.py:Name' of its class or function, where there is such a file."""
    if isinstance(target, str):
        return None
    name = getattr(target, "__qualname__", type(target).__qualname__)
    try:
        file = inspect.getsourcefile(target if inspect.isclass(target) or inspect.isroutine(target) else type(target))
    except TypeError:  # built in, or made without a file
        return None
    return None if file is None or "<" in name or "<" in file else f"{from_here(file)}:{name}"


def from_here(file: str) -> str:
    """The path as seen from the current folder, where it lies inside it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else file


def told_apart(tasks: Sequence[Task]) -> list[Task]:
    """The same tasks, with names that differ, whatever order they are loaded in.

    Names are ids, and a class is called GRU in every second file: where two targets may get the same name, the file or module goes
    in front, then the arguments behind (torch's own modules say theirs in their names), then a number.
    """
    hints = [_hint(task) for task in tasks]
    named = []
    for k, (task, (home, attribute)) in enumerate(zip(tasks, hints, strict=True)):
        rivals = [(j, h) for j, (h, a) in enumerate(hints) if a == attribute and (a or len(tasks) > 1)]
        prefix = f"{home}:" if home and ((not attribute and len(tasks) > 1) or any(h != home for _, h in rivals)) else ""
        same_home = [j for j, h in rivals if h == home]
        given = ", ".join(f"{key}={value}" for key, value in (task.args or {}).items())
        suffix = f"({given})" if given and len(same_home) > 1 and not home.startswith("torch") else ""
        twins = [j for j in same_home if tasks[j].args == task.args and j < k]
        if task.prefix or task.suffix:
            named.append(task)
            continue
        named.append(replace(task, prefix=prefix, suffix=suffix + (f"#{len(twins) + 1}" if twins else "")))
    return named


def _hint(task: Task) -> tuple[str, str]:
    """Where a target comes from and what it is called there, as far as its text or the object tell."""
    if isinstance(task.target, str):
        home, _, attribute = task.target.rpartition(":") if ":" in task.target else (task.target, "", "")
        if home == "torch.nn":
            attribute = f"nn.{attribute}"  # the name that its adapter gives
        return home.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".py"), attribute
    return str(getattr(task.target, "__module__", "")), task.spec
