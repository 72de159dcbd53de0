"""Checkpoints: the state after an epoch in one file, written whole or not at all.

    save(directory, state, settings)              DIRECTORY/epoch-00012.npz
    load(path, like, settings)                    the state, to the bit
    resume(directory, like, settings)             the newest state there, or `like` where there is none

A checkpoint is an .npz: arrays under "params/W_x", "best/W_x", "slots/m/W_x", and everything else as JSON under "about".  It is
written to a file beside, flushed to the disk and then renamed: a process that is killed at any moment leaves the checkpoint
before or this one, and at most a file *.partial that the next write replaces.

`like` is the state that the run would begin with: names, shapes and dtypes of its arrays are those that are wanted.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bptt.refimpl.training.loop import Record, State
from bptt.refimpl.training.optimisers import Slots
from bptt.refimpl.training.random_state import thawed
from bptt.refimpl.training.schedules import Rate
from bptt.refimpl.training.settings import Setting, differences
from bptt.refimpl.types import Array, Params

FORMAT = "bptt/checkpoint@1"
#: What zipfile, NumPy and JSON raise for a file that is not what they take it for.
DAMAGE = (
    OSError,
    ValueError,
    LookupError,
    EOFError,
    AttributeError,
    TypeError,
    RuntimeError,
    MemoryError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
)
NAME = re.compile(r"epoch-(\d+)\.npz")


class CheckpointError(ValueError):
    """A checkpoint that cannot be continued: the message names the file and why."""


def save(directory: str | Path, state: State, settings: Mapping[str, Setting], keep: int = 2) -> Path:
    """Writes the state of an epoch, and then removes all but the newest `keep`.

    The settings should be everything else that the next epoch depends on: `settings_of(setup=setup)`.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"epoch-{state.epoch:05}.npz"
    arrays, about = _taken_apart(state)
    write(path, arrays, {"format": FORMAT, "settings": dict(settings), **about})
    for old in _found(directory)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def resume(directory: str | Path, like: State, settings: Mapping[str, Setting]) -> State:
    """The newest state of a directory, or `like` where it has none."""
    found = _found(Path(directory))
    return load(found[-1], like, settings) if found else like


def load(path: str | Path, like: State, settings: Mapping[str, Setting]) -> State:
    """The state of a checkpoint.  Raises CheckpointError where it is damaged, foreign, or of a run with other settings."""
    path = Path(path)
    about, arrays = read(path)
    if about.get("format") != FORMAT:
        raise CheckpointError(f"{path}: has the format {about.get('format')!r}, but {FORMAT!r} is needed")
    if found := differences(about["settings"], settings):
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise CheckpointError(f"{path}: comes from a run with other settings: {found[0]}{more}")
    wanted, _ = _taken_apart(like)
    if found := differences(_kinds(arrays), _kinds(wanted)):
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise CheckpointError(f"{path}: comes from a run with other arrays: {found[0]}{more}")
    return _put_together(arrays, about)


def write(path: Path, arrays: Mapping[str, Array], about: Mapping[str, Any]) -> None:
    """One .npz, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)  # type: ignore[arg-type]  # keywords of any name
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    if os.name == "posix":  # the new name is safe once its directory is on the disk
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def read(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """`about` and the arrays of a file.  Raises CheckpointError where it is no checkpoint, or was cut or changed."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}  # reads each to its end, so that its checksum is compared
        about = json.loads(arrays.pop("about").tobytes())
        return (about if isinstance(about, dict) else {}), arrays
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file, but a checkpoint is needed") from error
    except DAMAGE as error:
        raise CheckpointError(f"{path}: is damaged or no checkpoint ({_one_line(error)}), but a whole one is needed") from error


def _taken_apart(state: State) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays of a state under paths, and what is not an array."""
    arrays = {f"params/{name}": p for name, p in state.params.items()}
    arrays |= {f"best/{name}": p for name, p in state.best.items()}
    arrays |= {f"slots/{slot}/{name}": a for slot, averages in state.slots.averages.items() for name, a in averages.items()}
    return arrays, {
        "epoch": state.epoch,
        "t": state.slots.t,
        "rate": asdict(state.rate),
        "generators": state.generators,
        "history": [asdict(record) for record in state.history],
        "slots": list(state.slots.averages),
    }


def _put_together(arrays: Mapping[str, Array], about: Mapping[str, Any]) -> State:
    def group(prefix: str) -> Params:
        return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}

    for generator in about["generators"].values():
        thawed(generator)
    return State(
        epoch=about["epoch"],
        params=group("params/"),
        best=group("best/"),
        slots=Slots(about["t"], {slot: group(f"slots/{slot}/") for slot in about["slots"]}),
        rate=Rate(**about["rate"]),
        generators=about["generators"],
        history=tuple(Record(**record) for record in about["history"]),
    )


def _kinds(arrays: Mapping[str, Array]) -> dict[str, Setting]:
    return {name: f"{a.dtype} {a.shape}" for name, a in sorted(arrays.items())}


def _found(directory: Path) -> list[Path]:
    """Checkpoints of a directory, oldest first."""
    return sorted((path for path in directory.glob("epoch-*.npz") if NAME.fullmatch(path.name)), key=lambda path: int(path.stem[6:]))


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
