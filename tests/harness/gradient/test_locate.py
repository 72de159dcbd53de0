from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bptt.harness.call.cell import Gradients, run
from bptt.harness.cases import Case, cotangents
from bptt.harness.gradient import certificate
from bptt.harness.gradient import locate as locating
from bptt.harness.gradient.certificate import examine
from bptt.harness.gradient.derivatives.blocks import Block
from bptt.harness.gradient.derivatives.every_entry import exact_gradients
from bptt.harness.gradient.derivatives.oracle import choose
from bptt.harness.gradient.derivatives.step_jacobians import NoChain
from bptt.harness.gradient.locate import locate, wrong_entries
from tests.harness.gradient.support import changed, drawn, exact, one_entry, reference

REGIONS = reference("lstm").regions


ONE_ENTRY = pytest.mark.parametrize(
    ("tensor", "index", "factor"),
    [("W_h", (101, 3 * 128 + 77), 1 + 1e-4), ("W_x", (2, 128 + 5), 1.5), ("b", (2 * 128,), 0.0), ("W_h", (0, 0), -1.0)],
)
LARGE = Case(T=2, H=128, regime="initial")


@ONE_ENTRY
def test_the_one_wrong_entry_of_a_large_lstm_is_named_from_the_factors_of_its_steps(
    tensor: str, index: tuple[int, ...], factor: float
) -> None:
    found = locate(examine(changed(reference("lstm"), one_entry(tensor, index, factor)), LARGE, REGIONS, draws=2))
    assert found.exact is not None
    assert (found.bad, found.where.tensor, found.where.gate, found.where.index) == (1, tensor, "ifgo"[index[-1] // 128], index)
    assert found.observed == pytest.approx(factor * found.expected, rel=1e-9, abs=1e-12)


@ONE_ENTRY
def test_bisection_finds_it_where_the_steps_have_no_factors(
    tensor: str, index: tuple[int, ...], factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*args: object) -> None:
        raise NoChain("this one has none")

    for module in (certificate, locating):
        monkeypatch.setattr(module, "through_single_steps", none)
    subject = changed(reference("lstm"), one_entry(tensor, index, factor))
    found = locate(examine(subject, LARGE, REGIONS, draws=2))
    assert found.exact is None  # too many entries to compute them all
    assert (found.where.tensor, found.where.gate, found.where.index) == (tensor, "ifgo"[index[-1] // 128], index)
    assert found.observed == pytest.approx(factor * found.expected, rel=1e-9, abs=1e-12)
    assert found.scope.startswith(f"gate {'ifgo'[index[-1] // 128]} only, in {tensor};")


def test_bisection_finds_an_entry_of_one_step_of_the_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The block of a step has fewer axes than the tensor that it lies in."""

    def none(*args: object) -> None:
        raise NoChain("this one has none")

    def twice(g: Gradients) -> Gradients:
        assert g.xs is not None
        xs = g.xs.copy()
        xs[1, 0, 2] *= 2
        return replace(g, xs=xs)

    for module in (certificate, locating):
        monkeypatch.setattr(module, "through_single_steps", none)
    case = replace(LARGE, T=3, N=2, D=4)
    found = locate(examine(changed(reference("lstm"), twice), case, REGIONS, draws=2), ("xs",))
    assert found.exact is None
    assert (found.where.tensor, found.where.index, found.where.step) == ("xs", (1, 0, 2), 1)
    assert found.observed == pytest.approx(2 * found.expected, rel=1e-9)


@pytest.mark.parametrize("name", ["elman", "lstm", "lstm_peephole", "gru_reset_after"])
def test_all_entries_are_those_of_the_references_own_bptt(name: str) -> None:
    subject, case = reference(name), Case(T=3)
    data = drawn(subject, case)
    ys, final = run(subject, data)
    vs = cotangents(subject, case, ys, final)
    found = examine(subject, case, draws=1)
    computed = exact_gradients(choose(subject, case, data), data, vs, [j.block for j in found.judged], np.random.default_rng(0))
    for v, g in zip(vs, computed, strict=True):
        truth = exact(name, data, v)
        assert g.xs is not None
        pairs = [(g.params[k], truth.params[k]) for k in truth.params] + [(g.state[k], truth.state[k]) for k in truth.state]
        for a, b in [(g.xs, truth.xs), *pairs]:
            assert b is not None
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
            assert not wrong_entries(a, np.asarray(b)).any()


def test_small_tensors_are_compared_entry_by_entry_with_a_heatmap() -> None:
    found = locate(examine(changed(reference("lstm"), one_entry("W_h", (2, 16), 1.01)), Case(), REGIONS, draws=2))
    assert found.where.index == (2, 16)
    assert (found.bad, found.total) == (1, 366)
    assert found.heatmap is not None
    values = np.array(found.heatmap["values"])
    assert values.shape == (7, 28)
    assert np.argwhere(np.abs(values) > 1e-9).tolist() == [[2, 16]]
    assert found.heatmap["columns"][16] == "g2"


def test_a_wrong_step_of_the_inputs_is_told_with_its_lag() -> None:
    def dropped(g: Gradients) -> Gradients:
        assert g.xs is not None
        xs = g.xs.copy()
        xs[:-3] = 0
        return replace(g, xs=xs)

    found = locate(examine(changed(reference("gru_reset_after"), dropped), Case(T=6), draws=2), ("xs",))
    assert found.where.tensor == "xs"
    assert found.where.lag == 3
    assert "dL/dxs at steps 0-2 wrong" in found.scope


def test_rounding_is_no_wrong_entry_and_a_nan_is() -> None:
    g = np.array([1.0, 1e-3, 0.0])
    assert not wrong_entries(g * (1 + 1e-13), g).any()
    assert wrong_entries(g + np.array([0, 1e-6, 0]), g).tolist() == [False, True, False]
    assert wrong_entries(np.array([1.0, np.nan, 0.0]), g).tolist() == [False, True, False]


def test_labels_say_gates_where_they_lie_side_by_side_and_nowhere_else() -> None:
    def of(*blocks: Block) -> Any:
        return SimpleNamespace(judged=[SimpleNamespace(block=b) for b in blocks])

    one = [Block("params", "Wf", (slice(0, 2), slice(0, 2)), "f"), Block("params", "Wf", (slice(0, 2), slice(2, 3)), "f")]
    assert locating._labels(one[0], (2, 3), of(*one)) == (["0", "1"], ["0", "1", "2"]), "a kernel of one gate on [h, x]"
    side = [Block("params", "W", (slice(0, 3), slice(0, 2)), "i"), Block("params", "W", (slice(0, 3), slice(2, 4)), "f")]
    assert locating._labels(side[0], (3, 4), of(*side)) == (["0", "1", "2"], ["i0", "i1", "f0", "f1"])
    rows = [Block("params", "W", (slice(k, k + 1), slice(c, c + 2)), g) for k, g in enumerate("if") for c in (0, 2)]
    assert locating._labels(rows[0], (2, 4), of(*rows)) == (["i0", "f0"], ["0", "1", "2", "3"])
