from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import Case, parse_case
from bptt.harness.diagnosis.explain import WrongGradient, explain
from bptt.harness.known import mistake, of_cell
from bptt.harness.known.cells.loop import SHOWN_IN
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.mistake import of_cell as planted
from bptt.harness.weights.map import WeightMap
from bptt.refimpl import CELLS
from bptt.reports.records import Cause
from tests.harness.known.planting import foreign_layout, wrong_gradient

#: Every bug of the library once, in the first cell that has it.
ONCE: list[tuple[str, KnownMistake]] = list(
    {(found.name, found.edits): (cell, found) for cell in reversed(SHOWN_IN) for found in of_cell(cell, T=7)}.values()
)


def named(
    cell: str, *bugs: KnownMistake, case: Case | None = None, mapping: WeightMap | None = None, rerun: bool = True, **more: object
) -> tuple[Cause, ...]:
    def at(case: Case | None) -> WrongGradient:
        return wrong_gradient(cell, *bugs, case=case, mapping=mapping, **more)  # type: ignore[arg-type]

    return explain(at(case), at if rerun else None)


@pytest.mark.every(12)
@pytest.mark.parametrize(("cell", "found"), [pytest.param(*each, id=f"{each[0]}-{each[1].name}") for each in ONCE])
def test_a_bug_is_named(cell: str, found: KnownMistake) -> None:
    causes = named(cell, found, case=parse_case(found.case), scale=found.scale)
    assert [cause.code for cause in causes] == [found.name]
    assert causes[0].score == 1.0
    assert (causes[0].hypothesis, causes[0].fix) == (found.sentence, found.fix)


FOREIGN_CELLS = ("elman", "lstm", "lstm_peephole", "lstm_projected", "gru_reset_after", "gru_reset_before")
FOREIGN = [(cell, found) for cell in FOREIGN_CELLS for found in of_cell(cell, T=7)[::5]]


@pytest.mark.parametrize(("cell", "found"), [pytest.param(*each, id=f"{each[0]}-{each[1].name}") for each in FOREIGN])
def test_a_bug_is_named_in_a_foreign_convention(cell: str, found: KnownMistake) -> None:
    """Gates in reverse order, weights as rows, two biases, z opening the new state."""
    causes = named(cell, found, case=parse_case(found.case), mapping=foreign_layout(cell), scale=found.scale)
    assert [cause.code for cause in causes] == [found.name]


@pytest.mark.every(4)
@pytest.mark.parametrize("layout", ["own", "foreign"])
@pytest.mark.parametrize("cell", [name for name, cell in CELLS.items() if cell.of_role("recurrent")])
def test_a_right_gradient_has_no_cause(cell: str, layout: str) -> None:
    mapping = foreign_layout(cell) if layout == "foreign" else None
    for case in (Case(), Case(T=1, N=1, D=1, H=1), Case(T=12, regime="closed"), Case(regime="saturated")):
        assert named(cell, case=case, mapping=mapping) == (), case


def test_the_evidence_says_what_was_reproduced_and_how_well() -> None:
    (cause,) = named("lstm", mistake("lstm", "f-derivative-missing"))
    assert cause.hypothesis == "missing derivative of the sigmoid of f"
    assert cause.fix == "da_f = df * f * (1 - f)"
    assert cause.evidence.startswith("the reference with this mistake, on your weights, reproduces all 6 wrong tensors (W_x, ")
    assert cause.evidence.endswith("under 5 cotangents")


def test_bugs_that_look_alike_in_one_step_are_told_apart_by_more_of_them() -> None:
    found = mistake("elman", "all-only-first-row")
    small = Case(T=1, N=2)
    alone = named("elman", found, case=small, rerun=False)
    assert [cause.code for cause in alone] == ["all-only-first-row"]
    dropped = mistake("lstm", "dfinal-c-ignored")
    assert dropped.name in {cause.code for cause in named("lstm", dropped, case=small, rerun=False)}
    assert [cause.code for cause in named("lstm", dropped, case=small)] == ["dfinal-c-ignored"]


