"""A network trained here and the same one trained in torch, step by step: batches, carried state, loss, clipping, optimiser."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bptt.refimpl.models.language_model import LanguageModel
from bptt.refimpl.training.batching import Batching, Consecutive, RandomSampling
from bptt.refimpl.training.clipping import clip_by_global_norm_torch
from bptt.refimpl.training.loop import Setup, begin, train
from bptt.refimpl.training.optimisers import SGD, Adam, Optimiser
from bptt.refimpl.training.random_state import thawed
from bptt.refimpl.training.schedules import Constant
from bptt.refimpl.types import Array
from tests.refimpl.training.tinymodel import random_text

torch = pytest.importorskip("torch", reason="needs torch")

V, H, N, T, EPOCHS, THETA = 11, 7, 3, 5, 3, 0.05
TEXT = random_text(0, 150, V)


class Network:
    """One tanh layer with one bias, and an affine layer on top, on one-hot inputs."""

    def __init__(self, params: dict[str, Array]) -> None:
        self.layer, self.top = torch.nn.RNN(V, H).double(), torch.nn.Linear(H, V).double()
        self.layer.bias_hh_l0.requires_grad_(False).zero_()
        ours = {"W_x_l0": self.layer.weight_ih_l0, "W_h_l0": self.layer.weight_hh_l0, "b_l0": self.layer.bias_ih_l0}
        self.tensors = {**ours, "W_y": self.top.weight, "b_y": self.top.bias}
        with torch.no_grad():
            for name, p in params.items():
                self.tensors[name].copy_(torch.tensor(p.T))

    def loss(self, inputs: Array, targets: Array, h: Any) -> tuple[Any, Any]:
        xs = torch.nn.functional.one_hot(torch.tensor(inputs), V).double()
        hs, h = self.layer(xs, h)
        return torch.nn.functional.cross_entropy(self.top(hs).reshape(-1, V), torch.tensor(targets).reshape(-1)), h.detach()


@pytest.mark.parametrize("batching", [RandomSampling(TEXT, N, T), Consecutive(TEXT, N, T)])
@pytest.mark.parametrize(
    ("optimiser", "lr", "of_torch"),
    [(SGD(), 10.0, lambda p: torch.optim.SGD(p, lr=10.0)), (Adam(), 0.01, lambda p: torch.optim.Adam(p, lr=0.01))],
)
def test_the_same_training_as_in_torch(batching: Batching, optimiser: Optimiser, lr: float, of_torch: Callable[[Any], Any]) -> None:
    params = LanguageModel().init(np.random.default_rng(1), V, H)
    setup = Setup(LanguageModel(), batching, optimiser, Constant(lr), clip=functools.partial(clip_by_global_norm_torch, theta=THETA))
    start = begin(setup, params, seed=0)
    network = Network(params)
    theirs = of_torch(list(network.tensors.values()))
    rng = thawed(start.generators["batches"])
    for record, state in train(setup, start, EPOCHS):
        losses, h = [], None
        for batch in batching.epoch(rng).each:
            theirs.zero_grad()
            loss, h = network.loss(batch.inputs, batch.targets, None if batch.fresh else h)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.tensors.values(), THETA)
            theirs.step()
            losses.append(loss.item())
        assert record.loss == pytest.approx(np.mean(losses), rel=1e-12)
        assert record.norm > THETA
        for name, tensor in network.tensors.items():
            np.testing.assert_allclose(state.params[name], tensor.detach().numpy().T, rtol=1e-10, atol=1e-12)
