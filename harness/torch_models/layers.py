"""torch.nn's own layers with our weights in them, and our names for them.

A weight of ours (I, O) is torch's (O, I).  Where our cell has one bias, torch's second is held at zero and not trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bptt.harness.errors import UsageError
from bptt.harness.subject import Array
from bptt.refimpl.stack import REVERSE, Stack
from bptt.refimpl.types import Params

LAYERS: dict[str, Any] = {
    "elman": torch.nn.RNN,
    "elman_relu": partial(torch.nn.RNN, nonlinearity="relu"),
    "lstm": torch.nn.LSTM,
    "gru_reset_after": torch.nn.GRU,
}
#: Of our parameters of a layer: torch's.
WEIGHTS = {"W_x": "weight_ih", "W_h": "weight_hh", "b": "bias_ih", "b_x": "bias_ih", "b_h": "bias_hh"}
Hidden = Tensor | tuple[Tensor, Tensor]
States = list[Hidden]


class Network(torch.nn.Module):
    """A module that knows which of its tensors is which parameter of ours; in the dtype of the parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.ours: dict[str, torch.nn.Parameter] = {}
        self.turned: set[str] = set()

    def values(self) -> dict[str, Array]:
        return {name: self._as_ours(name, tensor) for name, tensor in self.ours.items()}

    def gradients(self) -> dict[str, Array]:
        return {name: self._as_ours(name, tensor.grad) for name, tensor in self.ours.items()}

    def _as_ours(self, name: str, tensor: Any) -> Array:
        value = tensor.detach().numpy()
        return np.array(value.T if name in self.turned else value)

    def take(self, name: str, tensor: Any, value: Array, turned: bool) -> None:
        """Put our value into torch's tensor."""
        self.ours[name] = tensor
        if turned:
            self.turned.add(name)
        with torch.no_grad():
            tensor.copy_(torch.tensor(value.T if turned else value))

    def own(self, name: str, params: Params) -> torch.nn.Parameter:
        """A parameter as ours is."""
        self.ours[name] = torch.nn.Parameter(torch.tensor(params[name]))
        return self.ours[name]

    def linear(self, W: str, b: str | None, params: Params) -> torch.nn.Linear:
        """x @ W + b"""
        I, O = params[W].shape  # noqa: E741  # the reference's names
        made = torch.nn.Linear(I, O, bias=b is not None, dtype=_dtype(params[W]))
        self.take(W, made.weight, params[W], turned=True)
        if b is not None:
            self.take(b, made.bias, params[b], turned=False)
        return made

    def embedding(self, E: str, params: Params) -> torch.nn.Embedding:
        V, width = params[E].shape
        made = torch.nn.Embedding(V, width, dtype=_dtype(params[E]))
        self.take(E, made.weight, params[E], turned=False)
        return made

    def recurrent(self, stack: Stack, params: Params, prefix: str = "") -> torch.nn.ModuleList:
        """One module a layer, because nn.LSTM(num_layers=2) draws its own dropout masks."""
        return torch.nn.ModuleList(self._layer(stack, k, params, prefix) for k in range(len(stack.cells)))

    def _layer(self, stack: Stack, k: int, params: Params, prefix: str) -> torch.nn.Module:
        name, (first, *_) = stack.cells[k].name, stack.suffixes(k)
        if name not in LAYERS:
            raise UsageError(f"torch has no layer that is {name!r}, wanted one of {', '.join(LAYERS)}")
        W_x, W_h = (params[f"{prefix}{weight}{first}"] for weight in ("W_x", "W_h"))
        made: torch.nn.Module = LAYERS[name](len(W_x), len(W_h), bidirectional=stack.bidirectional, dtype=_dtype(W_h))
        free = dict(made.named_parameters())
        for suffix in stack.suffixes(k):
            for ours, theirs in WEIGHTS.items():
                if (full := f"{prefix}{ours}{suffix}") in params:
                    tensor = free.pop(f"{theirs}_l0{REVERSE if suffix.endswith(REVERSE) else ''}")
                    self.take(full, tensor, params[full], turned=True)
        for tensor in free.values():
            tensor.requires_grad_(False).zero_()
        return made


def unrolled(
    layers: torch.nn.ModuleList, xs: Any, starts: States | None, masks: Sequence[Tensor] = (), lengths: Array | None = None
) -> tuple[Tensor, States]:
    """ys of the top layer after its mask, and each layer's last state.   Padding is torch's own packing."""
    T, final = len(xs), []
    for k, layer in enumerate(layers):
        if lengths is not None:
            xs = pack_padded_sequence(xs, torch.tensor(lengths), enforce_sorted=False)
        xs, last = layer(xs, None if starts is None else starts[k])
        if lengths is not None:
            xs, _ = pad_packed_sequence(xs, total_length=T)
        final.append(last)
        if masks:
            xs = xs * masks[k]
    return xs, final


def detached(state: Any) -> Any:
    """The same states, where the gradient stops."""
    if state is None or isinstance(state, Tensor):
        return None if state is None else state.detach()
    return type(state)(detached(each) for each in state)


def side_by_side(last: Hidden) -> Hidden:
    """The last states of both directions as one, (2, N, H) -> (1, N, 2H); those of one direction as they are."""
    if isinstance(last, tuple):
        h, c = (side_by_side(state) for state in last)
        assert isinstance(h, Tensor) and isinstance(c, Tensor)  # two tensors, each made into one
        return h, c
    return torch.cat([last[:1], last[1:]], dim=2) if len(last) == 2 else last


def cross_entropy(scores: Tensor, targets: Array, lengths: Array | None = None, reduction: str = "mean") -> Tensor:
    """Over the targets that count."""
    symbols = torch.tensor(targets)
    if lengths is not None:
        counted = torch.arange(len(scores))[:, None] < torch.tensor(lengths)
        return torch.nn.functional.cross_entropy(scores[counted], symbols[counted], reduction=reduction)
    return torch.nn.functional.cross_entropy(scores.flatten(0, 1), symbols.flatten(), reduction=reduction)


def _dtype(value: Array) -> torch.dtype:
    return torch.from_numpy(value).dtype
