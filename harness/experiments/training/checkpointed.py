"""Training that survives a kill: a run that takes long leaves a checkpoint now and then, and the same run goes on from it.

What comes after a checkpoint is the same to the last bit, so a point stays a function of its settings.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path

from bptt.harness.experiments.engine.points import fingerprint
from bptt.refimpl.training.checkpoint import CheckpointError, resume, save
from bptt.refimpl.training.loop import Setup, State, train
from bptt.refimpl.training.settings import settings_of

FOLDER = Path("build/experiments/checkpoints")
#: Seconds of training from one checkpoint to the next; a run that is shorter leaves none.
EVERY = 60.0


def trained(setup: Setup, start: State, epochs: int, folder: Path = FOLDER, every: float = EVERY) -> State:
    """The state after `epochs`.  The checkpoints' folder is named by all that they depend on, and is gone in the end."""
    settings = settings_of(setup=setup, params=start.params, generators=start.generators, lr=start.rate.lr, code=fingerprint())
    here = folder / hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:32]
    try:
        begun = resume(here, start, settings)
    except CheckpointError:  # it was cut or changed: what is in it is worth time alone
        begun = start
    state, saved = begun, time.monotonic()
    for _, state in train(setup, begun, epochs):
        if time.monotonic() - saved >= every and state.epoch < epochs:
            save(here, state, settings)
            saved = time.monotonic()
    shutil.rmtree(here, ignore_errors=True)
    return state
