"""The networks that are trained in torch: torch.nn's own layers, and torch's own differentiation.

loss(inputs, targets, state, masks, lengths)   -> loss, final state        state: None where it is zero
predict(inputs, state)                         -> scores, final state
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, linear, one_hot

from bptt.harness.errors import UsageError
from bptt.harness.subject import Array
from bptt.harness.torch_models.layers import Network, States, cross_entropy, side_by_side, unrolled
from bptt.refimpl import find
from bptt.refimpl.attention import ADDITIVE
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.models.language_model import LanguageModel
from bptt.refimpl.models.regressor import Regressor
from bptt.refimpl.models.word_rnn import WordRNN
from bptt.refimpl.seq2seq import Inputs, Seq2Seq, Targets
from bptt.refimpl.stack import Stack, single
from bptt.refimpl.types import Params

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "identity": torch.clone,
}
Masks = Sequence[Array] | None


class LanguageNetwork(Network):
    """bptt.refimpl.models.language_model."""

    def __init__(self, model: LanguageModel, params: Params) -> None:
        super().__init__()
        self.words = self.embedding("E", params) if model.embedding else None
        self.layers = self.recurrent(model.stack, params)
        tied = self.words is not None and model.tied
        self.head = None if tied else self.linear("W_y", "b_y", params)
        self.b_y = self.own("b_y", params) if self.head is None else self.head.bias

    def predict(self, inputs: Array, state: Any, masks: Masks = None, lengths: Array | None = None) -> tuple[Tensor, States]:
        ids, left = torch.tensor(inputs), [torch.tensor(mask) for mask in masks or ()]
        if self.words is None:
            xs = one_hot(ids, len(self.b_y)).to(self.b_y.dtype)
        else:
            xs = self.words(ids)
            xs = xs * left.pop(0) if left else xs
        ys, final = unrolled(self.layers, xs, state, left, lengths)
        if self.head is not None:
            return self.head(ys), final
        assert self.words is not None  # a head is left out where the embedding stands for it
        return linear(ys, self.words.weight, self.b_y), final

    def loss(self, inputs: Array, targets: Array, state: Any, masks: Masks = None, lengths: Array | None = None) -> tuple[Tensor, States]:
        scores, final = self.predict(inputs, state, masks, lengths)
        return cross_entropy(scores, targets, lengths), final


class RowNetwork(Network):
    """One Elman layer as it is written from scratch: the rows of W_x are looked up, and the steps are a loop."""

    def __init__(self, model: LanguageModel, params: Params) -> None:
        super().__init__()
        if model.cells != ("elman",) or model.bidirectional or model.embedding:
            raise ValueError(f"RowNetwork: the model is {model}, wanted one Elman layer without an embedding")
        self.W_x, self.W_h, self.b = (self.own(f"{name}_l0", params) for name in ("W_x", "W_h", "b"))
        self.W_y, self.b_y = self.own("W_y", params), self.own("b_y", params)

    def predict(self, inputs: Array, state: Any) -> tuple[Tensor, Any]:
        axs = embedding(torch.from_numpy(inputs), self.W_x) + self.b
        h, hs = _start(axs, state), []
        for ax in axs:
            h = torch.tanh(ax + h @ self.W_h)
            hs.append(h)
        return torch.stack(hs) @ self.W_y + self.b_y, [h]

    def loss(self, inputs: Array, targets: Array, state: Any, masks: Masks = None, lengths: Array | None = None) -> tuple[Tensor, Any]:
        scores, final = self.predict(inputs, state)
        return cross_entropy(scores, targets), final


class WordNetwork(Network):
    """bptt.refimpl.models.word_rnn: with a truncation, each step's error starts a graph of its own that many steps back."""

    def __init__(self, model: WordRNN, params: Params) -> None:
        super().__init__()
        self.truncation = model.truncation
        self.act: Callable[[Tensor], Tensor] = ACTIVATIONS[model.activation]
        self.U, self.W, self.V = (self.own(name, params) for name in ("U", "W", "V"))

    def predict(self, inputs: Array, state: Any) -> tuple[Tensor, Any]:
        axs = embedding(torch.from_numpy(inputs), self.U)
        hs = self._states(axs, _start(axs, state))
        return torch.stack(hs) @ self.V, [hs[-1]]

    def loss(self, inputs: Array, targets: Array, state: Any, masks: Masks = None, lengths: Array | None = None) -> tuple[Tensor, Any]:
        axs = embedding(torch.from_numpy(inputs), self.U)
        start = _start(axs, state)
        hs = self._states(axs, start)
        if self.truncation is not None:
            before = [start, *(h.detach() for h in hs)]
            firsts = [max(t - self.truncation, 0) for t in range(len(hs))]
            hs = [self._states(axs[first : t + 1], before[first])[-1] for t, first in enumerate(firsts)]
        return cross_entropy(torch.stack(hs) @ self.V, targets, reduction="sum"), [hs[-1]]

    def _states(self, axs: Tensor, h: Tensor) -> list[Tensor]:
        hs = []
        for ax in axs:
            h = self.act(ax + h @ self.W)
            hs.append(h)
        return hs


