"""The training loop: a generator that hands out a record and a state for each epoch, and does nothing else.

    for each epoch
        for each batch    state = 0 where the batch is fresh, else that after the batch before: a plain array, the gradient stops there
                          loss, dparams, state = model.loss(params, inputs, targets, state, masks)        truncated BPTT over T steps
                          params, slots = optimiser.step(params, clip(dparams), slots, lr)
        rate = schedule.after(rate, loss of the evaluation)

Everything is pure and nothing is copied: a step makes new parameters, and a state that was handed out never changes.  All random
numbers come from two generators whose states are part of it, one for the batches and one for the dropout masks: what comes after
a state is a function of the state alone, to the last bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bptt.refimpl.training.batching import Batching
from bptt.refimpl.training.clipping import unclipped
from bptt.refimpl.training.model import Model
from bptt.refimpl.training.optimisers import Optimiser, Slots
from bptt.refimpl.training.perplexity import Score, perplexity
from bptt.refimpl.training.random_state import frozen, thawed
from bptt.refimpl.training.schedules import Rate, Schedule
from bptt.refimpl.types import Array, Params

Clip = Callable[[Params], tuple[dict[str, Array], float]]
#: (epoch from 1, step from 1, steps of the epoch, loss per symbol of this step)
Progress = Callable[[int, int, int, float], None]


def averaged(loss: float, count: int) -> float:
    """Total over the symbols of a batch, of a model whose loss is their mean."""
    return loss * count


def summed(loss: float, count: int) -> float:
    """Total over the symbols of a batch, of a model whose loss is their sum."""
    return loss


@dataclass(frozen=True)
class Setup:
    """What is trained, and how.

    model           with its loss inside (bptt.refimpl.models)
    batching        where the batches come from
    optimiser       SGD, Momentum, Nesterov, Adam
    schedule        the learning rate
    clip            gradients -> clipped ones and their norm before: functools.partial(clip_by_global_norm, theta=0.01)
    total           `averaged` or `summed`: which of the two the model's loss is over the symbols of a batch
    evaluate        parameters -> mean loss on a text of its own; None: the schedule sees the loss of training
    evaluate_every  so many epochs
    """

    model: Model
    batching: Batching
    optimiser: Optimiser
    schedule: Schedule
    clip: Clip = unclipped
    total: Callable[[float, int], float] = averaged
    evaluate: Callable[[Params], float] | None = None
    evaluate_every: int = 1


@dataclass(frozen=True)
class Record:
    """What there is to say about an epoch.

    epoch       counted from 1
    loss        mean per symbol while training, in nats: of parameters that moved, with dropout on
    validation  loss of the evaluation after the epoch, None where there was none
    lr          the learning rate in this epoch
    norm        the largest norm of a gradient before clipping
    seconds     of training; not those of the evaluation
    tokens      symbols that were predicted
    """

    epoch: int
    loss: float
    validation: float | None
    lr: float
    norm: float
    seconds: float
    tokens: int

    @property
    def perplexity(self) -> float:
        return perplexity(self.loss)

    @property
    def validation_perplexity(self) -> float | None:
        return None if self.validation is None else perplexity(self.validation)


@dataclass(frozen=True, eq=False)
class State:
    """All that the next epoch depends on.

    epoch       how many are done
    params      after that epoch; best: those of the lowest loss that the schedule has seen
    slots       of the optimiser
    rate        of the schedule
    generators  states of the generators "batches" and "masks"
    history     the records of all epochs
    """

    epoch: int
    params: Params
    best: Params
    slots: Slots
    rate: Rate
    generators: Mapping[str, Mapping[str, Any]]
    history: tuple[Record, ...] = field(default=(), repr=False)


def begin(setup: Setup, params: Params, seed: int) -> State:
    """The state before the first epoch.  The parameters are the caller's, in the caller's dtype."""
    batches, masks = (np.random.default_rng(sequence) for sequence in np.random.SeedSequence(seed).spawn(2))
    generators = {"batches": frozen(batches), "masks": frozen(masks)}
    return State(0, dict(params), dict(params), setup.optimiser.start(params), setup.schedule.start(), generators)


def train(setup: Setup, state: State, epochs: int, progress: Progress | None = None) -> Iterator[tuple[Record, State]]:
    """The epochs after `state` up to number `epochs`, one at a time.

    Each State holds its own parameters: keep the last, and not a list of all, unless that is meant.

        for record, state in train(setup, begin(setup, params, seed=0), epochs=250):
            print(record.epoch, record.perplexity)
    """
    while state.epoch < epochs:
        record, state = epoch(setup, state, progress)
        yield record, state


def epoch(setup: Setup, state: State, progress: Progress | None = None) -> tuple[Record, State]:
    """One epoch: its record and the state after it.  Raises ValueError where the loss is not finite."""
    started = time.perf_counter()
    number = state.epoch + 1
    rngs = {name: thawed(generator) for name, generator in state.generators.items()}
    model, params, slots, lr = setup.model, state.params, state.slots, state.rate.lr
    score, largest, carried = Score(), 0.0, dict[str, Array]()
    steps, batches = setup.batching.epoch(rngs["batches"])
    for step, batch in enumerate(batches, 1):
        T, N = batch.inputs.shape[:2]
        if batch.fresh:
            carried = model.zero_state(params, N)
        masks = model.masks(rngs["masks"], params, T, N)
        loss, dparams, carried = model.loss(params, batch.inputs, batch.targets, carried, masks)
        of_batch = Score(setup.total(float(loss), batch.count), batch.count)
        if not math.isfinite(of_batch.total):
            raise ValueError(f"loss is {float(loss)} in epoch {number}, step {step} of {steps}, but training needs a finite one")
        dparams, norm = setup.clip(dparams)
        params, slots = setup.optimiser.step(params, dparams, slots, lr)
        score += of_batch
        largest = max(largest, norm)
        if progress is not None:
            progress(number, step, steps, of_batch.loss)
    seconds = time.perf_counter() - started
    rate, best, validation = state.rate, state.best, None
    if number % setup.evaluate_every == 0:
        validation = None if setup.evaluate is None else float(setup.evaluate(params))
        rate = setup.schedule.after(rate, score.loss if validation is None else validation)
        best = params if rate.improved else best
    record = Record(number, score.loss, validation, lr, largest, seconds, score.count)
    generators = {name: frozen(rng) for name, rng in rngs.items()}
    return record, State(number, params, best, slots, rate, generators, (*state.history, record))
