"""Checks correct cells over many seeds and counts false alarms.

    python -P tests/soak.py --seeds 200 [--jobs 2] [--first 0] [--backend dask --scheduler tcp://host:8786] [TARGET...]

Targets are those of [tool.bptt] in pyproject.toml unless named. -P keeps this folder off the path: its
folders are named as the packages are. Not part of the test suite: it takes about a second a cell and seed.
Prints each finding, error or warning, and last a line of totals; exit code 1 when there was a failure.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from joblib import Parallel, delayed, parallel_config

from bptt.harness.config import TargetEntry, read
from bptt.harness.run.events import Task
from bptt.harness.run.runner import check
from bptt.reports.records import FAILING, UNDECIDED


def one(task: Task, seeds: range) -> tuple[str, Counter[str], list[str]]:
    """All seeds of one target: its name, how many results of each status, and a line for each that is not clean."""
    counted: Counter[str] = Counter()
    lines = []
    for seed in seeds:
        for result in check([task], seed=seed, isolate=False).run.results:
            counted[result.status] += 1
            if result.status in FAILING | UNDECIDED or result.finding is not None:
                counted["failures" if result.status in FAILING | UNDECIDED else "warnings"] += 1
                said = result.finding.headline if result.finding else result.reason
                lines.append(f"{task.spec} {dict(task.args or {})} seed {seed}: {result.check} {result.status}: {said}")
    return task.spec, counted, lines


@contextmanager
def _workers(backend: str, scheduler: str | None) -> Iterator[None]:
    """Processes of this machine, or the workers of a dask scheduler: joblib makes the same call of both."""
    if backend == "loky":
        yield
        return
    from dask.distributed import Client

    with Client(scheduler), parallel_config("dask"):
        yield


def _words(counted: Counter[str]) -> str:
    return f"{counted['passed']} passed, {counted['failures']} failed, {counted['warnings']} warnings"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--backend", choices=("loky", "dask"), default="loky")
    parser.add_argument("--scheduler", help="of dask: tcp://host:8786")
    options = parser.parse_args()
    if options.backend == "dask" and options.scheduler is None:
        parser.error("--backend dask: wanted --scheduler tcp://host:8786 with it")
    entries = [TargetEntry(t) for t in options.targets] or list(read(Path(__file__).parents[1] / "pyproject.toml").targets)
    tasks = [Task(e.target, e.args, e.like) for e in entries]
    seeds = range(options.first, options.first + options.seeds)
    total: Counter[str] = Counter()
    with _workers(options.backend, options.scheduler):
        for spec, counted, lines in Parallel(n_jobs=options.jobs, return_as="generator")(delayed(one)(task, seeds) for task in tasks):
            total += counted
            print(f"{spec}: {_words(counted)}", *lines, sep="\n  ", flush=True)
    print(f"{len(tasks)} targets x {len(seeds)} seeds: {_words(total)}")
    return 1 if total["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
