"""The dot test in fifty digits tells a rounding error from a mistake, however small."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bptt.harness.call.cell import Gradients, backward, run
from bptt.harness.cases import Case, cotangents
from bptt.harness.gradient import precision
from bptt.harness.gradient.derivatives.blocks import Block
from bptt.harness.gradient.derivatives.multiprecision import discrepancy_in_digits
from bptt.harness.gradient.derivatives.tangent import signed_directions
from bptt.harness.targets import load
from tests.harness.checks.right import Float64Buffers, TextbookLSTM
from tests.harness.gradient.support import changed, drawn, shrinks_with_precision

SMALL = Case(T=2, N=1, D=2, H=2)
BLOCKS = (Block("params", "W"), Block("params", "b", (slice(2, 4),)), Block("xs", "xs"), Block("state", "c"))


@pytest.mark.parametrize("block", BLOCKS, ids=str)
@pytest.mark.parametrize("regime", ["standard", "saturated", "closed"])
def test_a_right_formula_agrees_to_fifty_digits(block: Block, regime: str) -> None:
    (subject,) = load(TextbookLSTM)
    case = replace(SMALL, regime=regime)
    data = drawn(subject, case)
    v = cotangents(subject, case, *run(subject, data))[0]
    u = signed_directions(np.random.default_rng(0), block.input(data)[block.index], 1)[0]
    found = discrepancy_in_digits(subject, data, v, block, u)
    assert found is not None
    assert found < 1e-49


@pytest.mark.parametrize("error", [1e-3, 1e-13])
def test_a_mistake_stays(error: float) -> None:
    def wrong(g: Gradients) -> Gradients:
        return replace(g, params=g.params | {"W": g.params["W"] * (1 + error)})

    (subject,) = load(TextbookLSTM)
    data = drawn(subject, SMALL)
    v = cotangents(subject, SMALL, *run(subject, data))[0]
    found = discrepancy_in_digits(changed(subject, wrong), data, v, BLOCKS[0], np.ones_like(data.params["W"]))
    assert found is not None
    assert found > 1e-4 * error
    assert not np.array_equal(backward(changed(subject, wrong), data, v).params["W"], backward(subject, data, v).params["W"])


def test_buffers_of_floats_and_large_cases_give_no_answer() -> None:
    for cell, case in ((Float64Buffers, SMALL), (TextbookLSTM, Case(T=60, N=8, D=16, H=16))):
        (subject,) = load(cell)
        data = drawn(subject, case)
        v = cotangents(subject, case, *run(subject, data))[0]
        assert discrepancy_in_digits(subject, data, v, Block("params", "b"), np.ones_like(data.params["b"])) is None


def test_it_decides_where_longdouble_is_no_wider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "U80", precision.U64)
    (subject,) = load(TextbookLSTM)
    case = replace(SMALL, regime="saturated")
    data = drawn(subject, case)
    v = cotangents(subject, case, *run(subject, data))[0]
    u = np.ones_like(data.params["W"])
    wrong = changed(subject, lambda g: replace(g, params=g.params | {"W": g.params["W"] * (1 + 1e-12)}))
    assert shrinks_with_precision(subject, data, v, BLOCKS[0], u) is True
    assert shrinks_with_precision(wrong, data, v, BLOCKS[0], u) is False
