"""Exit codes of the command, and which of several is a run's."""

from __future__ import annotations

CONFORMS = 0
DOES_NOT_CONFORM = 1
USAGE = 2
HARNESS_FAILED = 3
NOTHING_CHECKED = 4
INTERRUPTED = 130

#: The first of these that a run has a reason for is its exit code.
PRECEDENCE = (INTERRUPTED, HARNESS_FAILED, USAGE, DOES_NOT_CONFORM, NOTHING_CHECKED, CONFORMS)


def gravest(*codes: int) -> int:
    """The one exit code of a run that has several reasons for one."""
    return min(codes, key=PRECEDENCE.index)
