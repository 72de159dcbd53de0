from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bptt.harness.diagnosis.fixes import DETACHED, in_words_of, without_code_of_others
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


def test_code_that_was_not_run_in_the_users_file_is_not_said() -> None:
    assert without_code_of_others(LOST).fix == ""
    run = replace(LOST, fix="dc += dh * o_t", mended="dc += dh * o_t")
    assert without_code_of_others(run) == run
    words = replace(LOST, fix="dh_next, dc_next = dh_prev, dc_prev at its end; say truncation = 3, the largest lag, if it is meant")
    assert without_code_of_others(words).fix == "say truncation = 3, the largest lag, if it is meant"
    assert without_code_of_others(in_words_of(replace(ELMAN, framework="torch"), LOST)).fix == DETACHED
