"""A right cell is never called wrong, however it is written, whatever the seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bptt.harness.run.runner import check
from bptt.refimpl import CELLS
from tests.harness.checks.right import RIGHT, Absolute, Float32Only, HardTanh, Relu, Softsign

#: Differences over a kink, or in float32 where 1 - n**2 is zero, may end without an answer, which is said, and is no failure.
MAY_STAY_OPEN = (Absolute, HardTanh, Relu, Softsign, Float32Only)
EXTREMES = ("T5-N1-D1-H1", "T5-N1-D1-H1-saturated", "T4-N2-D3-H7-saturated", "T1-N1-D3-H1-open", "T30-N1-D2-H3-closed")


@pytest.mark.thorough
@pytest.mark.every(2)
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", CELLS)
def test_every_reference_cell_conforms(name: str, seed: int) -> None:
    run = check(f"refimpl:{name}", isolate=False, seed=seed, level="smoke")
    assert run.ok, run.text()
    assert not [r for r in run.run.results if r.finding is not None], run.text()


@pytest.mark.thorough
@pytest.mark.parametrize("cell", RIGHT, ids=lambda c: c.__name__)
def test_a_right_variant_conforms(cell: type) -> None:
    run = check(cell, isolate=False, seed=3)
    assert run.ok, run.text()
    findings = [r.finding for r in run.run.results if r.finding is not None]
    assert not findings or (cell in MAY_STAY_OPEN and {f.code for f in findings} == {"INCONCLUSIVE"}), run.text()


@pytest.mark.every(5)
@pytest.mark.parametrize("case", EXTREMES)
@pytest.mark.parametrize("target", [*(f"refimpl:{name}" for name in CELLS), *RIGHT], ids=lambda t: getattr(t, "__name__", t))
def test_extreme_sizes_and_regimes_conform(target: object, case: str) -> None:
    run = check(target, isolate=False, case=case, select=["GRD110", "GRD120", "GRD130", "linearity", "contract"])
    assert not run.failed, run.text()


def test_a_cell_that_says_that_it_reads_both_ways_is_not_asked_to_be_causal() -> None:
    target = Path(__file__).parents[2] / "corpus" / "own_cells" / "both_ways.py"
    run = check(str(target), isolate=False, select=["TIM100", "TIM110"], level="smoke")
    assert {r.status for r in run.run.results} == {"not_applicable"}, run.text()


LOOKS_BACK = """
import numpy as np


class LooksBack:
    \"\"\"h_t = tanh(x_t W + mean(h_0 .. h_(t-1)) U): all of its past counts, and only the outputs come back.\"\"\"

    def __init__(self, input_size, hidden_size):
        self.W, self.U = np.random.randn(input_size, hidden_size), np.random.randn(hidden_size, hidden_size)

    def forward(self, xs, h0):
        self.xs, self.past, self.means = xs, [h0], []
        for x in xs:
            self.means.append(np.mean(self.past, axis=0))
            self.past.append(np.tanh(x @ self.W + self.means[-1] @ self.U))
        return np.stack(self.past[1:])

    def backward(self, dhs):
        self.dW, self.dU, dxs = np.zeros_like(self.W), np.zeros_like(self.U), np.zeros_like(self.xs)
        dpast = [np.zeros_like(self.past[0]), *dhs]
        for t in reversed(range(len(self.xs))):
            da = dpast[t + 1] * (1 - self.past[t + 1] ** 2)
            self.dW += self.xs[t].T @ da
            self.dU += self.means[t].T @ da
            dxs[t] = da @ self.W.T
            for s in range(t + 1):
                dpast[s] = dpast[s] + da @ self.U.T / (t + 1)
        return dxs, dpast[0]
"""


def test_a_layer_that_looks_further_back_than_its_last_output_is_no_mistake(tmp_path: Path) -> None:
    """It returns no final state, so nobody has said that the last output is one: that it can't be continued is a warning."""
    path = tmp_path / "looks_back.py"
    path.write_text(LOOKS_BACK, encoding="utf-8")
    run = check(str(path), isolate=False, select=["TIM100", "GRD130"])
    assert run.ok, run.text()
    found = run["TIM100"].finding
    assert found is not None and found.code == "INCONCLUSIVE" and "looks further back than its last output" in found.headline
