"""The proof of a model's gradients at 50 digits, all parameters at once along a random direction.

The sum over all parameters P of <dE/dP, u_P>, with random u_P of P's shape, is held against (E(P + e u) - E(P - e u)) / 2e with
e = 1e-20 in numbers of 70 digits.  A gradient that is wrong in any entry has a wrong product with u, but for a coincidence in all
the digits of u.  Where it is wrong, each parameter is asked alone, to say which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bptt.refimpl.types import Array, Params
from tests.refimpl.multiprecision import Number, exact

STEP = Number("1e-20")
#: The error of the quotient itself is of the order of 1e-40.
PROVEN = 1e-35


def exactly(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: exact(a) for name, a in arrays.items()}


def random_state(model: Any, rng: np.random.Generator, params: Params, N: int) -> dict[str, Array]:
    """A state as if carried from an earlier chunk: nothing in it is zero."""
    return {name: np.asarray(rng.normal(size=s.shape)) for name, s in model.zero_state(params, N).items()}


def error_along(loss: Callable[[Params], Any], dparams: Mapping[str, Array], params: Params, us: Mapping[str, Array]) -> float:
    """The relative error of the gradients `dparams` of `loss` along the directions `us`, all in exact numbers."""
    ahead = {name: p + us[name] * STEP if name in us else p for name, p in params.items()}
    behind = {name: p - us[name] * STEP if name in us else p for name, p in params.items()}
    quotient = (loss(ahead) - loss(behind)) / (2 * STEP)
    return abs(float(sum((dparams[name] * u).sum() for name, u in us.items()) - quotient)) / max(abs(float(quotient)), 1e-3)


def wrong_ones(loss: Callable[[Params], Any], dparams: Mapping[str, Array], params: Params, rng: np.random.Generator) -> list[str]:
    """The parameters whose gradients `dparams` are not those of `loss`, with their relative errors."""
    assert {name: d.shape for name, d in dparams.items()} == {name: p.shape for name, p in params.items()}
    us = exactly({name: np.asarray(rng.normal(size=p.shape)) for name, p in params.items()})
    if error_along(loss, dparams, params, us) < PROVEN:
        return []
    errors = {name: error_along(loss, dparams, params, {name: u}) for name, u in us.items()}
    return [f"dE/d{name}: relative error {error:.1e}" for name, error in errors.items() if not error < PROVEN] or ["all of them together"]


def assert_proven(
    model: Any, params: Params, inputs: Array, targets: Array, state: Params, rng: np.random.Generator, **options: Any
) -> None:
    """Every gradient that `model.loss` returns is that of the loss that it returns."""
    params, state = exactly(params), exactly(state)
    _, dparams, _ = model.loss(params, inputs, targets, state, **options)
    assert wrong_ones(lambda p: model.loss(p, inputs, targets, state, **options)[0], dparams, params, rng) == []
