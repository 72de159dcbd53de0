"""`bptt check`: follows the run, prints and writes what was found.  Nothing that goes wrong with a report touches a verdict."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bptt.harness.cli.compared import wants_comparison, with_comparison
from bptt.harness.cli.follow import Bar, Follower
from bptt.harness.cli.signals import was_terminated
from bptt.harness.config import TargetEntry
from bptt.harness.errors import UsageError
from bptt.harness.run import runner
from bptt.harness.run.environment import environment
from bptt.harness.run.loading import tasks
from bptt.harness.run.record.actions import tell
from bptt.harness.run.record.gathering import new_run_id, this_folder
from bptt.harness.run.record.report_files import none_left_where_interrupted, write_all
from bptt.reports import accounting
from bptt.reports.accounting import INTERRUPTED, NOT_DECIDED, TERMINATED
from bptt.reports.records import Run
from bptt.reports.text import terminal

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
    strict: bool = False,
    **options: Any,
) -> int:
    """Check what can be loaded, print and write all of it; returns the exit code.

    Raises UsageError for options that the runner refuses before anything began.  Whatever else ends the run early is raised again
    once what is known has been printed and written.
    """
    began = time.perf_counter()
    with none_left_where_interrupted(reports):
        todo = tasks(entries)
        header = Run(
            command=command,
            seed=seed,
            env=environment() | {"level": level} | ({"budget": options["budget"]} if options.get("budget") else {}),
            catalogue=runner.catalogue(),
            run_id=new_run_id(),
            asked=tuple(task.id for task in todo),
            folder=this_folder(),
            strict=strict,
        )
    bar = Bar(progress, len(todo)) if progress else None
    failure: BaseException | None = None
    with Follower(header, reports, bar) as follower:
        try:
            found = runner.check(todo, seed=seed, level=level, on_begin=follower.begin, on_event=follower, command=command, **options).run
            run = replace(found, run_id=header.run_id, strict=strict)
            run = replace(run, exit_code=accounting.exit_code(run))
        except (Exception, KeyboardInterrupt) as error:  # raised again below, when what is known has been printed and written
            if isinstance(error, UsageError) and not follower.began:
                raise
            failure = error
            run = replace(follower.known, exit_code=_code_of(error), duration_s=time.perf_counter() - began)
        if not follower.began:
            follower.begin()
    seen_once = detail != "quiet" and console.is_terminal and sys.stderr.isatty()  # where both streams meet, the reason stands in its place
    for each in () if seen_once else follower.unloadable:
        click.echo(f"bptt: {each.reason}", err=True)
    terminal.render_targets(run, console, detail)
    terminal.render_summary(run, console, detail)
    refused = write_all(run, reports)
    if failure is None and wants_comparison(reports, level, options):  # the verdict is printed and written: what is drawn now is beside it
        try:
            with progress.status("the page's comparison: an RNN, a GRU and an LSTM beside it") if progress else nullcontext():
                run = with_comparison(run, jobs=options.get("jobs"))
            refused = write_all(run, reports)
        except KeyboardInterrupt as error:
            failure = error
        except Exception as error:  # the reason is said, and the verdict stands
            click.echo(f"bptt: no comparison on the page ({' '.join(str(error).split())}); the verdict stands", err=True)
    written = [path for path in reports if path not in refused]
    if written and detail != "quiet":
        console.print(f"report  {'  '.join(map(str, written))}", markup=False, highlight=False, soft_wrap=True)
    say_refused(refused)
    tell(run, click.echo)
    if failure is not None:
        raise failure
    return run.exit_code


def say_refused(refused: Mapping[Path, str]) -> None:
    """Name each report that could not be written, and why."""
    for path, why in refused.items():
        left = ", and what stands there is not it" if path.is_file() else ""
        click.echo(f"bptt: report {path} could not be written ({why}){left}; the verdict above stands", err=True)


def _code_of(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return TERMINATED if was_terminated(error) else INTERRUPTED
    return NOT_DECIDED
