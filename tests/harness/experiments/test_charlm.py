from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments import charlm
from bptt.harness.experiments.charlm import DEFINITION, MODELS, reads_ahead, small
from bptt.harness.experiments.engine.definition import Point
from bptt.harness.experiments.training.corpora import characters_of
from bptt.refimpl.models.language_model import LanguageModel
from bptt.refimpl.training.vocabulary import CorpusError
from bptt.reports.records import Experiment
from tests.harness.experiments.measuring import is_sound, named, run, wrong

TINY: dict[str, Any] = {"characters": 600, "H": 12, "T": 8, "N": 4, "lr": 50.0, "epochs": 8, "torch_epochs": 3, "dtype": "float64"}
ALONE: dict[str, Any] = {**TINY, "beside": "nothing"}


def tiny(**more: Any) -> Experiment:
    return run(DEFINITION, **{**TINY, **more})


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["random", "consecutive"])
def test_every_model_learns_and_does_what_torch_does(sampling: str) -> None:
    pytest.importorskip("torch")
    e = tiny(model=tuple(MODELS), sampling=(sampling,))
    assert wrong(e) == [f"bidirectional, {sampling} sampling: change of earlier scores with the last character"]
    assert named(e, "bidirectional, " + sampling + " sampling: change").verdict == "explained"
    assert sum("from torch, loss of 3 epochs" in c.name for c in e.claims) == len(MODELS)
    assert len(e.series) == len(e.texts) == len(e.tables[0].rows) == len(MODELS)
    assert "bidirectional" not in str(e.words)
    is_sound(DEFINITION)


def test_a_wrong_gradient_is_seen_beside_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    right = LanguageModel.loss

    def doubled(*args: Any, **more: Any) -> Any:
        loss, dparams, final = right(*args, **more)
        return loss, {**dparams, "W_h_l0": 2 * dparams["W_h_l0"]}, final

    monkeypatch.setattr(LanguageModel, "loss", doubled)
    assert [name for name in wrong(tiny(sampling="random")) if "from torch" in name]


def test_curves_stand_beside_torchs_and_in_float32_the_first_epoch_is_held_to_it() -> None:
    pytest.importorskip("torch")
    e = tiny(sampling="random", torch_epochs=8, dtype="float32")
    assert wrong(e) == []
    (s,) = e.series
    np.testing.assert_allclose(s.y, s.expected, rtol=1e-3)
    assert named(e, "from torch, loss of the first epoch").measured > 0


@pytest.mark.slow
def test_times_are_not_judged_and_are_not_taken_unless_asked_for() -> None:
    pytest.importorskip("torch")
    asked = {"sampling": "random", "timed": True, "epochs": 2, "torch_epochs": 1}
    e = tiny(**asked)
    assert [c.verdict for c in e.claims if "time over" in c.name] == ["not judged", "not judged"]
    settings = {**DEFINITION.settings, **TINY, "model": "lstm", "sampling": "random", "epochs": 2}
    assert DEFINITION.point(settings) == DEFINITION.point(settings)


@pytest.mark.parametrize("name", MODELS)
def test_only_the_bidirectional_model_reads_ahead(name: str) -> None:
    rng = np.random.default_rng(0)
    params = MODELS[name].init(rng, 5, 4)
    ahead = reads_ahead(MODELS[name], params, rng.integers(5, size=6))
    assert ahead > 1e-3 if name == "bidirectional" else ahead == 0


def test_a_model_that_reads_ahead_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(charlm.MODELS, "elman", LanguageModel(bidirectional=True))  # type: ignore[misc]
    e = run(DEFINITION, **ALONE, sampling="random", model=("elman",))
    assert named(e, "change of earlier scores").measured > 0


def test_weights_from_scratch_are_small_and_biases_zero() -> None:
    params = small(np.random.default_rng(0), MODELS["lstm"].init(np.random.default_rng(0), 50, 40))
    assert abs(float(params["W_h_l0"].std()) - 0.01) < 1e-3
    assert not params["b_l0"].any() and not params["b_y"].any()


def test_a_text_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "song.txt"
    path.write_text("la la li lo " * 50, encoding="utf-8")
    e = run(DEFINITION, **ALONE, sampling="random", corpus=str(path))
    assert wrong(e) == []
    assert named(e, "before training").expected == 5
    assert e.texts[0].text.startswith("la l")
    with pytest.raises(CorpusError, match=r"song.txt: has 600 symbols, but a batch of 32 by 35 steps needs 1121"):
        characters_of({**DEFINITION.settings, "corpus": str(path)})


def trained_as(sampling: str, seen: dict[int, float], vocabulary: int, corpus: str | None) -> Experiment:
    """A record of 250 epochs with those perplexities, on a text with so many different characters."""
    losses = [float(np.log(seen.get(epoch, 2.0))) for epoch in range(1, 251)]
    values = {"vocabulary": vocabulary, "start": vocabulary, "losses": [np.log(vocabulary), *losses[1:]], "written": "", "ahead": 0.0}
    settings = {**DEFINITION.settings, "model": "elman", "sampling": sampling, "corpus": corpus}
    return DEFINITION.gather([Point(settings, values)])  # type: ignore[arg-type]


OURS = {
    "consecutive": {50: 60.6, 100: 7.0, 150: 2.08, 200: 1.31, 250: 1.15},
    "random": {50: 73.1, 100: 10.0, 150: 3.0, 200: 1.60, 250: 1.31},
}


@pytest.mark.parametrize("sampling", OURS)
def test_each_sampling_is_held_against_its_own_figures(sampling: str) -> None:
    other = "random" if sampling == "consecutive" else "consecutive"
    mine = trained_as(sampling, OURS[sampling], 1_027, "songs.txt")
    assert wrong(mine) == [] and sum("perplexity after" in c.name for c in mine.claims) == len(charlm.REPORTED[sampling])
    others = wrong(trained_as(sampling, OURS[other], 1_027, "songs.txt"))
    assert f"elman, {sampling} sampling: perplexity after 200 epochs" in others
    english = [c for c in trained_as(sampling, OURS[other], 80, "english.txt").claims if "perplexity after" in c.name]
    assert english and all(c.verdict == "not judged" for c in english)
    (bound,) = (c for c in trained_as(sampling, OURS[sampling], 80, None).claims if "perplexity after" in c.name)
    assert bound.comparison == "at most" and bound.verdict == "agrees"
