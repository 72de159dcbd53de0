"""Checks that only textbook classes can fail: planted mistakes in a layer and in a step class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.harness.run.runner import check
from bptt.harness.subject import Array


class Layer:
    """An Elman layer over (N, T, D) that can be stateful."""

    def __init__(self, Wx: Array, Wh: Array, b: Array, stateful: bool = False) -> None:
        self.params, self.grads = [Wx, Wh, b], [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]
        self.stateful, self.dh = stateful, None
        self.h: Array | None = None

    def set_state(self, h: Array) -> None:
        self.h = h

    def reset_state(self) -> None:
        self.h = None

    def first(self, N: int) -> Any:
        """The state a sequence starts from."""
        Wh = self.params[1]
        if not self.stateful or self.h is None:
            return np.zeros((N, Wh.shape[0]), Wh.dtype)
        return self.h

    def forward(self, xs: Array) -> Array:
        Wx, Wh, b = self.params
        self.xs, self.hs = xs, [self.first(xs.shape[0])]
        for t in range(xs.shape[1]):
            self.hs.append(np.tanh(xs[:, t] @ Wx + self.hs[-1] @ Wh + b))
        self.h = self.hs[-1]
        return np.stack(self.hs[1:], axis=1)

    def backward(self, dhs: Array) -> Array:
        Wx, Wh, _ = self.params
        dWx, dWh, db = self.grads
        dWx[...], dWh[...], db[...] = 0, 0, 0
        dxs, dh = np.empty_like(self.xs), np.zeros_like(self.hs[0])
        for t in reversed(range(dhs.shape[1])):
            da = (dhs[:, t] + dh) * (1 - self.hs[t + 1] ** 2)
            dWx += self.xs[:, t].T @ da
            dWh += self.hs[t].T @ da
            db += da.sum(axis=0)
            dxs[:, t], dh = da @ Wx.T, da @ Wh.T
        self.dh = dh
        return dxs


class StateKeptThoughNotStateful(Layer):
    """Forgets to ask whether it is stateful."""

    def first(self, N: int) -> Any:
        Wh = self.params[1]
        return np.zeros((N, Wh.shape[0]), Wh.dtype) if self.h is None or self.h.shape[0] != N else self.h


class Step:
    """An Elman cell whose gradients pile up until they are zeroed."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        self.Wx = 0.4 * np.random.uniform(-1, 1, (input_size, hidden_size))  # noqa: NPY002  # as textbooks write it
        self.Wh = 0.4 * np.random.uniform(-1, 1, (hidden_size, hidden_size))  # noqa: NPY002  # as above
        self.b = np.zeros(hidden_size)
        self.dWx, self.dWh, self.db = (np.zeros_like(p) for p in (self.Wx, self.Wh, self.b))

    def forward(self, x: Array, h_prev: Array) -> Array:
        h = np.tanh(x @ self.Wx + h_prev @ self.Wh + self.b)
        self.cache = x, h_prev, h
        return h

    def backward(self, dh: Array) -> tuple[Array, Array]:
        x, h_prev, h = self.cache
        da = dh * (1 - h**2)
        self.dWx += x.T @ da
        self.dWh += h_prev.T @ da
        self.add_to_db(da.sum(axis=0))
        return da @ self.Wx.T, da @ self.Wh.T

    def add_to_db(self, db: Array) -> None:
        self.db += db


class OneGradientOverwritten(Step):
    """Adds to the gradients of the weights and replaces that of the bias."""

    def add_to_db(self, db: Array) -> None:
        self.db = db


class LearnedStart:
    """A layer over (T, N, D) with a start of its own where it is handed none."""

    factor = 1.0

    def __init__(self, input_size: int, hidden_size: int) -> None:
        shapes = (input_size, hidden_size), (hidden_size, hidden_size), hidden_size
        self.W, self.U, self.start = (np.random.normal(0, 0.3, shape) for shape in shapes)  # noqa: NPY002  # as above
        self.dW, self.dU, self.dstart = (np.zeros_like(p) for p in (self.W, self.U, self.start))

    def forward(self, xs: Array, h0: Array | None = None) -> tuple[Array, Array]:
        self.own = h0 is None
        self.xs, self.hs = xs, [np.tile(self.start, (xs.shape[1], 1)) if h0 is None else h0]
        for x in xs:
            self.hs.append(np.tanh(x @ self.W + self.hs[-1] @ self.U))
        return np.array(self.hs[1:]), self.hs[-1]

    def backward(self, dhs: Array) -> tuple[Array, Array]:
        self.dW, self.dU, self.dstart = (np.zeros_like(p) for p in (self.W, self.U, self.start))
        dxs, dh = np.zeros_like(self.xs), np.zeros_like(self.hs[0])
        for t in reversed(range(len(dhs))):
            da = (dhs[t] + dh) * (1 - self.hs[t + 1] ** 2)
            self.dW += self.xs[t].T @ da
            self.dU += self.hs[t].T @ da
            dxs[t], dh = da @ self.W.T, da @ self.U.T
        if self.own:
            self.dstart = self.factor * dh.sum(0)
        return dxs, dh


class HalfOfTheStart(LearnedStart):
    factor = 0.5


PLANTS = {
    "GRD135": (HalfOfTheStart, LearnedStart, "where no state is handed in, dL/dstart is wrong"),
    "CON155": (StateKeptThoughNotStateful, Layer, "the state of the sequence before is kept although it is not stateful"),
    "CON172": (OneGradientOverwritten, Step, "adds to the gradients of Wx, Wh but overwrites those of b"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("id", PLANTS)
def test_the_planted_mistake_is_seen_by_this_check_alone(id: str) -> None:
    bad, clean, words = PLANTS[id]
    run = check(bad, isolate=False)
    assert {r.check for r in run.failed} == {id}, run.text()
    assert run[id].finding is not None
    assert words in run[id].finding.headline  # type: ignore[union-attr]  # asserted above
    right = check(clean, isolate=False)
    assert right.ok, right.text()
    assert right[id].status == "passed"


def test_the_plants_change_the_numbers() -> None:
    rng = np.random.default_rng(0)
    Wx, Wh, b, xs = rng.normal(size=(3, 4)), rng.normal(size=(4, 4)), rng.normal(size=4), rng.normal(size=(2, 5, 3))
    clean, bad = Layer(Wx, Wh, b), StateKeptThoughNotStateful(Wx, Wh, b)
    assert np.array_equal(clean.forward(xs), clean.forward(xs))
    assert not np.array_equal(bad.forward(xs), bad.forward(xs))
    gradients = []
    for made in (Step(3, 4), OneGradientOverwritten(3, 4)):
        made.Wx, made.Wh, made.b = Wx, Wh, b
        made.forward(xs[0], np.zeros((5, 4)))
        for _ in range(2):
            made.backward(np.ones((5, 4)))
        gradients.append((made.dWx, made.db))
    (dWx, db), (dWx_bad, db_bad) = gradients
    assert np.array_equal(dWx, dWx_bad)
    assert np.allclose(db, 2 * db_bad)
    assert np.any(db_bad != 0)
