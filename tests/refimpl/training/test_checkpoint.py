"""Checkpoints keep every bit, survive a kill at any moment, and are refused where they are damaged, foreign, or of another run."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.refimpl.training.checkpoint import CheckpointError, load, read, resume, save, write
from bptt.refimpl.training.loop import State, train
from bptt.refimpl.training.optimisers import SGD
from bptt.refimpl.training.settings import settings_of
from bptt.refimpl.types import Params
from tests.refimpl.training import killedrun

ROOT = Path(__file__).parents[3]
quick = settings(max_examples=150, deadline=None, derandomize=True)
SETTINGS = settings_of(setup=killedrun.setup())


def bits(arrays: Params) -> dict[str, tuple[str, bytes]]:
    return {name: (str(a.dtype), a.tobytes()) for name, a in arrays.items()}


def same(a: State, b: State) -> bool:
    """To the bit in everything but the time that it took."""
    return (
        a.epoch == b.epoch
        and bits(a.params) == bits(b.params)
        and bits(a.best) == bits(b.best)
        and a.slots.t == b.slots.t
        and {name: bits(slot) for name, slot in a.slots.averages.items()} == {name: bits(slot) for name, slot in b.slots.averages.items()}
        and a.rate == b.rate
        and a.generators == b.generators
        and [replace(r, seconds=0.0) for r in a.history] == [replace(r, seconds=0.0) for r in b.history]
    )


@pytest.fixture(scope="module")
def states() -> list[State]:
    """The states of an uninterrupted run, the first one included."""
    first = killedrun.first_state()
    return [first, *(state for _, state in train(killedrun.setup(), first, killedrun.EPOCHS))]


def test_a_state_comes_back_to_the_bit(tmp_path: Path, states: list[State]) -> None:
    for state in states:
        loaded = load(save(tmp_path, state, SETTINGS), states[0], SETTINGS)
        assert same(loaded, state)
        assert loaded.history == state.history
    assert not same(states[1], states[2])


@pytest.mark.parametrize("moment", ["step", "begun", "written", "replaced"])
def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path, states: list[State], moment: str) -> None:
    command = [sys.executable, "-W", "error", "-m", killedrun.__name__, str(tmp_path / "run"), moment]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "here\n"
        run.kill()
        assert run.wait() == -9
    there = sorted(path.name for path in (tmp_path / "run").iterdir())
    partial = ["epoch-00003.npz.partial"] if moment in ("begun", "written") else []
    epochs = (1, 2, 3) if moment == "replaced" else (1, 2)
    assert there == sorted([f"epoch-{epoch:05}.npz" for epoch in epochs] + partial)
    done = max(epochs)
    assert same(resume(tmp_path / "run", states[0], SETTINGS), states[done])
    assert same(killedrun.finish(str(tmp_path / "run")), states[-1])
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["epoch-00005.npz", "epoch-00006.npz"]


def test_without_a_checkpoint_it_begins(tmp_path: Path, states: list[State]) -> None:
    assert resume(tmp_path, states[0], SETTINGS) is states[0]
    assert resume(tmp_path / "none", states[0], SETTINGS) is states[0]


def test_the_newest_is_that_with_the_highest_number(tmp_path: Path, states: list[State]) -> None:
    for epoch in (9, 99_999, 100_000):
        save(tmp_path, replace(states[1], epoch=epoch), SETTINGS, keep=3)
    (tmp_path / "epoch-last.npz").write_text("of somebody else")
    assert resume(tmp_path, states[0], SETTINGS).epoch == 100_000


def test_settings_that_differ_are_named(tmp_path: Path, states: list[State]) -> None:
    path = save(tmp_path, states[1], {**SETTINGS, "hidden": 256})
    other = settings_of(setup=replace(killedrun.setup(), optimiser=SGD()))
    with pytest.raises(CheckpointError) as error:
        load(path, states[0], other)
    assert str(error.value) == (
        f"{path}: comes from a run with other settings: setup.optimiser is 'Adam' there and 'SGD' here (and 4 more)"
    )
    with pytest.raises(CheckpointError, match=r"settings: hidden is 256 there and not given here$"):
        load(path, states[0], SETTINGS)


def test_arrays_that_differ_are_named(tmp_path: Path, states: list[State]) -> None:
    path = save(tmp_path, states[1], SETTINGS)
    like = replace(states[0], params={**states[0].params, "W": states[0].params["W"].astype(np.float64)})
    with pytest.raises(CheckpointError, match=r"other arrays: params/W is 'float32 \(6, 6\)' there and 'float64 \(6, 6\)' here$"):
        load(path, like, SETTINGS)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 18])
def test_a_file_that_is_no_checkpoint(tmp_path: Path, states: list[State], content: bytes) -> None:
    path = tmp_path / "epoch-00001.npz"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged or no checkpoint") as error:
        load(path, states[0], SETTINGS)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_files_of_others(tmp_path: Path, states: list[State]) -> None:
    np.savez(tmp_path / "arrays.npz", W=np.zeros(3))
    with pytest.raises(CheckpointError, match="is damaged or no checkpoint"):
        load(tmp_path / "arrays.npz", states[0], SETTINGS)
    write(tmp_path / "later.npz", {}, {"format": "bptt/checkpoint@2"})
    with pytest.raises(CheckpointError, match="has the format 'bptt/checkpoint@2', but 'bptt/checkpoint@1' is needed"):
        load(tmp_path / "later.npz", states[0], SETTINGS)
    with pytest.raises(CheckpointError, match="no such file"):
        load(tmp_path / "none.npz", states[0], SETTINGS)


def test_nothing_in_it_is_code(tmp_path: Path, states: list[State]) -> None:
    np.savez(tmp_path / "pickled.npz", about=np.array([{"format": 1}], dtype=object))
    with pytest.raises(CheckpointError, match="is damaged or no checkpoint"):
        load(tmp_path / "pickled.npz", states[0], SETTINGS)


@pytest.mark.thorough
def test_each_changed_bit_of_a_header_is_an_error_or_does_not_matter(tmp_path: Path, states: list[State]) -> None:
    path = save(tmp_path, states[2], SETTINGS)
    content = path.read_bytes()
    for place in range(content.index(b"PK\x01\x02"), len(content)):  # what follows the arrays: the names, places and checksums
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :])
        try:
            assert same(load(path, states[0], SETTINGS), states[2])
        except CheckpointError as error:
            assert str(error).startswith(str(path))


@pytest.mark.thorough
@quick
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_changed_byte_is_an_error_or_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, states: list[State], place: float, flip: int
) -> None:
    path = save(tmp_path_factory.mktemp("changed"), states[2], SETTINGS)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= flip
    path.write_bytes(content)
    try:
        assert same(load(path, states[0], SETTINGS), states[2])
    except CheckpointError as error:
        assert str(error).startswith(str(path))


@pytest.mark.thorough
@quick
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_was_cut_is_an_error(tmp_path_factory: pytest.TempPathFactory, states: list[State], share: float) -> None:
    path = save(tmp_path_factory.mktemp("cut"), states[2], SETTINGS)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="is damaged or no checkpoint"):
        load(path, states[0], SETTINGS)


def test_what_is_not_an_array_is_plain_json(tmp_path: Path, states: list[State]) -> None:
    about, _ = read(save(tmp_path, states[1], SETTINGS))
    assert json.loads(json.dumps(about)) == about
    assert about["settings"]["setup.clip.theta"] == 0.05
