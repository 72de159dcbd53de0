"""What a run has found so far, put together from events: by the target that they are of, and by the process that sent them."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bptt.harness.run.events import Began, Ended, Event, Found, Measured, OnEvent, Recognised, Remarked, Unloadable
from bptt.harness.run.record.resuming import NOTHING, Known
from bptt.reports import accounting
from bptt.reports.records import Experiment, Remark, Result, Run, Target


@dataclass
class Row:
    """What came back of one target, from the process that was started for it."""

    target: Target
    results: list[Result] = field(default_factory=list)
    experiments: list[Experiment] = field(default_factory=list)
    ended: bool = False


class Gathering:
    """Rows by the number of the task that they came from: no event of one task's process can touch what another's has said.

    asked          the id of each task, where a task's events are held against it
    known          results of an earlier run, which a target that begins takes over
    on_event       is told each event that was taken, from one thread at a time
    not_isolated   of the tasks that were checked in this process: why
    """

    def __init__(self, asked: Sequence[str] = (), on_event: OnEvent | None = None, known: Known = NOTHING) -> None:
        self._asked = tuple(asked)
        self._known = known
        self.not_isolated: dict[int, str] = {}
        self._on_event = on_event
        self._rows: dict[int, dict[str, Row]] = {}
        self._unloadable: list[tuple[int, Unloadable]] = []
        self._doubts: dict[int, list[Remark]] = {}
        self._lock = threading.Lock()

    @property
    def loaded(self) -> bool:
        """Whether a subject came of any target."""
        refused = {event.target_id for _, event in self._unloadable}
        return any(target_id not in refused for rows in self._rows.values() for target_id in rows)

    @property
    def unloadable(self) -> tuple[Unloadable, ...]:
        return tuple(event for _, event in sorted(self._unloadable, key=lambda pair: pair[0]))

    def target(self, target_id: str) -> Target:
        """The target as it is known now.  Raises KeyError."""
        return next(rows[target_id].target for rows in self._rows.values() if target_id in rows)

    def take(self, k: int, event: Event) -> None:
        """Note an event of task `k`.  One of a target that is not that task's says nothing of that target, and casts doubt on its own."""
        with self._lock:
            if not self._noted(k, self._rows.setdefault(k, {}), event):
                return
            for told in (event, *self._taken_over(k, event)):
                if self._on_event is not None:
                    self._on_event(told)

    def end(self, k: int) -> None:
        """No more will come of task `k`: what has not said that it ended, has not."""
        with self._lock:
            for target_id, row in self._rows.get(k, {}).items():
                lost = [] if row.ended else [Remark("accounting", "its process ended before all checks were made", "error")]
                for remark in (*lost, *self._doubts.pop(k, ())):
                    self._remark(row, remark)
                    if self._on_event is not None:
                        self._on_event(Remarked(target_id, remark))

    def fault(self, k: int, spec: str, words: str) -> None:
        """A fault of ours over task `k`: whatever was found of its targets, they are not decided; the other tasks go on."""
        with self._lock:
            rows = self._rows.setdefault(k, {})
            told: list[Event] = []
            if not rows:
                target = Target(spec, spec, "", id=self._asked[k] if self._asked else spec)
                rows[target.id] = Row(target)
                told.append(Began(target))
            remark = Remark("a fault of bptt's own", words, "error")
            for target_id, row in rows.items():
                self._remark(row, remark)
                told.append(Remarked(target_id, remark))
            if self._on_event is not None:
                for event in told:
                    self._on_event(event)

    def run(self, header: Run) -> Run:
        """The record, in the order in which the targets were asked for, whatever order they came in."""
        order = {name: k for k, name in enumerate(header.asked)}
        rows = [row for k in sorted(self._rows) for row in self._rows[k].values()]
        rows.sort(key=lambda row: order.get(row.target.asked, len(order)))
        run = replace(
            header,
            targets=tuple(row.target for row in rows),
            results=tuple(result for row in rows for result in _in_order(row)),
            experiments=tuple(experiment for row in rows for experiment in row.experiments),
        )
        return replace(run, exit_code=accounting.exit_code(run))

    def _noted(self, k: int, rows: dict[str, Row], event: Event) -> bool:
        match event:
            case Began(target) if target.id in rows:
                return False  # told again by a second process, after the first one was lost
            case Began(target) if any(target.id in other for other in self._rows.values()) or not self._is_of(k, target.asked):
                return self._doubt(k, f"its process called itself {target.id}, which another was started for")
            case Began(target):
                rows[target.id] = Row(target)
            case Unloadable(target_id, spec, reason, True) if target_id not in rows and self._is_of(k, target_id):
                self._unloadable.append((k, event))
                rows[target_id] = Row(accounting.not_installed(Target(spec, spec, "", id=target_id), reason), [], ended=True)
            case Unloadable(target_id, spec, reason) if target_id in rows or self._is_of(k, target_id):
                self._unloadable.append((k, event))
                begun = rows[target_id].target if target_id in rows else Target(spec, spec, "", id=target_id)
                target, result = accounting.unloaded(begun, reason)
                rows[target_id] = Row(target, [result], ended=True)
            case _ if event.target_id not in rows:
                return self._doubt(k, f"its process spoke of {event.target_id}, which it was not started for")
            case Found(result):
                rows[result.target].results.append(result)
            case Measured(target_id, experiment):
                rows[target_id].experiments.append(experiment)
            case Recognised(target_id, identified):
                rows[target_id].target = replace(rows[target_id].target, identified=identified)
            case Remarked(target_id, remark):
                self._remark(rows[target_id], remark)
            case Ended(target_id):
                rows[target_id].ended = True
        return True

    def _taken_over(self, k: int, event: Event) -> list[Event]:
        if not isinstance(event, Began):
            return []
        target, row = event.target, self._rows[k][event.target.id]
        found, said = self._known.of(target), self._known.remarks_of(target)
        row.results += found
        for remark in said:
            self._remark(row, remark)
        return [*(Found(result) for result in found), *(Remarked(target.id, remark) for remark in said)]

    def _is_of(self, k: int, asked: str) -> bool:
        return not self._asked or self._asked[k] == asked

    def _doubt(self, k: int, words: str) -> bool:
        self._doubts.setdefault(k, []).append(Remark("accounting", words, "error"))
        return False

    def _remark(self, row: Row, remark: Remark) -> None:
        if remark not in row.target.remarks:
            row.target = replace(row.target, remarks=(*row.target.remarks, remark))


def _in_order(row: Row) -> list[Result]:
    """The results in the order of the plan, whatever order they were found or taken over in."""
    order = {check: k for k, check in enumerate(row.target.planned)}
    return sorted(row.results, key=lambda result: order.get(result.check, len(order)))


def this_folder() -> str:
    """A fingerprint of the current folder, "" where there is none any more: a record that is passed on need not say the path."""
    try:
        return hashlib.sha256(str(Path.cwd()).encode()).hexdigest()[:12]
    except FileNotFoundError:
        return ""


def new_run_id() -> str:
    """When the run began, to the second, and a few letters that no other run of that second has."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}-{secrets.token_hex(3)}"
