"""The models as they are built in torch, of torch.nn's own modules, with our weights in them and our names for them.

A weight of ours (I, O) is torch's (O, I).  Where our cell has one bias, torch's second is held at zero and not trained.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bptt.harness.errors import UsageError
from bptt.harness.lockstep.models import Batch
from bptt.refimpl.attention import ADDITIVE
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.models.language_model import LanguageModel
from bptt.refimpl.seq2seq import Seq2Seq
from bptt.refimpl.stack import Stack
from bptt.refimpl.types import Array, Params

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


class Twin(torch.nn.Module):
    """A module that knows which of its tensors is which parameter of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.ours: dict[str, torch.nn.Parameter] = {}
        self.turned: set[str] = set()

    def take(self, name: str, tensor: Any, value: Array, turned: bool) -> None:
        """Put our value into torch's tensor."""
        self.ours[name] = tensor
        if turned:
            self.turned.add(name)
        with torch.no_grad():
            tensor.copy_(torch.tensor(value.T if turned else value))

    def values(self) -> dict[str, Array]:
        return {name: self._ours(name, tensor) for name, tensor in self.ours.items()}

    def gradients(self) -> dict[str, Array]:
        return {name: self._ours(name, tensor.grad) for name, tensor in self.ours.items()}

    def linear(self, W: str, b: str | None, params: Params) -> torch.nn.Linear:
        """x @ W + b"""
        I, O = params[W].shape  # noqa: E741  # the reference's names
        made = torch.nn.Linear(I, O, bias=b is not None, dtype=torch.float64)
        self.take(W, made.weight, params[W], turned=True)
        if b is not None:
            self.take(b, made.bias, params[b], turned=False)
        return made

    def embedding(self, E: str, params: Params) -> torch.nn.Embedding:
        V, width = params[E].shape
        made = torch.nn.Embedding(V, width, dtype=torch.float64)
        self.take(E, made.weight, params[E], turned=False)
        return made

    def stacked(self, stack: Stack, params: Params, prefix: str = "") -> torch.nn.ModuleList:
        """One module a layer, because nn.LSTM(num_layers=2) draws its own dropout masks."""
        return torch.nn.ModuleList(self._layer(cell, k, stack, params, prefix) for k, cell in enumerate(stack.cells))

    def _layer(self, cell: Cell, k: int, stack: Stack, params: Params, prefix: str) -> torch.nn.Module:
        if cell.name not in LAYERS:
            raise UsageError(f"lockstep: torch has no layer that is {cell.name!r}, wanted one of {', '.join(LAYERS)}")
        D, H = len(params[f"{prefix}W_x_l{k}"]), len(params[f"{prefix}W_h_l{k}"])
        made: torch.nn.Module = LAYERS[cell.name](D, H, bidirectional=stack.bidirectional, dtype=torch.float64)
        given = set()
        for suffix in stack.suffixes(k):
            for ours, theirs in WEIGHTS.items():
                name, tensor = f"{prefix}{ours}{suffix}", f"{theirs}_l0{suffix.removeprefix(f'_l{k}')}"
                if name in params:
                    self.take(name, made.get_parameter(tensor), params[name], turned=True)
                    given.add(tensor)
        for tensor, parameter in made.named_parameters():
            if tensor not in given:
                parameter.requires_grad_(False).zero_()
        return made

    def _ours(self, name: str, tensor: Any) -> Array:
        value = tensor.detach().numpy()
        return np.array(value.T if name in self.turned else value)


class LanguageModelTwin(Twin):
    def __init__(self, model: LanguageModel, params: Params) -> None:
        super().__init__()
        self.model, self.vocabulary = model, len(params["b_y"])
        self.words = self.embedding("E", params) if model.embedding else None
        self.layers = self.stacked(model.stack, params)
        if self.words is None or not model.tied:
            self.head = self.linear("W_y", "b_y", params)
        else:
            self.head = torch.nn.Linear(self.words.embedding_dim, self.vocabulary, dtype=torch.float64)
            self.head.weight = self.words.weight
            self.take("b_y", self.head.bias, params["b_y"], turned=False)

    def forward(self, batch: Batch, state: States | None) -> tuple[Tensor, States]:
        ids, masks = torch.tensor(batch.inputs), [torch.tensor(mask) for mask in batch.masks or ()]
        if self.words is None:
            xs = torch.nn.functional.one_hot(ids, self.vocabulary).double()
        else:
            xs = self.words(ids) if batch.masks is None else self.words(ids) * masks.pop(0)
        ys, final = _unrolled(self.layers, xs, state, masks, batch.lengths)
        return _cross_entropy(self.head(ys), batch.targets, batch.lengths), final


