from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments import rounding
from bptt.harness.experiments.rounding import DEFINITION
from bptt.reports.records import Experiment
from tests.harness.experiments.measuring import is_sound, run, wrong

SMALL: dict[str, Any] = {"T": (1, 8), "H": 4, "longest": 8}

CELL = """
import numpy as np


class Leaky:
    def init(self, rng, input_size, hidden_size):
        return {{"W": rng.normal(size=(input_size, hidden_size))}}

    def zero_state(self, params, batch_size):
        return {{"h": np.zeros((batch_size, params["W"].shape[1]), params["W"].dtype)}}

    def run(self, params, xs, state):
        h, hs = state["h"], []
        for x in xs:
            h = 0.5 * h + {product}
            hs.append(h)
        return np.stack(hs), {{"h": h}}
"""
NARROW = "x.astype(np.float32 if x.dtype == np.float64 else x.dtype) @ params['W']"


def leaky(folder: Path, product: str) -> Experiment:
    file = folder / "leaky.py"
    file.write_text(CELL.format(product=product), encoding="utf-8")
    return run(DEFINITION, **SMALL, cell=f"{file}:Leaky")


def test_the_reference_is_off_by_rounding_in_both_precisions() -> None:
    e = run(DEFINITION, **SMALL)
    assert len(e.claims) == 2 * 2 and wrong(e) == []
    assert [c.name for c in e.frames[0].curves][:4] == [
        "outputs, float32, elman",
        "gradient, float32, elman",
        "outputs, float64, elman",
        "gradient, float64, elman",
    ]
    assert max(max(c.y) for c in e.frames[0].curves) < 2, "less than a hundred units in the last place"
    is_sound(DEFINITION)


def test_one_product_is_off_by_half_a_unit_at_most() -> None:
    values = np.array([[1.0, 1 / 3]])
    rounded = values.astype(np.float32)
    assert rounding._ulps(rounded, values, np.dtype("float32")) <= 0.5
    assert rounding._ulps(values * (1 + 3 * 2.0**-52), values, np.dtype("float64")) == pytest.approx(3)


def test_a_right_cell_without_backward_has_outputs_alone(tmp_path: Path) -> None:
    e = leaky(tmp_path, "x @ params['W']")
    assert wrong(e) == [] and len(e.claims) == 1
    assert [c.name for c in e.frames[0].curves] == ["outputs, float32", "outputs, float64"]


def test_a_narrower_way_that_float64_alone_takes_is_seen(tmp_path: Path) -> None:
    e = leaky(tmp_path, NARROW)
    assert wrong(e) == [c.name for c in e.claims]
    assert max(e.frames[0].curves[1].y) > 6, "more than a million units of float64"


def test_what_has_one_precision_says_so() -> None:
    e = run(DEFINITION, **SMALL, cell="torch.nn:GRUCell")
    assert e.tables[-1].rows == (("nn.GRUCell", "float64", "torch has no type that is wider than float64"),)
    assert {row[1] for row in e.tables[0].rows} == {"float32"}
