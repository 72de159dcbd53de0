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
from bptt.refimpl.training.clipping import clip_by_global_norm, clip_by_global_norm_torch, unclipped
from bptt.refimpl.training.loop import Record, Setup, State, epoch
from bptt.refimpl.training.optimisers import SGD, Adam, Optimiser
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
    from bptt.harness.torch_models.layers import detached
    from bptt.harness.torch_models.networks import network

    net = network(setup.model, state.params, rows)
    trained = [p for p in net.parameters() if p.requires_grad]
    optimiser, clip = _optimiser(setup.optimiser, trained), _clip(setup.clip, trained)
    batches, masks = (thawed(state.generators[name]) for name in ("batches", "masks"))
    rate = state.rate
    for number in range(1, epochs + 1):
        started = time.perf_counter()
        optimiser.param_groups[0]["lr"] = rate.lr
        score, largest, carried = Score(), 0.0, None
        for batch in setup.batching.epoch(batches).each:
            carried = None if batch.fresh else detached(carried)
            mask = setup.model.masks(masks, state.params, *batch.inputs.shape[:2])
            optimiser.zero_grad()
            loss, carried = net.loss(batch.inputs, batch.targets, carried, mask)
            loss.backward()
            norm = clip()
            optimiser.step()
            score += Score(setup.total(float(loss.detach()), batch.count), batch.count)
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

    net = network(model, params)
    trained = [p for p in net.parameters() if p.requires_grad]
    optimiser, clip = _optimiser(Adam(), trained), _clip(functools.partial(clip_by_global_norm, theta=theta), trained)
    found = []
    for (inputs, targets), lr in zip(batches, lrs, strict=True):
        optimiser.param_groups[0]["lr"] = lr
        optimiser.zero_grad()
        loss, _ = net.loss(inputs, targets, None, None)
        loss.backward()
        clip()
        optimiser.step()
        found.append(float(loss.detach()))
    return found


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


def _optimiser(ours: Optimiser, trained: Sequence[Any]) -> Any:
    import torch

    match ours:
        case SGD():
            return torch.optim.SGD(trained, 1.0)
        case Adam():
            return torch.optim.Adam(trained, 1.0, (ours.beta1, ours.beta2), ours.epsilon)
    raise TypeError(f"optimiser is {type(ours).__name__}, wanted SGD or Adam")


def _clip(ours: Callable[..., Any], trained: Sequence[Any]) -> Callable[[], float]:
    """Clips the gradients in place, and gives their norm before."""
    import torch

    def norm_of_all() -> float:
        return float(torch.nn.utils.get_total_norm([p.grad for p in trained]))

    if ours is unclipped:
        return norm_of_all
    if not isinstance(ours, functools.partial) or ours.func not in (clip_by_global_norm, clip_by_global_norm_torch):
        raise TypeError(f"clip is {ours!r}, wanted unclipped, or one by global norm as a partial with theta")
    theta = float(ours.keywords["theta"])
    if ours.func is clip_by_global_norm_torch:
        return lambda: float(torch.nn.utils.clip_grad_norm_(trained, theta))

    def clip() -> float:
        norm = norm_of_all()
        if norm > theta:
            for p in trained:
                p.grad.mul_(theta / norm)
        return norm

    return clip
