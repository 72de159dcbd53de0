from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import REGIMES, Case, admissible
from bptt.harness.diagnosis import narrowing
from bptt.harness.diagnosis.explain import agrees, explain
from bptt.harness.diagnosis.wrong import WrongGradient
from bptt.harness.errors import SubjectError
from bptt.harness.known import mistake
from bptt.reports.records import Cause
from tests.harness.known.planting import wrong_gradient


def at(name: str, when: Callable[[Case], bool], identified: bool = False, cell: str = "elman") -> Callable[[Case], WrongGradient]:
    """The cell's gradient with the bug planted where `when` holds, and right everywhere else."""

    def of(case: Case) -> WrongGradient:
        return wrong_gradient(cell, *([mistake(cell, name)] if when(case) else []), case=case, identified=identified)

    return of


def unnamed(case: Case, when: Callable[[Case], bool], cell: str = "elman", only: tuple[str, ...] = ()) -> tuple[Cause, ...]:
    """What is said of a mistake without a pattern, which shows where `when` holds."""

    def of(case: Case) -> WrongGradient:
        whole = wrong_gradient(cell, case=case, identified=False)
        if not when(case):
            return whole
        # a square root: no factor, no zero, no block in another's place
        yours = tuple(
            replace(g, params={k: abs(p) ** 0.5 + 0.1 if k in (only or g.params) else p for k, p in g.params.items()}) for g in whole.yours
        )
        return replace(whole, yours=yours)

    assert not agrees(of(case), of(case))
    return explain(of(case), of)


@pytest.mark.parametrize(
    ("case", "when", "words"),
    [
        (Case(T=1, N=1), lambda c: c.N == 1, "only for a batch of one (N = 1)"),
        (Case(T=1, H=1, N=3), lambda c: c.H == 1, "only for a single unit (H = 1)"),
        (Case(T=1, D=1, N=3), lambda c: c.D == 1, "only for a single input (D = 1)"),
        (Case(T=1, D=4, H=4), lambda c: c.D == c.H, "only when D == H"),
        (Case(T=1, N=7, D=5, H=7), lambda c: c.N == c.H, "only when N == H"),
        (Case(T=1, N=5, D=5, H=7), lambda c: c.N == c.D, "only when N == D"),
    ],
)
def test_a_mistake_at_certain_sizes_is_told_by_the_sizes(case: Case, when: Callable[[Case], bool], words: str) -> None:
    (cause,) = unnamed(case, when)
    assert cause.hypothesis == words and 0 < cause.score < 1 and cause.fix
    assert f"wrong at {case}, right at " in cause.evidence


@pytest.mark.parametrize(
    ("case", "when"),
    [
        (Case(T=1, N=1), lambda c: True),
        (Case(T=1, N=7, D=5, H=7), lambda c: c.N >= 7),
        (Case(T=1, D=4, H=4), lambda c: c.D == 4),
    ],
)
def test_a_mistake_that_shows_elsewhere_too_is_not_said_to_need_equal_sizes(case: Case, when: Callable[[Case], bool]) -> None:
    assert [cause.code for cause in unnamed(case, when)] == ["unknown"]


def test_a_pattern_is_kept_beside_the_size_at_which_alone_it_holds() -> None:
    of = at("all-zero", lambda c: c.N == 1)
    (cause,) = explain(of(Case(T=1, N=1)), of)
    assert cause.code == "zero-gradient" and cause.hypothesis.startswith("only for a batch of one (N = 1): dL/dW_x, ")
    assert cause.evidence.endswith("right at T1-N2-D3-H7") and cause.fix.startswith("look for squeeze()")


def test_a_known_mistake_at_equal_sizes_only_is_named_with_them() -> None:
    of = at("weights-not-transposed", lambda c: c.D == c.H, identified=True)
    (cause,) = explain(of(Case(T=4, N=1, D=4, H=4)), of)
    assert cause.hypothesis == "only when D == H: the recurrent weights are not transposed on the way back to h"
    assert "nothing is wrong" in cause.evidence and "something else" not in cause.evidence and cause.score < 1


@pytest.mark.parametrize("k", [3, 7, 16])
def test_a_mistake_in_long_sequences_is_told_by_their_length(k: int) -> None:
    (cause,) = unnamed(Case(T=24, N=2, D=1, H=2), lambda c: k < c.T)
    assert cause.hypothesis == f"only for sequences longer than {k} steps"
    assert cause.evidence == f"right with {k} steps, wrong with {k + 1}"


def test_a_mistake_at_one_length_is_not_said_to_be_in_all_longer_ones() -> None:
    (cause,) = unnamed(Case(T=8, N=2, D=1, H=2), lambda c: c.T == 8)
    assert (cause.hypothesis, cause.evidence) == ("only for sequences of 8 steps", "right with 7 and 9 steps, wrong with 8")


def test_a_search_that_takes_too_long_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrowing, "_MOST_SECONDS", 0.0)
    (cause,) = unnamed(Case(T=24, N=2, D=1, H=2), lambda c: c.T > 7)
    assert cause.hypothesis == "only for sequences longer than some number of steps from 1 to 23"


def test_every_regime_has_words() -> None:
    assert narrowing._REGIMES.keys() == REGIMES.keys() - {"standard"}


