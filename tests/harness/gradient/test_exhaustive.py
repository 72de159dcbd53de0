from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import Case
from bptt.harness.gradient.exhaustive import exhaust
from bptt.harness.gradient.locate import locate
from bptt.harness.targets import load
from bptt.refimpl import CELLS
from tests.harness.checks.right import RIGHT
from tests.harness.gradient.support import changed, drawn, reference

LSTM = reference("lstm")
REGIONS = LSTM.regions


@pytest.mark.parametrize("case", [Case(), Case(T=3, regime="saturated", seed=1), Case(T=12, N=1, H=4, regime="closed", seed=2)], ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_every_entry_of_the_reference_is_exact(name: str, case: Case) -> None:
    found = exhaust(reference(name), case, reference(name).regions)
    assert {j.verdict for j in found.judged} == {"agrees"}
    assert max(j.relative for j in found.judged) < 1e-11


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cell", RIGHT, ids=lambda c: c.__name__)
def test_no_entry_of_a_right_cell_is_called_wrong(cell: type, seed: int) -> None:
    (subject,) = load(cell)
    for case in (Case(T=3, H=5, seed=seed), Case(T=4, N=1, regime="saturated", seed=seed)):
        found = exhaust(subject, replace(case, dtype=subject.dtype))
        assert not found.wrong


@pytest.mark.thorough
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tensor=st.sampled_from(["W_x", "W_h", "b", "xs", "h", "c"]), place=st.integers(0, 10**6), sign=st.sampled_from([-1.0, 1.0]))
def test_any_one_entry_that_is_off_by_a_billionth_of_its_block_is_named(tensor: str, place: int, sign: float) -> None:
    data = drawn(LSTM)
    shape = data.xs.shape if tensor == "xs" else (data.params | data.state)[tensor].shape
    index = tuple(int(i) for i in np.unravel_index(place % int(np.prod(shape)), shape))

    def wrong(g: Gradients) -> Gradients:
        whole = (g.xs if tensor == "xs" else (g.params | g.state)[tensor]).copy()  # type: ignore[union-attr]
        whole[index] += sign * 1e-9 * np.max(np.abs(whole))
        if tensor == "xs":
            return replace(g, xs=whole)
        return replace(g, params=g.params | {tensor: whole}) if tensor in g.params else replace(g, state=g.state | {tensor: whole})

    found = exhaust(changed(LSTM, wrong), Case(), REGIONS)
    assert {j.block.tensor for j in found.wrong} == {tensor}
    place_found = locate(found)
    assert (place_found.where.index, place_found.bad) == (index, 1)


def test_an_entry_is_judged_beside_those_of_its_own_step() -> None:
    """dL/dx_0 is 1e-43, and wrong by a millionth of that."""

    def wrong(g: Gradients) -> Gradients:
        assert g.xs is not None
        xs = g.xs.copy()
        xs[0, 0, 1] *= 1 + 1e-6
        return replace(g, xs=xs)

    case = Case(T=60, N=1, regime="closed", seed=6)
    assert not exhaust(LSTM, case).wrong
    found = exhaust(changed(LSTM, wrong), case)
    assert {(j.block.tensor, j.block.step) for j in found.wrong} == {("xs", 0)}
    assert min(abs(j.exact) for j in found.wrong) < 1e-20


def test_what_is_not_given_is_not_judged_and_nan_is_wrong() -> None:
    found = exhaust(changed(LSTM, lambda g: Gradients({"b": np.nan * g.params["b"]}, None, {})), Case(T=2))
    assert {(j.block.tensor, j.verdict) for j in found.judged} == {
        ("b", "not finite"),
        *((tensor, "not given") for tensor in ("W_x", "W_h", "xs", "h", "c")),
    }
