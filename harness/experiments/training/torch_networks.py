"""The networks that are trained, built in torch with our weights in them: torch.nn's own layers, and torch's own differentiation.

    loss(inputs, targets, state, masks)   -> loss, final state        state: None where it is zero
    predict(inputs, state)                -> scores, final state

A weight of ours (I, O) is torch's (O, I).  Where our cell has one bias, torch's second is held at zero and not trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, embedding, one_hot

from bptt.harness.subject import Array
from bptt.refimpl.attention import ADDITIVE
from bptt.refimpl.models.language_model import LanguageModel
from bptt.refimpl.models.regressor import Regressor
from bptt.refimpl.models.word_rnn import WordRNN
from bptt.refimpl.seq2seq import Inputs, Seq2Seq, Targets
from bptt.refimpl.stack import Stack
from bptt.refimpl.types import Params

LAYERS: dict[str, Any] = {"elman": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru_reset_after": torch.nn.GRU}
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "identity": torch.clone,
}
#: Of our parameters of a layer: torch's.
WEIGHTS = {"W_x": "weight_ih", "W_h": "weight_hh", "b": "bias_ih", "b_x": "bias_ih", "b_h": "bias_hh"}
Masks = Sequence[Array] | None


class LanguageNetwork(torch.nn.Module):
    def __init__(self, model: LanguageModel, params: Params) -> None:
        super().__init__()
        self.words = _parameter(params["E"]) if model.embedding else None
        self.layers = recurrent(model.stack, params)
        self.W_y = _parameter(params["W_y"].T) if self.words is None or not model.tied else self.words
        self.b_y = _parameter(params["b_y"])

    def predict(self, inputs: Array, state: Any, masks: Masks = None) -> tuple[Tensor, Any]:
        ids, left = torch.from_numpy(inputs), [torch.from_numpy(mask) for mask in masks or ()]
        if self.words is None:
            xs = one_hot(ids, len(self.b_y)).to(self.b_y.dtype)
        else:
            xs = embedding(ids, self.words)
            xs = xs * left.pop(0) if left else xs
        ys, final = unrolled(self.layers, xs, state, left)
        return torch.nn.functional.linear(ys, self.W_y, self.b_y), final

    def loss(self, inputs: Array, targets: Array, state: Any, masks: Masks) -> tuple[Tensor, Any]:
        scores, final = self.predict(inputs, state, masks)
        return cross_entropy(scores.flatten(0, 1), torch.from_numpy(targets).flatten()), final


class RowNetwork(torch.nn.Module):
    """One Elman layer as it is written from scratch: the rows of W_x are looked up, and the steps are a loop."""

    def __init__(self, model: LanguageModel, params: Params) -> None:
        super().__init__()
        if model.cells != ("elman",) or model.bidirectional or model.embedding:
            raise ValueError(f"RowNetwork: the model is {model}, wanted one Elman layer without an embedding")
        self.W_x, self.W_h, self.b = (_parameter(params[f"{name}_l0"]) for name in ("W_x", "W_h", "b"))
        self.W_y, self.b_y = _parameter(params["W_y"]), _parameter(params["b_y"])

    def predict(self, inputs: Array, state: Any) -> tuple[Tensor, Any]:
        axs = embedding(torch.from_numpy(inputs), self.W_x) + self.b
        h, hs = _start(axs, state), []
        for ax in axs:
            h = torch.tanh(ax + h @ self.W_h)
            hs.append(h)
        return torch.stack(hs) @ self.W_y + self.b_y, [h]

    def loss(self, inputs: Array, targets: Array, state: Any, masks: Masks) -> tuple[Tensor, Any]:
        scores, final = self.predict(inputs, state)
        return cross_entropy(scores.flatten(0, 1), torch.from_numpy(targets).flatten()), final


class WordNetwork(torch.nn.Module):
    """bptt.refimpl.models.word_rnn: with a truncation, each step's error starts a graph of its own that many steps back."""

    def __init__(self, model: WordRNN, params: Params) -> None:
        super().__init__()
        self.truncation = model.truncation
        self.act: Callable[[Tensor], Tensor] = ACTIVATIONS[model.activation]
        self.U, self.W, self.V = (_parameter(params[name]) for name in ("U", "W", "V"))

    def predict(self, inputs: Array, state: Any) -> tuple[Tensor, Any]:
        axs = embedding(torch.from_numpy(inputs), self.U)
        hs = self._states(axs, _start(axs, state))
        return torch.stack(hs) @ self.V, [hs[-1]]

    def loss(self, inputs: Array, targets: Array, state: Any, masks: Masks) -> tuple[Tensor, Any]:
        axs = embedding(torch.from_numpy(inputs), self.U)
        start = _start(axs, state)
        hs = self._states(axs, start)
        if self.truncation is not None:
            before = [start, *(h.detach() for h in hs)]
            firsts = [max(t - self.truncation, 0) for t in range(len(hs))]
            hs = [self._states(axs[first : t + 1], before[first])[-1] for t, first in enumerate(firsts)]
        scores = torch.stack(hs) @ self.V
        return cross_entropy(scores.flatten(0, 1), torch.from_numpy(targets).flatten(), reduction="sum"), [hs[-1]]

    def _states(self, axs: Tensor, h: Tensor) -> list[Tensor]:
        hs = []
        for ax in axs:
            h = self.act(ax + h @ self.W)
            hs.append(h)
        return hs


