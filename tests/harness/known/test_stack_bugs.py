"""Every bug of the library of stacks changes what it says it changes, in the smallest stack that it names."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from bptt.harness.checks import registry
from bptt.harness.diagnosis.explain_lengths import answer
from bptt.harness.gradient.distance import relative_distance
from bptt.harness.known.plant import PlantError
from bptt.harness.known.plant_stack import RIGHT, PlantedStack, StackBug, plant_stack
from bptt.harness.known.stacks import BACKWARD, STACK_BUGS, stack_bug, stack_bugs_of
from bptt.harness.subject import Arrays
from bptt.refimpl import CELLS
from bptt.refimpl.stack import Stack
from tests.harness.known.stacking import call_for


def farthest(one: Arrays, other: Arrays) -> float:
    return max(relative_distance(one[name], other[name]) for name in one)


@pytest.mark.parametrize("bug", STACK_BUGS, ids=lambda bug: bug.name)
def test_a_bug_changes_the_result(bug: StackBug) -> None:
    call = call_for(bug)
    right, wrong = answer(call), answer(call, plant_stack(bug))
    ahead = max(relative_distance(right.ys, wrong.ys), farthest(right.final, wrong.final))
    assert {name: d.shape for name, d in wrong.dparams.items()} == {name: d.shape for name, d in right.dparams.items()}
    if bug.kind == "forward":
        assert ahead > 1e-3
        return
    assert ahead == 0
    assert right.dxs is not None and wrong.dxs is not None
    apart = [farthest(right.dparams, wrong.dparams), relative_distance(right.dxs, wrong.dxs), farthest(right.dstate, wrong.dstate)]
    assert max(apart) > 1e-3


@pytest.mark.parametrize("bug", [bug for bug in STACK_BUGS if bug.needs], ids=lambda bug: bug.name)
def test_what_a_bug_needs_it_needs(bug: StackBug) -> None:
    everything = Stack((CELLS["lstm"],) * 3, bidirectional=True)
    assert bug.shows_in(everything, with_lengths=True, with_masks=True)
    assert not bug.shows_in(Stack((CELLS["lstm"],)))


def test_the_library_is_what_it_says() -> None:
    names = [bug.name for bug in STACK_BUGS]
    assert len(names) == len(set(names)) >= 130
    known = set(registry.load()) if isinstance(registry.load(), dict) else {check.id for check in registry.load()}
    assert {bug.found_by for bug in STACK_BUGS} - {""} <= known
    assert all(bug.sentence and bug.fix and not bug.sentence.endswith(".") for bug in STACK_BUGS)


def test_one_direction_has_none_of_two() -> None:
    one, both = Stack((CELLS["elman"],) * 2), Stack((CELLS["elman"],) * 2, bidirectional=True)
    assert {bug.name for bug in stack_bugs_of(one)} < {bug.name for bug in stack_bugs_of(both)}
    assert not any("directions" in bug.needs for bug in stack_bugs_of(one))


def test_a_name_that_nobody_has_is_answered_with_the_nearest() -> None:
    with pytest.raises(LookupError, match="dxs-averaged"):
        stack_bug("dxs-average")


def test_nothing_planted_is_the_reference_itself() -> None:
    assert plant_stack() is RIGHT
    again = plant_stack(replace(BACKWARD[0], after=BACKWARD[0].before))
    call = call_for(BACKWARD[0])
    assert np.array_equal(answer(call).dxs, answer(call, again).dxs)  # type: ignore[arg-type]  # both have them


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"before": "no such line"}, "stands 0 times in _layer_backward, wanted 1"),
        ({"function": "_no_such"}, "_no_such is not in bptt.refimpl.stack"),
    ],
)
def test_a_text_that_is_not_there_is_an_error(change: dict[str, str], words: str) -> None:
    with pytest.raises(PlantError, match=words):
        plant_stack(replace(BACKWARD[0], **change))  # type: ignore[arg-type]  # fields by name


def test_two_edits_of_one_function_are_refused() -> None:
    one, other = (bug for bug in BACKWARD if bug.name in ("dys-halved", "dys-interleaved"))
    with pytest.raises(PlantError, match="was edited by another bug"):
        plant_stack(one, other)


def test_a_planted_stack_travels_to_other_processes() -> None:
    made = PlantedStack(("lstm", "lstm"), True, (BACKWARD[0],))
    assert pickle.loads(pickle.dumps(made)) == made
