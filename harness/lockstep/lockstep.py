"""`bptt.lockstep`: the NumPy reference beside torch, or beside a user's own loop, on the same weights and the same batches.

bptt.lockstep(model="lstm").raise_for_failures()
bptt.lockstep(my_loop, model="lstm", optimizer="adam")
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bptt.harness.errors import UsageError
from bptt.harness.lockstep import own
from bptt.harness.lockstep.compare import LOSS, Gap, Held, Parting, gradients, hold
from bptt.harness.lockstep.models import NAMED, OPTIMIZERS, Named, Start, find
from bptt.harness.lockstep.record import record
from bptt.harness.lockstep.runs import TORCH, LockstepRun
from bptt.harness.lockstep.trainers import numpy_gradients, numpy_loop, torch_gradients, torch_loop
from bptt.harness.lockstep.words import lines
from bptt.harness.words import did_you_mean
from bptt.refimpl.training.rounding import ulps
from bptt.reports.accounting import CONFORMS, gravest
from bptt.reports.records import Run

DEFAULT_OPTIMIZERS = ("sgd", "adam")
EPS = float(np.finfo(np.float64).eps)


class PartedError(AssertionError):
    """Two loops part; the text is what the terminal shows."""


@dataclass(frozen=True)
class Lockstep:
    """What all runs came to."""

    runs: tuple[LockstepRun, ...]
    seed: int

    @property
    def ok(self) -> bool:
        """Whether every run was held together to its end."""
        return self.exit_code == CONFORMS

    @property
    def exit_code(self) -> int:
        return gravest(*(one.exit_code for one in self.runs))

    def text(self) -> str:
        """What the terminal shows."""
        return "\n".join(lines(self.runs))

    def run(self, command: str = "bptt.lockstep(...)") -> Run:
        """The record."""
        return record(self.runs, self.seed, command, self.exit_code)

    def raise_for_failures(self) -> None:
        """Raises PartedError with the terminal's text unless every run was held together."""
        if not self.ok:
            raise PartedError(self.text())


def lockstep(
    mine: own.Loop | str | None = None,
    model: str | Named | Sequence[str | Named] = (),
    *,
    steps: int = 100,
    optimizer: str | None = None,
    seed: int = 0,
    on_run: Callable[[LockstepRun], None] = lambda one: None,
) -> Lockstep:
    """Train both from the same weights on the same batches, and hold every loss and every parameter together after each step.

    mine       a generator function (params, batches, settings) that yields (loss, params) after each step, or where it is
               (``path/file.py:loop``); None: torch
    model      names of models (`bptt.harness.lockstep.models.NAMED`), or a `Named`; none: all of them
    optimizer  "sgd", "momentum" or "adam"; None: SGD and Adam
    on_run     is called with each run when it ends

    Raises UsageError for what is unknown and for a loop that yields something else, SubjectError for what that loop raises.
    """
    models = _models(model)
    if steps < 1:
        raise UsageError(f"lockstep: steps is {steps}, wanted 1 or more")
    if optimizer is not None and optimizer not in OPTIMIZERS:
        raise UsageError(f"lockstep: no optimizer {optimizer!r}{did_you_mean(optimizer, OPTIMIZERS)}")
    loop = None if mine is None else own.load(mine)
    if loop is not None and len(models) != 1:
        names = ", ".join(named.name for named in models)
        raise UsageError(f"lockstep: {loop[0]} is one loop, but {len(models)} models are named, wanted one of {names}")
    if loop is None and importlib.util.find_spec("torch") is None:
        raise UsageError("lockstep: torch is not installed, wanted it (pip install torch) or a loop of your own")
    runs = []
    for named in models:
        for name in DEFAULT_OPTIMIZERS if optimizer is None else (optimizer,):
            runs.append(_run_of(named, name, steps, seed, loop))
            on_run(runs[-1])
    return Lockstep(tuple(runs), seed)


def _run_of(named: Named, optimizer: str, steps: int, seed: int, loop: tuple[str, own.Loop] | None) -> LockstepRun:
    started = time.perf_counter()
    start = named.begin(optimizer, steps, seed)
    if loop is None:
        units = dict.fromkeys((LOSS, *start.params), EPS)
        held = _held(named, torch_loop(named.model, *start), start, units, seed)
        gap, parting = _gradients(named, start, seed)
        if parting and not (held.parting and held.parting.tensor == LOSS and held.parting.step == 1):
            held = replace(held, parting=parting)
    else:
        first, mine = own.peeked(own.follow(*loop, start))
        units = own.units(first)
        held, gap = _held(named, mine, start, units, seed), None
    spent = time.perf_counter() - started
    name, rate = loop[0] if loop else TORCH, start.settings.learning_rate
    return LockstepRun(named, optimizer, rate, name, steps, held, gap, max(units.values()), spent)


def _held(named: Named, mine: Iterator[own.Step], start: Start, units: Mapping[str, float], seed: int) -> Held:
    reference = numpy_loop(named.model, *start)
    eps = max(units[name] for name in start.params)
    shadow = numpy_loop(named.model, *start, rounding=ulps(np.random.default_rng(seed), eps))
    return hold(mine, reference, shadow, start.params, named.gates, units)


def _gradients(named: Named, start: Start, seed: int) -> tuple[Gap, Parting | None]:
    """Those of the first batch in torch and in NumPy, with the noise of weights and gradients that are moved by a unit."""
    params, batch = start.params, start.batches[0]
    moved, _ = ulps(np.random.default_rng(seed), EPS)(params, params)
    shadow = numpy_gradients(named.model, moved, batch)
    theirs, ours = torch_gradients(named.model, params, batch), numpy_gradients(named.model, params, batch)
    return gradients(theirs, ours, shadow, named.gates, EPS)


def _models(model: str | Named | Sequence[str | Named]) -> tuple[Named, ...]:
    each = [model] if isinstance(model, str | Named) else list(model) or list(NAMED)
    found = [named for one in each for named in ((one,) if isinstance(one, Named) else find(one))]
    return tuple({named.name: named for named in found}.values())
