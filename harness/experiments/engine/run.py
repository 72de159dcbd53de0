"""Runs experiments: plan, measure what is not known yet, gather, report.

The record holds no durations and no number of jobs: it is the same bytes whatever the number of workers, the order in which they
ended, the backend, or how often the sweep was cut off.  Durations are in the store of points, and on the terminal.
"""

from __future__ import annotations

import inspect
import shlex
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bptt.harness.errors import Terminated
from bptt.harness.experiments.engine.definition import Point, Settings, claim
from bptt.harness.experiments.engine.plan import Planned, Size, plan
from bptt.harness.experiments.engine.points import DEFAULT_STORE, Measured, Store, fingerprint, key
from bptt.harness.experiments.engine.sweep import Outcome, Raised, Task, raised, sweep
from bptt.harness.run.backends import backend as backend_
from bptt.harness.run.environment import cores, environment
from bptt.harness.run.runner import RunHandle
from bptt.reports.accounting import CONFORMS, DOES_NOT_CONFORM, INTERRUPTED, NOT_DECIDED, NOTHING_CHECKED, TERMINATED, gravest
from bptt.reports.records import Experiment, Run

#: (points that are known, points in all, the experiment that is at work: "" where all is known)
OnPoint = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Failure:
    """An experiment that could not be reported: how many of its points raised, and what the first of them in the order of the grid said."""

    experiment: str
    error: str
    place: str
    settings: Mapping[str, Any]

    @property
    def line(self) -> str:
        at = " ".join(f"{k}={v}" for k, v in self.settings.items())
        return f"experiment {self.experiment!r} failed: {self.error} ({self.place}){f', at {at}' if at else ''}"


@dataclass
class Ran:
    """What a run of experiments came to.  `seconds` of work by (name, target), in the workers."""

    run: Run
    failures: tuple[Failure, ...] = ()
    seconds: dict[tuple[str, str | None], float] = field(default_factory=dict)
    resumed: int = 0


def experiment(
    *names: str,
    cells: Sequence[str] = (),
    size: Size = "normal",
    seed: int = 0,
    grids: Sequence[str] = (),
    jobs: int | None = None,
    backend: Literal["loky", "dask"] = "loky",
    scheduler: str | None = None,
    resume: str | Path | None = None,
) -> RunHandle:
    """Run the experiments called `names`, or the whole catalogue.

    cells     targets, for the experiments that take one        size    "quick", "normal", "full"
    seed      is added to every seed                            grids   "gain=0.5:3:20", "seed=0:9", "b=0,1,3"
    jobs      worker processes, one a core if None              backend, scheduler   "dask" and its address
    resume    a file of points: those in it are not measured again

    Raises UsageError for what is unknown or malformed.  Points that raise: see `run.exit_code` (3) and the claims.
    """
    planned = plan(names, cells=cells, size=size, seed=seed, grids=grids)
    command = command_of(names, cells=cells, size=size, seed=seed, grids=grids)
    done = run_planned(planned, command, seed=seed, jobs=jobs, backend=backend, scheduler=scheduler, resume=resume)
    if done.run.exit_code in (INTERRUPTED, TERMINATED):
        raise KeyboardInterrupt
    return RunHandle(done.run)


def run_planned(
    planned: Sequence[Planned],
    command: str,
    *,
    seed: int = 0,
    jobs: int | None = None,
    backend: str = "loky",
    scheduler: str | None = None,
    resume: str | Path | None = None,
    on_point: OnPoint = lambda done, total, experiment: None,
) -> Ran:
    """Measure and gather; an interruption keeps what is known: the run is then partial, and its exit code 130, or 143."""
    workers = backend_(backend, jobs or cores(), scheduler)
    tasks = [_tasks(p) for p in planned]
    found: dict[str, Outcome] = {}
    interruption: KeyboardInterrupt | None = None
    with Store(Path(resume) if resume else DEFAULT_STORE, resume=resume is not None) as store:
        wanted = {task.key: task for each in tasks for task in each}
        found |= {k: m for k, m in store.known.items() if k in wanted}
        resumed = len(found)
        at_work = deque(task for k, task in wanted.items() if k not in found)

        def tell() -> None:
            while at_work and at_work[0].key in found:
                at_work.popleft()
            on_point(len(found), len(wanted), at_work[0].experiment if at_work else "")

        tell()

        def take(task: Task, outcome: Outcome) -> None:
            found[task.key] = outcome
            if isinstance(outcome, Measured):
                store.add(task.key, task.experiment, task.settings, outcome)
            tell()

        try:
            missing = [task for k, task in wanted.items() if k not in found]
            if missing:
                sweep(missing, workers, take)
        except KeyboardInterrupt as error:
            interruption = error
        if all(isinstance(found.get(k), Measured) for k in wanted):
            store.complete()
    gathered = [_gathered(p, ts, found) for p, ts in zip(planned, tasks, strict=True)]
    failures = tuple(f for _, f in gathered if f is not None)
    experiments = tuple(e for e, _ in gathered if e is not None)
    seconds = {
        (e.name, e.target): sum(o.duration_s for t in ts if isinstance(o := found[t.key], Measured))
        for ts, (e, _) in zip(tasks, gathered, strict=True)
        if e is not None
    }
    run = Run(
        command=command,
        seed=seed,
        env=environment() | {"threads": "1 in each worker"},
        experiments=experiments,
        complete=interruption is None,
        exit_code=_exit_code(experiments, failures, interruption),
    )
    return Ran(run, failures, seconds, resumed)


