"""A step of training in torch: its own differentiation, clipping and optimisers, set as ours are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bptt.harness.torch_models.layers import Network, detached
from bptt.refimpl.training.clipping import clip_by_global_norm, clip_by_global_norm_torch, unclipped
from bptt.refimpl.training.optimisers import SGD, Adam, Momentum, Optimiser


@dataclass(frozen=True)
class Trainer:
    """A network of `networks`, and what moves it.   clip: clips its gradients in place, and gives their norm before"""

    network: Any
    optimiser: torch.optim.Optimizer
    clip: Callable[[], float]

    def step(self, lr: float, inputs: Any, targets: Any, state: Any, masks: Any = None, lengths: Any = None) -> tuple[float, float, Any]:
        """The loss before the step, the norm of its gradients, and the state after the batch, where the gradient stops."""
        self.optimiser.param_groups[0]["lr"] = lr
        self.optimiser.zero_grad()
        loss, after = self.network.loss(inputs, targets, state, masks, lengths)
        loss.backward()
        norm = self.clip()
        self.optimiser.step()
        return float(loss.detach()), norm, detached(after)


def trainer(network: Network, optimiser: Optimiser, clip: Callable[..., Any]) -> Trainer:
    """Raises TypeError for an optimiser or a clip that torch does not have in the same form."""
    trained = [p for p in network.parameters() if p.requires_grad]
    return Trainer(network, _optimiser(optimiser, trained), _clip(clip, trained))


def _optimiser(ours: Optimiser, trained: Sequence[Any]) -> torch.optim.Optimizer:
    match ours:
        case SGD():
            return torch.optim.SGD(trained, 1.0)
        case Momentum():
            return torch.optim.SGD(trained, 1.0, ours.mu)
        case Adam():
            return torch.optim.Adam(trained, 1.0, (ours.beta1, ours.beta2), ours.epsilon)
    raise TypeError(f"optimiser is {type(ours).__name__}, wanted SGD, Momentum or Adam")


def _clip(ours: Callable[..., Any], trained: Sequence[Any]) -> Callable[[], float]:
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
