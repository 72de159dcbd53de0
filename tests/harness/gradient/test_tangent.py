from __future__ import annotations

import numpy as np
import pytest

from bptt.harness.cases import Cotangent
from bptt.harness.gradient.derivatives.tangent import Direction, Tangent, astype, contract, moved, signed_directions, tiled
from tests.harness.gradient.support import drawn, reference


def test_directions_are_bounded_away_from_zero_and_have_both_signs() -> None:
    us = signed_directions(np.random.default_rng(0), np.zeros((20, 20)), 5)
    assert len(us) == 5
    assert all(np.min(np.abs(u)) >= 0.5 and np.max(np.abs(u)) <= 1.5 and 0.3 < np.mean(u > 0) < 0.7 for u in us)


def test_moving_leaves_what_is_not_named_where_it_is() -> None:
    data = drawn(reference("lstm"))
    at = moved(data, Direction(params={"b": np.ones_like(data.params["b"])}), 0.5)
    np.testing.assert_array_equal(at.params["b"], data.params["b"] + 0.5)
    assert at.params["W_h"] is data.params["W_h"]
    assert at.xs is data.xs
    assert astype(data, np.float32).state["c"].dtype == np.float32
    assert tiled([data, at]).xs.shape == (5, 4, 3)


def test_contraction_gives_the_value_and_the_size_of_its_terms() -> None:
    t = Tangent(np.array([[[1.0, -2.0]]]), {"h": np.array([[3.0]])})
    assert contract(t, Cotangent("", np.array([[[1.0, 1.0]]]), {"h": np.array([[2.0]])})) == (5.0, 9.0)


def _errors(n: int) -> dict[str, np.ndarray]:
    """Wrong blocks: what is added to the right gradient."""
    rng = np.random.default_rng(1)
    g = rng.normal(size=(n, n))
    single, pair, swap = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n))
    single[3, 4] = 1
    pair[3, 4] = pair[5, 6] = 1
    swap[3, 4], swap[4, 3] = 1, -1
    return {"single entry": single, "pair": pair, "swap": swap, "dense": g, "transposed": g.T - g}


@pytest.mark.parametrize("kind", _errors(10))
def test_one_random_direction_misses_a_wrong_block_at_most_so_often(kind: str) -> None:
    """The chance that the error cancels to below 5 % of its norm; MISS_PER_DRAW stands for it in the record."""
    from bptt.harness.gradient.certificate import MISS_PER_DRAW

    error = _errors(10)[kind]
    draws = np.array([np.sum(u * error) for u in signed_directions(np.random.default_rng(2), error, 40_000)])
    missed = np.mean(np.abs(draws) < 0.05 * np.linalg.norm(error))
    assert missed <= MISS_PER_DRAW
    assert missed > 0 or kind == "single entry"
