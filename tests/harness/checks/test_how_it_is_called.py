"""Mistakes that show only in how a torch cell is called: found, and called what they are."""

from __future__ import annotations

from typing import Any

import pytest

from bptt.harness.run.runner import check

torch = pytest.importorskip("torch", reason="needs torch")


class Product(torch.autograd.Function):  # type: ignore[misc]  # torch is not typed
    """x @ W, its derivative written by hand."""

    @staticmethod
    def forward(ctx: Any, x: Any, W: Any) -> Any:
        ctx.save_for_backward(x, W)
        return x @ W

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        x, W = ctx.saved_tensors
        return dy @ W.T, x.T @ dy


class OfTheBytes(Product):
    """As a kernel that reads the input's memory as if its rows lay one after the other."""

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        x, W = ctx.saved_tensors
        if not x.is_contiguous():
            x = torch.as_strided(x, x.shape, (x.shape[1], 1))
        return dy @ W.T, x.T @ dy


class UsedUp(Product):
    """As a kernel that overwrites what it has saved."""

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        x, W = ctx.saved_tensors
        used = getattr(ctx, "used", False)
        ctx.used = True
        return dy @ W.T, (0 if used else 1) * x.T @ dy


def cell(product: Any) -> type:
    class Elman(torch.nn.Module):  # type: ignore[misc]  # torch is not typed
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__()
            self.W = torch.nn.Parameter(torch.randn(input_size, hidden_size) / 2)
            self.U = torch.nn.Parameter(torch.randn(hidden_size, hidden_size) / 2)
            self.hidden_size = hidden_size

        def forward(self, x: Any, h: Any) -> Any:
            return torch.tanh(product.apply(x, self.W) + h @ self.U)

    return Elman


@pytest.mark.thorough
def test_a_right_function_passes() -> None:
    run = check(cell(Product), isolate=False)
    assert run.ok, run.text()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("product", "id", "words"),
    [(OfTheBytes, "CON190", "contiguous"), (UsedUp, "CON196", "second backward")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_it_is_found_and_called_what_it_is(product: type, id: str, words: str) -> None:
    run = check(cell(product), isolate=False)
    assert [r.check for r in run.failed] == [id], run.text()
    finding = run[id].finding
    assert finding is not None
    assert words in finding.headline
