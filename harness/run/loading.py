"""Several targets at once: what a project lists becomes tasks, and what does not load gets a place in the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bptt.harness.config import TargetEntry
from bptt.harness.run.events import Task
from bptt.harness.run.runner import Unloadable
from bptt.reports.records import CatalogueEntry, Result, Run, Target

LOAD = CatalogueEntry("LOAD", "load", "the target can be loaded", "The module is found, the name is in it, the class can be made.")


def tasks(entries: Sequence[TargetEntry]) -> list[Task]:
    """One task for each different entry, in their order."""
    return [Task(entry.target, entry.args, entry.like) for k, entry in enumerate(entries) if entry not in entries[:k]]


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
