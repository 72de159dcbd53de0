"""What the scores have in common: many small jobs over the processors, and subjects with mistakes in them."""

from __future__ import annotations

import argparse
import importlib
import sys
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
    """`one` of each, in order, as they come.

    A function of the file that is run travels as that of the module that the file is, so that what it uses is imported there.
    """
    main = sys.modules["__main__"]
    if one.__module__ == "__main__" and main.__spec__ is not None:
        one = getattr(importlib.import_module(main.__spec__.name), one.__name__)
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