class Seq2SeqTwin(Twin):
    def __init__(self, model: Seq2Seq, params: Params) -> None:
        super().__init__()
        self.model = model
        self.sources, self.targets = self.embedding("E_source", params), self.embedding("E_target", params)
        self.encoder = self.stacked(_stack(model.encoder), params, "encoder_")
        self.decoder = self.stacked(_stack(model.decoder), params, "decoder_")
        if model.attention is ADDITIVE:
            self.W_q, self.W_k = self.linear("attention_W_q", None, params), self.linear("attention_W_k", None, params)
            self.v = torch.nn.Parameter(torch.tensor(params["attention_v"]))
            self.take("attention_v", self.v, params["attention_v"], turned=False)
        self.joint = None if model.attention is None else self.linear("W_c", "b_c", params)
        self.head = self.linear("W_y", "b_y", params)

    def forward(self, batch: Batch, state: None) -> tuple[Tensor, States]:
        sources, lengths, givens = batch.inputs
        keys, final = _unrolled(self.encoder, self.sources(torch.tensor(sources)), None, [], lengths)
        start = [_side_by_side(last) for last in final] if _stack(self.model.encoder).bidirectional else final
        tops, _ = _unrolled(self.decoder, self.targets(torch.tensor(givens)), start, [], None)
        if self.joint is not None:
            scores = self.scores(tops, keys)
            if lengths is not None:
                scores = scores.masked_fill(torch.arange(len(keys)) >= torch.tensor(lengths)[:, None], -torch.inf)
            context = torch.einsum("tns,snk->tnk", scores.softmax(dim=2), keys)
            tops = torch.tanh(self.joint(torch.cat([context, tops], dim=2)))
        return _cross_entropy(self.head(tops), *batch.targets), []

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """How well the decoder's states fit the encoder's.   (T, N, S)"""
        if self.model.attention is not ADDITIVE:
            return torch.einsum("tnk,snk->tns", queries, keys)
        return torch.tanh(self.W_q(queries)[:, :, None] + self.W_k(keys).transpose(0, 1)[None]) @ self.v


def twin(model: Any, params: Params) -> Twin:
    """The same network in torch, float64.   Raises UsageError where torch has no such module."""
    if isinstance(model, LanguageModel):
        return LanguageModelTwin(model, params)
    if isinstance(model, Seq2Seq):
        return Seq2SeqTwin(model, params)
    raise UsageError(f"lockstep: no twin in torch for a {type(model).__name__}, wanted a LanguageModel or a Seq2Seq")


def detached(states: States) -> States:
    """The same states, where the gradient stops."""
    return [state.detach() if isinstance(state, Tensor) else (state[0].detach(), state[1].detach()) for state in states]


def _side_by_side(last: Hidden) -> Hidden:
    """The last states of both directions as one.   (2, N, H) -> (1, N, 2H)"""
    parts = [torch.cat([state[:1], state[1:]], dim=2) for state in ((last,) if isinstance(last, Tensor) else last)]
    return parts[0] if len(parts) == 1 else (parts[0], parts[1])


def _stack(part: Cell | Stack) -> Stack:
    return part if isinstance(part, Stack) else Stack((part,))


def _unrolled(
    layers: torch.nn.ModuleList, xs: Any, starts: States | None, masks: list[Tensor], lengths: Array | None
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


def _cross_entropy(scores: Tensor, targets: Array, lengths: Array | None) -> Tensor:
    """The mean over the targets that count."""
    counted = torch.ones(targets.shape, dtype=torch.bool) if lengths is None else torch.arange(len(scores))[:, None] < torch.tensor(lengths)
    return torch.nn.functional.cross_entropy(scores[counted], torch.tensor(targets)[counted])
