"""`bptt init`: a target filled in and checked, a refused one with what is missing, a project without a target."""

from __future__ import annotations

from pathlib import Path

import pytest

from bptt.harness.cli.main import main

WRONG = """
import numpy as np


class Odd:
    def __init__(self, input_size, hidden_size):
        self.W = np.random.randn(hidden_size, input_size)
        self.U = np.random.randn(hidden_size, hidden_size)

    def forward(self, xs):
        h, out = np.zeros((xs.shape[1], self.U.shape[0])), []
        for x in xs:
            h = np.tanh(x @ self.W.T + h @ self.U.T)
            out.append(h)
        return np.stack(out)

    def backward(self, a, b, strange):
        raise RuntimeError(strange)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_name_that_a_file_has_not_is_no_reason_to_begin(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "odd.py").write_text(WRONG, encoding="utf-8")
    assert main(["check", "odd.py:Nowhere"]) == 2
    said = capsys.readouterr().err
    assert "no 'Nowhere' in odd.py" in said
    assert "bptt init" not in said


def test_a_refused_target_is_begun(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "odd.py").write_text(WRONG, encoding="utf-8")
    assert main(["check", "odd.py"]) == 2
    assert "`bptt init odd.py`" in capsys.readouterr().err
    assert main(["init", "odd.py", "--no-color"]) == 2
    text = (folder / "bptt_odd.py").read_text(encoding="utf-8")
    assert "cell.forward(xs=xs)" in text
    assert "'U': cell.U" in text
    assert "TODO: call what gives the gradients" in text
    assert "TODO" in capsys.readouterr().out


def test_a_file_that_is_there_is_not_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "odd.py").write_text(WRONG, encoding="utf-8")
    (folder / "bptt_odd.py").write_text("mine", encoding="utf-8")
    assert main(["init", "odd.py"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (folder / "bptt_odd.py").read_text(encoding="utf-8") == "mine"


def test_without_a_target_a_project_is_begun(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\n', encoding="utf-8")
    assert main(["init"]) == 0
    assert "[tool.bptt]" in (folder / "pyproject.toml").read_text(encoding="utf-8")
    assert "@bptt.parametrize" in (folder / "tests" / "test_cells.py").read_text(encoding="utf-8")
    assert main(["init"]) == 0
    assert capsys.readouterr().out.count("left as it is") == 2
