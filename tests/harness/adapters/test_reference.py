from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from bptt.harness.adapters.reference import adapt
from bptt.harness.errors import UsageError
from bptt.refimpl import CELLS


@pytest.mark.parametrize("name", ["elman", "lstm", "lstm_peephole", "gru_reset_after", "gru_reset_before"])
def test_every_reference_cell_is_a_right_subject(name: str, errors_of: Any) -> None:
    subject = adapt(CELLS[name], f"refimpl:{name}", None)
    assert subject is not None and subject.like == name
    assert max(errors_of(subject).values()) < 1e-11


def test_regions_cover_the_gates_blocks() -> None:
    impl = adapt(CELLS["lstm"], "t", None).implementation  # type: ignore[union-attr]  # a cell is always taken
    params = impl.init(np.random.default_rng(0), 3, 7)
    covered = {name: np.zeros(value.shape, int) for name, value in params.items()}
    for region in impl.regions(params):
        covered[region.tensor][region.index] += 1
    assert all((count == 1).all() for count in covered.values())


def test_it_travels_to_another_process() -> None:
    subject = adapt(CELLS["lstm"], "t", None)
    assert subject is not None
    assert pickle.loads(pickle.dumps(subject)).implementation == subject.implementation


def test_it_has_no_options() -> None:
    assert adapt(3, "t", None) is None
    with pytest.raises(UsageError, match="no options"):
        adapt(CELLS["lstm"], "t", {"a": 1})
