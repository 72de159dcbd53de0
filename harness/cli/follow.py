"""Follows a run event by event: progress on the terminal, results into the streams, and what is known if the run is cut short."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bptt.harness.run.events import Began, Checking, Event, Explaining, Found, Measured, Outside, Recognised, Remarked, Unloadable
from bptt.harness.run.record.gathering import Gathering
from bptt.harness.run.record.report_files import STREAMED
from bptt.reports import accounting
from bptt.reports.records import Result, Run, Target
from bptt.reports.store import StreamWriter, remove_earlier


class Follower:
    """The `on_event` of one run.

    began         whether the run has begun: from then on no report of an earlier run is left at any of the paths
    unloadable    what no subject came of
    refused       {path: why} of the reports that could not be written so far: the run goes on without them
    """

    def __init__(self, header: Run, reports: Iterable[Path], bar: Bar | None) -> None:
        self.began = False
        self.unloadable: list[Unloadable] = []
        self.refused: dict[Path, str] = {}
        self._header = replace(header, complete=False)
        self._paths = tuple(reports)
        self._gathered = Gathering()
        self._streams: dict[Path, StreamWriter] = {}
        self._bar = bar

    @property
    def known(self) -> Run:
        """The record so far: partial, whatever happens next."""
        return self._gathered.run(self._header)

    def __enter__(self) -> Self:
        return self

    def begin(self) -> None:
        """Once nothing is refused, before any target is touched: a run that is refused leaves the files of the run before alone."""
        self.began = True
        for path in self._paths:
            self._try(path, remove_earlier, path)
            if path.suffix in STREAMED and (path.is_file() or not path.exists()):  # what is no file is written to once, at the end
                self._try(path, self._open, path)
        if self._bar:
            self._bar.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar and self.began:
            self._bar.stop()
        for path in list(self._streams):
            self._try(path, self._streams.pop(path).abandon)

    def __call__(self, event: Event) -> None:
        self._gathered.take(0, event)
        match event:
            case Began(target):
                self._write(target)
                if self._bar:
                    self._bar.begin(target.id, target.name, len(target.planned))
            case Checking(target_id, check):
                self._say(target_id, check)
            case Explaining(result):
                self._say(result.target, f"{result.check} failed: seeking its cause")
            case Outside(target_id, where):
                self._say(target_id, where)
            case Recognised(target_id) | Remarked(target_id):
                self._write(self._gathered.target(target_id))
            case Found(result):
                self._write(result)
                if self._bar:
                    self._bar.advance(result)
            case Unloadable(target_id, absent=True):
                self.unloadable.append(event)
                self._write(self._gathered.target(target_id))
            case Unloadable(target_id, _, reason):
                self.unloadable.append(event)
                target, result = accounting.unloaded(self._gathered.target(target_id), reason)
                self._write(target)
                self._write(result)
            case Measured(_, experiment):
                for path, stream in list(self._streams.items()):
                    self._try(path, stream.experiment, experiment)

    def _say(self, target_id: str, doing: str) -> None:
        if self._bar:
            self._bar.say(target_id, doing)

    def _open(self, path: Path) -> None:
        self._streams[path] = StreamWriter(path)
        self._streams[path].header(self._header)

    def _write(self, record: Target | Result) -> None:
        for path, stream in list(self._streams.items()):
            self._try(path, stream.result, record) if isinstance(record, Result) else self._try(path, stream.target, record)

    def _try(self, path: Path, write: Callable[..., object], *arguments: object) -> None:
        """A report that cannot be written is noted, and no more of it is tried before the end."""
        try:
            write(*arguments)
        except OSError as error:
            self.refused[path] = error.strerror or str(error)
            if path in self._streams:
                self._streams.pop(path).discard()


class Bar:
    """One bar for the whole run: targets done of all, the target at work, checks done of its own, what it does now."""

    def __init__(self, console: Console, targets: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[doing]}", style="dim", markup=False),
            console=console,
            transient=True,
        )
        self._targets = targets
        self._begun = 0
        self._tasks: dict[str, TaskID] = {}

    def start(self) -> None:
        self._progress.start()

    def stop(self) -> None:
        self._progress.stop()

    def begin(self, target_id: str, name: str, total: int) -> None:
        self._begun += 1
        label = name if self._targets == 1 else f"{self._begun}/{self._targets} {name}"
        self._tasks[target_id] = self._progress.add_task(label, total=total, doing="")

    def say(self, target_id: str, doing: str) -> None:
        """What it does now: the check that it is at, a cause that it seeks."""
        if (task := self._tasks.get(target_id)) is not None:
            self._progress.update(task, doing=doing)

    def advance(self, result: Result) -> None:
        task = self._tasks.get(result.target)
        if task is None:
            return
        self._progress.advance(task)
        if self._progress.tasks[self._progress.task_ids.index(task)].finished:
            self._progress.remove_task(self._tasks.pop(result.target))
