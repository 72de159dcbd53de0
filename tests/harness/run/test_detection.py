"""What the harness's power is measured with: it finds what the whole check finds, and nothing in a right cell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bptt.harness import targets
from bptt.harness.cases import Case
from bptt.harness.checks.registry import load
from bptt.harness.known import mistake
from bptt.harness.run.detection import first_failure, violations
from bptt.harness.run.events import Options
from bptt.harness.run.runner import check
from tests.scores.right import known, loaded, some
from tests.scores.working import planted

HERE = Options(level="smoke", case=Case(T=3), select=("linearity", "gradient"))


@pytest.mark.thorough
@pytest.mark.parametrize(("cell", "name"), [("lstm", "f-derivative-missing"), ("elman", "dh0-zero"), ("gru_reset_after", "W_x-sign")])
def test_the_first_failure_is_that_of_the_whole_check(cell: str, name: str) -> None:
    subject = planted(cell, mistake(cell, name))
    found = first_failure(subject, load(), Options(select=("linearity", "gradient")))
    assert found is not None
    (whole, *_) = check(subject, isolate=False).failed
    assert (found.check, found.evidence.code) == (whole.check, "BUG")


def test_a_right_cell_gives_no_doubt() -> None:
    (subject,) = targets.load("refimpl:lstm")
    assert not list(violations(subject, load(), HERE))
    assert first_failure(subject, load(), HERE) is None


def test_what_does_not_apply_is_no_doubt() -> None:
    """W_x-sign is seen in the backward; of a subject that says that it has none, no check of gradients applies."""
    subject = planted("elman", mistake("elman", "W_x-sign"))
    assert list(violations(subject, load(), HERE))
    assert not list(violations(replace(subject, capabilities=frozenset()), load(), HERE))


@pytest.mark.thorough
def test_a_score_of_right_cells_counts_its_cases_and_repeats_itself() -> None:
    of = [k for k, entry in enumerate(known()) if entry.target in ("refimpl:elman", "refimpl:gru_reset_after")]
    counted, lines = some((3, 6, of, None))
    assert counted["float64"] + counted["float32"] == 6
    assert not lines
    assert some((3, 6, of, None)) == (counted, lines)
    assert {loaded(k).name for k in of} == {"elman", "gru_reset_after"}
