"""NumPy and torch train in lockstep: every model, a hundred steps; and what is only rounding is called no difference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.errors import UsageError
from bptt.harness.lockstep import trainers
from bptt.harness.lockstep.lockstep import PartedError, lockstep
from bptt.harness.lockstep.models import FAMILIES, NAMED, find
from bptt.refimpl.attention import DOT
from bptt.refimpl.cells import CELLS
from bptt.refimpl.models.language_model import LanguageModel
from bptt.refimpl.models.regressor import Regressor
from bptt.refimpl.seq2seq import Seq2Seq
from bptt.refimpl.stack import Stack
from tests.harness.lockstep.ownloops import Own, RateAMillionthOff, small

STEPS = 100


@pytest.mark.thorough
@pytest.mark.every(7)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", NAMED)
def test_numpy_and_torch_train_the_same_for_a_hundred_steps(name: str, optimizer: str) -> None:
    pytest.importorskip("torch", reason="needs torch")
    found = lockstep(model=small(name), steps=STEPS, optimizer=optimizer)
    assert found.ok, found.text()
    held = found.runs[0].held
    assert len(held.losses) == len(held.gaps) == STEPS
    np.testing.assert_allclose(held.losses, held.reference, rtol=1e-9, atol=0)
    assert max(gap.relative for gap in held.gaps) < 1e-9
    assert np.mean(held.reference[-10:]) < 0.87 * held.reference[0]
    gradients = found.runs[0].gradients
    assert gradients is not None
    assert gradients.relative < 1e-12


@pytest.mark.thorough
@pytest.mark.parametrize("seed", [1, 2])
def test_with_momentum_and_other_weights_too(seed: int) -> None:
    pytest.importorskip("torch", reason="needs torch")
    found = lockstep(model=[small("gru"), small("seq2seq-additive")], steps=30, optimizer="momentum", seed=seed)
    assert found.ok, found.text()
    assert [one.model.name for one in found.runs] == ["gru", "seq2seq-additive"]


OTHERS: dict[str, Any] = {
    "three layers, embedding, no dropout": LanguageModel(("lstm", "gru_reset_after", "elman"), embedding=True, width=5),
    "relu": LanguageModel(("elman_relu",)),
    "dropout without embedding": LanguageModel(("gru_reset_after", "lstm"), dropout=0.25),
    "both directions, without attention": Seq2Seq(Stack((CELLS["lstm"],), bidirectional=True), CELLS["lstm"], None),
    "both directions, two layers": Seq2Seq(Stack((CELLS["elman"],) * 2, bidirectional=True), Stack((CELLS["elman"],) * 2), DOT),
}


@pytest.mark.parametrize("model", list(OTHERS.values()), ids=list(OTHERS))
def test_other_models_than_the_named_ones(model: Any) -> None:
    pytest.importorskip("torch", reason="needs torch")
    like = "rnn" if isinstance(model, LanguageModel) else "seq2seq-dot"
    found = lockstep(model=small(like, model=model, stacks={}), steps=8, optimizer="adam")
    assert found.ok, found.text()


@dataclass(frozen=True)
class Wild(LanguageModel):
    """Recurrent weights so large that rounding grows from step to step."""

    def init(self, *arguments: Any) -> Any:
        params = super().init(*arguments)
        return {**params, "W_h_l0": 6 * params["W_h_l0"]}


def test_differences_that_grow_from_rounding_are_no_fault_and_a_fault_beside_them_is_seen() -> None:
    pytest.importorskip("torch", reason="needs torch")
    named = replace(small("rnn", model=Wild()), H=16)
    found = lockstep(model=named, steps=50, optimizer="sgd")
    held = found.runs[0].held
    assert found.ok, found.text()
    assert max(gap.relative for gap in held.gaps) > 1e-9
    assert held.blind is not None
    assert "not judged from there on" in found.text()
    parting = lockstep(RateAMillionthOff(named), named, steps=50, optimizer="sgd").runs[0].held.parting
    assert parting is not None
    assert parting.step == 1


def test_a_wrong_gradient_of_the_torch_model_is_named_as_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="needs torch")
    from bptt.harness.torch_models.layers import Network

    right = Network.gradients

    def wrong(self: Any) -> Any:
        grads = right(self)
        grads["W_h_l0"][:, 8:16] *= 1 + 1e-7
        return grads

    monkeypatch.setattr(Network, "gradients", wrong)
    found = lockstep(model=small("lstm"), steps=3, optimizer="sgd")
    assert found.exit_code == 1
    assert "parts at step 1: dL/dW_h_l0 gate f [" in found.text()


def test_a_loop_that_differs_raises_with_what_the_terminal_shows() -> None:
    named = small("lstm")
    with pytest.raises(PartedError, match=r"lstm +sgd +parts at step 1: .* in RateAMillionthOff, .* in NumPy"):
        lockstep(RateAMillionthOff(named), named, steps=2, optimizer="sgd").raise_for_failures()
    lockstep(Own(named), named, steps=2, optimizer="sgd").raise_for_failures()


def test_the_same_seed_gives_the_same_record_but_for_times() -> None:
    named = small("gru")
    runs = [lockstep(Own(named), named, steps=4, seed=7).run("bptt lockstep gru") for _ in range(2)]
    other = lockstep(Own(named), named, steps=4, seed=8).run("bptt lockstep gru")
    first, second = (replace(e, duration_s=0) for run in runs for e in run.experiments)
    assert first == second
    assert other.experiments[0].series != first.series


def test_the_record_has_an_experiment_a_model_with_a_curve_of_each_difference(tmp_path: Path) -> None:
    from bptt.harness.run.record.report_files import write
    from bptt.reports.store import read_run

    named = small("gru")
    run = lockstep(Own(named), named, steps=5).run("bptt lockstep gru")
    (experiment,) = run.experiments
    assert experiment.name == "lockstep gru"
    assert experiment.target == "Own"
    assert [s.name for s in experiment.series if s.y_label.startswith("|loss")] == [
        *("|loss difference|, sgd", "tolerance of it, sgd", "|loss difference|, adam", "tolerance of it, adam")
    ]
    assert all(len(s.x) == len(s.y) == 5 for s in experiment.series)
    assert {claim.verdict for claim in experiment.claims} == {"agrees", "not judged"}
    for name in ("run.json", "run.md", "run.xml"):
        write(run, tmp_path / name)
    assert read_run(tmp_path / "run.json") == run
    wrong = lockstep(RateAMillionthOff(named), named, steps=5, optimizer="sgd").run()
    assert wrong.exit_code == 1
    assert [claim.verdict for claim in wrong.experiments[0].claims] == ["differs"]
    assert "parts at step 1" in (wrong.experiments[0].words or "")


def test_bad_requests_are_answered_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(match: str, *arguments: Any, **options: Any) -> None:
        with pytest.raises(UsageError, match=match):
            lockstep(*arguments, **options)

    refused(r"no model 'lstn', did you mean 'lstm'\?", model="lstn")
    refused(r"no optimizer 'adams', did you mean 'adam'\?", model="lstm", optimizer="adams")
    refused("steps is 0, wanted 1 or more", model="lstm", steps=0)
    refused("is one loop, but 2 models are named, wanted one of seq2seq-dot, seq2seq-additive", Own(NAMED["rnn"]), "seq2seq")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused("torch is not installed", model="lstm")


def test_what_torch_has_no_module_for_is_said() -> None:
    pytest.importorskip("torch", reason="needs torch")
    peephole = small("lstm", model=LanguageModel(("lstm_peephole",)))
    with pytest.raises(UsageError, match="torch has no layer that is 'lstm_peephole', wanted one of elman"):
        lockstep(model=peephole, steps=1)
    start = NAMED["rnn"].begin("sgd", 1, 0)
    with pytest.raises(UsageError, match="no torch model for a Regressor"):
        trainers.torch_gradients(Regressor(), start.params, start.batches[0])


def test_every_name_is_known_and_the_families_are_made_of_them() -> None:
    assert [named.name for named in find("seq2seq")] == ["seq2seq-dot", "seq2seq-additive"]
    assert all(name in NAMED for names in FAMILIES.values() for name in names)
    assert {name for named in NAMED.values() for name in named.rates} == {"sgd", "momentum", "adam"}


@pytest.mark.parametrize("name", NAMED)
def test_the_batches_are_those_of_the_seed_and_as_they_are_described(name: str) -> None:
    named = small(name)
    first, again, other = (named.begin("sgd", 3, seed) for seed in (1, 1, 2))
    assert len(first.batches) == 3
    for one, two in zip(first.batches, again.batches, strict=True):
        np.testing.assert_equal(one, two)
    assert any(not np.array_equal(first.params[p], other.params[p]) for p in first.params)
    batch = first.batches[0]
    assert (batch.masks is not None) == (name == "better-rnnlm")
    assert (batch.lengths is not None) == (name == "bigru")
    if name == "bigru":
        lengths = [b.lengths for b in first.batches if b.lengths is not None]
        assert lengths[0].max() == named.T
        assert any(each.min() < named.T for each in lengths)
    if named.carried:
        np.testing.assert_array_equal(first.batches[0].targets[-1], first.batches[1].inputs[0])
