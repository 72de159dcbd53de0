"""A training loop as a user writes it, right; and the same with one mistake each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bptt.harness.lockstep.models import NAMED, Batch, Named, Settings
from bptt.refimpl.models.language_model import LanguageModel
from bptt.refimpl.types import Array

Arrays = dict[str, Array]


def small(name: str, **changes: Any) -> Named:
    """The model at a size at which a hundred steps take a moment."""
    return replace(NAMED[name], T=5, N=3, H=8, **changes)


class Own:
    """One network's loop.  Parameters are changed in place, as many do."""

    def __init__(self, named: Named) -> None:
        self.named, self.model = named, named.model

    def __call__(self, params: Arrays, batches: Sequence[Batch], settings: Settings) -> Iterator[tuple[float, Arrays]]:
        self.batches, self.slots = batches, {name: (np.zeros_like(p), np.zeros_like(p)) for name, p in params.items()}
        state = self.zeros(params)
        for t, batch in enumerate(batches, 1):
            loss, grads, after = self.gradients(params, batch, state if settings.carried else self.zeros(params), t)
            self.update(params, self.clipped(grads, settings), t, settings)
            state = after
            yield loss, params

    def zeros(self, params: Arrays) -> Arrays:
        return self.model.zero_state(params, self.named.N)

    def gradients(self, params: Arrays, batch: Batch, state: Arrays, t: int) -> tuple[float, Arrays, Arrays]:
        more = {} if batch.lengths is None else {"lengths": batch.lengths}
        loss, grads, after = self.model.loss(params, batch.inputs, batch.targets, state, batch.masks, **more)
        return float(loss), grads, after

    def clipped(self, grads: Arrays, settings: Settings) -> Arrays:
        if settings.clip is None:
            return grads
        norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
        return {name: g * min(1, settings.clip / (norm + 1e-6)) for name, g in grads.items()}

    def update(self, params: Arrays, grads: Arrays, t: int, settings: Settings) -> None:
        for name, g in grads.items():
            params[name] -= self.step(name, g, t, settings)

    def step(self, name: str, g: Array, t: int, settings: Settings) -> Array:
        rate, (m, v) = self.rate(settings), self.slots[name]
        if settings.optimizer == "sgd":
            return rate * g
        if settings.optimizer == "momentum":
            m[:] = settings.momentum * m + g
            return rate * m
        m[:] = settings.betas[0] * m + (1 - settings.betas[0]) * g
        v[:] = settings.betas[1] * v + (1 - settings.betas[1]) * g**2
        return self.adam(m, v, t, rate, settings)

    def adam(self, m: Array, v: Array, t: int, rate: float, settings: Settings) -> Array:
        m_hat, v_hat = m / (1 - settings.betas[0] ** t), v / (1 - settings.betas[1] ** t)
        return rate * m_hat / (np.sqrt(v_hat) + settings.epsilon)

    def rate(self, settings: Settings) -> float:
        return settings.learning_rate


class NoBiasCorrection(Own):
    def adam(self, m: Array, v: Array, t: int, rate: float, settings: Settings) -> Array:
        return rate * m / (np.sqrt(v) + settings.epsilon)


class EpsilonInTheRoot(Own):
    def adam(self, m: Array, v: Array, t: int, rate: float, settings: Settings) -> Array:
        return rate * m / (1 - settings.betas[0] ** t) / np.sqrt(v / (1 - settings.betas[1] ** t) + settings.epsilon)


class DampenedMomentum(Own):
    """v = mu v + (1 - mu) g, but the first step is not dampened: torch's `dampening`."""

    def step(self, name: str, g: Array, t: int, settings: Settings) -> Array:
        return super().step(name, g if t == 1 else (1 - settings.momentum) * g, t, settings)


class ClippedAfterTheStep(Own):
    def clipped(self, grads: Arrays, settings: Settings) -> Arrays:
        return grads


