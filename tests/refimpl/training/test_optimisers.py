"""Optimisers step by step as torch.optim takes them, and pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bptt.refimpl.training.optimisers import SGD, Adam, Momentum, Nesterov, Optimiser
from bptt.refimpl.types import Array

LR = 0.01
OPTIMISERS: dict[str, tuple[Optimiser, Callable[[Any, Any], Any]]] = {
    "sgd": (SGD(), lambda optim, tensors: optim.SGD(tensors, lr=LR)),
    "momentum": (Momentum(0.9), lambda optim, tensors: optim.SGD(tensors, lr=LR, momentum=0.9)),
    "nesterov": (Nesterov(0.8), lambda optim, tensors: optim.SGD(tensors, lr=LR, momentum=0.8, nesterov=True)),
    "adam": (Adam(), lambda optim, tensors: optim.Adam(tensors, lr=LR)),
    "adam_other": (Adam(0.5, 0.9, 1e-3), lambda optim, tensors: optim.Adam(tensors, lr=LR, betas=(0.5, 0.9), eps=1e-3)),
}
every = pytest.mark.parametrize("name", OPTIMISERS)
#: A step has a handful of roundings, torch fuses some of them: they add up, and now and then cancel, over 100 steps.
ULPS = 8


def random(rng: np.random.Generator, dtype: Any, scale: float = 1.0) -> dict[str, Array]:
    return {name: (scale * rng.normal(size=shape)).astype(dtype) for name, shape in {"W": (7, 11), "b": (5,)}.items()}


def distance_to_torch(name: str, dtype: Any, seed: int) -> float:
    """The largest distance in 100 steps, in units of the last place of the largest value that the entry has had."""
    torch = pytest.importorskip("torch", reason="needs torch")
    optimiser, of_torch = OPTIMISERS[name]
    rng = np.random.default_rng(seed)
    params = random(rng, dtype)
    tensors = {name: torch.tensor(p.copy(), requires_grad=True) for name, p in params.items()}
    theirs = of_torch(torch.optim, list(tensors.values()))
    slots = optimiser.start(params)
    largest = {name: np.abs(p) for name, p in params.items()}
    worst = 0.0
    for _ in range(100):
        grads = random(rng, dtype, 10.0 ** rng.integers(-4, 3))
        for name, g in grads.items():
            tensors[name].grad = torch.tensor(g)
        theirs.step()
        params, slots = optimiser.step(params, grads, slots, LR)
        for name, tensor in tensors.items():
            p = tensor.detach().numpy()
            largest[name] = np.maximum(largest[name], np.abs(p))
            worst = max(worst, float((np.abs(params[name] - p) / np.spacing(largest[name])).max()))
            assert params[name].dtype == dtype
    return worst


@every
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_hundred_steps_as_torch_takes_them(name: str, dtype: Any) -> None:
    for seed in range(3):
        assert distance_to_torch(name, dtype, seed) <= ULPS


@every
def test_nothing_handed_in_is_changed_and_the_same_gives_the_same(name: str) -> None:
    optimiser, _ = OPTIMISERS[name]
    rng = np.random.default_rng(1)
    params, grads = random(rng, np.float64), random(rng, np.float64)
    _, slots = optimiser.step(params, grads, optimiser.start(params), LR)
    everything = [*params.values(), *grads.values(), *(a for averages in slots.averages.values() for a in averages.values())]
    before = [a.copy() for a in everything]
    once, after = optimiser.step(params, grads, slots, LR)
    again, _ = optimiser.step(params, grads, slots, LR)
    for a, b in zip(everything, before, strict=True):
        np.testing.assert_array_equal(a, b)
    for key in params:
        np.testing.assert_array_equal(once[key], again[key])
        assert not any(np.shares_memory(once[key], a) for a in everything)
    assert (slots.t, after.t) == (1, 2)


def test_the_first_step_of_adam_is_lr_long_whatever_the_gradient() -> None:
    params, grads = {"W": np.zeros(3)}, {"W": np.array([1e-3, 1.0, -1e3])}
    params, _ = Adam().step(params, grads, Adam().start(params), 0.1)
    np.testing.assert_allclose(params["W"], [-0.1, -0.1, 0.1], rtol=1e-4)


def test_momentum_without_friction_adds_all_gradients_up() -> None:
    optimiser, params, grads = Momentum(1.0), {"W": np.zeros(1)}, {"W": np.ones(1)}
    slots = optimiser.start(params)
    for _ in range(4):
        params, slots = optimiser.step(params, grads, slots, 1.0)
    assert params["W"] == -(1 + 2 + 3 + 4)


@every
@pytest.mark.parametrize(
    ("grads", "words"),
    [
        ({"W": np.ones((2, 3))}, "gradients are those of W, but the parameters are W, b"),
        ({"W": np.ones((2, 3)), "b": np.ones(1)}, r"gradient of b is float64 \(1,\), but the parameter is float64 \(3,\)"),
        ({"W": np.ones((2, 3)), "b": np.ones(3, np.float32)}, r"gradient of b is float32 \(3,\), but the parameter is float64 \(3,\)"),
        ({"W": np.ones((2, 3)), "b": np.ones(3), "U": np.ones(1)}, "gradients are those of W, b, U, but"),
    ],
)
def test_gradients_that_do_not_fit_are_refused(name: str, grads: dict[str, Array], words: str) -> None:
    optimiser, _ = OPTIMISERS[name]
    params = {"W": np.ones((2, 3)), "b": np.ones(3)}
    with pytest.raises(ValueError, match=words):
        optimiser.step(params, grads, optimiser.start(params), LR)
