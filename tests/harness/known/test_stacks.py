"""Every bug of the library of stacks changes what it says it changes, in the smallest stack that it names."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bptt.harness.checks import registry
from bptt.harness.diagnosis.replay import replay
from bptt.harness.gradient.derivatives.distance import relative_distance
from bptt.harness.known import STACKS, mistake_of_stacks, of_stack
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.plant import PlantError, plant
from bptt.harness.known.stacks.backward import BUGS as BACKWARD
from bptt.harness.known.subjects import PlantedStack
from bptt.refimpl import CELLS
from bptt.refimpl.stack import Stack, forward
from tests.harness.known.stacking import call_for


@pytest.mark.parametrize("bug", STACKS, ids=lambda bug: bug.name)
def test_a_bug_changes_the_result(bug: KnownMistake) -> None:
    call = call_for(bug)
    right, wrong = replay(call), replay(call, bug)
    assert {name: a.shape for name, a in wrong.items()} == {name: a.shape for name, a in right.items()}
    far = {name: relative_distance(right[name], wrong[name]) for name in right}
    ahead = max(distance for name, distance in far.items() if name.startswith("forward "))
    if bug.kind == "forward":
        assert ahead > 1e-3
        return
    assert ahead == 0
    assert max(far.values()) > 1e-3


@pytest.mark.parametrize("bug", [bug for bug in STACKS if bug.needs], ids=lambda bug: bug.name)
def test_what_a_bug_needs_it_needs(bug: KnownMistake) -> None:
    everything = Stack((CELLS["lstm"],) * 3, bidirectional=True)
    assert bug.shows_in(everything, with_lengths=True, with_masks=True)
    assert not bug.shows_in(Stack((CELLS["lstm"],)))


def test_the_library_is_what_it_says() -> None:
    names = [bug.name for bug in STACKS]
    assert len(names) == len(set(names)) >= 130
    known = set(registry.load()) if isinstance(registry.load(), dict) else {check.id for check in registry.load()}
    assert {bug.found_by for bug in STACKS} - {""} <= known
    assert all(bug.sentence and bug.fix and not bug.sentence.endswith(".") for bug in STACKS)


def test_one_direction_has_none_of_two() -> None:
    one, both = Stack((CELLS["elman"],) * 2), Stack((CELLS["elman"],) * 2, bidirectional=True)
    assert {bug.name for bug in of_stack(one)} < {bug.name for bug in of_stack(both)}
    assert not any("directions" in bug.needs for bug in of_stack(one))


def test_a_name_that_nobody_has_is_answered_with_the_nearest() -> None:
    with pytest.raises(LookupError, match="dxs-averaged"):
        mistake_of_stacks("dxs-average")


def test_nothing_planted_is_the_reference_itself() -> None:
    assert plant().layers is forward
    call = call_for(BACKWARD[0])
    (edit,) = BACKWARD[0].edits
    assert np.array_equal(replay(call)["dxs"], replay(call, replace(BACKWARD[0], edits=(replace(edit, after=edit.before),)))["dxs"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"before": "no such line"}, "stands 0 times in _layer_backward, wanted 1"),
        ({"function": "refimpl.stack._no_such"}, "_no_such is not in bptt.refimpl.stack"),
    ],
)
def test_a_text_that_is_not_there_is_an_error(change: dict[str, Any], words: str) -> None:
    with pytest.raises(PlantError, match=words):
        plant(replace(BACKWARD[0], edits=(replace(BACKWARD[0].edits[0], **change),))).space("refimpl.stack")


def test_two_edits_of_one_function_are_refused() -> None:
    one, other = (bug for bug in BACKWARD if bug.name in ("dys-halved", "dys-interleaved"))
    with pytest.raises(PlantError, match="stands 0 times"):
        plant(one, other).space("refimpl.stack")


def test_a_planted_stack_travels_to_other_processes() -> None:
    made = PlantedStack(("lstm", "lstm"), True, (BACKWARD[0],))
    assert pickle.loads(pickle.dumps(made)) == made
