"""The advised window beside the true one, which is known in closed form for memories that no weight disturbs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from bptt.harness.adapters import adapt
from bptt.harness.experiments.flow.flow_panels import window
from bptt.harness.experiments.flow_of_cell import DEFINITION, words_of_endless, words_of_window
from bptt.harness.subject import Array

Params = dict[str, Array]


@dataclass(frozen=True)
class Leaky:
    """h = a h + (1 - a) tanh(x W)"""

    a: float
    gated = False

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> Params:
        gate = {"b": np.full(hidden_size, math.log(self.a / (1 - self.a)))} if self.gated else {}
        return {"W": rng.normal(size=(input_size, hidden_size)) / math.sqrt(input_size), **gate}

    def zero_state(self, params: Params, batch_size: int) -> Params:
        return {"h": np.zeros((batch_size, params["W"].shape[1]))}

    def keep(self, params: Params) -> Any:
        return 1 / (1 + np.exp(-params["b"])) if self.gated else self.a

    def run(self, params: Params, xs: Array, state: Params) -> tuple[Array, Params]:
        h, ys, z = state["h"], [], self.keep(params)
        for x in xs:
            h = z * h + (1 - z) * np.tanh(x @ params["W"])
            ys.append(h)
        return np.array(ys), {"h": h}

    def backward(self, params: Params, xs: Array, state: Params, dys: Array, dfinal: Params) -> tuple[Params, Array, Params]:
        z, ns = self.keep(params), np.tanh(xs @ params["W"])
        before = [state["h"], *self.run(params, xs, state)[0][:-1]]
        dh, dW, db, dxs = dfinal["h"], np.zeros_like(params["W"]), 0.0, np.zeros_like(xs)
        for t in reversed(range(len(xs))):
            dh = dh + dys[t]
            da = dh * (1 - z) * (1 - ns[t] ** 2)
            dW, dxs[t] = dW + xs[t].T @ da, da @ params["W"].T
            db = db + (dh * (before[t] - ns[t]) * z * (1 - z)).sum(axis=0)
            dh = dh * z
        return ({"W": dW, "b": db} if self.gated else {"W": dW}), dxs, {"h": dh}


class Gated(Leaky):
    """The same with a = sigmoid(b), and a gradient for b."""

    gated = True


def share_of_keeping(a: float, T: int) -> Array:
    """E tail(K)^2 / E n^2 of the lags' shares z^k (h_(t-k-1) - n_(t-k)) z (1 - z) of the gradient for b: a linear form in n_(t-j),
    with -a^j for j >= K and, by way of h, (1 - a) a^(j-1) for each k = K, ..., j - 1.   (T + 1,)"""
    j = np.arange(T)[None, :]
    K = np.arange(T + 1)[:, None]
    on_n = np.where(j >= K, (1 - a) * a ** (j - 1.0) * np.maximum(j - K, 0) - a**j, 0.0)
    return np.asarray(np.sum(on_n**2, axis=1) * (a * (1 - a)) ** 2)


def true_window(cell: Leaky, T: int, D: int = 3) -> int:
    """Smallest K with a root-mean-square bias below 10 %, for white inputs, errors and W of variance 1 / D."""
    a, K = cell.a, np.arange(T + 1.0)
    squares = (1 - a) ** 2 * (a ** (2 * K) - a ** (2.0 * T)) / (1 - a * a)
    if cell.gated:
        u = np.random.default_rng(0).normal(size=(20_000, D)) / math.sqrt(D)
        x = np.random.default_rng(1).normal(size=(20_000, D))
        n = np.tanh(np.sum(u * x, axis=1))
        into_W, into_n = np.mean(np.sum(x**2, axis=1) * (1 - n**2) ** 2), np.mean(n**2)
        squares = into_W * squares + into_n * share_of_keeping(a, T)
    return int(np.flatnonzero(squares >= 0.01 * squares[0])[-1]) + 1


def advised(cell: Leaky, **replaced: object) -> dict[str, Any]:
    settings = {**DEFINITION.settings, "cell": "mine", **replaced}
    return dict(window(adapt(cell, "mine", None), settings))  # type: ignore[arg-type]


CELLS = [Leaky(math.exp(-1 / 5)), Leaky(math.exp(-1 / 50)), Gated(math.exp(-1 / 40)), Leaky(math.exp(-1 / 10_000))]


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: f"{type(c).__name__}-{-1 / math.log(c.a):.0f}")
def test_the_window_is_the_true_one_and_so_is_the_limit_of_endless_sequences(cell: Leaky) -> None:
    length = 400
    found = advised(cell, length=length, draws=6, H=8)
    assert found["window"] == pytest.approx(true_window(cell, length), rel=0.1, abs=1)
    if not cell.gated:
        assert found["endless"] == pytest.approx(math.log(0.1) / math.log(cell.a), rel=0.1, abs=1)


@pytest.mark.slow
@pytest.mark.parametrize("memory", [5, 50, 200, 1_000, 10_000])
@pytest.mark.parametrize("kind", [Leaky, Gated])
def test_memories_from_five_to_ten_thousand_steps(kind: type[Leaky], memory: int) -> None:
    cell = kind(math.exp(-1 / memory))
    found = advised(cell)
    assert found["window"] == pytest.approx(true_window(cell, 2500), rel=0.1, abs=1)
    if not cell.gated:
        assert found["endless"] == pytest.approx(memory * math.log(10), rel=0.1, abs=1)


def test_what_is_said_of_a_memory_that_outlasts_the_sequence() -> None:
    values = {"window": 2472, "window error": 3.0, "endless": 23_026.0, "bound": None, "factor": 0.9999}
    assert (
        words_of_window(values, 2500)
        == "no window much shorter than sequences of 2,500 steps keeps their gradient within 10 %: it takes 2,472"
    )
    assert words_of_endless(values, 2500) == "for endless ones 23,000, by 0.99990 a step beyond 2,500"
    short = {"window": 123, "window error": 4.0, "endless": 122.4, "bound": 130.0, "factor": 0.98}
    assert words_of_window(short, 2500) == "a window of 123 steps (+- 8) keeps the gradient of sequences of 2,500 steps within 10 %"
    assert words_of_endless(short, 2500) == "for endless ones 123, at most 130"
    never = {**values, "endless": None, "factor": 1.0}
    assert words_of_endless(never, 2500) == "for endless ones no window of up to 2,500 steps is enough: it does not measurably fade"
