"""`bptt check`: follows the run, prints and writes what was found."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bptt.harness.cli.follow import Bar, Follower
from bptt.harness.config import TargetEntry
from bptt.harness.errors import UsageError
from bptt.harness.run import runner
from bptt.harness.run.environment import environment
from bptt.harness.run.exit_codes import HARNESS_FAILED, INTERRUPTED, USAGE
from bptt.harness.run.loading import tasks, with_unloadable
from bptt.harness.run.report_files import STREAMED, write
from bptt.reports import terminal, view
from bptt.reports.records import Run

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
    """Check what can be loaded, print and write all of it; returns the exit code.

    Raises UsageError for options that the runner refuses.  Whatever else ends the run early is raised again once what is known
    has been printed and written.
    """
    began = time.perf_counter()
    todo = tasks(entries)
    header = Run(command=command, seed=seed, env=environment() | {"level": level}, catalogue=runner.catalogue())
    bar = Bar(progress, len(todo)) if progress else None
    failure: BaseException | None = None
    with Follower(header, [path for path in reports if path.suffix in STREAMED], bar) as follower:
        try:
            run = runner.check(todo, seed=seed, level=level, on_event=follower, command=command, **options).run
        except UsageError:
            raise
        except (Exception, KeyboardInterrupt) as error:  # raised again below, when what is known has been printed and written
            failure = error
            exit_code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else HARNESS_FAILED
            run = replace(follower.known, exit_code=exit_code, duration_s=time.perf_counter() - began)
    for each in follower.unloadable:
        click.echo(f"bptt: {each.reason}", err=True)
    if not run.results and follower.unloadable and failure is None:
        return USAGE
    for target in run.targets:
        terminal.render_target(target, view.results_of(run, target), run, console, detail)
    run = with_unloadable(run, follower.unloadable)
    terminal.render_summary(run, console, detail)
    for path in reports:
        write(run, path)
    if reports and detail != "quiet":
        console.print(f"report  {'  '.join(map(str, reports))}", markup=False, highlight=False, soft_wrap=True)
    if failure is not None:
        raise failure
    return run.exit_code
