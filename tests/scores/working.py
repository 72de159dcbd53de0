"""What the scores have in common: many small jobs over the processors, and subjects with mistakes in them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from joblib import Parallel, delayed

from harness.diagnosis.plant import Bug, PlantedCell
from harness.subject import Subject

A, R = TypeVar("A"), TypeVar("R")


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


def planted(cell: str, *bugs: Bug) -> Subject:
    return Subject(cell, cell, "numpy", "cell", PlantedCell(cell, bugs), capabilities=frozenset({"backward"}))
