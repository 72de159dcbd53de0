"""`bptt lockstep`: prints each model and optimizer as it ends, and writes the record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bptt.harness.errors import UsageError
from bptt.harness.lockstep.lockstep import lockstep
from bptt.harness.lockstep.runs import LockstepRun
from bptt.harness.lockstep.words import TOLERANCE, run_lines
from bptt.harness.run.record.report_files import write

if TYPE_CHECKING:
    from rich.console import Console


def run(
    models: Sequence[str],
    own: str | None,
    *,
    steps: int,
    optimizer: str | None,
    seed: int,
    reports: Sequence[Path],
    command: str,
    console: Console,
) -> int:
    """Hold them together, print and write; returns the exit code.  Raises UsageError for what is unknown or cannot be loaded."""
    if own is not None and not models:
        raise UsageError(f"--with: {own} is a loop for one model, wanted its name: bptt lockstep lstm --with {own}")

    def show(one: LockstepRun) -> None:
        _print(console, *run_lines(one))

    found = lockstep(own, models, steps=steps, optimizer=optimizer, seed=seed, on_run=show)
    _print(console, TOLERANCE)
    for path in reports:
        write(found.run(command), path)
    if reports:
        _print(console, f"report  {'  '.join(map(str, reports))}")
    return found.exit_code


def _print(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
