"""What the wrong numbers themselves say."""

from __future__ import annotations

from harness.diagnosis.wrong import WrongGradient
from reports.records import Cause


def causes(wrong: WrongGradient) -> tuple[Cause, ...]:
    return ()
