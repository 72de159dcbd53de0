"""Mistakes with lengths and with dropout masks are named from one call."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bptt.harness.diagnosis.lengths import causes_of_call, causes_with_lengths
from bptt.harness.diagnosis.replay import replay
from bptt.harness.known import STACKS, mistake_of_stacks
from bptt.harness.known.mistake import KnownMistake
from tests.harness.known.stacking import call_for, identified, subject

SHOWN = [bug for bug in STACKS if bug.kind == "forward" or {"lengths", "masks"} & set(bug.needs)]


@pytest.mark.every(6)
@pytest.mark.parametrize("bug", SHOWN, ids=lambda bug: bug.name)
def test_a_mistake_is_named_from_one_call(bug: KnownMistake) -> None:
    call = call_for(bug, "gru_reset_before")
    found = causes_of_call(call, replay(call, bug))
    assert [cause.code for cause in found] == [bug.name]


@pytest.mark.parametrize("bug", [SHOWN[0], *(bug for bug in SHOWN if "lengths" in bug.needs)][:2], ids=lambda bug: bug.name)
def test_what_is_right_has_no_cause(bug: KnownMistake) -> None:
    call = call_for(bug)
    assert causes_of_call(call, replay(call)) == ()


NAMES = ("elman", "elman")


@pytest.mark.parametrize(
    "name", ["dfinal-at-last-step-only", "dstate0-in-sorted-order", "reverse-starts-in-padding", "padding-is-read", "dxs-in-sorted-order"]
)
def test_a_subject_with_lengths_is_asked_itself(name: str) -> None:
    found = causes_with_lengths(subject(NAMES, True, mistake_of_stacks(name)), identified(NAMES, True))
    assert [cause.code for cause in found] == [name]


def test_a_right_subject_has_no_cause() -> None:
    assert causes_with_lengths(subject(NAMES, True), identified(NAMES, True)) == ()


def test_a_subject_that_cannot_be_asked_has_no_cause() -> None:
    class Refuses:
        def run(self, *_: object, lengths: object = None) -> None:
            raise ValueError(np.array(lengths))

    tested = subject(NAMES, True)
    broken = replace(tested, implementation=Refuses())
    assert causes_with_lengths(replace(tested, lengths=False), identified(NAMES, True)) == ()
    assert causes_with_lengths(tested, None) == ()
    with pytest.raises(AttributeError):
        causes_with_lengths(broken, identified(NAMES, True))
