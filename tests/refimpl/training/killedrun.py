"""A run that says "here" at a chosen moment and then waits to be killed.   python -m tests.refimpl.training.killedrun DIRECTORY MOMENT

step     in the middle of epoch 3               written   epoch 3 is written beside, and not yet flushed
begun    epoch 3 is written beside, in part     replaced  epoch 3 is there, older ones are not yet removed
"""

from __future__ import annotations

import functools
import os
import sys
import time
import zipfile
from typing import Any

import numpy as np

from bptt.refimpl.training import (
    Adam,
    Consecutive,
    HalveOnRise,
    Setup,
    State,
    Streams,
    Validation,
    begin,
    clip_by_global_norm,
    resume,
    save,
    settings_of,
    train,
)
from tests.refimpl.training.tinymodel import TinyModel, random_text

EPOCHS = 6


def setup() -> Setup:
    model = TinyModel(dropout=0.3)
    return Setup(
        model,
        Consecutive(random_text(0, 300, 6), 3, 7),
        Adam(),
        HalveOnRise(0.5),
        clip=functools.partial(clip_by_global_norm, theta=0.05),
        evaluate=Validation(model, Streams(random_text(1, 80, 6), 2, 5)),
    )


def first_state() -> State:
    params = {name: p.astype(np.float32) for name, p in TinyModel().init(np.random.default_rng(5), 6).items()}
    return begin(setup(), params, seed=9)


def finish(directory: str, progress: Any = None) -> State:
    """Goes on from whatever is in the directory, to the last epoch."""
    state = start = resume(directory, first_state(), settings_of(setup=setup()))
    for _, state in train(setup(), start, EPOCHS, progress):
        save(directory, state, settings_of(setup=setup()))
    return state


def wait() -> None:
    print("here", flush=True)
    time.sleep(600)


def waiting_at(call: int, function: Any, before: bool) -> Any:
    """The same function, which waits before or after its call with that number."""
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and before:
            wait()
        result = function(*args, **kwargs)
        if calls == call and not before:
            wait()
        return result

    return wrapped


def main(directory: str, moment: str) -> None:
    progress = None
    if moment == "step":

        def progress(epoch: int, step: int, steps: int, loss: float) -> None:
            if epoch == 3 and step == steps // 2:
                wait()

    elif moment == "begun":
        arrays = len(np.load(save(directory + "-other", first_state(), {})).files)
        zipfile.ZipFile.open = waiting_at(2 * arrays + 3, zipfile.ZipFile.open, before=False)
    elif moment == "written":
        os.fsync = waiting_at(5, os.fsync, before=True)
    elif moment == "replaced":
        os.replace = waiting_at(3, os.replace, before=False)
    finish(directory, progress)


if __name__ == "__main__":
    main(*sys.argv[1:])
