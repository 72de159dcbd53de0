"""Which value is which gate is told by the biases alone: a bias of 50 opens the gate of its block, one of -50 shuts it."""

from __future__ import annotations

import numpy as np
import pytest

from bptt.harness.experiments.flow.saturation import gates_along, saturation
from bptt.refimpl.cells import CELLS
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.unroll import forward

GATED = [name for name, cell in CELLS.items() if len(cell.gates) > 1 and ("b" in cell.init(np.random.default_rng(0), 1, 1) or cell.apart)]
#: Blocks without ends: a rectifier, or none at all.
ENDLESS = {"ligru": {"n"}, "min_gru": {"n"}, "min_lstm": {"n"}, "sru": {"g", "s"}}
T, N, D, H = 6, 2, 3, 5


def with_bias(cell: Cell, gate: str | None, bias: float):
    rng = np.random.default_rng(0)
    params = cell.init(rng, D, H)
    if gate is not None:
        k = cell.gates.index(gate)
        params["b" if "b" in params else "b_x"][k * H : (k + 1) * H] = bias
    state = {name: np.asarray(rng.normal(size=s.shape)) for name, s in cell.zero_state(params, N).items()}
    return forward(cell, params, rng.normal(size=(T, N, D)), state)[2]


@pytest.mark.parametrize("name", GATED)
def test_each_gate_obeys_its_own_bias(name: str) -> None:
    cell = CELLS[name]
    quiet = gates_along(cell, with_bias(cell, None, 0))
    bounded = [gate for gate in cell.gates if gate not in ENDLESS.get(name, ())]
    assert set(quiet) == set(bounded)
    for gate in bounded:
        for bias in (50.0, -50.0):
            tapes = with_bias(cell, gate, bias)
            values = gates_along(cell, tapes)
            floor = -1.0 if gate in "gn" else 0.0
            np.testing.assert_allclose(values[gate], 1.0 if bias > 0 else floor, atol=1e-9)
            if "p" not in cell.init(np.random.default_rng(0), D, H):  # a peephole to the output gate sees the others in the same step
                for other in bounded:
                    if other not in (gate, "n"):  # a reset gate acts on the candidate of the same step
                        np.testing.assert_array_equal(values[other][0], quiet[other][0])
            of_gate = next(s for s in saturation(cell, tapes) if s.gate == gate)
            assert (of_gate.low, of_gate.high) == ((0, 1) if bias > 0 else (1, 0))


@pytest.mark.parametrize("name", GATED)
def test_the_shares_are_counted(name: str) -> None:
    cell = CELLS[name]
    tapes = with_bias(cell, None, 0)
    for found in saturation(cell, tapes):
        z = gates_along(cell, tapes)[found.gate]
        assert z.shape == (T, N, H)
        assert found.mean == pytest.approx(sum(map(float, z.ravel())) / z.size)
        assert found.high == sum(v > 0.9 for v in z.ravel()) / z.size


def test_a_cell_that_is_not_known_has_no_gates() -> None:
    assert saturation(CELLS["elman_linear"], with_bias(CELLS["elman_linear"], None, 0)) == ()
    assert saturation(CELLS["lstm"], []) == ()
