"""What the scores have in common: many small jobs over the processors, and subjects with mistakes in them."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from joblib import Parallel, delayed

from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.subjects import PlantedCell
from bptt.harness.subject import Subject

A = TypeVar("A")
R = TypeVar("R")


def options(description: str | None, **counts: int) -> argparse.ArgumentParser:
    """A command line with a number for each of `counts`, and --jobs."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in counts.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--jobs", type=int, default=2)
    return parser


def spread(jobs: int, one: Callable[[A], R], over: Sequence[A]) -> Iterator[R]:
    """`one` of each, in order, as they come."""
    found: Iterator[R] = Parallel(n_jobs=jobs, return_as="generator", batch_size=1)(delayed(one)(a) for a in over)
    return found


def report(total: Mapping[str, Counter[str]]) -> int:
    """A line of totals for each kind of mistake; the exit code: 1 when one was not found."""
    for kind, n in total.items():
        counts = f"{n['found']} found, {n['placed']} placed, {n['named']} named first, {n['roots']} with one root failure"
        print(f"{kind}: {n['planted']} planted, {counts}")
    return 1 if any(n["found"] < n["planted"] for n in total.values()) else 0


def planted(cell: str, *bugs: KnownMistake) -> Subject:
    return Subject(cell, cell, "numpy", "cell", PlantedCell(cell, bugs), capabilities=frozenset({"backward"}))
