"""Experiments to sweep over.  Their points are local functions: they travel to workers by value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.plan import Planned
from bptt.reports.records import Experiment, Series


def mean_of(name: str) -> Callable[[Sequence[Point]], Experiment]:
    def gather(points: Sequence[Point]) -> Experiment:
        y = tuple(p.values["y"] for p in points)
        x = tuple(float(p.settings["k"]) for p in points)  # type: ignore[arg-type]
        mean = sum(y) / len(y)  # type: ignore[arg-type]
        return Experiment(name, None, (Series("y", "k", "y", x, y),), f"mean {mean!r}", claims=(claim("mean", mean, mean),))  # type: ignore[arg-type]

    return gather


def numbers(name: str, count: int, marks: Path | None = None, seconds: float = 0.0) -> Definition:
    """`count` points; each leaves a line in `marks` where it is measured, and takes a time that differs from point to point."""

    def point(settings: Settings) -> Values:
        import time

        import numpy as np

        k = settings["k"]
        assert isinstance(k, int)
        time.sleep(seconds * ((7 * k) % 5) / 2)
        if marks is not None:
            with marks.open("a") as file:
                file.write(f"{k}\n")
        W = np.random.default_rng(k).normal(size=(40, 40))
        return {"y": float(np.linalg.svd(W @ W)[1][0]), "odd": [float("nan"), float("inf"), 1e-320], "n": 3, "none": None, "empty": []}

    return Definition(name, f"How large is {name}?", "nobody", {"k": tuple(range(count)), "T": 20}, point, mean_of(name))


def failing(name: str, count: int, error: Callable[[int], None]) -> Definition:
    """`error` is called with each k, in the worker."""

    def point(settings: Settings) -> Values:
        k = settings["k"]
        assert isinstance(k, int)
        error(k)
        return {"y": float(k)}

    return Definition(name, f"Does {name} fail?", "nobody", {"k": tuple(range(count))}, point, mean_of(name))


def planned(*definitions: Definition) -> list[Planned]:
    return [Planned(d, None, d.settings) for d in definitions]
