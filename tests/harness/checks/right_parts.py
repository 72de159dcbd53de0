"""Parts of a training loop without a mistake, as different people write them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bptt.harness.subject import Array, Arrays
from bptt.refimpl.training.clipping import clip_by_global_norm, clip_by_global_norm_torch, clip_elementwise
from bptt.refimpl.training.schedules import HalveOnRise
from tests.harness.checks import planted_parts as planted


def clip_list(grads: list[Array], theta: float) -> None:
    """In place, over a list."""
    norm = np.sqrt(sum((g**2).sum() for g in grads))
    if norm > theta:
        for g in grads:
            g[:] *= theta / norm


def clip_rate(grads: list[Array], max_norm: float) -> None:
    """In place, by a rate that is looked at first."""
    total = 0.0
    for g in grads:
        total += np.sum(g**2)
    rate = max_norm / (np.sqrt(total) + 1e-6)
    if rate < 1:
        for g in grads:
            g *= rate


def clip_values(grads: dict[str, Array], limit: float) -> None:
    """In place, by np.clip with out."""
    for g in grads.values():
        np.clip(g, -limit, limit, out=g)


def descend(params: list[Array], grads: list[Array], lr: float) -> None:
    """A function over lists."""
    for p, g in zip(params, grads, strict=True):
        p[:] = p - lr * g


class Velocity:
    """Momentum over lists, in place; the velocity has the minus in it."""

    like = "momentum"

    def __init__(self, learning_rate: float = 0.01, mu: float = 0.9) -> None:
        self.learning_rate, self.mu = learning_rate, mu
        self.v: list[Array] | None = None

    def update(self, params: list[Array], grads: list[Array]) -> None:
        if self.v is None:
            self.v = [0 * p for p in params]
        for k, (p, g) in enumerate(zip(params, grads, strict=True)):
            self.v[k] = self.mu * self.v[k] - g
            p += self.learning_rate * self.v[k]


class Lookahead:
    """Nesterov's, from the velocity before and after."""

    like = "nesterov"

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        self.lr, self.momentum = lr, momentum
        self.v: dict[str, Array] = {}

    def step(self, params: Arrays, grads: Arrays) -> dict[str, Array]:
        new = {}
        for name, p in params.items():
            before = self.v.get(name, np.zeros_like(p))
            self.v[name] = self.momentum * before + grads[name]
            new[name] = p - self.lr * ((1 + self.momentum) * self.v[name] - self.momentum * before)
        return new


class AdamInPlace:
    """Adam with hyperparameters of its own."""

    like = "adam"

    def __init__(self, lr: float = 0.001) -> None:
        self.lr, self.beta1, self.beta2, self.epsilon, self.iteration = lr, 0.9, 0.999, 1e-8, 0
        self.m: dict[str, Array] = {}
        self.v: dict[str, Array] = {}

    def update(self, params: dict[str, Array], grads: Arrays) -> None:
        if not self.m:
            self.m = {k: np.zeros_like(p) for k, p in params.items()}
            self.v = {k: np.zeros_like(p) for k, p in params.items()}
        self.iteration += 1
        for key in params:
            self.m[key] += (1 - self.beta1) * (grads[key] - self.m[key])
            self.v[key] += (1 - self.beta2) * (grads[key] ** 2 - self.v[key])
            m, v = self.m[key] / (1 - self.beta1**self.iteration), self.v[key] / (1 - self.beta2**self.iteration)
            params[key] -= self.lr * m / (np.sqrt(v) + self.epsilon)


def perplexity_of_losses(losses: Array) -> float:
    return float(np.exp(np.mean(losses)))


def perplexity_of_mean(loss: float) -> float:
    return math.exp(loss)


def perplexity_in_log2(losses: Array, counts: Array) -> Any:
    return 2 ** (np.average(losses, weights=counts) / np.log(2))


def mask_by_binomial(rng: np.random.Generator, shape: tuple[int, ...], p: float) -> Array:
    return rng.binomial(1, 1 - p, size=shape) / (1 - p)


def mask_in_float32(rng: np.random.Generator, shape: tuple[int, ...], p: float) -> Array:
    mask = np.zeros(shape, np.float32)
    mask[rng.random(shape) < 1 - p] = 1 / (1 - p)
    return mask


class Halving:
    """With step, and an attribute."""

    like = "halve_on_rise"

    def __init__(self, lr: float = 1.0) -> None:
        self.lr, self.last = lr, np.inf

    def step(self, loss: float) -> None:
        if loss > self.last:
            self.lr *= 0.5
        self.last = loss


def dividing(losses: list[float], lr: float) -> float:
    return lr / 4 if losses[-1] >= min(losses[:-1], default=math.inf) else lr


def halving_of_reference(losses: list[float], lr: float) -> float:
    rule = HalveOnRise(lr)
    rate = rule.start()
    for loss in losses[-2:]:
        rate = rule.after(rate, loss)
    return rate.lr


#: (part, what it claims to be where it does not say)
RIGHT: tuple[tuple[object, str | None], ...] = (
    (clip_by_global_norm, "clip_global_norm"),
    (clip_by_global_norm_torch, "clip_global_norm_torch"),
    (clip_elementwise, "clip_elementwise"),
    (planted.CleanClip, None),
    (clip_list, "clip_global_norm"),
    (clip_rate, "clip_global_norm_torch"),
    (clip_values, "clip_elementwise"),
    (planted.CleanDescent, None),
    (descend, "sgd"),
    (planted.CleanMomentum, None),
    (Velocity, None),
    (Lookahead, None),
    (planted.CleanAdam, None),
    (AdamInPlace, None),
    (planted.CleanPerplexity, None),
    (perplexity_of_losses, "perplexity"),
    (perplexity_of_mean, "perplexity"),
    (perplexity_in_log2, "perplexity"),
    (planted.CleanDropout, None),
    (mask_by_binomial, "dropout"),
    (mask_in_float32, "dropout"),
    (planted.CleanRule, None),
    (Halving, None),
    (halving_of_reference, "halve_on_rise"),
    (dividing, "divide_on_plateau"),
)
#: Targets of torch, with what is claimed in the place of their own names.
OF_TORCH: tuple[tuple[str, str | None], ...] = (
    ("torch.optim:SGD", None),
    ("torch.optim:SGD", "momentum"),
    ("torch.optim:SGD", "nesterov"),
    ("torch.optim:Adam", None),
    ("torch.nn.utils:clip_grad_norm_", None),
    ("torch.nn.utils:clip_grad_value_", None),
)
