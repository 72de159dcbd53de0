"""What the wrong numbers themselves say, where no known mistake reproduces them.

Each test looks for one pattern (a constant factor, zeros, a transpose, a clip, ...) in yours against exact, over all cotangents
at once, and gives a cause only where the pattern holds in every entry that it speaks of.  Where none holds, nothing is said.
"""

from __future__ import annotations

from bptt.harness.diagnosis.patterns.absence import not_finite, without_effect, zeros
from bptt.harness.diagnosis.patterns.numbers import numbers_of
from bptt.harness.diagnosis.patterns.place import few_entries, low_rank, other_block, swapped_states, transposed, wrong_step
from bptt.harness.diagnosis.patterns.size import clipped, constant_factor, factor_per_cotangent, rounded, weight_decay
from bptt.harness.diagnosis.wrong import WrongGradient
from bptt.reports.records import Cause

TESTS = (
    without_effect,
    zeros,
    constant_factor,
    factor_per_cotangent,
    clipped,
    other_block,
    transposed,
    wrong_step,
    swapped_states,
    weight_decay,
    rounded,
    few_entries,
    low_rank,
)


def causes(wrong: WrongGradient) -> tuple[Cause, ...]:
    """What the pattern of the error suggests, best first; () where there is none.   Every score but that of `without_effect` is below 1."""
    numbers = numbers_of(wrong)
    if not numbers.whole:
        return ()
    if broken := list(not_finite(numbers)):
        return tuple(broken)
    found = [cause for test in TESTS for cause in test(numbers)]
    return tuple(sorted(found, key=lambda cause: -cause.score))
