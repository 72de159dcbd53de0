from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments.better_rnnlm import DEFINITION, peak
from bptt.harness.experiments.engine.definition import Point
from bptt.refimpl.models.language_model import LanguageModel
from bptt.reports.records import Experiment
from tests.harness.experiments.measuring import is_sound, named, run, wrong

TINY: dict[str, Any] = {"H": (8,), "words": 1500, "vocabulary": 30, "T": 10, "N": 4, "lr": 4.0, "dropout": 0.2}
TINY |= {"epochs": 2, "falling": 1, "torch_epochs": 2, "dtype": "float64"}


def tiny(**more: Any) -> Experiment:
    return run(DEFINITION, **{**TINY, **more})


@pytest.fixture
def treebank(tmp_path: Path) -> Path:
    """A directory with three splits: sentences in which a word says which one comes next."""
    rng = np.random.default_rng(0)
    follows = {0: (1, 2), 1: (3,), 2: (3, 4), 3: (0,), 4: (0, 1)}
    for name, count in (("train", 400), ("valid", 60), ("test", 60)):
        words, k = [], 0
        for _ in range(count * 6):
            words.append("<unk>" if rng.random() < 0.02 else f"w{k}")
            k = int(rng.choice(follows[k]))
        lines = (" ".join(words[i : i + 6]) for i in range(0, len(words), 6))
        (tmp_path / f"ptb.{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_all_claims_hold_with_masks_that_torch_shares() -> None:
    pytest.importorskip("torch")
    e = tiny()
    assert wrong(e) == []
    assert named(e, "from torch, validation loss of 2 epochs").measured < 1e-12
    training, validation = e.series
    np.testing.assert_allclose(validation.y, validation.expected, rtol=1e-12)
    assert training.expected and e.texts[0].text
    is_sound(DEFINITION)


@pytest.mark.thorough
def test_a_gradient_that_is_not_summed_over_both_uses_of_a_tied_weight_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    right = LanguageModel.loss

    def untied(self: LanguageModel, params: Any, *args: Any, **more: Any) -> Any:
        loss, dparams, final = right(self, params, *args, **more)
        return loss, {**dparams, "E": dparams["E"] / 2}, final

    monkeypatch.setattr(LanguageModel, "loss", untied)
    assert [name for name in wrong(tiny(epochs=1)) if "from torch, loss of the first" in name]


@pytest.mark.thorough
def test_a_directory_with_three_splits_is_learned(treebank: Path) -> None:
    e = tiny(corpus=str(treebank), words=0, epochs=4, falling=3, beside="nothing", lr=8.0)
    assert wrong(e) == []
    best = min(e.series[1].y)
    assert best < 5  # of eight symbols: five words, <unk>, <eos>
    assert named(e, "before training").expected == 7
    assert "test" in str(e.words) and "7 different ones" in str(e.tables[0].note)


def test_a_perplexity_that_rises_and_a_rate_that_stays_are_seen() -> None:
    settings = {**DEFINITION.settings, **TINY, "H": 8, "beside": "nothing", "falling": 2}
    values = DEFINITION.point(settings)
    planted = {**values, "validations": [3.0, 3.1, 3.2], "rates": [4.0, 4.0, 4.0], "losses": [3.0, 3.0, 3.0]}
    e = DEFINITION.gather([Point(settings, planted)])  # type: ignore[arg-type]
    assert wrong(e) == ["8 wide: validation perplexity after epoch 2", "8 wide: epochs with another rate than the schedule's"]


@pytest.mark.thorough
def test_it_is_a_function_of_its_settings() -> None:
    settings = {**DEFINITION.settings, **TINY, "H": 8, "beside": "nothing"}
    assert DEFINITION.point(settings) == DEFINITION.point(settings)
    assert DEFINITION.point(settings) != DEFINITION.point({**settings, "seed": 1})


@pytest.mark.thorough
def test_time_and_memory_are_not_judged() -> None:
    pytest.importorskip("torch")
    e = tiny(timed=True, epochs=1, torch_epochs=1)
    found = {c.name: c for c in e.claims if c.verdict == "not judged"}
    assert set(found) == {"8 wide: peak memory in MiB", "8 wide: time over torch.nn's"}
    assert 20 < found["8 wide: peak memory in MiB"].measured < 1e5
    assert peak() is not None
