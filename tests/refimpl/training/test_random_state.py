"""The state of a generator as JSON, and a generator from it that draws the same numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bptt.refimpl.training.random_state import KINDS, frozen, thawed


@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_goes_on_where_it_was(kind: str) -> None:
    rng = np.random.Generator(getattr(np.random, kind)(7))
    rng.random(11)
    rng.integers(5, size=3, dtype=np.int32)  # leaves half of a number behind
    state = json.loads(json.dumps(frozen(rng)))
    again = thawed(state)
    for draw in (lambda g: g.integers(5, size=3, dtype=np.int32), lambda g: g.normal(size=700), lambda g: g.permutation(9)):
        np.testing.assert_array_equal(draw(rng), draw(again))
    assert frozen(thawed(state)) == state


def test_a_state_does_not_move_with_its_generator() -> None:
    rng = np.random.default_rng(0)
    state = frozen(rng)
    rng.random()
    assert frozen(rng) != state


@pytest.mark.parametrize("kind", ["os.system", "Generator", None])
def test_a_kind_that_is_none(kind: str | None) -> None:
    with pytest.raises(ValueError, match="but should be one of PCG64"):
        thawed({"bit_generator": kind, "state": {}})
