"""Measures points on many workers; what a point gives does not depend on how many there are, nor on what ends first.

A point that raises is an outcome.  A worker that dies takes no point along: what it had under way is done again, each point
alone, and a point whose worker dies then too has raised.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path

from bptt.harness.errors import BpttError
from bptt.harness.experiments.engine.definition import Settings, Values
from bptt.harness.experiments.engine.points import Measured, measured
from bptt.harness.run.backends import Backend
from bptt.harness.run.isolation.pickling import pickled, unpickled


@dataclass(frozen=True)
class Task:
    """One point to measure.  `key` is its own."""

    key: str
    experiment: str
    settings: Settings
    point: Callable[[Settings], Values]


@dataclass(frozen=True)
class Raised:
    """What a point raised, and where, in one line."""

    error: str
    place: str


Outcome = Measured | Raised


def sweep(tasks: Sequence[Task], backend: Backend, on_outcome: Callable[[Task, Outcome], None]) -> None:
    """Measure each of `tasks`, telling of each outcome as it is known.

    Raises what `on_outcome` raises, KeyboardInterrupt, and BpttError where the workers are lost for good.
    """
    waiting, suspects = deque(tasks), deque[Task]()
    while waiting:
        with backend.open() as executor:
            suspects += _round(waiting, executor, backend.window, on_outcome)
    while suspects:
        suspect = suspects.popleft()
        with backend.open(alone=True) as executor:
            for task in _round(deque([suspect]), executor, 1, on_outcome):
                on_outcome(task, Raised("the process that measured it died", "no place known"))


def measure(point: bytes, settings: Settings) -> Outcome:
    """Runs in a worker.  `point` is the function as `pickled` wrote it."""
    try:
        function = unpickled(point)
        began = time.perf_counter()
        return measured(function(dict(settings)), time.perf_counter() - began)
    except Exception as error:  # whatever an experiment's own code raises: the other experiments go on
        return raised(error)


def raised(error: BaseException) -> Raised:
    """An exception in one line, with the last place that is not inside an installed package."""
    frames = traceback.extract_tb(error.__traceback__)
    libraries = (str(Path(sys.prefix)), str(Path(sys.base_prefix) / "lib"))
    own = [f for f in frames if "site-packages" not in f.filename and not f.filename.startswith(libraries)] or list(frames)
    place = f"{own[-1].filename}:{own[-1].lineno} in {own[-1].name}" if own else "no place known"
    return Raised(" ".join(f"{type(error).__name__}: {error}".split()), place)


def _round(waiting: deque[Task], executor: Executor, window: int, on_outcome: Callable[[Task, Outcome], None]) -> list[Task]:
    """Measure until all is done or the workers break.  Returns what was under way when they broke."""
    under_way: dict[Future[Outcome], Task] = {}
    lost: list[Task] = []
    while (waiting or under_way) and not lost:
        _submit(waiting, under_way, executor, window, on_outcome)
        for future in wait(under_way, return_when=FIRST_COMPLETED).done if under_way else ():
            task = under_way.pop(future)
            try:
                outcome = future.result()
            except BrokenExecutor:
                lost.append(task)
            except CancelledError as error:
                raise BpttError("the workers were lost; what was measured is kept, and the same command goes on from there") from error
            except Exception as error:  # a worker that cannot load the point's code, or a point that ended every worker it was given
                on_outcome(task, raised(error))
            else:
                on_outcome(task, outcome)
    return [*lost, *under_way.values()]


def _submit(
    waiting: deque[Task],
    under_way: dict[Future[Outcome], Task],
    executor: Executor,
    window: int,
    on_outcome: Callable[[Task, Outcome], None],
) -> None:
    while waiting and len(under_way) < window:
        try:
            point = pickled(waiting[0].point)
        except Exception as error:  # whatever an object of the point's own raises while it is pickled
            on_outcome(waiting.popleft(), raised(error))
            continue
        try:
            future = executor.submit(measure, point, waiting[0].settings)
        except BrokenExecutor as error:
            if not under_way:
                raise BpttError(f"the worker processes do not start: {error}") from error
            return  # those under way tell of it
        under_way[future] = waiting.popleft()
