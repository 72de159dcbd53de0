from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, Cotangent, Data, cotangents, parse_case
from bptt.harness.gradient.derivatives.distance import relative_distance
from bptt.harness.known import BACKWARD, mistake, of_cell
from bptt.harness.known.cells.loop import SHOWN_IN
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.plant import plant
from bptt.harness.subject import Array
from bptt.refimpl import CELLS, unroll
from tests.harness.known.planting import subject

FAMILIES = (
    "elman",
    "elman_relu",
    "elman_sigmoid",
    "elman_linear",
    "lstm",
    "lstm_peephole",
    "gru_reset_after",
    "gru_reset_before",
)
#: Far above rounding, far below what the smallest of the bugs does (a rounding to float32).
NOTHING = 1e-12


@cache
def drawn(cell: str, case: Case) -> tuple[Data, list[tuple[Array, ...]], Cotangent]:
    tested = subject(cell)
    data = draw(tested, case)
    ys, final, tapes = unroll.forward(CELLS[cell], data.params, data.xs, data.state)
    return data, tapes, cotangents(tested, case, ys, final)[0]


def gradients(cell: str, case: Case, *bugs: KnownMistake, scale: float = 1.0) -> dict[str, Array]:
    """Every gradient under the names that `Place` uses, for a cotangent on every output and final state."""
    data, tapes, v = drawn(cell, case)
    planted = plant(*bugs)
    dfinal = {name: scale * d for name, d in v.dfinal.items()}
    dparams, dxs, dstate = planted.backward(planted.cell(CELLS[cell]), data.params, data.xs, tapes, scale * v.dys, dfinal)
    return {**dparams, "xs": dxs, **{f"{name}0": d for name, d in dstate.items()}}


def wrong(cell: str, case: Case, found: KnownMistake) -> set[str]:
    right, planted = gradients(cell, case, scale=found.scale), gradients(cell, case, found, scale=found.scale)
    return {name for name in right if relative_distance(planted[name], right[name]) > NOTHING}


def first_check(cell: str, found: KnownMistake) -> str:
    """The first check that can see it: linearity, one step, several steps, long sequences."""
    case = parse_case(found.case)
    large, small = (gradients(cell, case, found, scale=scale) for scale in (found.scale, 1e-3 * found.scale))
    if any(relative_distance(1e3 * small[name], large[name]) > 1e-9 for name in large):
        return "LIN110"
    after_one_step = wrong(cell, replace(case, T=1), found)
    if after_one_step:
        return "GRD120" if after_one_step <= {"xs", "h0", "c0"} else "GRD110"
    return "GRD130" if wrong(cell, replace(case, T=5), found) else "GRD150"


#: Every mistake in every cell that has it.
EACH = [pytest.param(cell, found, id=f"{cell}-{found.name}") for cell in SHOWN_IN for found in of_cell(cell, T=12)]


@pytest.mark.every(20)
@pytest.mark.parametrize(("cell", "found"), EACH)
def test_a_bug_changes_what_it_says_and_nothing_else(cell: str, found: KnownMistake) -> None:
    """Tensors, gates and first wrong lag, exactly: this also holds the library against the text of the reference."""
    case = parse_case(found.case)
    tensors = wrong(cell, case, found)
    everything = set(gradients(cell, case))
    stated = everything if found.where.tensors == "all" else everything & set(found.where.tensors.split())
    assert tensors == stated, "wrong tensors"
    assert tensors, f"nothing is changed at {found.case}"

    right, planted = (gradients(cell, case, *bugs, scale=found.scale)["xs"] for bugs in ((), (found,)))
    lags = [case.T - 1 - t for t in range(case.T) if relative_distance(planted[t], right[t]) > NOTHING]
    assert min(lags, default=None) == found.where.lag, "first wrong lag"

    one_step = replace(case, T=1)
    right, planted = (gradients(cell, one_step, *bugs, scale=found.scale)["W_x"] for bugs in ((), (found,)))
    H, gates = case.H, CELLS[cell].gates
    columns = [slice(k * H, (k + 1) * H) for k in range(len(gates))]
    bad = [gate for gate, c in zip(gates, columns, strict=True) if relative_distance(planted[:, c], right[:, c]) > NOTHING]
    assert ("" if len(bad) == len(gates) else "".join(bad)) == found.where.gates, "wrong gates"
    assert first_check(cell, found) == found.found_by, "first check"


@pytest.mark.parametrize("cell", SHOWN_IN)
def test_no_two_bugs_of_a_cell_give_the_same_numbers(cell: str) -> None:
    """So that the numbers tell which one it is.   13 steps, where each cut of the gradient falls elsewhere."""
    case = Case(T=13, N=3)
    rng = np.random.default_rng(0)
    shadows: dict[str, float] = {}
    data = drawn(cell, case)[0]
    u = {name: np.asarray(rng.normal(size=value.shape)) for name, value in {**gradients(cell, case)}.items()}
    assert set(data.params) <= set(u)
    for found in of_cell(cell, T=7):
        g = gradients(cell, case, found, scale=max(found.scale, 30.0))
        shadows[found.name] = sum(float(np.sum(u[name] * value)) for name, value in g.items())
    names = sorted(shadows, key=lambda name: shadows[name])
    alike = [(a, b) for a, b in pairwise(names) if abs(shadows[a] - shadows[b]) <= 1e-10 * abs(shadows[a])]
    assert alike == []


def test_the_library_is_as_large_as_it_says() -> None:
    assert len({found.name for found in BACKWARD if found.kind == "backward"}) >= 150
    assert all(len(of_cell(cell)) >= 40 for cell in FAMILIES)


@pytest.mark.parametrize("cell", SHOWN_IN)
def test_names_are_unique_within_a_cell_and_words_are_for_people(cell: str) -> None:
    found = of_cell(cell, T=20)
    assert len({b.name for b in found}) == len(found)
    for b in found:
        assert re.fullmatch(r"[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*", b.name), b.name
        assert b.sentence and b.fix and not b.sentence.endswith(".") and "\n" not in b.sentence + b.fix, b.name


def test_a_bug_is_found_by_its_name_and_a_wrong_name_gets_a_hint() -> None:
    assert mistake("lstm", "f-derivative-missing").where.gates == "f"
    assert mistake("lstm", "truncation-after-8").where.lag == 9
    with pytest.raises(LookupError, match="did you mean 'f-derivative-missing'"):
        mistake("lstm", "f-derivative-mising")
