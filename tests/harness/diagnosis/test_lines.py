from __future__ import annotations

from pathlib import Path

import pytest

from bptt.harness.diagnosis.lines import _functions, if_never_read, line_of
from bptt.reports.records import Cause

CLASS = """
class LSTM:
    def forward(self, x, h):
        dW_h = 3
        return x

    def backward(self, dh, dc):
        dW_x, dW_h = np.zeros_like(self.W_x), np.zeros_like(self.W_h)
        do = dh * m
        dc = dc + dh * o
        df = dc * c_prev
        da_f = df * f
        da = np.concatenate([da_i, da_f])
        dW_x += x.T @ da                      # line 14
        dW_h += h_prev.T @ da                 # line 15
        self.grads["b"] += da.sum(0)          # line 16
        self.U.grad = da                      # line 17
        dh_prev = da @ W_h.T                  # line 18
        grads = {"p": da.sum(), "W_h": dW_h}  # line 19
        return dh_prev
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "cells.py"
    path.write_text(CLASS)
    return str(path)


def certain(fix: str, score: float = 1.0) -> tuple[Cause, ...]:
    return (Cause("some-mistake", "what is wrong", "", score, fix),)


@pytest.mark.parametrize(
    ("fix", "line"),
    [
        ("df = dc * c_next", 11),
        ("da_f = df * f * (1 - f)", 12),
        ("dW_h += h_prev.T @ da_t, summed over steps", 15),
        ("dwh += h.T @ da", 15),
        ("dp = da.sum(axis=0)", 19),
        ("df = dc * c_prev", None),  # what the line says already
        ("dh = dys[t] + dh_next in every step", None),  # not a name of theirs
        ("sum over the batch, without / N", None),
    ],
)
def test_a_certain_cause_points_at_the_one_line_that_writes_it(file: str, fix: str, line: int | None) -> None:
    assert line_of((file, 2), certain(fix)) == line
    assert line_of((file, 7), certain(fix)) == line
    assert line_of((file, 7), certain(fix, 0.95)) is None
    assert line_of((file, 7)) is None


def test_a_carried_gradient_that_no_line_reads_is_said_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "cells.py"
    text = (
        "def backward(dhs):\n    dh_next = np.zeros(3)\n    for t in reversed(range(9)):\n        dh = dhs[t]\n        dh_next = W.T @ dh\n"
    )
    path.write_text(text)
    lost = certain("dh_next = dh_prev at the end of each step")
    (cause,) = if_never_read((str(path), 1), lost)
    assert "dh_next of line 5 is read by no line" in cause.fix and cause.source is not None and cause.source.line == 5
    path.write_text(text.replace("dh = dhs[t]", "dh = dhs[t] + 0 * dh_next"))
    _functions.cache_clear()
    assert if_never_read((str(path), 1), lost) == lost


def test_a_line_that_a_loop_writes_over_is_told_where_it_should_be_added_up(tmp_path: Path) -> None:
    path = tmp_path / "cells.py"
    path.write_text("def backward():\n    db = 0\n    for t in range(9):\n        da = d[t]\n        db = da\n    dc = da\n")
    assert line_of((str(path), 1), certain("db += da")) == 5
    assert line_of((str(path), 1), certain("dc += da")) is None, "once, and right there"


def test_two_lines_that_write_it_are_not_one(tmp_path: Path) -> None:
    path = tmp_path / "cells.py"
    path.write_text("def backward():\n    dW = x.T @ da\n    if late:\n        dW = h.T @ da\n")
    assert line_of((str(path), 1), certain("dW = x.T @ (da * f)")) is None


def test_zeros_to_start_from_are_no_writing(tmp_path: Path) -> None:
    path = tmp_path / "cells.py"
    path.write_text("def backward():\n    dW = np.zeros(3)\n    db = 0\n    grads = {k: np.zeros_like(v) for k, v in p.items()}\n")
    assert line_of((str(path), 1), certain("dW = x.T @ da")) is None
    assert line_of((str(path), 1), certain("db = da.sum(0)")) is None


def test_text_that_cannot_be_read_is_no_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def (")
    assert line_of((str(tmp_path / "broken.py"), 1), certain("dW = x.T @ da")) is None
    assert line_of((str(tmp_path / "missing.py"), 1), certain("dW = x.T @ da")) is None
    assert line_of((str(tmp_path / "broken.py"), 99), certain("dW = x.T @ da")) is None
