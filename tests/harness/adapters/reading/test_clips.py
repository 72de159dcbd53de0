"""Gradients that are cut by design: the bound found where it stands, the cut lifted in backward, a forward pass left alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bptt.harness.adapters.reading.passes.clips import clip_lifted, clip_of


def by_number(g: Any) -> Any:
    return np.clip(g, -5, 5)


def by_name(g: Any, most: float = 0.1) -> Any:
    return np.clip(g, -most, most)


def by_norm(g: Any) -> Any:
    norm = np.linalg.norm(g)
    return g * (0.1 / norm) if norm > 0.1 else g


def clip_them(g: Any) -> Any:
    return np.clip(g, -1, 1)


def by_helper(g: Any) -> Any:
    return clip_them(g)


def clip_home_made(gradients: Any, most: float = 0.25) -> None:
    total = np.sqrt(sum(np.sum(g**2) for g in gradients))
    if total > most:
        for g in gradients:
            g *= most / total


def by_a_norm_of_its_own(g: Any) -> Any:
    g = np.array(g)
    clip_home_made([g])
    return g


def by_a_norm_in_its_lines(g: Any) -> Any:
    norm = np.sqrt((g**2).sum())
    if norm > 0.1:
        g = g * 0.1 / norm
    return g


def by_a_share(g: Any, most: float = 0.25) -> Any:
    total_norm = sum((g**2).sum() for g in [g]) ** 0.5
    return g * min(1.0, most / (total_norm + 1e-6))


def not_at_all(g: Any) -> Any:
    return np.clip(g, 0, 5)


def by_a_norm_of_a_weight(g: Any) -> Any:
    norm = np.sqrt((g**2).sum())
    if norm > 1e-12:
        g = g / norm
    return g


@pytest.mark.parametrize(
    ("function", "bound"),
    [
        (by_number, 5.0),
        (by_name, math.inf),
        (by_norm, math.inf),
        (by_helper, 1.0),
        (by_a_norm_of_its_own, math.inf),
        (by_a_norm_in_its_lines, math.inf),
        (by_a_share, math.inf),
        (not_at_all, None),
        (by_a_norm_of_a_weight, None),
    ],
)
def test_the_bound_is_found_and_the_cut_lifted(function: Any, bound: float | None) -> None:
    g = np.array([-7.0, 3.0])
    assert clip_of(function, {"clip_them": clip_them, "clip_home_made": clip_home_made}) == bound
    with clip_lifted(function, bound):
        given = function(g)
    assert np.array_equal(given, g) == (bound is not None)
    assert not np.array_equal(function(g), g)
