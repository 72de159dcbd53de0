from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bptt.harness.diagnosis.fixes import DETACHED, in_words_of
from bptt.reports.records import Cause
from tests.harness.gradient.support import reference

LOST = Cause("some-mistake", "dc lacks dc_next", "", 1.0, "dc = dc_next + dh * o")
ELMAN = reference("elman")


def test_who_writes_a_backward_in_torch_is_told_of_it_first(tmp_path: Path) -> None:
    path = tmp_path / "cells.py"
    subject = replace(ELMAN, framework="torch", source=(str(path), 1))
    path.write_text("class Step(torch.autograd.Function): ...")
    assert in_words_of(subject, LOST).fix == f"in the backward of your torch.autograd.Function: {LOST.fix}; or {DETACHED}"
    path.write_text("class Cell(torch.nn.Module): ...")
    assert in_words_of(subject, LOST).fix == DETACHED
    assert in_words_of(ELMAN, LOST) == LOST
