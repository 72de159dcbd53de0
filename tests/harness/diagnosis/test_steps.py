"""A surrogate gradient is no derivative of the forward pass, and is told from a mistake that nobody knows."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from bptt.harness.run.runner import check  # noqa: E402 - torch comes first, or the whole module is skipped


class Threshold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Any) -> Any:
        ctx.save_for_backward(v)
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, d: Any) -> Any:
        return d / (1 + ctx.saved_tensors[0].abs()) ** 2


class OddSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Any) -> Any:
        ctx.save_for_backward(v)
        return torch.tanh(v)

    @staticmethod
    def backward(ctx: Any, d: Any) -> Any:
        return d / (1 + ctx.saved_tensors[0].abs()) ** 2


class Spiking(torch.nn.Module):
    spike: Any = Threshold

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, x: Any, h: Any) -> Any:
        return 0.9 * h + self.spike.apply(self.inner(torch.cat([x, h], -1)))


class Smooth(Spiking):
    """As wrong, and no step in it."""

    spike = OddSquare


class StraightThrough(Spiking):
    def forward(self, x: Any, h: Any) -> Any:
        p = torch.sigmoid(self.inner(torch.cat([x, h], -1)))
        hard = torch.round(p)
        return hard + p - p.detach()


@pytest.mark.parametrize(("cell", "text"), [(Spiking, "(v > 0).to(v.dtype)"), (StraightThrough, "torch.round(p)"), (Smooth, "")])
def test_a_step_on_the_way_is_named_with_its_line(cell: type, text: str) -> None:
    finding = check(cell, isolate=False, select=["GRD110"])["GRD110"].finding
    assert finding is not None and finding.code == "BUG"
    said = [cause for cause in finding.causes if cause.code == "step-forward"]
    assert len(said) == bool(text)
    if text:
        assert said[0] is finding.causes[0] and text in said[0].hypothesis
        assert finding.source is not None and finding.source.file.endswith("test_steps.py")
