"""Follows a run event by event: progress on the terminal, results into the streams, and what is known if the run is cut short."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bptt.harness.run.events import Event
from bptt.harness.run.runner import Unloadable
from bptt.reports.records import Experiment, Result, Run, Target
from bptt.reports.store import StreamWriter


class Follower:
    """The `on_event` of one run.

    known         the record so far: partial, whatever happens next
    unloadable    what no subject came of
    """

    def __init__(self, header: Run, streams: Iterable[Path], bar: Bar | None) -> None:
        self.known = replace(header, complete=False)
        self.unloadable: list[Unloadable] = []
        self._paths = tuple(streams)
        self._streams: list[StreamWriter] = []
        self._bar = bar
        self._began = False

    def __enter__(self) -> Self:
        return self

    def _begin(self) -> None:
        """At the first event, and not before: a run that is refused leaves the files of the run before alone."""
        self._began = True
        self._streams = [StreamWriter(path) for path in self._paths]
        for stream in self._streams:
            stream.header(self.known)
        if self._bar:
            self._bar.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar and self._began:
            self._bar.stop()
        for stream in self._streams:
            stream.abandon()

    def __call__(self, event: Event) -> None:
        if not self._began:
            self._begin()
        known = self.known
        match event:
            case ("start", str(name), int(total)):
                if self._bar:
                    self._bar.begin(name, total)
            case ("target", Target() as target):
                targets = {t.name: t for t in known.targets} | {target.name: target}
                self.known = replace(known, targets=tuple(targets.values()))
                for stream in self._streams:
                    stream.target(target)
            case ("result", Result() as result):
                self.known = replace(known, results=(*known.results, result))
                for stream in self._streams:
                    stream.result(result)
                if self._bar:
                    self._bar.advance(result)
            case ("unloadable", str(spec), str(reason)):
                self.unloadable.append(Unloadable(spec, reason))
            case ("experiment", Experiment() as experiment):
                self.known = replace(known, experiments=(*known.experiments, experiment))
                for stream in self._streams:
                    stream.experiment(experiment)


class Bar:
    """One bar for the whole run: targets done of all, the target at work, checks done of its own."""

    def __init__(self, console: Console, targets: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
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

    def begin(self, name: str, total: int) -> None:
        self._begun += 1
        label = name if self._targets == 1 else f"{self._begun}/{self._targets} {name}"
        self._tasks[name] = self._progress.add_task(label, total=total)

    def advance(self, result: Result) -> None:
        task = self._tasks.get(result.target)
        if task is None:
            return
        self._progress.advance(task)
        if self._progress.tasks[self._progress.task_ids.index(task)].finished:
            self._progress.remove_task(self._tasks.pop(result.target))
