"""`bptt check`: loads the targets, follows the run, prints and writes what was found."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness import runner
from harness._cli_follow import Bar, Follower
from harness.config import TargetEntry
from harness.environment import environment
from harness.errors import UsageError
from harness.exit_codes import CONFORMS, HARNESS_FAILED, INTERRUPTED, USAGE, gravest
from harness.loading import load_each, with_unloadable
from harness.report_files import STREAMED, write
from reports import terminal, view
from reports.records import Run

if TYPE_CHECKING:
    from rich.console import Console


def check(
    entries: Sequence[TargetEntry],
    reports: Sequence[Path],
    *,
    console: Console,
    progress: Console | None,
    detail: terminal.Detail,
    command: str,
    seed: int,
    level: str,
    **options: Any,
) -> int:
    """Check what can be loaded, print and write all of it; returns the exit code."""
    began = time.perf_counter()
    subjects, unloadable = load_each(entries)
    for each in unloadable:
        click.echo(f"bptt: {each.reason}", err=True)
    if not subjects:
        return USAGE
    header = Run(command=command, seed=seed, env=environment() | {"level": level}, catalogue=runner.catalogue())
    header = with_unloadable(header, unloadable)
    bar = Bar(progress, len(subjects)) if progress else None
    with Follower(header, [path for path in reports if path.suffix in STREAMED], bar) as follower:
        failure: BaseException | None = None
        try:
            found = runner.check(subjects, seed=seed, level=level, on_event=follower, **options)
            run = with_unloadable(replace(found.run, command=command), unloadable)
            run = replace(run, exit_code=gravest(found.exit_code, USAGE if unloadable else CONFORMS))
        except UsageError:
            raise
        except (Exception, KeyboardInterrupt) as error:  # raised again below, when what is known has been printed and written
            failure = error
            run = replace(follower.known, exit_code=INTERRUPTED if isinstance(error, KeyboardInterrupt) else HARNESS_FAILED)
    run = replace(run, duration_s=time.perf_counter() - began)
    for target in run.targets:
        terminal.render_target(target, view.results_of(run, target), run, console, detail)
    terminal.render_summary(run, console, detail)
    for path in reports:
        write(run, path)
    if reports and detail != "quiet":
        console.print(f"report  {'  '.join(map(str, reports))}", markup=False, highlight=False, soft_wrap=True)
    if failure is not None:
        raise failure
    return run.exit_code

