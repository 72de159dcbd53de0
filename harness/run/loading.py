"""What a project lists becomes tasks."""

from __future__ import annotations

from collections.abc import Sequence

from bptt.harness.config import TargetEntry
from bptt.harness.run.events import Task, numbered


def tasks(entries: Sequence[TargetEntry]) -> list[Task]:
    """One task for each different entry, in their order."""
    return numbered([Task(entry.target, entry.args, entry.like) for k, entry in enumerate(entries) if entry not in entries[:k]])
