"""A run that is cut off goes on to the same bits, and leaves nothing behind when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from bptt.harness.experiments.training.checkpointed import trained
from bptt.refimpl.models.language_model import LanguageModel
from bptt.refimpl.training.batching import Batch, Batches, RandomSampling
from bptt.refimpl.training.corpus import characters_of
from bptt.refimpl.training.loop import Setup, State, begin
from bptt.refimpl.training.optimisers import Adam
from bptt.refimpl.training.schedules import Constant

TEXT = characters_of("a text", "the quick brown fox jumps over the lazy dog, " * 6)
MODEL = LanguageModel(("lstm",), embedding=True, dropout=0.3)
EPOCHS = 6


@dataclass(frozen=True)
class CutOff:
    """Batches that are interrupted in epoch `at`; a fingerprint like those that are not."""

    inner: RandomSampling
    drawn: list[int]
    at: int

    def epoch(self, rng: np.random.Generator) -> Batches:
        self.drawn.append(1)
        steps, each = self.inner.epoch(rng)
        return Batches(steps, self._until(each) if len(self.drawn) == self.at else each)

    def _until(self, each: Iterator[Batch]) -> Iterator[Batch]:
        yield next(each)
        raise KeyboardInterrupt

    def fingerprint(self) -> str:
        return "of these tests"


def setup(at: int = 0) -> Setup:
    return Setup(MODEL, CutOff(RandomSampling(TEXT, 4, 6), [], at), Adam(), Constant(0.01))


def start(seed: int = 3) -> State:
    return begin(setup(), MODEL.init(np.random.default_rng(seed), len(TEXT.vocabulary), 5), seed)


def bits(state: State) -> list[bytes]:
    return [p.tobytes() for p in (*state.params.values(), *state.slots.averages["v"].values())]


def drawn(s: Setup) -> int:
    assert isinstance(s.batching, CutOff)
    return len(s.batching.drawn)


def test_a_run_that_was_cut_off_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = trained(setup(), start(), EPOCHS, tmp_path / "a", every=0)
    with pytest.raises(KeyboardInterrupt):
        trained(setup(at=4), start(), EPOCHS, tmp_path / "b", every=0)
    again = setup()
    state = trained(again, start(), EPOCHS, tmp_path / "b", every=0)
    assert drawn(again) == EPOCHS - 3
    assert bits(state) == bits(whole)
    assert [replace(r, seconds=0) for r in state.history] == [replace(r, seconds=0) for r in whole.history]
    assert list((tmp_path / "a").iterdir()) == list((tmp_path / "b").iterdir()) == []


def test_another_run_does_not_go_on_from_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(setup(at=4), start(), EPOCHS, tmp_path, every=0)
    for other, first in ((replace(setup(), schedule=Constant(0.02)), start()), (setup(), start(seed=4))):
        trained(other, first, EPOCHS, tmp_path, every=0)
        assert drawn(other) == EPOCHS
    assert len(list(tmp_path.iterdir())) == 1


def test_a_damaged_checkpoint_costs_time_alone(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(setup(at=4), start(), EPOCHS, tmp_path, every=0)
    for path in tmp_path.rglob("*.npz"):
        path.write_bytes(path.read_bytes()[:-100])
    again = setup()
    assert bits(trained(again, start(), EPOCHS, tmp_path, every=0)) == bits(trained(setup(), start(), EPOCHS, tmp_path / "c", every=0))
    assert drawn(again) == EPOCHS


def test_a_short_run_writes_nothing(tmp_path: Path) -> None:
    trained(setup(), start(), 2, tmp_path / "none")
    assert not (tmp_path / "none").exists()
