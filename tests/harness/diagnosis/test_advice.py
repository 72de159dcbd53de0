from __future__ import annotations

from typing import get_args

import pytest

from bptt.harness.checks.registry import Check, load
from bptt.harness.diagnosis.advice import ADVICE, ANYWHERE, cause_of_raising, causes_of
from bptt.reports.records import Code

CHECKS = {c.id: c for c in load()}
#: They look at lags, at symmetry, at effects, and at masks that no other case has: what fails has no tensor whose numbers could be matched.
NO_WRONG_NUMBERS = ("GRD142", "GRD145", "GRD180", "GRD195", "GRD230", "GRD240", "NUM310", "NUM320")


@pytest.mark.parametrize("c", [c for c in CHECKS.values() if c.family not in ("gradient", "parity")], ids=lambda c: c.id)
def test_every_check_that_compares_no_gradients_has_advice(c: Check) -> None:
    assert any(check == c.id for check, _ in ADVICE)


@pytest.mark.parametrize(("check", "code"), ADVICE)
def test_advice_is_for_a_check_and_a_code_that_exist_and_is_modest(check: str, code: str) -> None:
    assert CHECKS[check].family not in ("gradient", "parity") or check in NO_WRONG_NUMBERS
    assert code in get_args(Code)
    (cause,) = causes_of(check, code)
    assert (cause.hypothesis, cause.fix) == ADVICE[check, code]
    assert cause.hypothesis and cause.fix and cause.score == 0.5


@pytest.mark.parametrize("code", ANYWHERE)
def test_a_code_that_means_the_same_everywhere_has_advice_at_any_check(code: str) -> None:
    assert code in get_args(Code) and causes_of("GRD110", code) and causes_of("THIRD1", code)


def test_a_wrong_gradient_is_left_to_its_numbers() -> None:
    assert causes_of("GRD110", "BUG") == () == causes_of("PAR100", "CONVENTION")


def test_a_mutation_is_answered_with_a_copy() -> None:
    (cause,) = causes_of("CON140", "MUTATION")
    assert "writes into its input" in cause.hypothesis and "h.copy()" in cause.fix


def test_what_is_raised_is_answered_with_the_checks_advice_where_that_is_true_of_it() -> None:
    assert "if norm > theta" in cause_of_raising("TRN220", ZeroDivisionError()).fix
    assert "averages" in cause_of_raising("TRN300", KeyError("W")).fix
    for check, error in (("TRN220", TypeError()), ("TRN340", None), ("CON110", ZeroDivisionError())):
        assert cause_of_raising(check, error).code == "raises"
