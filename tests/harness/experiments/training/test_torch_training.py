"""Training in torch is our loop, epoch by epoch: batches, masks, clipping, rates, evaluations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from bptt.harness.errors import UsageError
from bptt.harness.experiments.training import torch_training
from bptt.refimpl.models import CharRNN, LanguageModel, Regressor, WordRNN
from bptt.refimpl.training.batching import Consecutive, RandomSampling, Sentences, SlidingWindows, Streams
from bptt.refimpl.training.clipping import clip_by_global_norm, clip_by_global_norm_torch, clip_elementwise
from bptt.refimpl.training.corpus import characters_of
from bptt.refimpl.training.loop import Setup, begin, summed, train
from bptt.refimpl.training.optimisers import SGD, Adam, Nesterov
from bptt.refimpl.training.perplexity import Validation
from bptt.refimpl.training.schedules import Constant, DivideOnPlateau, HalveOnRise
from bptt.refimpl.training.vocabulary import Rows

TEXT = characters_of("a text", "the quick brown fox jumps over the lazy dog, and then it sleeps. " * 4)
ROWS = Rows("rows", tuple(TEXT.ids[k : k + 9 + k % 4] for k in range(0, 100, 13)), TEXT.vocabulary)
BACKWARDS = Rows("backwards", tuple(ids[::-1] for ids in ROWS.rows), TEXT.vocabulary)
DEEP = LanguageModel(("lstm", "lstm"), embedding=True, tied=True, dropout=0.4)
CLIP = partial(clip_by_global_norm, theta=0.05)
SETUPS: dict[str, Setup] = {
    "elman": Setup(LanguageModel(), Consecutive(TEXT, 4, 6), SGD(), Constant(1.0), CLIP),
    "elman, never clipped": Setup(LanguageModel(), Consecutive(TEXT, 4, 6), SGD(), Constant(0.5), partial(clip_by_global_norm, theta=1e6)),
    "gru in both directions": Setup(
        LanguageModel(("gru_reset_after",), bidirectional=True), RandomSampling(TEXT, 4, 6), Adam(), Constant(0.01), CLIP
    ),
    "deep, tied, with dropout and a plateau": Setup(
        DEEP,
        Streams(TEXT, 3, 7),
        SGD(),
        DivideOnPlateau(20.0),
        partial(clip_by_global_norm_torch, theta=0.25),
        evaluate=Validation(DEEP, Streams(TEXT, 2, 9)),
    ),
    "truncated words": Setup(
        WordRNN(truncation=2),
        Sentences(ROWS),
        SGD(),
        HalveOnRise(0.1),
        total=summed,
        evaluate=Validation(WordRNN(), Sentences(BACKWARDS)),
        evaluate_every=2,
    ),
    "words, sigmoid": Setup(WordRNN("sigmoid"), Sentences(ROWS), SGD(), Constant(0.1), total=summed),
    "minimal": Setup(Regressor(), SlidingWindows(np.sin(np.arange(40.0)), 8, 6), Adam(), Constant(0.01)),
    "lstm regressor": Setup(Regressor("lstm"), SlidingWindows(np.sin(np.arange(40.0)), 8, 6), Adam(0.8, 0.9, 1e-6), Constant(0.01)),
}


def start(setup: Setup, H: int = 5) -> Any:
    size = 1 if isinstance(setup.model, Regressor) else len(TEXT.vocabulary)
    return begin(setup, setup.model.init(np.random.default_rng(2), size, H), seed=5)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", SETUPS)
def test_an_epoch_in_torch_is_ours(name: str) -> None:
    pytest.importorskip("torch")
    setup = SETUPS[name]
    first = start(setup)
    ours = [record for record, _ in train(setup, first, 3)]
    theirs = list(torch_training.train(setup, first, 3))
    assert [replace(r, seconds=0, norm=0, loss=0, validation=0) for r in theirs] == [
        replace(r, seconds=0, norm=0, loss=0, validation=0) for r in ours
    ]
    np.testing.assert_allclose([r.loss for r in theirs], [r.loss for r in ours], rtol=1e-11)
    assert [r.validation is None for r in theirs] == [r.validation is None for r in ours]
    np.testing.assert_allclose([r.validation or 0 for r in theirs], [r.validation or 0 for r in ours], rtol=1e-11)
    np.testing.assert_allclose([r.norm for r in theirs], [r.norm for r in ours], rtol=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("name", [name for name, setup in SETUPS.items() if not isinstance(setup.schedule, Constant)])
def test_a_schedule_that_never_acts_would_be_no_test(name: str) -> None:
    pytest.importorskip("torch")
    *_, last = torch_training.train(SETUPS[name], start(SETUPS[name]), 7)
    assert last.lr < SETUPS[name].schedule.start().lr


def test_looking_rows_up_is_the_same_network() -> None:
    pytest.importorskip("torch")
    setup = SETUPS["elman"]
    a, b = (list(torch_training.train(setup, start(setup), 3, rows=rows)) for rows in (False, True))
    np.testing.assert_allclose([r.loss for r in a], [r.loss for r in b], rtol=1e-11)
    with pytest.raises(ValueError, match=r"RowNetwork: the model is LanguageModel.*, wanted one Elman layer without an embedding"):
        next(torch_training.train(SETUPS["gru in both directions"], start(SETUPS["gru in both directions"]), 1, rows=True))


def test_masks_that_are_not_shared_are_seen() -> None:
    pytest.importorskip("torch")
    setup = SETUPS["deep, tied, with dropout and a plateau"]
    first = start(setup)
    other = replace(first, generators={**first.generators, "masks": first.generators["batches"]})
    (a,), (b,) = (list(torch_training.train(setup, each, 1)) for each in (first, other))
    assert abs(a.loss - b.loss) > 1e-4


def test_the_first_steps_alone() -> None:
    pytest.importorskip("torch")
    setup = SETUPS["elman"]
    ours, theirs, moved = torch_training.first_losses(setup, start(setup), 2)
    assert moved == pytest.approx(ours, rel=1e-13)
    assert ours == pytest.approx(theirs, rel=1e-12)
    assert ours != pytest.approx(next(train(setup, start(setup), 1))[0].loss, rel=1e-6)


def test_time_is_a_ratio() -> None:
    pytest.importorskip("torch")
    ratio, step = torch_training.time_ratio(SETUPS["elman"], start(SETUPS["elman"]), 2)
    assert 0 < ratio < 1e3 and 0 < step < 60


def test_whether_torch_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not torch_training.wanted("nothing")
    with pytest.raises(ValueError, match="beside is 'tensorflow', wanted torch or nothing"):
        torch_training.wanted("tensorflow")
    monkeypatch.setattr(torch_training, "find_spec", lambda name: None)
    assert not torch_training.wanted("torch")


def unbuilt(*, model: Any = None, **replaced: Any) -> Callable[[], Any]:
    setup = replace(SETUPS["elman"], **replaced)
    first = start(setup)
    return lambda: list(torch_training.train(replace(setup, model=model or setup.model), first, 1))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: unbuilt(optimiser=Nesterov()), "optimiser is Nesterov, wanted SGD, Momentum or Adam"),
        (lambda: unbuilt(clip=partial(clip_elementwise, limit=1.0)), "clip is functools.partial.*, wanted unclipped, or one by global"),
        (lambda: unbuilt(clip=lambda grads: (grads, 0.0)), "wanted unclipped, or one by global norm as a partial with theta"),
        (lambda: unbuilt(evaluate=lambda params: 0.0), "wanted a Validation"),
        (lambda: unbuilt(model=CharRNN()), "model is CharRNN, wanted one that is built in torch too"),
    ],
)
def test_what_torch_is_not_built_for_is_said(made: Callable[[], Callable[[], Any]], words: str) -> None:
    pytest.importorskip("torch")
    with pytest.raises((TypeError, ValueError, UsageError), match=words):
        made()()
