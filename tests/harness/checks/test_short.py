"""Half precision: a few per cent in one gate of a bfloat16 recurrence are found, what rounding does is not called a mistake."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bptt.harness.run.runner import RunHandle, check

FUNCTIONS = Path(__file__).parents[1] / "adapters" / "functions" / "short_functions.py"


def judged(name: str, *select: str) -> RunHandle:
    return check(f"{FUNCTIONS}:{name}", isolate=False, select=select, block=False)


def test_five_per_cent_in_one_gate_of_a_bfloat16_recurrence_are_found() -> None:
    finding = judged("FivePerCent", "NUM300")["NUM300"].finding
    assert finding is not None
    assert finding.code == "BUG"
    assert finding.headline.startswith("dL/df in bfloat16 is off by 0.05")


@pytest.mark.thorough
def test_what_rounding_does_is_no_mistake() -> None:
    run = judged("Gated", "NUM300", "NUM310")
    assert [(r.check, r.status, r.finding) for r in run.run.results] == [("NUM300", "passed", None), ("NUM310", "passed", None)]
    assert float(str(run["NUM300"].metrics["sensitivity_in_bfloat16"])) < 0.1


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["KeptShort", "right"], ids=["step by step", "as autograd adds up what each step gives"])
def test_a_sum_that_is_kept_in_bfloat16_is_said_to_be(name: str) -> None:
    result = judged(name, "NUM310")["NUM310"]
    assert result.status == "passed"
    assert result.finding is not None
    assert result.finding.code == "PRECISION_LOSS"
    assert "dL/db, a sum over T, is off by" in result.finding.headline


MIXED = FUNCTIONS.with_name("mixed_functions.py")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rounded_at_each_step", "the state is rounded to bfloat16 at every step: h = (F * h"),
        ("added_up_short", "the state is rounded to bfloat16 at every step: h = h + "),
        ("ShortGradient", "the gradient that goes back is rounded to bfloat16 at every step: dh = (dh * F[:, t])"),
    ],
)
def test_what_is_carried_in_fewer_digits_than_its_steps_have_is_found(name: str, words: str) -> None:
    finding = check(f"{MIXED}:{name}", isolate=False, select=("NUM320",), block=False)["NUM320"].finding
    assert finding is not None
    assert finding.code == "PRECISION_LOSS"
    assert re.sub(r" \(line \d+: ", ": ", finding.headline).startswith(words)


@pytest.mark.parametrize("name", ["kept_long", "short_for_products", "Scan", "ShortSum"])
def test_a_state_that_keeps_its_digits_is_no_mistake(name: str) -> None:
    result = check(f"{MIXED}:{name}", isolate=False, select=("NUM320",), block=False)["NUM320"]
    assert (result.status, result.finding) == ("passed", None)


@pytest.mark.thorough
def test_a_short_sum_of_longer_terms_is_a_mistake() -> None:
    finding = check(f"{MIXED}:ShortSum", isolate=False, select=("NUM310",), block=False)["NUM310"].finding
    assert finding is not None
    assert (finding.code, finding.where.tensor) == ("PRECISION_LOSS", "b")
    assert re.search(r"though its terms are not \(line \d+: db \+= dh.sum\(0\)\)", finding.headline)
    assert check(f"{MIXED}:Scan", isolate=False, select=("NUM310",), block=False)["NUM310"].finding is None
