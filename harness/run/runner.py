"""Checks targets and gathers what was found: plan, isolate, time out, report."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bptt.harness.adapters.triton import has_kernels
from bptt.harness.cases import Case, parse_case
from bptt.harness.checks import registry
from bptt.harness.config import expected
from bptt.harness.errors import UsageError
from bptt.harness.levels import LEVELS
from bptt.harness.run.backends import Dask
from bptt.harness.run.backends import backend as backend_
from bptt.harness.run.budget import LAUNCHED, seconds
from bptt.harness.run.environment import environment
from bptt.harness.run.events import Event, OnEvent, Options, Task, Unloadable, numbered, pasteable
from bptt.harness.run.isolation.following import Follower
from bptt.harness.run.isolation.limits import Limits, limits
from bptt.harness.run.isolation.parcels import CannotTravel, needs_torch, packed
from bptt.harness.run.isolation.remote import Submitted, submitted
from bptt.harness.run.isolation.starting import here, stand_ready
from bptt.harness.run.record.gathering import Gathering, new_run_id, this_folder
from bptt.harness.run.record.resuming import NOTHING, known_from
from bptt.harness.run.worker import events_of
from bptt.harness.subject import Device
from bptt.harness.words import near_miss
from bptt.reports import accounting
from bptt.reports.records import FAILING, CatalogueEntry, Result, Run


class CheckFailed(AssertionError):
    """A target does not conform; the text is what the terminal shows."""


@dataclass(frozen=True)
class RunHandle:
    """What a check of one or more targets found.

    run          the whole record
    unloadable   targets that could not be loaded
    """

    run: Run
    unloadable: tuple[Unloadable, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether something was checked and all of it conforms."""
        return self.exit_code == accounting.CONFORMS

    @property
    def exit_code(self) -> int:
        return self.run.exit_code

    @property
    def failed(self) -> tuple[Result, ...]:
        """Results that say 'does not conform' (warnings and blocked checks are not among them)."""
        return tuple(r for r in self.run.results if r.status in FAILING)

    def __getitem__(self, check: str) -> Result:
        """The result of a check by its id; with several targets, the worst one.  Raises LookupError naming the ids there are."""
        found = [r for r in self.run.results if r.check == check]
        if not found:
            known = sorted({r.check for r in self.run.results})
            raise LookupError(f"no result of a check {check!r}{near_miss(check, known) or ','} there are {', '.join(known) or 'none'}")
        return min(found, key=lambda r: (r.status not in FAILING, r.status == "passed"))

    def raise_for_failures(self) -> None:
        """Raises CheckFailed with the terminal's text unless every target conforms."""
        if not self.ok:
            raise CheckFailed(self.text())

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        """In a notebook: the verdict and what to fix first."""
        from bptt.reports.page.html import card

        return card(self.run)

    def text(self) -> str:
        """What the terminal shows, without colour."""
        from bptt.reports.text import terminal

        return terminal.text_of(self.run, "normal", width=140)

    def to_json(self, path: str | Path) -> None:
        from bptt.reports.store import write_json

        write_json(self.run, Path(path))

    def to_html(self, path: str | Path) -> None:
        from bptt.reports.page.html import write_html

        write_html(self.run, Path(path))

    def to_junit(self, path: str | Path) -> None:
        from bptt.reports.text.junit import write_junit

        write_junit(self.run, Path(path))

    def to_markdown(self, path: str | Path) -> None:
        from bptt.reports.text.markdown import write_markdown

        write_markdown(self.run, Path(path))


def catalogue() -> tuple[CatalogueEntry, ...]:
    """Every check there is, third parties' included."""
    return tuple(c.entry for c in registry.load())


