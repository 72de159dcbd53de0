"""Scripts are short, need NumPy alone, fail by themselves, and pass where the mistake is mended."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import bptt
from bptt.harness.call.drawing import draw
from bptt.harness.cases import parse_case
from bptt.harness.reproduce import script
from bptt.harness.reproduce.composing import _written
from bptt.harness.reproduce.verifying import fails
from bptt.harness.reproduce.writing import CENTRAL
from bptt.harness.targets import load
from bptt.reports.records import Where
from tests.harness.reproduce.classes import ACCUMULATING, MISTAKES, Mistake

SHOWN_ALONE = ("contract: a parameter, in time", "step: a parameter", "columns: a gate, in time", "layer: the initial state")
EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(path: Path, mistake: Mistake, relative_error: float = 0.1, oracle: str = "complex step", spec: str = "") -> str | None:
    """The script for a file with the mistake in it."""
    assert mistake.source.count(mistake.right) == 1
    path.write_text(mistake.source.replace(mistake.right, mistake.wrong), encoding="utf-8")
    return asked(spec or f"{path.name}:{mistake.name}", mistake, relative_error, oracle)


def asked(spec: str, mistake: Mistake, relative_error: float, oracle: str) -> str | None:
    [subject] = load(spec)
    case = parse_case(mistake.sizes)
    if subject.kind == "cell":
        draw(subject, case)  # the checks have drawn at this case, so that the adapter knows its sizes
    return script(subject, spec, None, case, Where(tensor=mistake.tensor, index=mistake.index), relative_error, oracle)


def alone(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The script in a process that knows nothing of us."""
    (folder / "script.py").write_text(text, encoding="utf-8")
    return subprocess.run([sys.executable, "-I", "script.py"], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def said(text: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, float, float, bool]:
    """What the script prints in this process, and whether it passes."""
    capsys.readouterr()
    try:
        exec(compile(text, "script.py", "exec"), {})
    except AssertionError:
        passes = False
    else:
        passes = True
    line = re.fullmatch(r"(.*): yours (\S+), exact (\S+)\n", capsys.readouterr().out)
    assert line
    return line[1], float(line[2]), float(line[3]), passes


def imported(text: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(text)))
    plain = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    return plain | {str(n.module) for n in nodes if isinstance(n, ast.ImportFrom)}


def assert_short(text: str | None) -> str:
    assert text is not None
    assert len(text.splitlines()) <= 15
    assert max(map(len, text.splitlines())) <= 140
    assert text.splitlines()[-1].startswith("assert ")
    return text


