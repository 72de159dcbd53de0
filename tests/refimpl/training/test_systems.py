"""The networks that people train, each with its own corpus, batches, optimiser and schedule, made small: they learn."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from bptt.refimpl.models.char_rnn import CharRNN
from bptt.refimpl.models.language_model import LanguageModel
from bptt.refimpl.models.regressor import Regressor
from bptt.refimpl.models.word_rnn import WordRNN
from bptt.refimpl.training import (
    SGD,
    Adam,
    Consecutive,
    Constant,
    DivideOnPlateau,
    HalveOnRise,
    RandomSampling,
    Sentences,
    Setup,
    SlidingWindows,
    State,
    Streams,
    Validation,
    begin,
    clip_by_global_norm,
    clip_elementwise,
    corpus,
    evaluate,
    generate,
    summed,
    train,
)
from bptt.refimpl.types import Array

SENTENCES = ("the cat sat on the mat", "the dog sat on the cat", "a dog ate the mat", "the cat ate a dog")


def last(setup: Setup, params: dict[str, Array], epochs: int, dtype: type = np.float32) -> State:
    *_, (_, state) = train(setup, begin(setup, {name: p.astype(dtype) for name, p in params.items()}, seed=0), epochs)
    return state


def test_words_of_sentences(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(SENTENCES))
    texts, model = corpus.rows(path, size=20), WordRNN()
    params = model.init(np.random.default_rng(0), len(texts.vocabulary), 12)
    setup = Setup(
        model, Sentences(texts), SGD(), HalveOnRise(0.1), total=summed, evaluate=Validation(model, Sentences(texts)), evaluate_every=5
    )
    state = last(setup, params, 60, np.float64)
    perplexities = [record.perplexity for record in state.history]
    assert perplexities[0] > 10 > 1.6 > perplexities[-1]
    assert [record.epoch for record in state.history if record.validation is not None] == list(range(5, 61, 5))


def test_characters_with_entries_clipped() -> None:
    text = corpus.embedded(2_000)
    params = CharRNN().init(np.random.default_rng(0), len(text.vocabulary), 16)
    clip = functools.partial(clip_elementwise, limit=5.0)
    state = last(Setup(CharRNN(), Consecutive(text, 8, 12), Adam(), Constant(0.02), clip, total=summed), params, 12)
    assert state.history[0].perplexity > 15 > 10 > state.history[-1].perplexity


@pytest.mark.thorough
@pytest.mark.parametrize("batching", [RandomSampling, Consecutive])
def test_characters_with_the_norm_clipped(batching: type[RandomSampling | Consecutive]) -> None:
    text, model = corpus.embedded(600), LanguageModel()
    params = model.init(np.random.default_rng(0), len(text.vocabulary), 32)
    clip = functools.partial(clip_by_global_norm, theta=1e-2)
    state = last(Setup(model, batching(text, 4, 20), SGD(), Constant(1e2), clip), params, 60)
    assert state.history[-1].perplexity < 2.5
    assert generate(model, state.params, text.vocabulary, "The", 10).startswith("The")


def test_words_in_two_layers_with_tied_weights(tmp_path: Path) -> None:
    for name, repeats in zip(corpus.SPLITS, (20, 3, 2), strict=True):
        (tmp_path / name).write_text("".join(f" {line} \n" for line in SENTENCES * repeats))
    texts = corpus.splits(tmp_path)
    model = LanguageModel(("lstm", "lstm"), embedding=True, tied=True, dropout=0.2)
    params = model.init(np.random.default_rng(0), len(texts.train.vocabulary), 16)
    setup = Setup(
        model,
        Streams(texts.train, 4, 7),
        SGD(),
        DivideOnPlateau(20.0),
        functools.partial(clip_by_global_norm, theta=0.25),
        evaluate=Validation(model, Streams(texts.valid, 2, 7)),
    )
    state = last(setup, params, 12)
    best = min(record.validation for record in state.history if record.validation is not None)
    assert state.rate.best == best == evaluate(model, state.best, Streams(texts.valid, 2, 7)).loss
    assert evaluate(model, state.best, Streams(texts.test, 1, 7)).perplexity < 4 < 8 < state.history[0].perplexity


def test_a_sine_from_its_windows() -> None:
    series, model = np.sin(np.linspace(-20, 20, 200)), Regressor()
    params = model.init(np.random.default_rng(0), 1, 4)
    state = last(Setup(model, SlidingWindows(series, 64, 10), Adam(), Constant(0.02)), params, 60, np.float64)
    assert state.history[-1].loss < 1e-3 < 0.05 < state.history[0].loss
