from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from bptt.harness.experiments.theory import driven_mean_field as of
from bptt.harness.experiments.theory import mean_field
from bptt.harness.subject import Array
from bptt.refimpl import CELLS
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.unroll import forward


def test_a_tanh_rnn_has_the_exponent_of_its_closed_form() -> None:
    unit, rng = of.tanh_rnn(2.0, 0.5), np.random.default_rng(0)
    C = of.correlation(unit, 16, 4000, rng)
    assert C[0] == pytest.approx((mean_field.variance(2.0, 0.5) - 0.25) / 4, rel=0.02)
    assert np.max(np.abs(C[1:])) < 0.02
    assert of.exponent(unit, of.paths(unit, C, 1000, rng)) == pytest.approx(mean_field.exponent(2.0, 0.5), abs=0.01)


def test_a_constant_gate_has_a_growth_that_is_known() -> None:
    """keep and push constant: G(nu) <- g^2 |push / (1 - keep e^(i nu))|^2 G(nu), largest at nu = 0: root (g push / (1 - keep))^2."""
    T, keep, push, g = 64, 0.5, 0.2, 1.5
    constant = np.full((T, 3), 1.0)
    steps = of.Steps(constant, keep * constant, constant, {"a": push * constant})
    unit = of.Unit({"a": g}, {}, lambda fields, start: (steps, constant[0]))
    assert of.growth(unit, steps) == pytest.approx((g * push / (1 - keep)) ** 2, rel=1e-9)
    assert of.exponent(unit, steps, to=1e-9) == pytest.approx(math.log(keep + g * push), abs=1e-8)


def test_processes_have_the_covariance_that_was_asked_for() -> None:
    wanted = np.exp(-np.minimum(np.arange(32), 32 - np.arange(32)) / 3.0)
    found = of.autocorrelation(of.draw(wanted, 0.7, 20_000, np.random.default_rng(0)))
    wanted[0] += 0.49
    assert np.max(np.abs(found - wanted)) < 0.03


@pytest.mark.parametrize("name", ["minimal", "gru", "lstm"])
def test_the_tangent_of_a_unit_is_the_derivative_of_its_run(name: str) -> None:
    """A bump on one field at one step: what the run makes of it, by differences, is the column of C_k."""
    T, at, eps = 12, 3, 1e-6
    unit = {"minimal": of.minimal_rnn(2.0, 1.0, 0.5), "gru": of.gru(2.0, 0.5, 0.3), "lstm": of.lstm(2.0, 0.5, 1.0)}[name]
    rng = np.random.default_rng(1)
    fields = {k: rng.normal(size=(T, 2)) for k in {**unit.gains, **unit.noises}}
    start = unit.run(fields, None)[1]
    steps, _ = unit.run(fields, start)
    for k in unit.gains:
        moved = []
        for sign in (1, -1):
            bumped = {**fields, k: fields[k].copy()}
            bumped[k][at] += sign * eps
            moved.append(unit.run(bumped, start)[0].h)
        column = of.kernel(steps, k, 0.0, slice(0, 2))[:, at:, at].T
        assert column == pytest.approx((moved[0] - moved[1])[at:] / (2 * eps), abs=1e-8)


@pytest.mark.parametrize(("name", "cell"), [("gru", CELLS["gru_reset_after"]), ("lstm", CELLS["lstm"])])
def test_one_unit_is_the_reference_cell(name: str, cell: Cell) -> None:
    """H = 1 without recurrent weights: the fields are the inputs of the gates."""
    T, rng = 6, np.random.default_rng(2)
    of_gates = {gate: rng.normal(size=(T, 1)) for gate in cell.gates}
    fields: Mapping[str, Array] = (
        of_gates if name == "lstm" else {"z": of_gates["z"], "r": of_gates["r"], "x": of_gates["n"], "n": np.zeros((T, 1))}
    )
    unit = of.gru(1.0, 1.0, 0.7) if name == "gru" else of.lstm(1.0, 1.0, 0.7)
    G = len(cell.gates)
    b = np.where(np.array([gate in ("f", "z") for gate in cell.gates]), 0.7, 0.0)
    params = {"W_x": np.eye(G), "W_h": np.zeros((1, G)), **({"b": b} if name == "lstm" else {"b_x": b, "b_h": np.zeros(G)})}
    xs = np.stack([of_gates[gate] for gate in cell.gates], axis=2)
    hs, _, _ = forward(cell, params, xs, cell.zero_state(params, 1))
    assert unit.run(fields, None)[0].h == pytest.approx(hs[:, :, 0])
