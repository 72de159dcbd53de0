from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments import driven_gates
from bptt.harness.experiments.driven_gates import DEFINITION, measured
from bptt.harness.experiments.theory import driven_mean_field
from bptt.harness.experiments.theory.jacobians import cell_jacobians
from bptt.harness.experiments.theory.lyapunov import random_start, spectrum
from bptt.harness.experiments.theory.random_matrices import gaussian
from bptt.harness.experiments.zero_state import parameters
from bptt.harness.subject import Array
from bptt.refimpl import CELLS
from tests.harness.experiments.measuring import is_sound, named, run, wrong

SMALL: dict[str, Any] = {"H": (16, 48), "units": 16, "steps": 60, "paths": 12, "seed": tuple(range(8))}


@pytest.mark.thorough
def test_a_smaller_run_comes_near() -> None:
    e = run(DEFINITION, **SMALL)
    assert not wrong(e) and len(e.claims) == 2
    for name, g in (("gru_reset_after", 2.73), ("lstm", 1.8)):
        assert named(e, name).expected == pytest.approx(0, abs=0.02) and "the theory's own sampling" in str(named(e, name).words)
        last = [row[3].value for row in e.tables[0].rows if row[0] == name and row[2] == "theory"]  # type: ignore[union-attr]
        assert last == pytest.approx([g], abs=0.15)
    assert len(e.series) == 4
    is_sound(DEFINITION)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["gru_reset_after", "lstm"])
def test_the_exponent_by_the_cells_backward_is_that_of_its_jacobians(name: str) -> None:
    cell, rng = CELLS[name], np.random.default_rng(3)
    matrices = gaussian(rng, 6, count=(len(cell.gates),))
    found = measured(cell, matrices, (2.0,), 0.0, 1.0, 2000, rng)  # no noise: at rest in the end
    params = parameters(cell, matrices, 2.0, 1.0)
    xs, state = np.zeros((2000, 1, 1)), cell.zero_state(params, 1)
    n = 12 if name == "lstm" else 6
    assert found[0] == pytest.approx(spectrum(cell_jacobians(cell, params, xs, state), random_start(rng, n, 1)).exponents[0], abs=5e-3)


@pytest.mark.thorough
def test_a_theory_without_one_minus_z_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The candidate counts in full in what a perturbation becomes."""
    right = driven_mean_field.gru

    def without(g: float, sigma: float, b_z: float) -> driven_mean_field.Unit:
        unit = right(g, sigma, b_z)

        def of(fields: Mapping[str, Array], start: Array | None) -> tuple[driven_mean_field.Steps, Array]:
            steps, last = unit.run(fields, start)
            return replace(steps, push={**steps.push, "n": steps.push["n"] / (1 - steps.keep)}), last

        return replace(unit, run=of)

    make, *rest = driven_gates.UNITS["gru_reset_after"]
    assert make is right
    monkeypatch.setitem(driven_gates.UNITS, "gru_reset_after", (without, *rest))
    (name,) = wrong(run(DEFINITION, **SMALL | {"cell_name": ("gru_reset_after",)}))
    assert name.startswith("gru_reset_after")