def check(
    target: object,
    like: str | None = None,
    args: Mapping[str, object] | None = None,
    level: str = "standard",
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    seed: int = 0,
    isolate: bool = True,
    expect: Mapping[str, Mapping[str, str]] | None = None,
    jobs: int | None = None,
    timeout: float | None = None,
    memory: str | int | None = None,
    budget: str | float | None = None,
    prints: bool = False,
    device: Device = "cpu",
    backend: str = "loky",
    scheduler: str | None = None,
    case: Case | str | None = None,
    block: bool = True,
    resume: str | Path | None = None,
    on_begin: Callable[[], None] | None = None,
    on_event: OnEvent | None = None,
    command: str | None = None,
) -> RunHandle:
    """Put a target to the test, or a list of them.

    target    a class, instance or factory, a target string ("path/file.py:Attr", "torch.nn:LSTM"), or a list of these or of Tasks
    like      the published cell it claims to be        args   arguments for the target's constructor
    level     smoke, standard, full, exhaustive         select, ignore   check ids or families
    seed      of every random draw                      isolate          in a process of its own, so that a crash is a result
    expect    known failures {check: {"code", "reason", "expires"}}
    jobs      targets at a time                         timeout          seconds of the processor that one may take, or five
                                                                         times as many by the clock
    memory    resident memory that one may take ("2G")  backend, scheduler   "dask" and its address: targets go to its workers
    prints    what its code prints is shown as it comes: without it, only its last lines where its process dies
    device    "cuda": functions over tensors, and the kernels in them, run there; everything else on the processor
    budget    "60s": cases beyond the first of each check run while there is time, those left out are said
    case      only this case ("T1-N1-D3-H4")            block            whether a failure blocks the checks that build on it
    resume    a record, whole or cut off: its results of targets whose files have not changed are taken over
    on_begin  called once nothing of the options is refused, before any target is touched
    on_event  called with each event as it happens (harness/run/events.py), from one thread at a time

    Raises UsageError for wrong options, and for a single target that cannot be loaded; several targets: see `unloadable`.
    """
    began = time.perf_counter()
    several = isinstance(target, list | tuple) and not hasattr(target, "_fields")  # a namedtuple is an object
    asked: list[object] = list(target) if isinstance(target, list | tuple) and several else [target]
    if args is not None and not isinstance(args, Mapping):
        raise UsageError(f"args: got {args!r}, wanted a dict such as {{'hidden_size': 4}}")
    if like is not None and not isinstance(like, str):
        raise UsageError(f"like: got {like!r}, wanted the name of a published cell, such as 'lstm'")
    if jobs is not None and (type(jobs) is not int or jobs < 1):
        raise UsageError(f"jobs: got {jobs!r}, wanted how many targets at a time")
    tasks = [t if isinstance(t, Task) else Task(t, args, like) for t in asked]
    tasks = [replace(task, paste=pasteable(task.target)) for task in numbered(tasks)]
    options = replace(
        _options(level, select, ignore, seed, case, block, expect or {}), budget=seconds(budget), prints=prints, device=device
    )
    kernels = device == "cuda" or any(has_kernels(task.spec) for task in tasks)
    within = limits(level, timeout, memory, options.budget or (LAUNCHED if kernels else None))
    where = backend_(backend, jobs or 1, scheduler)
    known = NOTHING if resume is None else known_from(Path(resume), options)
    options = known.added_to(options)
    gathered = Gathering([task.id for task in tasks], on_event, known)
    not_limited: dict[str, str] = {}
    begin = on_begin or (lambda: None)
    if isolate and isinstance(where, Dask):
        _on_workers(tasks, options, within, where.scheduler, gathered, begin)
    elif isolate:
        begin()
        not_limited = _in_processes(tasks, options, within, jobs or min(len(tasks), os.cpu_count() or 1) or 1, gathered)
    else:
        begin()
        for k, task in enumerate(tasks):
            _here(k, task, options, gathered)
    if gathered.unloadable and not several and not gathered.loaded:
        raise UsageError(gathered.unloadable[0].reason)
    env: dict[str, Any] = dict(environment()) | {"level": level} | ({"device": device} if device != "cpu" else {}) | not_limited
    env |= {"budget": str(budget)} if budget is not None else {}
    if gathered.not_isolated:
        env["checked_in_this_process"] = [gathered.not_isolated[k] for k in sorted(gathered.not_isolated)]
    header = Run(
        command=command or f"bptt.check({', '.join(t.spec for t in tasks)})",
        seed=seed,
        env=env,
        catalogue=catalogue(),
        duration_s=time.perf_counter() - began,
        run_id=new_run_id(),
        asked=tuple(task.id for task in tasks),
        folder=this_folder(),
    )
    return RunHandle(gathered.run(header), gathered.unloadable)


