"""`bptt experiment`: follows the sweep, prints and writes what was found."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bptt.harness.errors import UsageError
from bptt.harness.experiments.engine.plan import Planned, Size, plan, with_given
from bptt.harness.experiments.engine.points import DEFAULT_STORE
from bptt.harness.experiments.engine.run import command_of, run_planned
from bptt.harness.run.record.report_files import write
from bptt.reports.accounting import INTERRUPTED, TERMINATED
from bptt.reports.claims import experiments_of
from bptt.reports.text import terminal
from bptt.reports.text.terminal_experiments import render_experiment

if TYPE_CHECKING:
    from rich.console import Console


def experiment(
    names: Sequence[str],
    grids: Sequence[str],
    *,
    cells: Sequence[str],
    size: Size,
    seed: int,
    reports: Sequence[Path],
    resume: Path | None,
    console: Console,
    progress: Console | None,
    detail: terminal.Detail,
    corpus: str | None = None,
    weights: str | None = None,
    data: str | None = None,
    **options: Any,
) -> int:
    """Measure, print and write; returns the exit code.  Raises UsageError for what is unknown, malformed or cannot be loaded."""
    planned = plan(names, cells=cells, size=size, seed=seed, grids=grids)
    for cell in cells:
        _load_one(cell)
    command = command_of(names, cells=cells, size=size, seed=seed, grids=grids)
    if corpus is not None:
        from bptt.harness.experiments.training.corpora import with_corpus  # most experiments read no text

        planned = with_corpus(planned, corpus, named=bool(names))
        command = f"{command} {shlex.join(['--corpus', corpus])}"
    if weights or data:
        planned = _with_given(planned, weights, data)
        command = (
            f"{command} {shlex.join([w for option, path in (('--weights', weights), ('--data', data)) if path for w in (option, path)])}"
        )
    follower = _Follower(progress, resume or DEFAULT_STORE)
    with follower:
        ran = run_planned(planned, command, seed=seed, resume=resume, on_point=follower, **options)
    for each in experiments_of(ran.run):
        render_experiment(each, console, detail, ran.seconds)
    if ran.run.experiments or ran.run.complete:
        terminal.render_summary(ran.run, console, detail)
    for path in reports:
        write(ran.run, path)
    if reports and detail != "quiet":
        console.print(f"report  {'  '.join(map(str, reports))}", markup=False, highlight=False, soft_wrap=True)
    for failure in ran.failures:
        click.echo(f"bptt: {failure.line}", err=True)
    if ran.run.exit_code in (INTERRUPTED, TERMINATED):
        how = "terminated" if ran.run.exit_code == TERMINATED else "interrupted"
        click.echo(f"bptt: {how}; {follower.words}, and the same command goes on from there", err=True)
    return ran.run.exit_code


def _with_given(planned: Sequence[Planned], weights: str | None, data: str | None) -> tuple[Planned, ...]:
    """Both files are read once here: what is wrong with them is said before anything is measured."""
    from bptt.harness.experiments.flow import given
    from bptt.harness.weights import files

    if weights:
        files.tensors(weights, "--weights")
    if data:
        given.data(data)
    return with_given(planned, weights, data, given.fingerprint(*(path for path in (weights, data) if path)))


def _load_one(cell: str) -> None:
    from bptt.harness import targets  # most experiments need no cell, and adapters take a while

    found = targets.load(cell)
    if len(found) != 1:
        raise UsageError(f"--cell: {cell} has {len(found)} cells, wanted one such as {cell}:{found[0].name if found else 'Attr'}")


class _Follower:
    """The `on_point` of one run: a bar with the experiment at work and the time left, and a line where points were taken over."""

    def __init__(self, console: Console | None, store: Path) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, transient=True) if console else None
        self._store = store
        self._task: TaskID | None = None
        self._begun = False
        self._done = self._total = 0

    @property
    def words(self) -> str:
        return f"{self._done} of {self._total} points are known from {self._store}"

    def __call__(self, done: int, total: int, experiment: str) -> None:
        self._done, self._total = done, total
        if not self._begun and done:
            click.echo(f"bptt: {self.words}", err=True)
        if self._progress and not self._begun:
            self._progress.start()
            self._task = self._progress.add_task(experiment, total=total, completed=done)
        elif self._progress and self._task is not None:
            self._progress.update(self._task, completed=done, description=experiment)
        self._begun = True

    def __enter__(self) -> _Follower:
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress and self._begun:
            self._progress.stop()
