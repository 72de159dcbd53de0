"""Gradients from the graph are the exact derivatives of the equations, and the published cells' are those of their pages."""

from __future__ import annotations

import numpy as np
import pytest

from bptt.harness.adapters.equations.adapt import adapt
from bptt.harness.cases import Case
from bptt.harness.gradient.exhaustive import exhaust
from bptt.harness.identify.published_cell import identify

GRU = """
z = sigmoid(x @ W_z + h @ U_z + b_z)
r = sigmoid(x @ W_r + h @ U_r + b_r)
n = tanh(x @ W_n + (r * h) @ U_n + b_n)
h = (1 - z) * n + z * h
"""
LSTM = "i, f, g, o = split(W @ x + U @ h + b, 4)\nc = sigmoid(f) * c + sigmoid(i) * tanh(g)\nh = sigmoid(o) * tanh(c)"
EVERY_FUNCTION = """
a = concat(x, h) @ A.T + d
m = mean(a) + sum(a) / 7
s = sqrt(1 + (a - m) ** 2) + exp(-abs(a)) + log(2 + cos(a) ** 2)
u = softplus(a) * relu(s - 1) - sin(s)
h = u / (1 + u * u) + h * sigmoid(p * h)
y = -h + 0.5 * u
"""


@pytest.mark.parametrize("text", [GRU, LSTM, EVERY_FUNCTION], ids=["gru", "lstm", "every function"])
def test_every_entry_of_every_gradient_is_the_exact_derivative(text: str) -> None:
    found = exhaust(adapt(text), Case(T=3))
    assert found.oracle.name == "complex step"
    assert {j.verdict for j in found.judged} == {"agrees"}


@pytest.mark.parametrize(("text", "cell"), [(GRU, "gru_reset_before"), (LSTM, "lstm")])
def test_published_equations_are_recognised(text: str, cell: str) -> None:
    found = identify(adapt(text))
    assert found is not None
    assert found.cell == cell


def test_they_follow_the_dtype_of_what_they_are_given() -> None:
    cell = adapt(EVERY_FUNCTION).implementation
    params = {k: v.astype(np.float32) for k, v in cell.init(np.random.default_rng(0), 3, 5).items()}
    state = {"h": np.ones((2, 5), np.float32)}
    xs = np.ones((4, 2, 3), np.float32)
    ys, final = cell.run(params, xs, state)
    dparams, dxs, dstate = cell.backward(params, xs, state, ys, final)
    assert {v.dtype for v in (ys, *final.values(), *dparams.values(), dxs, *dstate.values())} == {np.dtype(np.float32)}
