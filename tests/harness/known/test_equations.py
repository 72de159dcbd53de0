from __future__ import annotations

import pytest

from bptt.harness import targets
from bptt.harness.identify.forward_bug import forward_bug
from bptt.harness.known import edits_of_forward, forward_of_cell
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.subjects import PlantedCell
from bptt.refimpl import CELLS

CASES = [
    (cell, edit) for cell in ("lstm", "gru_reset_after", "gru_reset_before", "lstm_peephole") for edit in edits_of_forward(CELLS[cell])
]


@pytest.mark.parametrize(("cell", "edit"), CASES[::12], ids=lambda value: value if isinstance(value, str) else value.name)
def test_an_edited_equation_is_named_where_the_cell_is_declared(cell: str, edit: KnownMistake) -> None:
    """By itself, or as another edit or a known difference that gives the same outputs."""
    subject = targets.load(PlantedCell(cell, (edit,)))[0]
    found = forward_bug(subject, cell)
    assert found is not None and found.identification.max_error < 1e-9
    assert "stands where" in edit.sentence


def test_what_is_edited_gives_other_numbers_and_is_none_of_the_listed() -> None:
    afters = {edit.edits[0].after for edit in edits_of_forward(CELLS["lstm"])}
    assert {"c = f * c_prev - i * g", "h = c * m", "c = f * c_prev"} <= afters
    assert "c = c_prev + i * g" not in afters
    assert "c = c_prev + i * g" in {edit.after for known in forward_of_cell("lstm") for edit in known.edits}


@pytest.mark.thorough
def test_nobody_is_called_wrong_by_an_edit_who_declares_nothing() -> None:
    (mistake,) = [known for known in edits_of_forward(CELLS["lstm"]) if known.edits[0].after == "c = f * c_prev - i * g"]
    assert forward_bug(targets.load(PlantedCell("lstm", (mistake,)))[0]) is None
