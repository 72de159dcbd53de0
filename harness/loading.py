"""Several targets at once: those that load get names of their own, those that do not get a place in the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness import targets
from harness.config import TargetEntry
from harness.errors import UsageError
from harness.subject import Subject
from reports.records import CatalogueEntry, Result, Run, Target

LOAD = CatalogueEntry("LOAD", "load", "the target can be loaded", "The module is found, the name is in it, and the class can be made.")


@dataclass(frozen=True)
class Unloadable:
    """A target that is no subject, and why: one line."""

    spec: str
    reason: str


def load_each(entries: Sequence[TargetEntry]) -> tuple[list[Subject], list[Unloadable]]:
    """The subjects of all entries, no two of the same name, and the entries that cannot be loaded."""
    loaded: list[tuple[TargetEntry, Subject]] = []
    unloadable: list[Unloadable] = []
    for entry in entries:
        try:
            loaded += [(entry, subject) for subject in targets.load(entry.target, entry.args, entry.like)]
        except UsageError as error:
            unloadable.append(Unloadable(entry.target, str(error)))
    return _own_names(loaded), unloadable


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


def _own_names(loaded: Sequence[tuple[TargetEntry, Subject]]) -> list[Subject]:
    """Names are ids: where two subjects have the same, their arguments and then a number tell them apart."""
    taken: dict[str, int] = {}
    named = []
    for entry, subject in loaded:
        name = subject.name
        if entry.args and sum(other.name == name for _, other in loaded) > 1:
            name = f"{name}({', '.join(f'{key}={value}' for key, value in entry.args.items())})"
        taken[name] = taken.get(name, 0) + 1
        named.append(replace(subject, name=name if taken[name] == 1 else f"{name}#{taken[name]}"))
    return named