def test_a_mistake_in_one_regime_is_told_by_it() -> None:
    (cause,) = unnamed(Case(T=5, regime="saturated"), lambda c: c.regime == "saturated")
    assert cause.code == "only-in-regime" and cause.hypothesis.startswith("only with large weights")


@pytest.mark.parametrize("case", [Case(T=5, seed=4), Case(T=1, N=1, seed=4)])
def test_a_mistake_at_some_values_is_not_laid_to_the_sizes(case: Case) -> None:
    (cause,) = unnamed(case, lambda c: c == case)
    assert cause.hypothesis == "only for some values of the same sizes"
    assert cause.evidence.endswith("with seed 4, right with seed 5")


def lost_carry(loss_only: bool) -> Callable[[Case], WrongGradient]:
    def of(case: Case) -> WrongGradient:
        whole = at("dh-next-dropped", lambda c: True)(case)
        if not loss_only:
            return whole
        # a network gives gradients of its parameters alone; those of its output layer are right
        cut = [tuple(Gradients(g.params | {"W_y": g.params["b"] * 0 + 1}, None, {}) for g in gs) for gs in (whole.yours, whole.exact)]
        return replace(whole, yours=cut[0], exact=cut[1])

    return of


@pytest.mark.parametrize("loss_only", [True, False])
def test_a_lost_carry_is_not_taken_for_a_wrong_column(loss_only: bool) -> None:
    of = lost_carry(loss_only)
    first = of(Case(T=2, N=1))
    assert agrees(of(Case(T=1, N=1)), first) and not agrees(first, first)
    causes = explain(first, of)
    assert not {cause.code for cause in causes} & {"single-entry", "single-row", "single-column"}
    if loss_only:
        assert [cause.code for cause in causes] == ["carry-wrong"]
        assert "carried from one step to the previous one is wrong or lost" in causes[0].hypothesis
        assert causes[0].evidence.endswith("dL/dW_y is right") and causes[0].score < 1


def test_parameters_alone_that_are_wrong_over_time_are_a_sum() -> None:
    (cause,) = unnamed(Case(T=2), lambda c: c.T > 1, only=("W_h", "b"))
    assert cause.code == "sum-over-steps" and "dL/dW_h and dL/db are wrong" in cause.evidence


def test_a_subject_that_cannot_be_run_elsewhere_is_left_alone() -> None:
    of = at("all-zero", lambda c: True)
    first = of(Case(T=1, N=1, D=3, H=7))

    def rerun(case: Case) -> WrongGradient:
        if case.N == 2:
            raise SubjectError("it raised")
        return of(case)

    (cause,) = explain(first, rerun)
    assert cause.code == "zero-gradient" and "only" not in cause.hypothesis


def test_sizes_that_the_subject_cannot_take_are_not_asked_for() -> None:
    asked = []

    def of(case: Case) -> WrongGradient:
        asked.append(case)
        whole = at("all-zero", lambda c: True)(case)
        return replace(whole, subject=replace(whole.subject, batch_sizes=(1,)))

    first = of(Case(T=1, N=1))
    explain(first, of)
    assert all(admissible(first.subject, case).N == 1 == case.N for case in asked)


def test_nothing_is_called_right_where_nothing_exact_is_known() -> None:
    whole = at("all-zero", lambda c: True)(Case(T=1, N=1))
    blank = replace(whole, exact=tuple(Gradients({}, None, {}) for _ in whole.exact))
    assert not agrees(blank, blank) and agrees(blank, whole)
    big = replace(wrong_gradient("lstm", case=Case(N=1, D=20, H=30), identified=False), exact=blank.exact[:1])
    assert not agrees(replace(big, yours=big.yours[:1]), whole)


@pytest.mark.parametrize("name", ["all-zero", "dh-next-dropped", "dh0-zero", "truncation-after-2", "dfinal-h-ignored"])
@pytest.mark.parametrize("identified", [True, False])
def test_a_torch_user_is_told_where_a_gradient_gets_lost(name: str, identified: bool) -> None:
    def of(case: Case) -> WrongGradient:
        whole = at(name, lambda c: True, identified)(case)
        return replace(whole, subject=replace(whole.subject, framework="torch"))

    causes = explain(of(Case()), of)
    assert causes or not identified
    for cause in (c for c in causes if c.code != "unknown"):
        assert ".detach(), .data, torch.no_grad(), .item()" in cause.fix and "+=" not in cause.fix
        assert "never added up" not in cause.hypothesis or identified


def test_a_torch_user_with_a_wrong_factor_is_sent_to_a_backward_of_ones_own() -> None:
    whole = wrong_gradient("lstm", mistake("lstm", "f-derivative-missing"))
    (cause,) = explain(replace(whole, subject=replace(whole.subject, framework="torch")))
    assert cause.fix == "in the backward of your torch.autograd.Function: da_f = df * f * (1 - f)"


def test_a_path_that_is_cut_at_both_ends_is_one_mistake() -> None:
    (cause,) = explain(*_of_two("dh-next-dropped", "dh0-zero"))
    assert cause.code == "nothing-back-to-h" and cause.hypothesis.startswith("nothing goes back to h_(t-1)") and cause.score == 1


def _of_two(*names: str) -> tuple[WrongGradient, Callable[[Case], WrongGradient]]:
    def of(case: Case) -> WrongGradient:
        return wrong_gradient("lstm", *(mistake("lstm", name) for name in names), case=case)

    return of(Case(T=1)), of
