"""What addition and date share: batches, rates, translation, claims."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments import addition, date
from bptt.harness.experiments.engine.definition import Definition, Point
from bptt.harness.experiments.training.seq2seq_training import Pairs, batches, network, rates, sums_of, translated
from bptt.refimpl import tasks
from bptt.refimpl.seq2seq import Seq2Seq
from tests.harness.experiments.measuring import is_sound, named, run, wrong

TINY: dict[str, Any] = {"pairs": 60, "held": 12, "E": 6, "H": 8, "N": 6, "lr": 0.02, "steps": 40}
TINY |= {"dtype": "float64", "factor": 0.98, "exact": 0.0}
PAIRS = Pairs((("1+2", "3"), ("10+2", "12"), ("7+5", "12"), ("4+4", "8")), (("3+4", "7"),), tasks.ADDITION_ALPHABET)


@pytest.mark.thorough
@pytest.mark.parametrize("d", [addition.DEFINITION, date.DEFINITION], ids=lambda d: d.name)
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_after"])
def test_all_claims_hold_and_torch_takes_the_same_first_steps(d: Definition, cell: str) -> None:
    pytest.importorskip("torch")
    e = run(d, **{**TINY, "cell": (cell,)})
    few_steps = "part of 12 held-back answers that is exactly right"
    assert all(c.verdict == "not judged" and few_steps in c.name for c in e.claims if c.verdict != "agrees")
    assert named(e, "loss of the first 10 steps").measured < 1e-12
    (grid,) = e.grids
    sums = np.array(grid.values).sum(axis=1)
    np.testing.assert_allclose(sums, 1, atol=1e-12)
    assert len(e.tables[0].rows) == 8
    is_sound(d)


@pytest.mark.parametrize("d", [addition.DEFINITION, date.DEFINITION], ids=lambda d: d.name)
def test_it_is_a_function_of_its_settings(d: Definition) -> None:
    settings = {**d.settings, **TINY, "cell": "lstm", "steps": 3, "beside": "nothing"}
    assert d.point(settings) == d.point(settings)
    assert d.point(settings) != d.point({**settings, "seed": 1})


def test_what_is_held_back_was_never_seen() -> None:
    for module in (addition, date):
        found = module.pairs({**module.DEFINITION.settings, "pairs": 300, "held": 50})
        assert (len(found.train), len(found.held)) == (300, 50)
        assert not {source for source, _ in found.train} & {source for source, _ in found.held}


def test_a_gradient_that_forgets_the_attention_is_seen_beside_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    right = Seq2Seq.loss

    def forgetful(*args: Any, **more: Any) -> Any:
        loss, dparams, final = right(*args, **more)
        return loss, {**dparams, "W_c": np.zeros_like(dparams["W_c"])}, final

    monkeypatch.setattr(Seq2Seq, "loss", forgetful)
    assert any("from torch" in name for name in wrong(run(addition.DEFINITION, **TINY)))


def test_a_model_that_does_not_learn_its_task_is_seen() -> None:
    e = run(addition.DEFINITION, **{**TINY, "exact": 0.9, "factor": 0.1, "beside": "nothing"})
    assert [name.partition(": ")[2] for name in wrong(e)] == [
        "loss, mean of 20 steps: the last over the first",
        "part of 12 held-back answers that is exactly right",
    ]


def test_answers_that_are_right_are_counted() -> None:
    settings = {**date.DEFINITION.settings, **TINY, "cell": "lstm", "beside": "nothing"}
    values = date.point(settings)
    e = date.gather([Point({**settings, "exact": 0.9}, {**values, "exact": 1.0})])
    assert "100.0% of 12 held-back answers" in str(e.words)
    assert named(e, "exactly right").verdict == "agrees"


def test_batches_are_cut_to_their_longest_and_each_pair_comes_once_a_round() -> None:
    model = network("lstm", 4)
    rng = np.random.default_rng(0)
    params = model.init(rng, tasks.symbol_count(PAIRS.alphabet), 4)
    seen = []
    for inputs, targets in islice(batches(model, params, PAIRS, rng, 2), 2):
        assert inputs.lengths is not None and targets.lengths is not None
        assert len(inputs.sources) == inputs.lengths.max() and len(targets.symbols) == targets.lengths.max()
        seen += list(zip(tasks.decode(inputs.sources, PAIRS.alphabet), tasks.decode(targets.symbols, PAIRS.alphabet), strict=True))
    assert sorted(seen) == sorted(PAIRS.train)


def test_rates_stay_and_then_fall_in_a_line() -> None:
    found = rates(0.1, 100)
    assert found[:51] == [0.1] * 51
    assert found[-1] == pytest.approx(0.002)
    np.testing.assert_allclose(np.diff(found[52:]), -0.002, rtol=1e-9)


def test_weights_after_the_end_do_not_count() -> None:
    model = network("gru_reset_after", 4)
    params = model.init(np.random.default_rng(1), tasks.symbol_count(PAIRS.alphabet), 4)
    answers, weights = translated(model, params, PAIRS)
    assert len(answers) == 1 and sums_of(weights) < 1e-12
    weights[0] *= 0.9
    assert sums_of(weights) == pytest.approx(0.1)
