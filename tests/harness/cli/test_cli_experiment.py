"""`bptt experiment`: exit codes, one clear line for what is wrong, and the reports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bptt.harness.cli import main as cli
from bptt.harness.experiments.engine import plan as plan_
from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.reports.records import Experiment
from bptt.reports.store import read_run

Bptt = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bptt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Bptt:
    """The command in a folder of its own: -> exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        exit_code = cli.main(("experiment", *arguments))
        return exit_code, *capfd.readouterr()

    return run


def made(name: str, measured: float = 1.0, explained: bool = False, error: str = "") -> Definition:
    def point(settings: Settings) -> Values:
        if error:
            raise ValueError(error)
        return {"y": measured}

    def gather(points: list[Point]) -> Experiment:
        words = "it is small" if explained else None
        claims = tuple(claim(f"y {k}", p.values["y"], 1.0, source="theory", words=words, explained=explained) for k, p in enumerate(points))  # type: ignore[arg-type]
        return Experiment(name, None, (), "It is one.", claims=claims)

    return Definition(name, "Is it one?", "nobody", {"k": 0, "gain": 1.0}, point, gather)  # type: ignore[arg-type]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue of four: one that agrees, differs, is explained, raises."""
    catalogue = [made("agrees"), made("differs", 2.0), made("explained", 2.0, True), made("raises", error="no luck")]
    monkeypatch.setattr(plan_, "definitions", lambda names=(): tuple(d for d in catalogue if not names or d.name in names))


def test_the_book_agrees(bptt: Bptt) -> None:
    exit_code, out, err = bptt("book", "--jobs", "1")
    assert (exit_code, err) == (0, "")
    first, answer, last = out.splitlines()
    assert first.startswith("✓ book  Does backpropagation through one matrix explode or vanish, and which number decides?  ")
    assert "72 agree  " in first and answer.startswith("  answer  it explodes at scale 1")
    assert last == "1 experiment: 72 agree        exit 0, as theory says"


@pytest.mark.thorough
@pytest.mark.usefixtures("known")
def test_exit_codes_and_what_is_printed_of_each(bptt: Bptt) -> None:
    assert bptt("agrees", "-q")[0] == 0
    exit_code, out, _ = bptt("explained")
    assert exit_code == 0 and "  ≈ y 0   measured 2   expected 1   (theory)\n    it is small" in out
    exit_code, out, _ = bptt("agrees", "differs", "--grid", "gain=1:3:3")
    assert exit_code == 1 and out.count("  ✗ y ") == 3
    assert "1 of 2 experiments differs from theory: differs" in out and out.endswith(
        "2 experiments: 3 differ · 3 agree        exit 1, differs from theory\n"
    )
    exit_code, out, err = bptt("raises", "differs", "agrees")
    assert exit_code == 3 and "✓ agrees" in out and "✗ differs" in out and "not answered: ValueError: no luck" in out
    assert err.count("\n") == 1 and err.startswith("bptt: experiment 'raises' failed: ValueError: no luck (")
    assert "test_cli_experiment.py:" in err and " in point)" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bok",), "bptt: no experiment 'bok', did you mean 'book'?"),
        (("book", "--grid", "gian=3"), "bptt: --grid: no experiment that was asked for has a setting 'gian'"),
        (("book", "scale=1:x:2"), "bptt: --grid: got 'scale=1:x:2', wanted gain=0.5:3:20"),
        (("book", "--cell", "refimpl:lstm"), "bptt: --cell: experiment 'book' takes no cell"),
        (("--cell", "nowhere.py:X"), "bptt: nowhere.py:X: no such file"),
        (("book", "--backend", "dask"), "bptt: --backend dask: wanted --scheduler ADDRESS"),
        (("book", "--report", "x.pdf"), "bptt: --report: got 'x.pdf'"),
        (("book", "--resume", "cli.txt"), "bptt: cli.txt: line 1 is not JSON"),
    ],
)
def test_what_is_wrong_is_one_clear_line(bptt: Bptt, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    (tmp_path / "cli.txt").write_text("hello\n")
    exit_code, out, err = bptt(*arguments)
    assert (exit_code, out) == (2, "") and err.startswith(words) and err.count("\n") == 1


@pytest.mark.thorough
def test_grids_stand_after_one_option_or_several_and_files_hold_the_record(bptt: Bptt, tmp_path: Path) -> None:
    first = bptt("book", "--grid", "scale=0.5:1:2", "T=5", "--jobs", "1", "--report", "a.json", "--report", "a.html", "--report", "a.xml")
    second = bptt("book", "--grid", "scale=0.5:1:2", "--grid", "T=5", "--jobs", "2", "--report", "b.json", "--report", "b.md")
    assert first[0] == second[0] == 0 and "report  a.json  a.html  a.xml" in first[1]
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    run = read_run(tmp_path / "a.html")
    assert run == read_run(tmp_path / "a.json")
    assert run.command == "bptt experiment book --grid scale=0.5:1:2 --grid T=5"
    assert run.experiments[0].settings == {"scale": (0.5, 1.0), "T": 5}
    assert "| ✓ | book |" in (tmp_path / "b.md").read_text() and "<testsuite " in (tmp_path / "a.xml").read_text()


@pytest.mark.thorough
@pytest.mark.usefixtures("known")
def test_points_that_are_known_are_not_measured_again(bptt: Bptt) -> None:
    assert bptt("agrees", "--grid", "k=0:4", "--resume", "p.jsonl")[2] == ""
    _, out, err = bptt("agrees", "--grid", "k=0:6", "--resume", "p.jsonl")
    assert err == "bptt: 5 of 7 points are known from p.jsonl\n" and "7 agree" in out


SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
sys.path.insert(0, {root!r})
from bptt.harness.cli import main as cli
from bptt.harness.experiments.engine import plan
from tests.harness.experiments.engine.sweeping import numbers
plan.definitions = lambda names=(): (numbers("slow", 40, seconds=0.2),)
sys.exit(cli.main(["experiment", "--jobs", "2"]))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals as a terminal sends them")
@pytest.mark.parametrize(("sent", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")])
def test_a_signal_keeps_what_is_done_and_says_which_it_was(tmp_path: Path, sent: signal.Signals, code: int, said: str) -> None:
    root = str(Path(__file__).parents[3])
    command = [sys.executable, "-c", SLOW.format(root=root)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    store = tmp_path / "build" / "experiments" / "points.jsonl"
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True, text=True, **pipes) as process:
        while not (store.exists() and store.read_bytes().count(b"\n") > 3):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        if sent == signal.SIGINT:
            os.killpg(process.pid, sent)  # to every process of the group, as a terminal does
        else:
            os.kill(process.pid, sent)
        out, err = process.communicate()
    assert process.returncode == code
    assert out == ""
    done = store.read_bytes().count(b"\n") - 1
    assert 3 <= done < 40 and b"complete" not in store.read_bytes()
    known = f"{done} of 40 points are known from build/experiments/points.jsonl"
    assert err == f"bptt: {said}; {known}, and the same command goes on from there\n"