class RegressorNetwork(torch.nn.Module):
    def __init__(self, model: Regressor, params: Params) -> None:
        super().__init__()
        self.minimal = model.cell == "minimal"
        if self.minimal:
            self.W_x, self.W_h = _parameter(params["W_x"]), _parameter(params["W_h"])
        else:
            named = {f"{name}_l0": p for name, p in params.items()}
            self.layers = recurrent(Stack((LanguageModel((model.cell,)).stack.cells[0],)), named)
        self.W_y, self.b_y = _parameter(params["W_y"]), _parameter(params["b_y"])

    def predict(self, inputs: Array, state: Any) -> tuple[Tensor, Any]:
        xs = torch.from_numpy(inputs)
        if self.minimal:
            axs = xs @ self.W_x
            h = _start(axs, None)
            for ax in axs:
                h = ax + h @ self.W_h
        else:
            ys, _ = unrolled(self.layers, xs, None, [])
            h = ys[-1]
        return h @ self.W_y + self.b_y, None

    def loss(self, inputs: Array, targets: Array, state: Any, masks: Masks) -> tuple[Tensor, Any]:
        y, _ = self.predict(inputs, state)
        return torch.nn.functional.mse_loss(y, torch.from_numpy(targets)), None


class Seq2SeqNetwork(torch.nn.Module):
    """Of bptt.refimpl.seq2seq with attention: padding is torch's own packing."""

    def __init__(self, model: Seq2Seq, params: Params) -> None:
        super().__init__()
        if model.attention is None or model.attention is ADDITIVE:
            raise ValueError("Seq2SeqNetwork: wanted dot-product attention")
        self.sources, self.targets = _parameter(params["E_source"]), _parameter(params["E_target"])
        self.encoder, self.decoder = (
            recurrent(part if isinstance(part, Stack) else Stack((part,)), params, prefix)
            for part, prefix in ((model.encoder, "encoder_"), (model.decoder, "decoder_"))
        )
        self.W_c, self.b_c, self.W_y, self.b_y = (_parameter(params[name]) for name in ("W_c", "b_c", "W_y", "b_y"))

    def loss(self, inputs: Inputs, targets: Targets, state: Any, masks: Masks) -> tuple[Tensor, Any]:
        assert inputs.lengths is not None and targets.lengths is not None
        lengths = torch.from_numpy(inputs.lengths)
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            embedding(torch.from_numpy(inputs.sources), self.sources), lengths, enforce_sorted=False
        )
        (layer,) = self.encoder
        keys, final = layer(packed)
        keys, _ = torch.nn.utils.rnn.pad_packed_sequence(keys, total_length=len(inputs.sources))
        queries, _ = unrolled(self.decoder, embedding(torch.from_numpy(inputs.givens), self.targets), [_joined(final)], [])
        padding = torch.arange(len(keys)) >= lengths[:, None]
        weights = torch.einsum("tnk,snk->tns", queries, keys).masked_fill(padding, -torch.inf).softmax(dim=2)
        context = torch.einsum("tns,snk->tnk", weights, keys)
        scores = torch.tanh(torch.cat([context, queries], dim=2) @ self.W_c + self.b_c) @ self.W_y + self.b_y
        counted = torch.arange(len(scores))[:, None] < torch.from_numpy(targets.lengths)
        return cross_entropy(scores[counted], torch.from_numpy(targets.symbols)[counted]), None


