"""A wrong gradient of a stack is put down to the mistake that makes it, in the layer and direction where it is made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bptt.harness.diagnosis.explain import agrees, explain
from bptt.harness.known import of_cell
from bptt.harness.known.mistake import KnownMistake, of_stack
from bptt.harness.known.stacks.backward import BUGS as BACKWARD
from tests.harness.known.stacking import identified, in_layers, subject, wrong_gradient

EVERY = ("_l0", "_l0_reverse", "_l1", "_l1_reverse")


def stack_for(bug: KnownMistake, cell: str) -> tuple[tuple[str, ...], bool]:
    return (cell,) * (3 if "three layers" in bug.needs else 2), "directions" in bug.needs


@pytest.mark.every(4)
@pytest.mark.parametrize("bug", BACKWARD[::4], ids=lambda bug: bug.name)
def test_a_mistake_of_stacks_is_named_first(bug: KnownMistake) -> None:
    names, both = stack_for(bug, "elman")
    tested = subject(names, both, bug)
    found = explain(wrong_gradient(tested, names, both), lambda case: wrong_gradient(tested, names, both, case))
    assert [cause.code for cause in found] == [bug.name]
    assert found[0].score == 1
    assert found[0].fix == bug.fix


@pytest.mark.thorough
@pytest.mark.parametrize("names", [("lstm",), ("gru_reset_before", "elman")])
@pytest.mark.parametrize("both", [True])
def test_a_right_stack_has_no_mistake(names: tuple[str, ...], both: bool) -> None:
    wrong = wrong_gradient(subject(names, both), names, both)
    assert agrees(wrong, wrong)
    assert explain(wrong) == ()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("cell", "bug", "where", "words"),
    [
        ("lstm", "f-derivative-missing", ("_l1_reverse",), "in layer 1, the reverse direction: missing derivative of the sigmoid of f"),
        ("elman", "derivative-missing", EVERY, "in every layer: missing derivative"),
        ("gru_reset_after", "r-derivative-missing", ("_l0",), "in layer 0, the forward direction: missing derivative"),
        ("elman", "derivative-missing", ("_l0_reverse", "_l1_reverse"), "in the reverse direction of every layer: missing derivative"),
        ("elman", "derivative-missing", ("_l1", "_l1_reverse"), "in layer 1, both directions: missing derivative"),
    ],
)
def test_a_cells_mistake_is_named_with_its_layer_and_direction(cell: str, bug: str, where: tuple[str, ...], words: str) -> None:
    names = (cell, cell)
    tested = subject(names, True, in_layers(cell, bug, where))
    found = explain(wrong_gradient(tested, names, True), lambda case: wrong_gradient(tested, names, True, case))
    assert found[0].code == bug
    assert found[0].score == 1
    assert found[0].hypothesis.startswith(words)


@pytest.mark.thorough
def test_some_mistakes_of_a_cell_are_found_in_their_layers() -> None:
    known = [bug for bug in of_cell("elman") if bug.edits[0].function == "cell.step_backward"][::2]
    assert len(known) >= 3
    for k, bug in enumerate(known):
        suffix = EVERY[k % 4]
        names = ("elman",) * 2
        tested = subject(names, True, in_layers("elman", bug.name, (suffix,)))
        found = explain(wrong_gradient(tested, names, True))
        assert bug.name in [cause.code for cause in found if cause.score == 1]
        assert f"layer {suffix[2]}, the {'reverse' if 'reverse' in suffix else 'forward'} direction" in found[0].hypothesis


@pytest.mark.thorough
def test_an_unknown_mistake_is_put_in_its_layer_and_not_named() -> None:
    names = ("elman", "elman")
    unknown = of_stack(
        "unknown",
        "_layer_backward",
        "dparams |= _named(share, suffix)",
        "dparams |= _named({n: d + 0.1 * np.cos(1 + np.arange(d.size)).reshape(d.shape) if k and n == 'W_h' else d"
        " for n, d in share.items() if not hasattr(d, 'left')}, suffix)",
        "",
        "",
    )
    tested = subject(names, True, unknown)
    found = explain(wrong_gradient(tested, names, True))
    assert all(cause.score < 1 for cause in found)
    placed = next(cause for cause in found if cause.code == "wrong-in-layer")
    assert "layer 1, the forward direction and layer 1, the reverse direction" in placed.hypothesis
    assert "dL/dW_h_l1" in placed.evidence and "dL/dW_h_l0" not in placed.evidence


@pytest.mark.thorough
def test_a_mistake_in_another_form_is_no_certain_cause() -> None:
    """Almost a known mistake, but not to rounding."""
    known = next(bug for bug in BACKWARD if bug.name == "dys-halved")
    (edit,) = known.edits
    almost = replace(known, name="almost", edits=(replace(edit, after=edit.after.replace("0.5 *", "0.5001 *")),))
    names = ("elman", "elman")
    found = explain(wrong_gradient(subject(names, True, almost), names, True))
    assert all(cause.score < 1 for cause in found)
    assert known.name not in [cause.code for cause in found]


def test_the_reference_knows_itself() -> None:
    assert identified(("elman", "elman"), True).max_error == 0
