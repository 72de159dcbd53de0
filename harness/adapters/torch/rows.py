"""Modules that take one sequence, or one step of one, at a time: x (T, D) or (D,), no axis of a batch.

The module that is called is the user's own, once for each row of a batch: x (T, N, D) is N calls.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal

import torch

#: Whether a state of one row keeps an axis of size 1 for the batch, (1, H) or (layers, 1, H), or has none, (H,) or (layers, H), or is a
#: column (H, 1), as x is then.
Rows = Literal["bare", "kept", "columns"]


def by_row(module: torch.nn.Module, states: Rows) -> torch.nn.Module:
    """`module`, called with x (T, N, D) or (N, D), and states (N, H) or (layers, N, H)."""
    own = type(module)

    @functools.wraps(own.forward)
    def forward(self: Any, x: torch.Tensor, *given: Any, **more: Any) -> Any:
        rows = [_column(row, states) for row in x.unbind(x.ndim - 2)]
        each = [own.forward(self, row, *(_row(s, n, states) for s in given), **more) for n, row in enumerate(rows)]
        return _together(each, x, states)

    members = {"forward": forward, "__module__": own.__module__, "bptt_user_class": getattr(own, "bptt_user_class", own)}
    module.__class__ = type(own.__name__, (own,), members)
    return module


def _row(state: Any, n: int, states: Rows) -> Any:
    if isinstance(state, torch.Tensor):
        axis = state.ndim - 2
        return state.narrow(axis, n, 1) if states == "kept" else _column(state.select(axis, n), states)
    return type(state)(_row(part, n, states) for part in state) if type(state) in (tuple, list) else state


def _column(row: torch.Tensor, states: Rows) -> torch.Tensor:
    return row.unsqueeze(-1) if states == "columns" else row


def _together(results: Sequence[Any], x: torch.Tensor, states: Rows) -> Any:
    """Results of the rows side by side: the first is the output, (T, O), (T, 1, O) or (O,), all others are states."""
    first = results[0]
    if isinstance(first, torch.Tensor):
        over_time = x.ndim == 3 and first.ndim == 2 and len(first) == len(x)
        return _beside(results, states, over_time)
    if type(first) not in (tuple, list):
        return first
    parts = list(zip(*results, strict=True))
    joined = [_together(parts[0], x, states), *(_states(part, states) for part in parts[1:])]
    return type(first)(joined)


def _states(parts: Sequence[Any], states: Rows) -> Any:
    if isinstance(parts[0], torch.Tensor):
        return _beside(parts, states)
    if type(parts[0]) in (tuple, list):
        return type(parts[0])(_states(each, states) for each in zip(*parts, strict=True))
    return parts[0]


def _beside(rows: Sequence[torch.Tensor], states: Rows, over_time: bool = False) -> torch.Tensor:
    """One tensor, whose last axis but one is that of the batch."""
    if states == "columns" and rows[0].ndim > 1 and rows[0].shape[-1] == 1:
        rows = [row.squeeze(-1) for row in rows]
    one = rows[0].ndim == 3 or (states != "bare" and rows[0].ndim == 2 and not over_time)
    return torch.cat(list(rows), -2) if one and rows[0].shape[-2] == 1 else torch.stack(list(rows), max(rows[0].ndim - 1, 0))