def recurrent(stack: Stack, params: Params, prefix: str = "") -> torch.nn.ModuleList:
    """One module a layer, because nn.LSTM(num_layers=2) draws its own dropout masks."""
    modules = []
    for k, cell in enumerate(stack.cells):
        D, H = len(params[f"{prefix}W_x_l{k}"]), len(params[f"{prefix}W_h_l{k}"])
        dtype = torch.from_numpy(params[f"{prefix}W_h_l{k}"]).dtype
        module = LAYERS[cell.name](D, H, bidirectional=stack.bidirectional, dtype=dtype)
        free = dict(module.named_parameters())
        for suffix in stack.suffixes(k):
            for ours, theirs in WEIGHTS.items():
                if (value := params.get(f"{prefix}{ours}{suffix}")) is not None:
                    with torch.no_grad():
                        free.pop(f"{theirs}_l0{suffix.removeprefix(f'_l{k}')}").copy_(torch.from_numpy(value.T))
        for tensor in free.values():
            tensor.requires_grad_(False).zero_()
        modules.append(module)
    return torch.nn.ModuleList(modules)


def unrolled(layers: torch.nn.ModuleList, xs: Tensor, starts: Any, masks: Sequence[Tensor]) -> tuple[Tensor, list[Any]]:
    """ys of the top layer after its mask, and each layer's last state."""
    final = []
    for k, layer in enumerate(layers):
        xs, last = layer(xs, None if starts is None else starts[k])
        final.append(last)
        xs = xs * masks[k] if masks else xs
    return xs, final


def detached(state: Any) -> Any:
    """The same states, where the gradient stops."""
    if state is None or isinstance(state, Tensor):
        return None if state is None else state.detach()
    return type(state)(detached(each) for each in state)


def network(model: Any, params: Params, rows: bool = False) -> Any:
    """The same network in torch, in the dtype of the parameters.   rows: of a model of one-hot inputs the one that looks rows up"""
    match model:
        case LanguageModel():
            return RowNetwork(model, params) if rows else LanguageNetwork(model, params)
        case WordRNN():
            return WordNetwork(model, params)
        case Regressor():
            return RegressorNetwork(model, params)
        case Seq2Seq():
            return Seq2SeqNetwork(model, params)
    raise TypeError(f"model is {type(model).__name__}, wanted one that is built in torch too")


def _parameter(value: Array) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor(value))


def _start(axs: Tensor, state: Any) -> Tensor:
    """h_0 (N, H): zeros, or the state that is carried."""
    return axs.new_zeros(axs.shape[1:]) if state is None else state[0]


def _joined(final: Any) -> Any:
    """Both directions' last states (2, N, H) side by side, (1, N, 2H)."""
    if isinstance(final, tuple):
        return tuple(_joined(each) for each in final)
    return torch.cat(list(final), dim=1)[None] if len(final) == 2 else final
