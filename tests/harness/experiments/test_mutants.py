"""Jacobians that are wrong in ways that were met in published code: each must fail the exact fixture that is meant for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import cycle, islice

import numpy as np
import pytest

from bptt.harness.experiments.theory.jacobians import cell_jacobians, cell_map, flatten
from bptt.harness.experiments.theory.lyapunov import floquet, invariant_start, random_start, spectrum
from bptt.harness.experiments.theory.random_matrices import gaussian
from bptt.harness.experiments.zero_state import keep_and_scale, parameters
from bptt.harness.subject import Array
from bptt.refimpl import CELLS
from bptt.refimpl.unroll import forward
from tests.harness.experiments.theory.test_lyapunov import on_a_cycle

Jacobians = Callable[..., Iterable[Array]]


def periodic(jacobians: Jacobians) -> float:
    """An input of period 3: the first two exponents together, from the engine, against |eig| of the product by differences of the step."""
    cell, params, xs, state = settled()
    advance, s, product = cell_map(cell, params, xs, state), flatten(state), np.eye(6)
    for t in range(3):
        apart = (advance(t, s + 1e-6 * np.eye(6)) - advance(t, s - 1e-6 * np.eye(6))) / 2e-6
        product, s = apart.T @ product, advance(t, s)
    exact = floquet([product])[:2] / 3
    found = islice(cycle(jacobians(cell, params, xs, state)), 3000)
    return abs(float(spectrum(found, invariant_start(product, 2)).exponents.sum() - exact.sum()))


def settled():  # type: ignore[no-untyped-def]
    """A tanh RNN of six units on a cycle of three strong inputs."""
    rng = np.random.default_rng(1)
    cell = CELLS["elman"]
    params = {"W_x": 2 * rng.normal(size=(2, 6)), "W_h": 0.9 * gaussian(rng, 6), "b": rng.normal(size=6)}
    xs, state = rng.normal(size=(3, 1, 2)), cell.zero_state(params, 1)
    for _ in range(200):
        _, state, _ = forward(cell, params, xs, state)
    return cell, params, xs, state


def memory(jacobians: Jacobians) -> float:
    """An LSTM at rest without recurrent weights, b_f = 3: its first H exponents are log sigmoid(3)."""
    H, cell = 4, CELLS["lstm"]
    params = {"W_x": np.zeros((1, 4 * H)), "W_h": np.zeros((H, 4 * H)), "b": np.repeat([0.0, 3.0, 0.0, 0.0], H)}
    found = list(jacobians(cell, params, np.zeros((30, 1, 1)), cell.zero_state(params, 1)))
    start = random_start(np.random.default_rng(0), len(found[0]), H)
    return float(np.max(np.abs(spectrum(found, start, burn_in=2).exponents + math.log1p(math.exp(-3)))))


def rest(jacobians: Jacobians) -> float:
    """A GRU at the zero state with b_z = 1: log|eig(z I + (1 - z) r g U)|."""
    cell, rng, g = CELLS["gru_reset_after"], np.random.default_rng(2), 1.5
    matrices = gaussian(rng, 6, count=(3,))
    keep, scale = keep_and_scale(cell.name, 1.0)
    exact = np.log(np.sort(np.abs(np.linalg.eigvals(keep * np.eye(6) + scale * g * matrices[2]))))
    params = parameters(cell, matrices, g, 1.0)
    (J,) = jacobians(cell, params, np.zeros((1, 1, 1)), cell.zero_state(params, 1))
    return float(np.max(np.abs(floquet([J])[::-1] - exact)))


def one_unit(jacobians: Jacobians) -> float:
    """A tanh RNN of one unit with a bias and inputs: prod w (1 - h_t^2) in plain Python."""
    w, b, h, total = 1.7, 0.4, 0.3, 0.0
    xs = np.random.default_rng(3).normal(size=20)
    for x in xs:
        h = math.tanh(x + b + w * h)
        total += math.log(w * (1 - h * h))
    params = {"W_x": np.ones((1, 1)), "W_h": np.array([[w]]), "b": np.array([b])}
    found = jacobians(CELLS["elman"], params, xs.reshape(20, 1, 1), {"h": np.array([[0.3]])})
    return abs(float(spectrum(found, np.eye(1)).exponents[0]) - total / 20)


def transposed(cell, params, xs, state):  # type: ignore[no-untyped-def]
    """J^T in forward order."""
    return (J.T for J in cell_jacobians(cell, params, xs, state))


def backwards(cell, params, xs, state):  # type: ignore[no-untyped-def]
    """J_1 ... J_T, the last step first."""
    return reversed(list(cell_jacobians(cell, params, xs, state)))


def h_alone(cell, params, xs, state):  # type: ignore[no-untyped-def]
    """An LSTM's dh'/dh: the path through c is dropped."""
    H = state["h"].shape[1]
    return (J[:H, :H] for J in cell_jacobians(cell, params, xs, state))


def without_one_minus_z(cell, params, xs, state):  # type: ignore[no-untyped-def]
    """A GRU at rest whose candidate counts in full: z I + r U."""
    H = state["h"].shape[1]
    z = 1 / (1 + np.exp(-params["b_x"][H : 2 * H]))
    return (np.diag(z) + (J - np.diag(z)) / (1 - z)[:, None] for J in cell_jacobians(cell, params, xs, state))


def slope_at_the_pre_activation(cell, params, xs, state):  # type: ignore[no-untyped-def]
    """1 - a^2 in place of 1 - tanh(a)^2."""
    _, _, tapes = forward(cell, params, xs, state)
    return ((1 - a**2).T * params["W_h"].T for _, a in tapes)


def bias_ignored(cell, params, xs, state):  # type: ignore[no-untyped-def]
    """The right Jacobians along the trajectory of a cell without its bias."""
    return cell_jacobians(cell, {**params, "b": 0 * params["b"]}, xs, state)


#: fixture -> how far from exact the right Jacobians may be
FIXTURES: dict[Callable[[Jacobians], float], float] = {periodic: 1e-8, memory: 1e-12, rest: 1e-12, one_unit: 1e-12}
MUTANTS: list[tuple[Jacobians, Callable[[Jacobians], float]]] = [
    (transposed, periodic),
    (backwards, periodic),
    (h_alone, memory),
    (without_one_minus_z, rest),
    (slope_at_the_pre_activation, one_unit),
    (bias_ignored, one_unit),
    (bias_ignored, periodic),
]


@pytest.mark.parametrize("fixture", FIXTURES)
def test_the_right_jacobians_pass(fixture: Callable[[Jacobians], float]) -> None:
    assert fixture(cell_jacobians) < FIXTURES[fixture]


@pytest.mark.parametrize(("mutant", "fixture"), MUTANTS)
def test_a_mutant_fails(mutant: Jacobians, fixture: Callable[[Jacobians], float]) -> None:
    assert not fixture(mutant) < 1e-3


def test_a_dropped_path_also_breaks_the_sum_of_the_exponents() -> None:
    full = on_a_cycle("lstm", 3)
    part = [J[:5, :5] for J in full]
    log_det = np.mean([np.linalg.slogdet(J)[1] for J in full])
    whole, dropped = (spectrum(J, random_start(np.random.default_rng(0), len(J[0]), len(J[0]))).exponents.sum() for J in (full, part))
    assert whole == pytest.approx(log_det, abs=1e-10)
    assert abs(dropped - log_det) > 1
