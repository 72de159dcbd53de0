"""What rounding makes of a training: the same loop with a unit in the last place added at every step.

A difference that grows because training amplifies rounding grows in the moved loop as well; a mistake does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bptt.refimpl.training.optimisers import Optimiser, Slots
from bptt.refimpl.types import Array, Params

#: (parameters, gradients) -> the same, moved as far as rounding moves them
Rounding = Callable[[Params, Params], tuple[Params, Params]]


def exact(params: Params, dparams: Params) -> tuple[Params, Params]:
    """No rounding but the loop's own."""
    return params, dparams


def ulps(rng: np.random.Generator, eps: float) -> Rounding:
    """One unit in the last place: of each weight, and of the largest gradient of its tensor in each gradient that is not exactly zero.

    A gradient is a sum, and what is lost in it is a part of its terms: where they cancel, of more than is left.
    """

    def moved(params: Params, dparams: Params) -> tuple[Params, Params]:
        signs = {name: rng.choice([-1.0, 1.0], size=(2, *p.shape)) for name, p in params.items()}
        return (
            {name: p * (1 + eps * signs[name][0]) for name, p in params.items()},
            {name: d + eps * np.abs(d).max(initial=0) * signs[name][1] * (d != 0) for name, d in dparams.items()},
        )

    return moved


@dataclass(frozen=True)
class Rounded:
    """`inner` on weights and gradients that are moved so before each step, by what rounding is in the weights' own dtype."""

    inner: Optimiser
    seed: int = 0

    def start(self, params: Params) -> Slots:
        return self.inner.start(params)

    def step(self, params: Params, grads: Params, slots: Slots, lr: float) -> tuple[dict[str, Array], Slots]:
        eps = max(float(np.finfo(p.dtype).eps) for p in params.values())
        moved, dmoved = ulps(np.random.default_rng([self.seed, slots.t]), eps)(params, grads)
        return self.inner.step(_like(moved, params), _like(dmoved, grads), slots, lr)


def _like(moved: Params, before: Params) -> dict[str, Array]:
    return {name: np.asarray(value, dtype=before[name].dtype) for name, value in moved.items()}
