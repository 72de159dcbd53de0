from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bptt.harness.experiments.engine.definition import Point
from bptt.harness.experiments.wordlm import DEFINITION
from bptt.refimpl.models.word_rnn import WordRNN
from bptt.reports.records import Experiment
from tests.harness.experiments.measuring import is_sound, named, run, wrong

TINY: dict[str, Any] = {"vocabulary": 60, "sentences": 12, "H": 8, "lr": 0.05, "epochs": 4, "evaluate_every": 2, "torch_epochs": 2}


def tiny(**more: Any) -> Experiment:
    return run(DEFINITION, **{**TINY, **more})


@pytest.mark.thorough
def test_all_claims_hold_and_truncation_is_what_torch_makes_of_it() -> None:
    pytest.importorskip("torch")
    e = tiny(truncation=(0, 4))
    assert wrong(e) == []
    assert sum("from torch, loss of 2 epochs" in c.name for c in e.claims) == 2
    assert [row[0] for row in e.tables[0].rows] == [2.0, 4.0]
    assert e.tables[0].rows != e.tables[1].rows
    assert len(e.texts) == 4
    is_sound(DEFINITION)


def test_a_window_that_is_written_into_the_loop_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    right = WordRNN.loss
    monkeypatch.setattr(WordRNN, "loss", lambda self, *args: right(WordRNN(truncation=3), *args))
    assert [name for name in wrong(tiny()) if "from torch" in name]


def test_a_rate_that_is_not_the_schedules_is_seen() -> None:
    settings = {**DEFINITION.settings, **TINY, "truncation": 4, "beside": "nothing"}
    values = DEFINITION.point(settings)
    assert wrong(DEFINITION.gather([Point(settings, values)])) == []
    planted = {**values, "evaluations": [9.0, 3.0]}  # above the start: the second rate has to be half the first
    found = DEFINITION.gather([Point(settings, planted)])  # type: ignore[arg-type]
    assert named(found, "another rate").verdict == "differs"
    assert named(DEFINITION.gather([Point(settings, {**planted, "rates": [0.05, 0.025]})]), "another rate").verdict == "agrees"  # type: ignore[arg-type, dict-item]


def test_it_is_a_function_of_its_settings() -> None:
    settings = {**DEFINITION.settings, **TINY, "truncation": 4, "beside": "nothing"}
    assert DEFINITION.point(settings) == DEFINITION.point(settings)
    assert DEFINITION.point(settings) != DEFINITION.point({**settings, "seed": 1})


def test_a_csv_and_a_text_give_the_same_sentences(tmp_path: Path) -> None:
    lines = ["the cat sat on the mat", "the dog sat on the log", "the cat saw the dog"]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "t.txt").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    csv, txt = (tiny(beside="nothing", corpus=str(tmp_path / name)) for name in ("t.csv", "t.txt"))
    assert wrong(csv) == wrong(txt) == []
    assert csv.tables == txt.tables and csv.texts == txt.texts
