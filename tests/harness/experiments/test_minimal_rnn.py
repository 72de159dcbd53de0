from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments.minimal_rnn import DEFINITION
from bptt.harness.experiments.theory import minimal_rnn as of_minimal_rnn
from bptt.harness.subject import Array
from bptt.refimpl.activations import sigmoid
from tests.harness.experiments.measuring import is_sound, named, run, wrong

SMALL: dict[str, Any] = {"b": (0.0,), "H": (32, 64), "units": 64, "steps": 60, "paths": 32, "seed": tuple(range(8))}


@pytest.mark.thorough
def test_a_smaller_run_comes_near_both_theories() -> None:
    e = run(DEFINITION, **SMALL)
    assert not wrong(e)
    assert abs(named(e, "drawn anew").expected or 0) < 1e-3 and named(e, "drawn anew").measured == pytest.approx(0, abs=0.03)
    same = named(e, "the same at each step")
    assert same.expected == pytest.approx(0.014, abs=0.01) and "the theory's own sampling" in str(same.words)
    (table,) = e.tables
    assert [row[2] for row in table.rows] == ["128", "256", "infinity", "theory", "32", "64", "infinity", "theory"]
    assert table.rows[3][3] == pytest.approx(4.68397, abs=1e-4)
    assert [s.expected[0] for s in e.series] == pytest.approx([4.684, 4.48], abs=0.15)
    is_sound(DEFINITION)


@pytest.mark.thorough
def test_a_tangent_without_what_comes_of_the_input_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """v' = u v + u' h (v W) in place of u' (h - z): the cell's other half is forgotten."""

    def without(e: Array, pushed: Array, h: Array, v: Array, z: Array) -> tuple[Array, Array, Array]:
        u = sigmoid(e)
        v = u * v + u * (1 - u) * h * pushed
        lengths = np.linalg.norm(v, axis=1)
        return u * h + (1 - u) * z, v / lengths[:, None], lengths

    monkeypatch.setattr(of_minimal_rnn, "_advance", without)
    assert any("drawn anew" in name for name in wrong(run(DEFINITION, **SMALL)))
