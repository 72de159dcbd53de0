"""Optimisers as pure functions: parameters, gradients, slots and a learning rate in, new parameters and new slots out.

    SGD        p' = p - lr g
    Momentum   v' = mu v + g                     p' = p - lr v'          nesterov: p' = p - lr (g + mu v')
    Adam       m' = beta1 m + (1 - beta1) g      v' = beta2 v + (1 - beta2) g**2
               p' = p - lr / (1 - beta1**t) * m' / (sqrt(v') / sqrt(1 - beta2**t) + epsilon)      t = 1, 2, ...

All in torch.optim's form, operation by operation: the learning rate stands outside v, epsilon outside the root.  Nothing that
is handed in is changed: the step lr * g, which has to be computed anyway, becomes the new parameter in place.

Source: Sutskever et al. 2013 (momentum), ICML;   Kingma, Ba 2015 (Adam), ICLR, algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from bptt.refimpl.types import Array, Params


@dataclass(frozen=True)
class Slots:
    """What an optimiser remembers: the steps it has done, and its averages {"v": {parameter: array}}."""

    t: int = 0
    averages: Mapping[str, Params] = field(default_factory=dict)


class Optimiser(Protocol):
    """What the training loop asks of an optimiser."""

    def start(self, params: Params) -> Slots:
        """The slots before the first step."""

    def step(self, params: Params, grads: Params, slots: Slots, lr: float) -> tuple[dict[str, Array], Slots]:
        """New parameters and new slots."""


@dataclass(frozen=True)
class SGD:
    """p' = p - lr g"""

    def start(self, params: Params) -> Slots:
        return Slots()

    def step(self, params: Params, grads: Params, slots: Slots, lr: float) -> tuple[dict[str, Array], Slots]:
        matched(params, grads)
        return {name: _minus(p, grads[name] * lr) for name, p in params.items()}, Slots(slots.t + 1)


@dataclass(frozen=True)
class Momentum:
    """v' = mu v + g     p' = p - lr v'"""

    mu: float = 0.9

    def start(self, params: Params) -> Slots:
        return Slots(0, {"v": zeros_like(params)})

    def step(self, params: Params, grads: Params, slots: Slots, lr: float) -> tuple[dict[str, Array], Slots]:
        matched(params, grads)
        vs = {name: _plus(self.mu * v, grads[name]) for name, v in slots.averages["v"].items()}
        return {name: _minus(p, vs[name] * lr) for name, p in params.items()}, Slots(slots.t + 1, {"v": vs})


@dataclass(frozen=True)
class Nesterov:
    """v' = mu v + g     p' = p - lr (g + mu v')"""

    mu: float = 0.9

    def start(self, params: Params) -> Slots:
        return Slots(0, {"v": zeros_like(params)})

    def step(self, params: Params, grads: Params, slots: Slots, lr: float) -> tuple[dict[str, Array], Slots]:
        matched(params, grads)
        vs = {name: _plus(self.mu * v, grads[name]) for name, v in slots.averages["v"].items()}
        ahead = {name: _plus(self.mu * v, grads[name]) for name, v in vs.items()}
        return {name: _minus(p, ahead[name] * lr) for name, p in params.items()}, Slots(slots.t + 1, {"v": vs})


@dataclass(frozen=True)
class Adam:
    """p' = p - lr m_hat / (sqrt(v_hat) + epsilon), with the averages m of g and v of g**2 freed of their start at zero."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def start(self, params: Params) -> Slots:
        return Slots(0, {"m": zeros_like(params), "v": zeros_like(params)})

    def step(self, params: Params, grads: Params, slots: Slots, lr: float) -> tuple[dict[str, Array], Slots]:
        matched(params, grads)
        t = slots.t + 1
        step_size = lr / (1 - self.beta1**t)
        root_of_correction = math.sqrt(1 - self.beta2**t)
        ps: dict[str, Array] = {}
        ms: dict[str, Array] = {}
        vs: dict[str, Array] = {}
        for name, p in params.items():
            g, m, v = grads[name], slots.averages["m"][name], slots.averages["v"][name]
            ms[name] = _plus((g - m) * (1 - self.beta1), m)  # torch's lerp: exact where g == m
            vs[name] = _plus(g * g * (1 - self.beta2), self.beta2 * v)
            denominator = np.sqrt(vs[name])
            denominator /= root_of_correction
            denominator += self.epsilon
            ps[name] = _minus(p, step_size * ms[name] / denominator)
        return ps, Slots(t, {"m": ms, "v": vs})


def zeros_like(params: Params) -> dict[str, Array]:
    return {name: np.zeros_like(p) for name, p in params.items()}


def matched(params: Params, grads: Params) -> None:
    """Raises ValueError where a gradient is missing, has no parameter, or has another shape or dtype: NumPy would broadcast it."""
    if params.keys() != grads.keys():
        raise ValueError(f"gradients are those of {', '.join(grads) or 'nothing'}, but the parameters are {', '.join(params)}")
    for name, p in params.items():
        g = grads[name]
        if g.shape != p.shape or g.dtype != p.dtype:
            raise ValueError(f"gradient of {name} is {g.dtype} {g.shape}, but the parameter is {p.dtype} {p.shape}")


def _plus(fresh: Array, a: Array) -> Array:
    """fresh + a in the memory of `fresh`, which nobody else has seen."""
    return np.add(fresh, a, out=fresh)


def _minus(p: Array, fresh: Array) -> Array:
    """p - fresh in the memory of `fresh`, which nobody else has seen."""
    return np.subtract(p, fresh, out=fresh)
