"""The models are those that torch's modules make: losses, scores, last states and every gradient agree in float64."""

from __future__ import annotations

import numpy as np
import pytest

from bptt.refimpl.models.char_rnn import CharRNN
from bptt.refimpl.models.language_model import LanguageModel
from bptt.refimpl.models.regressor import Regressor
from bptt.refimpl.models.shapes import ManyToMany, ManyToOne, OneToMany
from bptt.refimpl.models.word_rnn import CELL_OF, WordRNN
from bptt.refimpl.types import Array
from tests.refimpl.models.modelproof import random_state
from tests.refimpl.models.torchmodels import assert_agree, layer, leaves, stack, torch

F = torch.nn.functional
T, N, C, H = 7, 3, 11, 5
LENGTHS = np.array([4, T, 2])
LANGUAGE_MODELS = {
    "rnn": LanguageModel(),
    "gru": LanguageModel(cells=("gru_reset_after",)),
    "lstm": LanguageModel(cells=("lstm",)),
    "deep_lstm": LanguageModel(cells=("lstm", "lstm", "lstm")),
    "both_ways": LanguageModel(cells=("gru_reset_after", "lstm"), bidirectional=True),
    "tied_with_dropout": LanguageModel(cells=("lstm", "lstm"), embedding=True, tied=True, dropout=0.5),
    "untied_with_dropout": LanguageModel(cells=("lstm", "lstm"), embedding=True, width=4, dropout=0.5),
    "one_hot_with_dropout": LanguageModel(cells=("gru_reset_after", "elman"), dropout=0.25),
}


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_language_models(name: str, lengths: Array | None) -> None:
    model, rng = LANGUAGE_MODELS[name], np.random.default_rng(5)
    params = model.init(rng, C, H)
    inputs, targets = model.batch(rng, params, T, N)
    state, masks = random_state(model, rng, params, N), model.masks(rng, params, T, N)
    ours = model.loss(params, inputs, targets, state, masks, lengths)
    scores, _ = model.predict(params, inputs, state)

    w, words, m = leaves(params), torch.tensor(inputs), masks
    xs = F.embedding(words, w["E"]) if model.embedding else F.one_hot(words, C).double()
    if m is not None and model.embedding:
        xs, m = xs * torch.tensor(m[0]), m[1:]
    ys, final = stack(model.cells, w, xs, state, model.bidirectional, m, lengths)
    z = F.linear(ys if m is None else ys * torch.tensor(m[-1]), w["E"] if model.tied else w["W_y"].T, w["b_y"])
    counted = torch.arange(T)[:, None] < torch.tensor([T] * N if lengths is None else lengths)
    assert_agree(ours, F.cross_entropy(z[counted], torch.tensor(targets)[counted]), w, final)
    if masks is None and lengths is None:
        np.testing.assert_allclose(scores, z.detach().numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("window", [None, 0, 2, 4])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_word_model_whole_and_truncated(activation: str, window: int | None) -> None:
    """Truncated: the loss of each step t on a run that starts at a detached state, window + 1 steps before the end of step t."""
    model, rng = WordRNN(activation, truncation=window), np.random.default_rng(6)
    params = model.init(rng, C, H)
    inputs, targets = model.batch(rng, params, T, N)
    state = random_state(model, rng, params, N)
    ours = model.loss(params, inputs, targets, state)

    w = leaves(params)
    xs, y = F.one_hot(torch.tensor(inputs), C).double(), torch.tensor(targets)
    states = [torch.tensor(state["h"])[None]]
    loss = 0
    for t in range(T):
        start = 0 if window is None else max(t - window, 0)
        ys, last = layer(CELL_OF[activation], {"W_x": w["U"], "W_h": w["W"]}, xs[start : t + 1], {"h": states[start].detach()}, [""])
        states.append(last["h"])
        loss = loss + F.cross_entropy(ys[-1] @ w["V"], y[t], reduction="sum")
    assert_agree(ours, loss, w, {"h": states[-1][0]})


def test_the_character_model() -> None:
    model, rng = CharRNN(), np.random.default_rng(7)
    params = model.init(rng, C, H)
    inputs, targets = model.batch(rng, params, T, 1)
    state = random_state(model, rng, params, 1)
    w = leaves(params)
    weights = {"W_x": w["Wxh"], "W_h": w["Whh"], "b": w["bh"]}
    ys, last = layer("elman", weights, F.one_hot(torch.tensor(inputs), C).double(), {"h": torch.tensor(state["h"])[None]}, [""])
    loss = F.cross_entropy((ys @ w["Why"] + w["by"])[:, 0], torch.tensor(targets)[:, 0], reduction="sum")
    assert_agree(model.loss(params, inputs, targets, state), loss, w, {"h": last["h"][0]})


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_after", "elman"])
def test_the_regressor(cell: str) -> None:
    model, rng = Regressor(cell, output_size=2), np.random.default_rng(8)
    params = model.init(rng, 3, H)
    inputs, targets = model.batch(rng, params, T, N)
    state = random_state(model, rng, params, N)
    w = leaves(params)
    ys, last = layer(cell, w, torch.tensor(inputs), {name: torch.tensor(s)[None] for name, s in state.items()}, [""])
    loss = F.mse_loss(F.linear(ys[-1], w["W_y"].T, w["b_y"]), torch.tensor(targets))
    assert_agree(model.loss(params, inputs, targets, state), loss, w, {name: s[0] for name, s in last.items()})


def test_the_minimal_regressor() -> None:
    """torch has no linear recurrent layer, but its differentiation has the same loop."""
    model, rng = Regressor(), np.random.default_rng(9)
    params = model.init(rng, 3, H)
    inputs, targets = model.batch(rng, params, T, N)
    state = random_state(model, rng, params, N)
    w, h = leaves(params), torch.tensor(state["h"])
    for x in torch.tensor(inputs):
        h = x @ w["W_x"] + h @ w["W_h"]
    loss = F.mse_loss(h @ w["W_y"] + w["b_y"], torch.tensor(targets))
    assert_agree(model.loss(params, inputs, targets, state), loss, w, {"h": h})


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one_way", "both_ways"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
def test_classes_of_a_sequence_and_of_each_step(bidirectional: bool, lengths: Array | None) -> None:
    cells = ("gru_reset_after", "lstm")
    for model in (ManyToOne(cells, bidirectional), ManyToMany(cells, bidirectional)):
        rng = np.random.default_rng(10)
        params = model.init(rng, 4, H)
        inputs, targets = model.batch(rng, params, T, N)
        state = random_state(model, rng, params, N)
        ours = model.loss(params, inputs, targets, state, lengths=lengths)
        w, k = leaves(params), torch.tensor(targets)
        ys, final = stack(cells, w, torch.tensor(inputs), state, bidirectional, lengths=lengths)
        if isinstance(model, ManyToOne):
            ys = torch.cat([final[name] for name in ("h_l1", "h_l1_reverse") if name in final], dim=1)
        else:
            counted = torch.arange(T)[:, None] < torch.tensor([T] * N if lengths is None else lengths)
            ys, k = ys[counted], k[counted]
        assert_agree(ours, F.cross_entropy(F.linear(ys, w["W_y"].T, w["b_y"]), k), w, final)


def test_a_sequence_from_one_vector() -> None:
    model, rng = OneToMany(cells=("lstm", "elman")), np.random.default_rng(11)
    params = model.init(rng, 4, H)
    inputs, targets = model.batch(rng, params, T, N)
    state = random_state(model, rng, params, N)
    w = leaves(params)
    xs = torch.cat([torch.tensor(inputs)[None], torch.zeros((T - 1, N, 4), dtype=torch.float64)])
    ys, final = stack(model.cells, w, xs, state)
    loss = F.mse_loss(F.linear(ys, w["W_y"].T, w["b_y"]), torch.tensor(targets))
    assert_agree(model.loss(params, inputs, targets, state), loss, w, final)
