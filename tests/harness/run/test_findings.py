"""A finding speaks of one case, in the user's own names and lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from bptt.harness.run.runner import check
from bptt.reports.records import Finding

TEXT = (Path(__file__).parents[3] / "examples" / "textbook_lstm.py").read_text(encoding="utf-8")


def found(folder: Path, right: str, wrong: str, select: str) -> tuple[Finding, int]:
    """The first finding about the example with one line changed, and that line."""
    assert TEXT.count(right) == 1
    (folder / "lstm.py").write_text(TEXT.replace(right, wrong), encoding="utf-8")
    (finding,) = [result.finding for result in check([f"{folder / 'lstm.py'}:TimeLSTM"], isolate=False, select=[select]).failed]
    assert finding is not None
    return finding, TEXT[: TEXT.index(right)].count("\n") + 1


@pytest.mark.thorough
def test_the_worst_entry_is_one_of_the_smallest_case(tmp_path: Path) -> None:
    finding, _ = found(tmp_path, "dh = da @ Wh.T", "dh = da[:, : 3 * dc.shape[1]] @ Wh[:, : 3 * dc.shape[1]].T", "GRD130")
    smallest = finding.smallest_case
    assert smallest is not None
    assert finding.where.index is not None
    assert (smallest.T, smallest.H) == (2, 1)
    assert all(k < max(smallest.D, 4 * smallest.H) for k in finding.where.index)


@pytest.mark.thorough
def test_a_known_mistake_without_a_line_takes_line_and_mend_from_the_graph(tmp_path: Path) -> None:
    finding, line = found(tmp_path, "dh = da @ Wh.T", "dh = da[:, : 3 * dc.shape[1]] @ Wh[:, : 3 * dc.shape[1]].T", "GRD130")
    assert "lacks the share that comes through gate o" in finding.causes[0].hypothesis
    assert finding.source is not None and finding.source.line == line, finding.causes
    assert "W_ho" not in finding.causes[0].fix


LATE = "dc = dc + dh * o * (1 - np.tanh(c) ** 2)"


@pytest.mark.thorough
@pytest.mark.parametrize("wrong", ["dc = dc + dh * o", "dc = dc"], ids=["handed on later as it is", "a term that no line writes"])
def test_no_other_line_than_the_wrong_one_is_said(tmp_path: Path, wrong: str) -> None:
    """Neither the line that hands the value on, nor that of the forward pass."""
    finding, line = found(tmp_path, LATE, wrong, "GRD110")
    assert finding.causes[0].score == 1.0
    assert finding.source is None or finding.source.line == line, finding.causes


def test_the_mend_of_a_known_mistake_is_a_line_of_the_users_own() -> None:
    """The library calls it dr, the file drh; the line that is said was run there."""
    example = Path(__file__).parents[3] / "examples" / "numpy_gru_wrong.py"
    (finding,) = [result.finding for result in check([f"{example}:GRU"], isolate=False, select=["GRD110"]).failed]
    assert finding is not None and finding.causes[0].fix == finding.causes[0].mended == "da_r = drh * h_prev * r * (1 - r)"