@pytest.mark.parametrize("name", MISTAKES)
def test_the_script_fails_and_passes_once_the_mistake_is_mended(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mistake = MISTAKES[name]
    text = assert_short(written(tmp_path / "mine.py", mistake))
    assert imported(text) == {"numpy", "runpy"}
    entry, yours, exact, passes = said(text, capsys)
    assert not passes
    assert entry == f"dL/d{mistake.tensor}[{', '.join(map(str, mistake.index))}]"
    assert abs(yours - exact) > 1e-6
    (tmp_path / "mine.py").write_text(mistake.source, encoding="utf-8")
    _, mended, same, passes = said(text, capsys)
    assert passes
    assert (mended, same) == (pytest.approx(exact, rel=1e-6, abs=1e-9), exact)


@pytest.mark.thorough
@pytest.mark.parametrize("name", SHOWN_ALONE)
def test_it_needs_nothing_but_numpy_and_the_file(name: str, tmp_path: Path) -> None:
    text = assert_short(written(tmp_path / "mine.py", MISTAKES[name]))
    failing = alone(text, tmp_path)
    assert failing.returncode != 0
    assert failing.stderr.rstrip().splitlines()[-1].startswith("AssertionError")
    assert re.fullmatch(r"dL/d.*: yours \S+, exact \S+\n", failing.stdout)
    (tmp_path / "mine.py").write_text(MISTAKES[name].source, encoding="utf-8")
    assert alone(text, tmp_path).returncode == 0


@pytest.mark.parametrize("right", ["+= x.T @ da", "self.dW_h += h_prev.T @ da"])
def test_a_small_error_is_shown_by_a_complex_step(right: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensor = "W_x" if "x.T" in right else "W_h"
    mistake = Mistake(ACCUMULATING, "Elman", right, right.replace("+= ", "+= 1.0000001 * "), tensor, (1, 0), "T1-N2-D3-H2")
    text = assert_short(written(tmp_path / "mine.py", mistake, 1e-7))
    assert "L(1e-20j)" in text
    assert not said(text, capsys)[-1]
    (tmp_path / "mine.py").write_text(mistake.source, encoding="utf-8")
    assert said(text, capsys)[-1]
    assert written(tmp_path / "mine.py", mistake, 1e-7, "differences") is None  # too small to be seen by one


@pytest.mark.parametrize("form", ["class", "contract"])
def test_single_precision_is_asked_for_less(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mistake = MISTAKES["contract: a parameter" if form == "contract" else "step: a parameter"]
    single = mistake.source.replace("        return h\n", "        return h.astype(np.float32)\n", 1)
    single = single.replace("class Cell:", "class Cell:\n    dtype = 'float32'\n")
    text = assert_short(written(tmp_path / "mine.py", mistake._replace(source=single)))
    assert "rtol=1e-2" in text
    assert not said(text, capsys)[-1]
    (tmp_path / "mine.py").write_text(single, encoding="utf-8")
    assert said(text, capsys)[-1]


def test_there_is_none_for_a_right_class_or_an_entry_that_is_right(tmp_path: Path) -> None:
    right = Mistake(ACCUMULATING, "Elman", "dh * (1 - h * h)", "dh * (1 - h**2)", "W_x", (2, 0), "T1-N2-D3-H2")
    assert written(tmp_path / "mine.py", right) is None
    other_entry = MISTAKES["step: a parameter"]._replace(tensor="b", index=(0,))
    assert written(tmp_path / "mine.py", other_entry) is None


@pytest.mark.parametrize(
    ("said", "instead"),
    [("yours, w = cell", "yours, w = 2 * cell"), ("/ 2e-5", "/ 3e-5"), ("assert ", "assert not ")],
)
def test_a_script_that_fails_over_nothing_is_not_given(said: str, instead: str, tmp_path: Path) -> None:
    wrong = MISTAKES["step: a parameter"]
    source = wrong.source if not said.startswith("assert") else wrong.source.replace(wrong.right, wrong.wrong)
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    [subject] = load("mine.py:Elman")
    draw(subject, parse_case(wrong.sizes))
    found, body = _written(subject, "mine.py:Elman", {}, parse_case(wrong.sizes), wrong.tensor, wrong.index, CENTRAL, 0)
    lines = tuple(line.replace(said, instead) for line in body.lines)
    assert lines != body.lines
    assert not fails(subject, replace(body, lines=lines), {found.name: found.value}, wrong.tensor, wrong.index, CENTRAL)


def test_no_module_is_run_again(tmp_path: Path) -> None:
    mistake = MISTAKES["step: a parameter"]
    counted = mistake._replace(
        source=mistake.source + "\nimport os\n_run = os.write(os.open('runs', os.O_APPEND | os.O_CREAT | os.O_WRONLY), b'.')\n"
    )
    assert written(tmp_path / "mine.py", counted)
    assert (tmp_path / "runs").read_text() == "."


def test_a_module_target_is_imported_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_module_of_cells", raising=False)
    importlib.invalidate_caches()
    text = assert_short(written(tmp_path / "my_module_of_cells.py", MISTAKES["step: a parameter"], spec="my_module_of_cells:Elman"))
    assert imported(text) == {"numpy", "my_module_of_cells"}
    assert "from my_module_of_cells import Elman" in text


def test_a_file_that_imports_its_neighbour_finds_it(tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    folder.mkdir()
    (folder / "gates_beside_it.py").write_text("import numpy as np\ntanh = np.tanh\n")
    mistake = MISTAKES["step: a parameter"]
    source = "from gates_beside_it import tanh\n" + mistake.source.replace("np.tanh", "tanh")
    text = assert_short(written(folder / "mine.py", mistake._replace(source=source), spec="cells/mine.py:Elman"))
    assert imported(text) == {"numpy", "runpy", "sys"}
    assert alone(text, tmp_path).stderr.rstrip().splitlines()[-1].startswith("AssertionError")


@pytest.mark.parametrize("name", ["step: a parameter, in time", "contract: a parameter"])
def test_an_object_made_already(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mistake = MISTAKES[name]
    made = f"\nmine = {mistake.name}({'3, 2' if mistake.name == 'Elman' else ''})\n"
    text = assert_short(written(tmp_path / "mine.py", mistake._replace(source=mistake.source + made), spec="mine.py:mine"))
    assert not said(text, capsys)[-1]


@pytest.mark.thorough
def test_the_wrong_example_has_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(EXAMPLES.parent)
    run = bptt.check("examples/numpy_gru_wrong.py:GRU", level="smoke", select=["GRD110"], isolate=False)
    found = [r.finding.repro for r in run.failed if r.finding]
    assert found
    for repro in found:
        assert repro is not None
        assert repro.command.startswith("bptt check examples/numpy_gru_wrong.py:GRU --select ")
        assert not said(assert_short(repro.python), capsys)[-1]
