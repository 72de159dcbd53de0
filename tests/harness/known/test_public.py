from __future__ import annotations

import re

import pytest

from bptt.harness.checks.registry import load
from bptt.harness.known import forward_of_cell, of_cell
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.public import REPORTS, address
from tests.harness.checks import planted, planted_lengths, planted_models


def test_there_are_at_least_fifteen_and_no_report_twice() -> None:
    assert len(REPORTS) >= 15
    assert len({report.name for report in REPORTS}) == len(REPORTS)


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.name)
def test_each_report_is_a_mistake_of_the_library_or_the_plant_of_a_check(report: KnownMistake) -> None:
    """Both are proven elsewhere to change the numbers and to be found."""
    assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/issues/\d+", address(report))
    assert report.found_by in {check.id for check in load()}
    if report.edits:
        known = (*of_cell(report.applies_to[0]), *forward_of_cell(report.applies_to[0]))
        assert report.edits in {mistake.edits for mistake in known}
    else:
        assert report.found_by in planted.PLANTS | planted_models.PLANTS | planted_lengths.PLANTS
