"""The same model trained in torch: the same start, batches, dropout masks, clipping and learning rates, torch's own layers and gradients.

torch is imported when something is trained, and not before.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import islice
from typing import Any

import numpy as np

from bptt.refimpl.training.batching import Batches, Batching
from bptt.refimpl.training.clipping import clip_by_global_norm
from bptt.refimpl.training.loop import Record, Setup, State, epoch
from bptt.refimpl.training.optimisers import Adam
from bptt.refimpl.training.perplexity import Score, Validation
from bptt.refimpl.training.random_state import thawed
from bptt.refimpl.training.rounding import Rounded
from bptt.refimpl.types import Params

BESIDE = ("torch", "nothing")


def wanted(beside: str) -> bool:
    """Whether to train in torch too: it was asked for, and is installed.  Raises ValueError for an unknown word."""
    if beside not in BESIDE:
        raise ValueError(f"beside is {beside!r}, wanted {' or '.join(BESIDE)}")
    return beside == "torch" and find_spec("torch") is not None


def train(setup: Setup, state: State, epochs: int, *, rows: bool = False) -> Iterator[Record]:
    """bptt.refimpl.training.loop.train in torch, from a state that has no epoch behind it: the records of its epochs.

    rows   for a model of one-hot inputs: rows of the weights are looked up, in a loop over the steps
    """
    from bptt.harness.torch_models.networks import network
    from bptt.harness.torch_models.trainer import trainer

    net = network(setup.model, state.params, rows)
    theirs = trainer(net, setup.optimiser, setup.clip)
    batches, masks = (thawed(state.generators[name]) for name in ("batches", "masks"))
    rate = state.rate
    for number in range(1, epochs + 1):
        started = time.perf_counter()
        score, largest, carried = Score(), 0.0, None
        for batch in setup.batching.epoch(batches).each:
            mask = setup.model.masks(masks, state.params, *batch.inputs.shape[:2])
            loss, norm, carried = theirs.step(rate.lr, batch.inputs, batch.targets, None if batch.fresh else carried, mask)
            score += Score(setup.total(loss, batch.count), batch.count)
            largest = max(largest, norm)
        seconds = time.perf_counter() - started
        lr, validation = rate.lr, None
        if number % setup.evaluate_every == 0:
            validation = None if setup.evaluate is None else _validation(net, setup.evaluate)
            rate = setup.schedule.after(rate, score.loss if validation is None else validation)
        yield Record(number, score.loss, validation, lr, largest, seconds, score.count)


def time_ratio(setup: Setup, state: State, epochs: int, *, rows: bool = False) -> tuple[float, float]:
    """Seconds of our fastest epoch over those of torch's, and ours for each step.

    Both train in turns, so that whatever else the machine does meets both.
    """
    ours, theirs, steps = list[float](), list[float](), setup.batching.epoch(thawed(state.generators["batches"])).steps
    for record in train(setup, state, epochs, rows=rows):
        theirs.append(record.seconds)
        mine, state = epoch(setup, state)
        ours.append(mine.seconds)
    return min(ours) / min(theirs), min(ours) / steps


def moved(setup: Setup) -> Setup:
    """The same training with rounding added at every step."""
    return replace(setup, optimiser=Rounded(setup.optimiser))


def moved_records(setup: Setup, state: State, epochs: int) -> list[Record]:
    """The records of the same training with rounding added at every step."""
    found, with_rounding = list[Record](), moved(setup)
    for _ in range(epochs):
        record, state = epoch(with_rounding, state)
        found.append(record)
    return found


def judged_epochs(dtype: str, epochs: int) -> int:
    """How many epochs are held against torch's: in float32 the first; each is trained once more to measure rounding."""
    return epochs if dtype == "float64" else min(epochs, 1)


def first_losses(setup: Setup, state: State, steps: int) -> tuple[float, float, float]:
    """The mean loss of the first `steps`, each before its update: ours, torch's, ours with rounding added."""
    few = replace(setup, batching=_First(setup.batching, steps), evaluate=None)
    (theirs,) = train(few, state, 1)
    return epoch(few, state)[0].loss, theirs.loss, epoch(moved(few), state)[0].loss


def losses(model: Any, params: Params, batches: Sequence[tuple[Any, Any]], lrs: Sequence[float], theta: float) -> list[float]:
    """The loss of each batch before its step of Adam, each from zero state; gradients clipped by global norm."""
    from bptt.harness.torch_models.networks import network
    from bptt.harness.torch_models.trainer import trainer

    theirs = trainer(network(model, params), Adam(), functools.partial(clip_by_global_norm, theta=theta))
    return [theirs.step(lr, inputs, targets, None)[0] for (inputs, targets), lr in zip(batches, lrs, strict=True)]


@dataclass(frozen=True)
class _First:
    """The first few batches of an epoch."""

    batching: Batching
    count: int

    def epoch(self, rng: np.random.Generator) -> Batches:
        steps, each = self.batching.epoch(rng)
        return Batches(min(steps, self.count), islice(each, self.count))


def _validation(net: Any, evaluate: Callable[[Params], float]) -> float:
    """Mean cross-entropy on the text of a Validation."""
    import torch

    if not isinstance(evaluate, Validation):
        raise TypeError(f"evaluate is {evaluate!r}, wanted a Validation: it has a text that torch can read too")
    score, state = Score(), None
    with torch.no_grad():
        for batch in evaluate.batching.epoch().each:
            scores, state = net.predict(batch.inputs, None if batch.fresh else state)
            loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), torch.from_numpy(batch.targets).flatten(), reduction="sum")
            score += Score(float(loss), batch.count)
    return score.loss