def test_without_another_case_all_that_fit_are_listed() -> None:
    found = mistake("elman", "dh0-zero")
    causes = named("elman", found, case=Case(T=5), rerun=False)
    assert [cause.code for cause in causes] == ["dh0-zero"]
    cut = of_cell("elman", 14)
    one = next(b for b in cut if b.name == "detached-every-12")
    causes = named("elman", one, case=Case(T=14), rerun=False)
    assert {cause.code for cause in causes} == {"detached-every-12", "detached-2-from-the-end"}
    assert all("so does 'the gradient" in cause.evidence for cause in causes)


@pytest.mark.parametrize(
    ("cell", "one", "other"),
    [
        ("lstm", "f-derivative-missing", "i-derivative-missing"),
        ("lstm", "o-derivative-sign", "df-with-new-c"),
        ("lstm", "f-derivative-missing", "dc-next-dropped"),
        ("gru_reset_after", "z-derivative-missing", "r-lost-in-db_hn"),
        ("gru_reset_before", "dz-sign", "dh-next-dropped"),
        ("elman", "derivative-not-squared", "truncation-after-2"),
    ],
)
def test_two_mistakes_at_once_are_both_named(cell: str, one: str, other: str) -> None:
    causes = named(cell, mistake(cell, one), mistake(cell, other))
    assert {cause.code for cause in causes} == {one, other}
    assert all("two mistakes" in cause.evidence for cause in causes)


@pytest.mark.thorough
def test_a_bug_outside_the_library_is_never_named_with_certainty() -> None:
    strange = [
        planted("x", ("lstm",), "step_backward", "da_f = df * f * f_bar", "da_f = df * f * f_bar * (1 + 0.01 * c)", "", ""),
        planted("y", ("lstm",), "step_backward", "dc_prev = dc * f", "dc_prev = dc * f * o", "", ""),
        planted("z", ("lstm",), "step_backward", "dg = dc * i", "dg = dc * f", "", ""),
    ]
    for found in strange:
        for case in (Case(), Case(T=1), Case(T=1, N=1, D=1, H=1)):
            assert all(cause.score < 1 for cause in named("lstm", found, case=case)), (found.name, case)


def test_gradients_that_are_not_given_are_not_compared() -> None:
    whole = wrong_gradient("lstm", mistake("lstm", "f-derivative-missing"))
    partial = tuple(Gradients({name: g.params[name] for name in ("W_x", "W_h")}, None, {}) for g in whole.yours)
    (cause,) = explain(replace(whole, yours=partial))
    assert cause.code == "f-derivative-missing" and "all 2 wrong tensors (W_x, W_h)" in cause.evidence


def test_exact_gradients_may_be_absent() -> None:
    whole = wrong_gradient("lstm", mistake("lstm", "f-derivative-missing"))
    empty = tuple(Gradients({}, None, {}) for _ in whole.yours)
    assert [cause.code for cause in explain(replace(whole, exact=empty))] == ["f-derivative-missing"]


@pytest.mark.parametrize("name", ["f-derivative-missing", "dc-next-dropped", "truncation-after-2", "dh0-zero", "db"])
def test_a_float32_cell_is_named_too(name: str) -> None:
    found = mistake("lstm", "b-mean-over-batch" if name == "db" else name)
    assert [cause.code for cause in named("lstm", found, dtype="float32")] == [found.name]


def test_not_a_number_is_no_match() -> None:
    whole = wrong_gradient("lstm", mistake("lstm", "f-derivative-missing"))
    for g in whole.yours:
        g.params["W_x"][0, 0] = np.nan
    causes = explain(whole)
    assert [cause.code for cause in causes] == ["not-finite"]


def test_the_mend_speaks_of_the_users_own_update_gate() -> None:
    found = mistake("gru_reset_after", "z-path-lost")
    (cause,) = named("gru_reset_after", found, mapping=foreign_layout("gru_reset_after"))
    assert cause.fix.endswith("in yours z opens the new state: read 1 - z for z)")
