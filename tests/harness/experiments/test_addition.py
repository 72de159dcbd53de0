from __future__ import annotations

from bptt.harness.experiments.addition import DEFINITION, pairs
from bptt.harness.experiments.engine.definition import Point
from bptt.harness.experiments.training.seq2seq_training import gathered


def test_answers_are_sums() -> None:
    found = pairs({**DEFINITION.settings, "pairs": 200, "held": 20})
    for source, answer in (*found.train, *found.held):
        a, b = map(int, source.split("+"))
        assert a + b == int(answer) and max(a, b) < 1000
    assert found.longest() == 5


def test_the_default_asks_for_nine_of_ten_and_quick_for_none() -> None:
    values = {"losses": [2.0, 0.01], "first": [2.0], "exact": 0.89, "sums": 0.0, "attention": [1.0], "attention rows": 1}
    values |= {"sources": ["1+1"], "answers": ["2"], "wanted": ["2"]}
    for replaced, verdict in (({}, "differs"), (DEFINITION.quick, "not judged")):
        settings = {**DEFINITION.settings, **replaced, "cell": "lstm"}
        claims = gathered("addition", [Point(settings, values)]).claims  # type: ignore[arg-type]
        assert [c.verdict for c in claims if c.verdict != "agrees"] == [verdict]
