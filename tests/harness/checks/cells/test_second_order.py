"""GRD230 with pairs that are given: which block is blamed, and in which words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bptt.harness.cases import Case
from bptt.harness.checks.cells import second_order
from bptt.harness.checks.evidence import Evidence, NotApplicable
from bptt.harness.gradient.derivatives.blocks import Block
from bptt.harness.gradient.second_order import Pair, Symmetry
from tests.harness.checks.cells.asked import SMALL, context
from tests.harness.checks.planted import Clean

A, B, XS = Block("params", "A"), Block("params", "B", gate="f", layer=2, direction="reverse"), Block("xs", "xs")


def pair(first: Block, second: Block, relative: float = 0.5) -> Pair:
    return Pair(first, second, 2.0, 3.0, relative)


def said(monkeypatch: pytest.MonkeyPatch, *wrong: Pair, pairs: int = 9, case: Case = SMALL, **fields: Any) -> tuple[Evidence, list[Case]]:
    asked: list[Case] = []

    def symmetry(_: Any, case: Case, regions: Any) -> Symmetry:
        asked.append(case)
        return Symmetry("differences", 3e-15, pairs, wrong)

    monkeypatch.setattr(second_order, "symmetry", symmetry)
    (found,) = second_order.backward_is_the_gradient_of_some_function(context(Clean, **fields), case)
    return found, asked


def test_what_stands_in_most_pairs_is_blamed_and_the_other_of_its_first_pair_named(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "backward is not the gradient of any function: dL/dB, gate f does not fit "
    for wrong, other in (
        ((pair(A, B), pair(B, XS)), "dL/dA"),
        ((pair(B, XS), pair(A, B)), "dL/dxs"),
        ((pair(A, XS, 0.9), pair(B, XS), pair(A, B), pair(B, B)), "dL/dxs"),
        ((pair(B, B), pair(A, B)), "itself"),
    ):
        found, _ = said(monkeypatch, *wrong)
        assert not found.holds and found.headline == words + other
        assert (found.where.tensor, found.where.gate, found.where.layer, found.where.direction) == ("B", "f", 2, "reverse")
        assert (found.observed, found.expected, found.relative_error, found.bad, found.total) == (2.0, 3.0, 0.5, len(wrong), 9)
    found, _ = said(monkeypatch, *(pair(B, block) for block in (A, XS, B, A)))
    assert found.metrics["scope"] == "dL/dB, gate f and dL/dA; dL/dB, gate f and dL/dxs; dL/dB, gate f and dL/dB, gate f"


def test_a_block_counts_once_in_a_pair_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = said(monkeypatch, pair(A, A), pair(B, XS), pair(B, B))
    assert found.where.tensor == "B"


def test_where_all_pairs_agree_it_is_some_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = said(monkeypatch)
    assert found.holds and found.total == 9
    assert found.metrics == {"max_relative_error": 3e-15, "pairs": 9, "second derivatives by": "differences through its backward"}
    with pytest.raises(NotApplicable, match="gives no gradients"):
        said(monkeypatch, pairs=0)
    with pytest.raises(NotApplicable, match="works in float32"):
        said(monkeypatch, dtype="float32")


def test_a_truncated_backward_is_asked_within_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    for k, T in ((None, 5), (0, 1), (2, 3), (4, 5), (7, 5)):
        assert said(monkeypatch, case=replace(SMALL, T=5), truncation=k)[1][0].T == T
