"""Cells from text, with a mistake planted in the text, as users have them: a file and a class in it."""

from __future__ import annotations

from pathlib import Path

from bptt.harness.call.drawing import draw
from bptt.harness.call.network import as_cell
from bptt.harness.cases import Case, admissible
from bptt.harness.graph.explain import Explanation, Failure, explanation
from bptt.harness.subject import Subject
from bptt.harness.targets import load


def planted(text: str, before: str, after: str, folder: Path, name: str) -> tuple[Subject, int]:
    """The subject with `after` in place of the first `before`, and the line of that."""
    assert before in text
    path = folder / "cell.py"
    path.write_text(text.replace(before, after, 1))
    line = text[: text.index(before)].count("\n") + 1
    return load(f"{path}:{name}")[0], line


def why(subject: Subject) -> Explanation:
    """The causes, with no oracle beside the graph."""
    case = admissible(subject, Case())
    cell = as_cell(subject, case) if subject.kind == "network" else subject
    return explanation(subject, Failure(case, draw(cell, case), (), ()))