class RegressorNetwork(Network):
    """bptt.refimpl.models.regressor."""

    def __init__(self, model: Regressor, params: Params) -> None:
        super().__init__()
        self.minimal = model.cell == "minimal"
        if self.minimal:
            self.W_x, self.W_h = self.own("W_x", params), self.own("W_h", params)
        else:
            self.layers = self.recurrent(single(find(model.cell)), params)
        self.W_y, self.b_y = self.own("W_y", params), self.own("b_y", params)

    def predict(self, inputs: Array, state: Any) -> tuple[Tensor, Any]:
        xs = torch.from_numpy(inputs)
        if self.minimal:
            axs = xs @ self.W_x
            h = _start(axs, None)
            for ax in axs:
                h = ax + h @ self.W_h
        else:
            ys, _ = unrolled(self.layers, xs, None)
            h = ys[-1]
        return h @ self.W_y + self.b_y, None

    def loss(self, inputs: Array, targets: Array, state: Any, masks: Masks = None, lengths: Array | None = None) -> tuple[Tensor, Any]:
        y, _ = self.predict(inputs, state)
        return torch.nn.functional.mse_loss(y, torch.from_numpy(targets)), None


class Seq2SeqNetwork(Network):
    """bptt.refimpl.seq2seq, with attention of either kind or none."""

    def __init__(self, model: Seq2Seq, params: Params) -> None:
        super().__init__()
        self.both = _stack(model.encoder).bidirectional
        self.additive = model.attention is ADDITIVE
        self.sources, self.targets = self.embedding("E_source", params), self.embedding("E_target", params)
        self.encoder = self.recurrent(_stack(model.encoder), params, "encoder_")
        self.decoder = self.recurrent(_stack(model.decoder), params, "decoder_")
        if self.additive:
            self.W_q, self.W_k = self.linear("attention_W_q", None, params), self.linear("attention_W_k", None, params)
            self.v = self.own("attention_v", params)
        self.joint = None if model.attention is None else self.linear("W_c", "b_c", params)
        self.head = self.linear("W_y", "b_y", params)

    def loss(
        self, inputs: Inputs, targets: Targets, state: Any, masks: Masks = None, lengths: Array | None = None
    ) -> tuple[Tensor, States]:
        keys, final = unrolled(self.encoder, self.sources(torch.tensor(inputs.sources)), None, lengths=inputs.lengths)
        start = [side_by_side(last) for last in final] if self.both else final
        tops, _ = unrolled(self.decoder, self.targets(torch.tensor(inputs.givens)), start)
        if self.joint is not None:
            scores = self._scores(tops, keys)
            if inputs.lengths is not None:
                padding = torch.arange(len(keys)) >= torch.tensor(inputs.lengths)[:, None]
                scores = scores.masked_fill(padding, -torch.inf)
            context = torch.einsum("tns,snk->tnk", scores.softmax(dim=2), keys)
            tops = torch.tanh(self.joint(torch.cat([context, tops], dim=2)))
        return cross_entropy(self.head(tops), targets.symbols, targets.lengths), []

    def _scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """How well the decoder's states fit the encoder's.   (T, N, S)"""
        if not self.additive:
            return torch.einsum("tnk,snk->tns", queries, keys)
        return torch.tanh(self.W_q(queries)[:, :, None] + self.W_k(keys).transpose(0, 1)[None]) @ self.v


def network(model: Any, params: Params, rows: bool = False) -> Any:
    """The same network in torch, in the dtype of the parameters.   rows: of a model of one-hot inputs the one that looks rows up

    Raises UsageError where torch has no such module.
    """
    match model:
        case LanguageModel():
            return RowNetwork(model, params) if rows else LanguageNetwork(model, params)
        case WordRNN():
            return WordNetwork(model, params)
        case Regressor():
            return RegressorNetwork(model, params)
        case Seq2Seq():
            return Seq2SeqNetwork(model, params)
    raise UsageError(f"model is {type(model).__name__}, wanted one that is built in torch too")


def _stack(part: Cell | Stack) -> Stack:
    return part if isinstance(part, Stack) else Stack((part,))


def _start(axs: Tensor, state: Any) -> Tensor:
    """h_0 (N, H): zeros, or the state that is carried."""
    return axs.new_zeros(axs.shape[1:]) if state is None else state[0]
