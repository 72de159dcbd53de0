from __future__ import annotations

from pathlib import Path

import pytest

from bptt.harness.diagnosis.lines import line_of
from bptt.reports.records import Cause, Where

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


@pytest.mark.parametrize(
    ("where", "line"),
    [
        (Where(tensor="W_x"), 14),
        (Where(tensor="W_h"), 15),
        (Where(tensor="Wh"), 15),
        (Where(tensor="b"), 16),
        (Where(tensor="U"), 17),
        (Where(tensor="h0"), 18),
        (Where(tensor="p"), 19),
        (Where(tensor="W_h", gate="f"), 12),
        (Where(tensor="W_h", gate="o"), 9),
        (Where(tensor="W_h", gate="g"), 15),
        (Where(tensor="V"), None),
        (Where(), None),
    ],
)
def test_the_line_that_writes_the_wrong_gradient(file: str, where: Where, line: int | None) -> None:
    assert line_of((file, 2), where) == line
    assert line_of((file, 7), where) == line


def test_a_certain_cause_points_at_its_own_line(file: str) -> None:
    certain = Cause("df-with-f", "df is built with f instead of c_(t-1)", "", 1.0, "df = dc * c_prev")
    guess = Cause("guess", "", "", 0.5, "do = dh * m")
    assert line_of((file, 7), Where(tensor="W_h", gate="f"), (certain,)) == 11
    assert line_of((file, 7), Where(tensor="W_h", gate="f"), (guess,)) == 12


def test_zeros_to_start_from_are_no_writing(tmp_path: Path) -> None:
    path = tmp_path / "cells.py"
    path.write_text("def backward():\n    dW = np.zeros(3)\n    db = 0\n    grads = {k: np.zeros_like(v) for k, v in p.items()}\n")
    assert line_of((str(path), 1), Where(tensor="W")) is None
    assert line_of((str(path), 1), Where(tensor="b")) is None


def test_text_that_cannot_be_read_is_no_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def (")
    assert line_of((str(tmp_path / "broken.py"), 1), Where(tensor="W")) is None
    assert line_of((str(tmp_path / "missing.py"), 1), Where(tensor="W")) is None
    assert line_of((str(tmp_path / "broken.py"), 99), Where(tensor="W")) is None
