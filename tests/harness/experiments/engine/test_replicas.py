from __future__ import annotations

from bptt.harness.experiments.engine.definition import Point
from bptt.harness.experiments.engine.replicas import of_each


def test_points_by_one_setting_in_the_order_of_the_grid() -> None:
    points = [Point({"H": H, "seed": seed}, {}) for H in (8, 3) for seed in (1, 0)]
    found = of_each(points, "H")
    assert list(found) == [8, 3]
    assert [[p.settings["seed"] for p in some] for some in found.values()] == [[1, 0], [1, 0]]
