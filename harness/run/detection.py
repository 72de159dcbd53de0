"""Whether anything is wrong with a subject, and no more: nothing is identified, shrunk or named.

This is what the harness's own power is measured with, over many mistakes and many right cells.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bptt.harness.cases import Case
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable
from bptt.harness.checks.registry import Check
from bptt.harness.run.events import Options
from bptt.harness.run.judging import cases_of, planned
from bptt.harness.run.shrinking import evidence_at
from bptt.harness.subject import Subject


@dataclass(frozen=True)
class Violation:
    """One check's evidence against a subject: `evidence.severity` is "error" for a failure, "warning" for less."""

    check: str
    case: Case
    evidence: Evidence


def first_failure(subject: Subject, checks: tuple[Check, ...], options: Options) -> Violation | None:
    """The first failure in the order of the catalogue, or None where every check holds."""
    return next((violation for violation in violations(subject, checks, options) if violation.evidence.severity == "error"), None)


def violations(subject: Subject, checks: tuple[Check, ...], options: Options) -> Iterator[Violation]:
    """All evidence against the subject that the planned checks of a cell find, one by one."""
    context = CheckContext(subject)
    for check in planned(checks, subject, options):
        for case in cases_of(subject, check, options):
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                try:
                    against = [evidence for evidence in evidence_at(context, check, case) if not evidence.holds]
                except NotApplicable:
                    break
            yield from (Violation(check.id, case, evidence) for evidence in against)
