"""How a check is declared and found.

A check is a generator `(context, case) -> Evidence`, named as the property it states, marked with `@check`.  Every file of this folder
that has one is asked; a third party names its modules in the entry-point group ``bptt.checks``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import walk_packages
from typing import TypeVar

from bptt.harness.cases import Case
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence
from bptt.harness.errors import UsageError
from bptt.harness.levels import LEVELS, Level
from bptt.harness.subject import Subject
from bptt.reports.records import CatalogueEntry

#: Families in the order in which they run.
FAMILIES = ("contract", "numerics", "linearity", "gradient", "parity", "time", "batch", "lengths", "options", "training")

CheckFunction = Callable[[CheckContext, Case], Iterator[Evidence]]
F = TypeVar("F", bound=CheckFunction)


def names(id: str, family: str) -> frozenset[str]:
    """Of a check: "GRD110", "GRD", "gradient"."""
    return frozenset({id, id[:3], family})


@dataclass(frozen=True)
class Check:
    """A check and what the runner needs to know of it.

    cases      at which it runs at level standard; smoke takes the first only
    cases_for  (subject) -> the same, where they depend on what the subject says of itself
    drawn      how many more cases are drawn at random, of any size and regime
    needs      ids of checks whose failure makes this one meaningless ('blocked')
    level      lowest level at which it runs
    kinds      kinds of subject it is for, or what a part of a training loop claims to be
    """

    id: str
    family: str
    function: CheckFunction
    cases: tuple[Case, ...]
    needs: tuple[str, ...]
    level: Level
    kinds: tuple[str, ...]
    drawn: int = 0
    cases_for: Callable[[Subject], tuple[Case, ...]] | None = None

    @property
    def names(self) -> frozenset[str]:
        """By which it is selected: its id, the letters of it, its family."""
        return names(self.id, self.family)

    @property
    def of_gradients(self) -> bool:
        """Whether it holds gradients against exact ones."""
        return self.family == "gradient"

    @property
    def of_lengths(self) -> bool:
        """Whether the sequences of its batches have their own lengths."""
        return self.family == "lengths"

    @property
    def sentence(self) -> str:
        """The property as a sentence: the function's name."""
        return self.function.__name__.replace("_", " ")

    @property
    def entry(self) -> CatalogueEntry:
        return CatalogueEntry(self.id, self.family, self.sentence, (self.function.__doc__ or "").strip(), self.needs)


def check(
    id: str,
    *,
    family: str,
    cases: tuple[Case, ...] = (Case(),),
    needs: tuple[str, ...] = (),
    level: Level = "smoke",
    kinds: tuple[str, ...] = ("cell",),
    drawn: int = 0,
    cases_for: Callable[[Subject], tuple[Case, ...]] | None = None,
) -> Callable[[F], F]:
    """Mark a generator function as a check.  Raises UsageError for one that could never yield or has no docstring."""

    def mark(function: F) -> F:
        if sys.flags.optimize > 1:
            raise UsageError("Python strips the texts of the checks (-OO, PYTHONOPTIMIZE=2), wanted it without that")
        if not function.__doc__:
            raise UsageError(f"check {id} ({function.__name__}) has no docstring, wanted the property as its first line")
        if not cases or level not in LEVELS:
            raise UsageError(f"check {id} ({function.__name__}): got cases={cases!r}, level={level!r}, wanted cases and one of {LEVELS}")
        marked = Check(id, family, function, tuple(cases), tuple(needs), level, tuple(kinds), drawn, cases_for)
        function.bptt_check = marked  # type: ignore[attr-defined]  # the mark
        return function

    return mark


def load() -> tuple[Check, ...]:
    """Every check there is, in the order of families and ids.  Raises UsageError on a duplicate id."""
    found: dict[str, Check] = {}
    for name in _modules():
        module = import_module(name)
        for function in vars(module).values():
            marked = getattr(function, "bptt_check", None)
            if not isinstance(marked, Check) or function.__module__ != module.__name__:
                continue
            if marked.id in found:
                raise UsageError(f"check id {marked.id} is used by {found[marked.id].function.__module__} and {module.__name__}")
            found[marked.id] = marked
    order = {family: k for k, family in enumerate(FAMILIES)}
    return tuple(sorted(found.values(), key=lambda c: (order.get(c.family, len(order)), c.family, c.id)))


def ours() -> list[str]:
    """The modules of this package: what a process may import that is to run no code of others."""
    return [module.name for module in walk_packages([str(Path(__file__).parent)], f"{__package__}.")]


@cache
def _modules() -> tuple[str, ...]:
    return tuple(sorted({*ours(), *(entry.value for entry in entry_points(group="bptt.checks"))}))
