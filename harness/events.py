"""What a run tells while it goes on, and what is asked of it.  Events are plain tuples, so that they pass between processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.cases import Case

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
    """One target to check: a string, an object or a Subject, with its arguments.   `name` replaces the subject's own."""

    target: Any
    args: Mapping[str, object] | None = None
    like: str | None = None
    name: str | None = None

    @property
    def spec(self) -> str:
        """What the user wrote, or the object's name: never an address."""
        if isinstance(self.target, str):
            return self.target
        spec = getattr(self.target, "spec", None)
        return spec if isinstance(spec, str) else str(getattr(self.target, "__name__", type(self.target).__name__))