def measured_together(planned: Sequence[Planned], jobs: int | None = None) -> list[Experiment]:
    """Experiments beside other work, in the same workers: nothing is stored, and a point that raises leaves the others as they are."""
    found: dict[str, Outcome] = {}
    tasks = [_tasks(p) for p in planned]

    def take(task: Task, outcome: Outcome) -> None:
        found[task.key] = outcome

    sweep([task for each in tasks for task in each], backend_("loky", jobs or cores(), None), take)

    def points(of: Sequence[Task]) -> list[Point]:
        return [Point(task.settings, o.values) for task in of if isinstance(o := found[task.key], Measured)]

    return [_named(p.definition.gather(points(of)), p) for p, of in zip(planned, tasks, strict=True)]


def command_of(
    names: Sequence[str] = (), *, cells: Sequence[str] = (), size: Size = "normal", seed: int = 0, grids: Sequence[str] = ()
) -> str:
    """The line that gives this record again: without what does not change it (jobs, backend, files)."""
    words = ["bptt", "experiment", *names, *(w for cell in cells for w in ("--cell", cell))]
    words += [f"--{size}"] if size != "normal" else []
    words += ["--seed", str(seed)] if seed else []
    return shlex.join([*words, *(w for grid in grids for w in ("--grid", grid))])


def _tasks(p: Planned) -> list[Task]:
    d = p.definition
    cells = {_cell_of(settings) for settings in p.points}
    code = {cell: fingerprint((inspect.getsourcefile(inspect.unwrap(d.point)), _file_of(cell))) for cell in cells}
    return [Task(key(d.name, settings, code[_cell_of(settings)]), d.name, settings, d.point) for settings in p.points]


def _cell_of(settings: Settings) -> str | None:
    cell = settings.get("cell")
    return cell if isinstance(cell, str) else None


def _file_of(cell: str | None) -> str | None:
    place = (cell or "").rpartition(":")[0]
    return place if place.endswith(".py") else None


def _gathered(p: Planned, tasks: Sequence[Task], found: Mapping[str, Outcome]) -> tuple[Experiment | None, Failure | None]:
    """The experiment's record, (None, None) where points are missing.  A failure is a record too, with a claim that says so."""
    d = p.definition
    outcomes = [(task.settings, found.get(task.key)) for task in tasks]
    wrong = [(settings, o) for settings, o in outcomes if isinstance(o, Raised)]
    if wrong:
        settings, first = wrong[0]
        varied = {k: v for k, v in settings.items() if isinstance(p.settings[k], tuple)}
        failure = Failure(d.name, first.error, first.place, varied)
        return _named(_failed(d.name, failure, len(tasks) - len(wrong), len(tasks)), p), failure
    points = [Point(settings, o.values) for settings, o in outcomes if isinstance(o, Measured)]
    if len(points) < len(tasks):
        return None, None
    try:
        return _named(d.gather(points), p), None
    except Exception as error:  # the experiment's own code: the other experiments are still reported
        said = raised(error)
        failure = Failure(d.name, said.error, said.place, {})
        return _named(_failed(d.name, failure, 0, len(tasks)), p), failure


def _failed(name: str, failure: Failure, usable: int, total: int) -> Experiment:
    words = f"{failure.error} ({Path(failure.place).name})"
    lacking = claim("points measured and gathered", usable, total, comparison="at least", words=words)
    return Experiment(name, None, (), words=f"not answered: {words}", claims=(lacking,))


def _named(e: Experiment, p: Planned) -> Experiment:
    """The record with what the plan knows: its name, question, target and settings."""
    return replace(
        e,
        name=p.definition.name,
        question=e.question or p.definition.question,
        target=p.cell or e.target,
        settings=dict(e.settings) or dict(p.settings),
        duration_s=0.0,
    )


def _exit_code(experiments: Sequence[Experiment], failures: Sequence[Failure], interruption: KeyboardInterrupt | None) -> int:
    codes = [CONFORMS] if experiments else [NOTHING_CHECKED]
    if any(c.verdict == "differs" for e in experiments for c in e.claims):
        codes.append(DOES_NOT_CONFORM)
    if failures:
        codes.append(NOT_DECIDED)
    if interruption is not None:
        codes.append(TERMINATED if isinstance(interruption, Terminated) else INTERRUPTED)
    return gravest(*codes)
