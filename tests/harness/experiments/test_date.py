from __future__ import annotations

import datetime
import re

from bptt.harness.experiments.date import DEFINITION, pairs
from bptt.harness.experiments.engine.definition import Point
from bptt.harness.experiments.training.seq2seq_training import gathered
from bptt.reports.claims import verdict
from tests.harness.experiments.measuring import wrong


def test_answers_are_days_written_in_one_way() -> None:
    found = pairs({**DEFINITION.settings, "pairs": 200, "held": 20})
    for source, answer in (*found.train, *found.held):
        day = datetime.date.fromisoformat(answer)
        assert str(day.day) in source and re.search(r"\d", source)
    assert found.longest() == 11
    assert len({re.sub(r"[A-Za-z]+", "a", re.sub(r"\d+", "0", source)) for source, _ in found.train}) > 5


def test_the_default_asks_for_nine_of_ten() -> None:
    values = {"losses": [2.0, 0.01], "first": [2.0], "exact": 0.89, "sums": 0.0, "attention": [1.0], "attention rows": 1}
    values |= {"sources": ["1 May 2000"], "answers": ["2000-05-01"], "wanted": ["2000-05-01"]}
    settings = {**DEFINITION.settings, "cell": "lstm"}
    assert len(wrong(gathered("date", [Point(settings, values)]))) == 1  # type: ignore[arg-type]
    assert wrong(gathered("date", [Point(settings, {**values, "exact": 0.9})])) == []  # type: ignore[arg-type]


def test_a_question_that_so_few_steps_do_not_answer_is_not_judged() -> None:
    values = {"losses": [2.0, 0.01], "first": [2.0], "exact": 0.005, "sums": 0.0, "attention": [1.0], "attention rows": 1}
    values |= {"sources": ["1 May 2000"], "answers": ["2000-05-01"], "wanted": ["2000-05-01"]}
    settings = {**DEFINITION.settings, **DEFINITION.quick, "cell": "lstm"}
    e = gathered("date", [Point(settings, values)])  # type: ignore[arg-type]
    assert verdict(e) == "not judged" and e.unanswered == "120 steps are too few to learn it"
    assert [c.name for c in e.claims if c.verdict == "not judged"] == [
        "lstm, 32 units: part of 200 held-back answers that is exactly right"
    ]
