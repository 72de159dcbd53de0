from __future__ import annotations

import numpy as np
import pytest

from bptt.harness.cases import Case
from bptt.harness.gradient.derivatives.blocks import Block, blocks
from bptt.refimpl import CELLS
from tests.harness.gradient.support import drawn, reference


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", CELLS)
def test_blocks_cover_every_entry_once(name: str, known: bool) -> None:
    subject = reference(name)
    for case in (Case(), Case(D=7), Case(T=1, N=1, D=1, H=1)):
        data = drawn(subject, case)
        regions = subject.regions(data.params) if known else ()
        seen = {("params", k): np.zeros(v.shape, int) for k, v in data.params.items()}
        seen |= {("xs", "xs"): np.zeros(data.xs.shape, int)} | {("state", k): np.zeros(v.shape, int) for k, v in data.state.items()}
        for block in blocks(case, data, regions):
            seen[block.source, block.tensor][block.index] += 1
        assert all((count == 1).all() for count in seen.values())


def test_gates_have_their_names_or_stand_ins() -> None:
    subject, case = reference("lstm"), Case()
    data = drawn(subject, case)
    named = [b.gate for b in blocks(case, data, subject.regions(data.params)) if b.tensor == "W_h"]
    assert named == ["i", "f", "g", "o"]
    assert [b.gate for b in blocks(case, data, ()) if b.tensor == "b"] == [f"block {k} of 4" for k in (1, 2, 3, 4)]


def test_long_sequences_keep_their_first_and_last_step() -> None:
    subject, case = reference("elman"), Case(T=300, N=1)
    steps = [b.step for b in blocks(case, drawn(subject, case), ()) if b.source == "xs"]
    assert (steps[0], steps[-1], len(steps)) == (0, 299, 64)


def test_a_direction_moves_its_block_alone() -> None:
    data = drawn(reference("lstm"))
    u = np.ones((7, 7))
    direction = Block("params", "W_h", (slice(None), slice(7, 14)), "f").direction_along(data, u)
    assert set(direction.params) == {"W_h"}
    assert direction.params["W_h"].sum() == direction.params["W_h"][:, 7:14].sum() == 49
    assert Block("state", "c").direction_along(data, np.ones((2, 7))).state["c"].shape == (2, 7)
