"""Several targets at once: no two get the same name, and those that do not load get a place in the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

from harness.config import TargetEntry
from harness.events import Task
from harness.runner import Unloadable
from reports.records import CatalogueEntry, Result, Run, Target

LOAD = CatalogueEntry(
    "LOAD", "load", "the target can be loaded", "The module is found, the name is in it, the class can be made."
)


def tasks(entries: Sequence[TargetEntry]) -> list[Task]:
    """One task for each different entry.  Where two would have the same name, module and arguments tell them apart."""
    different = [entry for k, entry in enumerate(entries) if entry not in entries[:k]]
    short = Counter(_short(entry) for entry in different)
    qualified = Counter(_qualified(entry.target) for entry in different)

    def name(entry: TargetEntry) -> str | None:
        if short[_short(entry)] == 1 or not _attribute(entry.target):
            return None
        if qualified[_qualified(entry.target)] == 1:
            return _qualified(entry.target)
        told = [f"{key}={value}" for key, value in (entry.args or {}).items()]
        if entry.like:
            told.append(f"like {entry.like}")
        return f"{_qualified(entry.target)}({', '.join(told)})" if told else _qualified(entry.target)

    return [Task(entry.target, entry.args, entry.like, name(entry)) for entry in different]


def with_unloadable(run: Run, unloadable: Sequence[Unloadable]) -> Run:
    """`run` with a target and an error for each that could not be loaded, so that no view passes over it."""
    known = {target.name for target in run.targets}
    reasons = {each.spec: each.reason for each in unloadable if each.spec not in known}
    if not reasons:
        return run
    return replace(
        run,
        targets=(*run.targets, *(Target(name, spec=name, framework="") for name in reasons)),
        catalogue=(LOAD, *run.catalogue),
        results=(*run.results, *(Result(name, LOAD.id, "error", reason=reason) for name, reason in reasons.items())),
    )


def _attribute(target: str) -> str:
    """ "path/file.py:GRU" -> "GRU"; "" for a whole file or module."""
    place, colon, attribute = target.rpartition(":")
    return attribute if colon and place else ""


def _short(entry: TargetEntry) -> str:
    """The name that a subject would have by itself.  Those of torch's own classes already tell their arguments ("nn.LSTM[2 layers]")."""
    if entry.target.startswith("torch.nn:"):
        return f"{_qualified(entry.target)} {dict(entry.args or {})}"
    return _attribute(entry.target)


def _qualified(target: str) -> str:
    """ "path/file.py:GRU" -> "file.GRU", "torch.nn:GRU" -> "nn.GRU"."""
    place, _, attribute = target.rpartition(":")
    module = PurePath(place).stem if place.endswith(".py") else place.rpartition(".")[2]
    return f"{module}.{attribute}"