class GradientsNotAveraged(Own):
    def gradients(self, params: Arrays, batch: Batch, state: Arrays, t: int) -> tuple[float, Arrays, Arrays]:
        loss, grads, after = super().gradients(params, batch, state, t)
        return loss, {name: g * batch.targets.size for name, g in grads.items()}, after


class MaskRedrawn(Own):
    """From the fourth step on."""

    def gradients(self, params: Arrays, batch: Batch, state: Arrays, t: int) -> tuple[float, Arrays, Arrays]:
        if t > 3:
            batch = batch._replace(masks=self.model.masks(np.random.default_rng(t), params, self.named.T, self.named.N))
        return super().gradients(params, batch, state, t)


class TiedGradientOnce(Own):
    """The embedding's share of the weight that it shares with the layer on top is left out."""

    def gradients(self, params: Arrays, batch: Batch, state: Arrays, t: int) -> tuple[float, Arrays, Arrays]:
        untied = LanguageModel(self.model.cells, embedding=True)
        loss, grads, after = untied.loss({**params, "W_y": params["E"].T}, batch.inputs, batch.targets, state, batch.masks)
        return float(loss), {**{name: grads[name] for name in params}, "E": grads["W_y"].T}, after


class StateNotCarried(Own):
    def gradients(self, params: Arrays, batch: Batch, state: Arrays, t: int) -> tuple[float, Arrays, Arrays]:
        return super().gradients(params, batch, self.zeros(params), t)


class RateAMillionthOff(Own):
    def rate(self, settings: Settings) -> float:
        return settings.learning_rate * (1 + 1e-6)


class WeightDecay(Own):
    def gradients(self, params: Arrays, batch: Batch, state: Arrays, t: int) -> tuple[float, Arrays, Arrays]:
        loss, grads, after = super().gradients(params, batch, state, t)
        return loss, {name: g + 1e-6 * params[name] for name, g in grads.items()}, after


class OneNotUpdated(Own):
    def update(self, params: Arrays, grads: Arrays, t: int, settings: Settings) -> None:
        super().update(params, {name: g for name, g in grads.items() if name != "b_y"}, t, settings)


class SecondFromTheFirst(Own):
    """W_h's gradient is taken when W_x has moved already."""

    def gradients(self, params: Arrays, batch: Batch, state: Arrays, t: int) -> tuple[float, Arrays, Arrays]:
        loss, grads, after = super().gradients(params, batch, state, t)
        moved = {**params, "W_x_l0": params["W_x_l0"] - self.named.rates["sgd"] * grads["W_x_l0"]}
        _, later, _ = super().gradients(moved, batch, state, t)
        return loss, {**grads, "W_h_l0": later["W_h_l0"]}, after


class OneGateTwice(Own):
    """The gradient of the forget gate's recurrent weights is counted twice, from the third step on."""

    def gradients(self, params: Arrays, batch: Batch, state: Arrays, t: int) -> tuple[float, Arrays, Arrays]:
        loss, grads, after = super().gradients(params, batch, state, t)
        H = self.named.H
        if t > 2:
            grads["W_h_l0"][:, H : 2 * H] *= 2
        return loss, grads, after


class LossAfterTheStep(Own):
    def __call__(self, params: Arrays, batches: Sequence[Batch], settings: Settings) -> Iterator[tuple[float, Arrays]]:
        before = self.zeros(params)
        for batch, (_, own) in zip(batches, super().__call__(params, batches, settings), strict=True):
            loss, _, before = self.gradients(own, batch, before, 1)
            yield loss, own


class BatchesInAnotherOrder(Own):
    """The third and the fourth change places."""

    def __call__(self, params: Arrays, batches: Sequence[Batch], settings: Settings) -> Iterator[tuple[float, Arrays]]:
        return super().__call__(params, [*batches[:2], batches[3], batches[2], *batches[4:]], settings)


Fault = Callable[[Named], Own]
