"""Shapes that are looked for: what is known to raise is not run again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from bptt.harness.adapters.functions import axes
from bptt.harness.adapters.functions.adapt import torch_call
from bptt.harness.adapters.functions.calling import Call
from bptt.harness.subject import Array
from bptt.harness.targets import load


def five_arrays(x: torch.Tensor, gate: torch.Tensor, w: torch.Tensor, u: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    h = x.new_zeros(x.shape[0], u.shape[0])
    ys = []
    for t in range(x.shape[1]):
        h = torch.sigmoid(gate[:, t]) * h + torch.tanh(x[:, t] @ w + h @ u + b)
        ys.append(h)
    return torch.stack(ys, dim=1)


def never(x: torch.Tensor, w: torch.Tensor, u: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    _a, _b, _c, _d, e = x.shape
    return x * w + u * b + c * e


class Counting(Call):
    """Counts its calls."""

    calls: list[int]

    def results(self, arrays: Mapping[str, Array | None], touched: set[str] | None = None) -> list[Array]:
        self.calls[0] += 1
        return super().results(arrays, touched)


def counted(function: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[axes.Shapes | None, int]:
    call = torch_call(function, None, "cpu")
    assert call is not None
    counting = Counting(**vars(call))
    object.__setattr__(counting, "calls", [0])
    return axes.running(counting, "float64")[0], counting.calls[0]


@pytest.mark.parametrize("function", [five_arrays, never])
def test_what_raised_before_an_argument_was_looked_at_is_not_run_with_others_of_it(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found, calls = counted(function, monkeypatch)
    monkeypatch.setattr(axes.DeadEnds, "add", lambda self, layout, touched: None)
    monkeypatch.setattr(axes, "_MOST_TRIES", 1000)
    slowly, more = counted(function, monkeypatch)
    assert slowly is None or slowly == found
    assert (found is None) == (function is never)
    assert calls < more if found else 4 * calls < more


def test_an_array_that_was_not_looked_at_is_no_reason() -> None:
    ends = axes.DeadEnds()
    ends.add({"x": ("P", "Q"), "w": ("K",)}, {"x"})
    ends.add({"x": ("P",), "w": ("V",)}, {"x", "w"})
    ends.add({"x": ("Q",), "w": ("V",)}, set())
    tries: list[axes.Layout] = [
        {"x": ("P", "Q"), "w": ("V",)}, {"x": ("P",), "w": ("V",)}, {"x": ("P",), "w": ("K",)}, {"x": ("Q",), "w": ("V",)}
    ]  # fmt: skip
    assert list(ends.passed_over(iter(tries))) == tries[2:]


def selective(x: Any, delta: Any, A: Any, B_mat: Any, C_mat: Any, D_skip: Any) -> torch.Tensor:
    a = torch.exp(delta.unsqueeze(-1) * A)
    b = delta.unsqueeze(-1) * B_mat.unsqueeze(2) * x.unsqueeze(-1)
    h, ys = x.new_zeros(x.shape[0], x.shape[2], A.shape[1]), []
    for t in range(x.shape[1]):
        h = a[:, t] * h + b[:, t]
        ys.append((C_mat[:, t].unsqueeze(1) * h).sum(-1))
    return torch.stack(ys, dim=1) + D_skip * x


def test_a_matrix_of_a_state_space_model_is_known_under_a_longer_name() -> None:
    [subject] = load(selective)
    assert subject.operator is not None
