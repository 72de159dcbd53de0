"""The same for torch: an autograd.Function with a backward by hand, and autograd that is cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.graph.planting import planted, why

pytest.importorskip("torch", reason="torch is not installed")

CELL = (Path(__file__).parents[3] / "examples" / "torch_custom_function.py").read_text()
PLANTS = {
    "derivative": ("da = dh * (1 - h * h)", "da = dh * (1 - h)", "derivative-wrong"),
    "derivative left out": ("da = dh * (1 - h * h)", "da = dh", "derivative-missing"),
    "transposed": ("da @ W_h.T, x.T @ da", "da @ W_h, x.T @ da", "transposed"),
    "new state for old": ("h_prev.T @ da", "h.T @ da", "operand-wrong"),
    "mean over the batch": ("da.sum(dim=0)", "da.mean(dim=0)", "edge-scaled"),
    "detached": ("ElmanStep.apply(x, h, self", "ElmanStep.apply(x, h.detach(), self", "edge-missing"),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_mistake_is_named_with_its_line(plant: str, tmp_path: Path) -> None:
    before, after, code = PLANTS[plant]
    subject, line = planted(CELL, before, after, tmp_path, "FusedElmanCell")
    found = why(subject)
    assert [cause.code for cause in found.causes] == [code], found
    source = found.causes[0].source
    assert source is not None
    assert abs(source.line - line) <= 1


def test_a_right_module_has_no_cause(tmp_path: Path) -> None:
    subject, _ = planted(CELL, "da", "da", tmp_path, "FusedElmanCell")
    found = why(subject)
    assert found.causes == ()
    assert not found.refusal
