"""A shape tells its axes, and a layout is brought in and out without loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.harness.adapters.reading.code.layout import Sizes, canonical, formed, layout_of, unsqueezed
from bptt.harness.adapters.reading.passes.form import SEQUENCES, STEPS

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("layout", sorted({x for x, _ in SEQUENCES if not x.islower()}))
def test_a_sequence_comes_back_as_it_was(layout: str) -> None:
    sizes = Sizes() if "N" in layout else Sizes().one_row()
    xs = RNG.normal(size=(sizes.T, sizes.N, sizes.D))
    np.testing.assert_array_equal(canonical(formed(xs, "TND", layout), layout, "TND"), xs)


@pytest.mark.parametrize("layout", sorted({x for x, _ in STEPS if not x.islower()}))
def test_a_step_comes_back_as_it_was(layout: str) -> None:
    sizes = Sizes() if "N" in layout else Sizes().one_row()
    x = RNG.normal(size=(sizes.N, sizes.D))
    np.testing.assert_array_equal(canonical(formed(x, "ND", layout), layout, "ND"), x)


@pytest.mark.parametrize(
    ("value", "layout"),
    [
        (np.zeros((7, 2, 3)), "HNT"),
        ([np.zeros((7, 1))] * 3, "T:H1"),
        ({-1: np.zeros((7, 1)), 0: np.zeros((7, 1)), 1: np.zeros((7, 1)), 2: np.zeros((7, 1))}, "S:H1"),
        (np.zeros((4, 7)), "SH"),
        (np.zeros((7, 5)), None),
        (np.zeros((7, 7)), None),
        (np.zeros(28), None),
        (1.5, ""),
        ("a word", None),
    ],
)
def test_what_a_shape_tells(value: object, layout: str | None) -> None:
    assert layout_of(value, Sizes()) == layout


def test_no_size_is_the_sum_or_a_small_multiple_of_others() -> None:
    sizes = Sizes()
    own = [sizes.T, sizes.N, sizes.D, sizes.H, sizes.O]
    made = [sizes.D + sizes.H, *(k * sizes.H for k in (2, 3, 4)), sizes.T + 1]
    assert len(set(own + made)) == len(own + made)


@pytest.mark.parametrize(
    ("shape", "layout", "known", "whole"),
    [((5,), "TH", {"H": 1}, (5, 1)), ((7,), "TH", {"H": 7}, (1, 7)), ((), "TH", {"H": 1}, (1, 1)), ((5, 7), "TH", {"H": 7}, (5, 7))],
)
def test_axes_that_a_squeeze_took_away_come_back(shape: Any, layout: str, known: Any, whole: Any) -> None:
    assert unsqueezed(np.zeros(shape), layout, known).shape == whole
