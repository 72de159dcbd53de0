from __future__ import annotations

import numpy as np
import pytest

from bptt.harness.weights.shapes import readings

SIZES = {"D": 7, "H": 5, "P": 5}


@pytest.mark.parametrize(
    ("shape", "words", "style", "order", "blocks"),
    [
        ((7, 20), "D 4H", "columns", "x", 4),
        ((15, 7), "3H D", "rows", "x", 3),
        ((5, 20), "H 4H", "columns", "h", 4),
        ((1, 20, 7), "1 4H D", "rows", "x", 4),
        ((4, 7, 5), "4 D H", "columns", "x", 4),
        ((20,), "4H", "vector", "", 4),
        ((20, 1), "4H 1", "vector", "", 4),
        ((2, 15), "2 3H", "vector", "", 6),
        ((1, 40), "1 8H", "vector", "", 8),
        ((3, 5), "3 H", "vector", "", 3),
    ],
)
def test_a_shape_of_unequal_primes_has_one_reading(shape: tuple[int, ...], words: str, style: str, order: str, blocks: int) -> None:
    (reading,) = [r for r in readings("W", shape, SIZES) if not r.interleaved]
    assert (reading.shape, reading.style, reading.order, len(reading.blocks)) == (words, style, order, blocks)


def test_a_fused_kernel_is_read_in_both_orders() -> None:
    assert {r.order for r in readings("K", (12, 20), SIZES)} == {"xh", "hx"}


def test_square_weights_are_read_both_ways() -> None:
    assert {r.style for r in readings("U", (5, 5), SIZES)} == {"columns", "rows"}


def test_a_projection_is_seen_where_the_output_is_narrower() -> None:
    narrow = {"D": 7, "H": 5, "P": 2}
    for shape, words in (((5, 2), "H P"), ((2, 5), "P H")):
        assert (words, "projection") in {(r.shape, r.style) for r in readings("R", shape, narrow)}
    assert ("P 4H", "columns") in {(r.shape, r.style) for r in readings("U", (2, 20), narrow)}


@pytest.mark.parametrize("shape", [(), (6,), (7,), (7, 17), (7, 25), (9, 7, 5), (2, 2, 5, 7)])
def test_other_shapes_have_no_reading(shape: tuple[int, ...]) -> None:
    assert readings("W", shape, SIZES) == ()


@pytest.mark.parametrize("shape", [(7, 20), (20, 7), (12, 15), (15, 12), (1, 20, 7), (3, 5, 5), (2, 15), (20, 1), (5,), (1, 40)])
def test_the_blocks_of_a_reading_tile_the_tensor(shape: tuple[int, ...]) -> None:
    for reading in readings("W", shape, SIZES):
        count = np.zeros(shape)
        for block in reading.blocks:
            count[block.index] += 1
        assert (count == 1).all(), reading