def _options(
    level: str,
    select: Iterable[str],
    ignore: Iterable[str],
    seed: int,
    case: Case | str | None,
    block: bool,
    expect: Mapping[str, Mapping[str, str]],
) -> Options:
    if level not in LEVELS:
        raise UsageError(f"level: got {level!r}, wanted one of {', '.join(LEVELS)}{near_miss(level, LEVELS)}")
    checks = registry.load()
    known, ids = {name for c in checks for name in c.names}, {c.id for c in checks}
    if isinstance(select, str) or isinstance(ignore, str):
        raise UsageError(f"select and ignore: got a string, wanted a list of check ids or families such as [{select or ignore!r}]")
    for option, names, wanted in (("select", select, known), ("ignore", ignore, known), ("expect", expect, ids)):
        for name in names:
            if name not in wanted:
                what = "check or family" if wanted is known else "check"
                raise UsageError(f"{option}: no {what} is called {name!r}{near_miss(name, wanted)}")
    if type(seed) is not int or seed < 0:
        raise UsageError(f"seed: got {seed!r}, wanted a whole number that is not negative")
    parsed = parse_case(case, seed) if isinstance(case, str) else case
    failures = {
        check: dict(expected({"reason": "no reason given", **entry} if isinstance(entry, Mapping) else entry, f"expect[{check!r}]"))
        for check, entry in expect.items()
    }
    return Options(level, tuple(select), tuple(ignore), seed, parsed, block, failures)


def _here(k: int, task: Task, options: Options, gathered: Gathering) -> None:
    for event in events_of(task, options):
        gathered.take(k, event)
    gathered.end(k)


def _on_workers(
    tasks: Sequence[Task], options: Options, limits: Limits, scheduler: str, gathered: Gathering, begin: Callable[[], None]
) -> None:
    """A process for each on the workers of a dask scheduler that answers; objects that cannot travel are checked in this process."""

    def sent(executor: Executor, task: Task) -> Submitted | str:
        try:
            return submitted(executor, packed(task), options, limits, here())
        except CannotTravel as reason:
            return str(reason)

    with Dask(scheduler).open() as executor:
        begin()
        answers = [sent(executor, task) for task in tasks]
        for k, (task, answer) in enumerate(zip(tasks, answers, strict=True)):
            try:
                if isinstance(answer, str):
                    raise CannotTravel(answer)
                for event in answer.events():
                    gathered.take(k, event)
                gathered.end(k)
            except CannotTravel as reason:
                gathered.not_isolated[k] = f"{task.spec}: {reason}"
                _here(k, task, options, gathered)


def _without_faults(events: Callable[[], Iterator[Event]], k: int, task: Task, gathered: Gathering) -> Iterator[Event]:
    """The events of a task; a fault of ours over it ends them, leaves it not decided, and keeps nothing from the other tasks."""
    try:
        yield from events()
    except CannotTravel:
        raise
    except Exception as error:  # the one boundary between a target and the rest of its run
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = " ".join(str(error).split())
        gathered.fault(k, task.spec, f"{type(error).__name__}: {said} ({place.filename}:{place.lineno})")


def _in_processes(tasks: Sequence[Task], options: Options, limits: Limits, jobs: int, gathered: Gathering) -> dict[str, str]:
    """A process for each, `jobs` at a time; objects that cannot travel are checked in this one, and the run says so.

    Returns what the run's environment is to say of limits that do not hold here.
    """
    followers = [Follower(options, limits, here()) for _ in tasks]

    def one(k: int) -> str | None:
        try:
            for event in _without_faults(lambda: followers[k].events(packed(tasks[k])), k, tasks[k], gathered):
                gathered.take(k, event)
        except CannotTravel as reason:
            return str(reason)
        gathered.end(k)
        return None

    stand_ready({needs_torch(task.target) for task in tasks})
    executor = ThreadPoolExecutor(jobs)
    try:
        futures = [executor.submit(one, k) for k in range(len(tasks))]
        for k, (task, future) in enumerate(zip(tasks, futures, strict=True)):
            reason = future.result()
            if reason is not None:
                gathered.not_isolated[k] = f"{task.spec}: {reason}"
                _here(k, task, options, gathered)
    finally:
        for follower in followers:
            follower.stop()
        executor.shutdown(wait=True, cancel_futures=True)
    unlimited = any(follower.unlimited for follower in followers)
    return {"not_limited": "memory, and what children use: there is no fork that is safe here"} if unlimited else {}
