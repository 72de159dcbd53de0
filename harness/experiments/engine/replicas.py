"""Points that are replicas of one another: they differ in other settings than the one in hand, the seed above all."""

from __future__ import annotations

from collections.abc import Sequence

from bptt.harness.experiments.engine.definition import Point, Scalar


def of_each(points: Sequence[Point], setting: str) -> dict[Scalar, list[Point]]:
    """The points by the value of one setting, in the order of the grid."""
    found: dict[Scalar, list[Point]] = {}
    for p in points:
        found.setdefault(p.settings[setting], []).append(p)
    return found
