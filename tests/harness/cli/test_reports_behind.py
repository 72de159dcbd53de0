"""Reports are behind the run, never in its way: whatever happens to a file or a stream, the verdict is printed and is the exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bptt.harness.cli import check
from bptt.harness.cli.main import main
from bptt.harness.errors import Terminated
from bptt.reports.accounting import rows
from bptt.reports.store import read_run
from tests.harness.cli.test_cli import CELL, Bptt
from tests.harness.cli.test_cli import bptt as bptt  # the fixture
from tests.harness.cli.test_cli import fake as fake

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
COMMAND = f"{sys.executable} -m bptt.harness.cli.main check"
QUICK = "--level smoke --select CON100"


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """A line of bash in a folder with cell.py."""
    (tmp_path / "cell.py").write_text(CELL)

    def run(line: str) -> subprocess.CompletedProcess[str]:
        whole = f"set -o pipefail; {line}"
        return subprocess.run(["bash", "-c", whole], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    return run


STREAMS = {
    "a pipe that is closed early": f"{COMMAND} cell.py:Elman {QUICK} -v | head -1",
    "a pipe that nobody reads": f"{COMMAND} cell.py:Elman {QUICK} | true",
    "standard output closed": f"{COMMAND} cell.py:Elman {QUICK} >&-",
    "standard error closed": f"{COMMAND} cell.py:Elman {QUICK} 2>&-",
    "all three closed": f"{COMMAND} cell.py:Elman {QUICK} <&- >&- 2>&-",
    "standard output on a full disk": f"{COMMAND} cell.py:Elman {QUICK} > /dev/full",
    "standard error on a full disk": f"{COMMAND} cell.py:Elman {QUICK} 2> /dev/full",
}


@pytest.mark.thorough
@pytest.mark.every(2)
@pytest.mark.parametrize("what", STREAMS)
def test_a_stream_that_takes_nothing_changes_no_verdict(
    shell: Callable[[str], subprocess.CompletedProcess[str]], what: str, tmp_path: Path
) -> None:
    line = STREAMS[what].replace(QUICK, f"{QUICK} --report run.json --report run.html")
    done = shell(line)
    assert done.returncode == 0, done
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    (row,) = rows(read_run(tmp_path / "run.json"))
    assert row.verdict.code == 0
    assert (tmp_path / "run.html").read_text().startswith("<!doctype html>")
    if what == "standard output on a full disk":
        assert "bptt: standard output could not be written (No space left on device)" in done.stderr


def test_a_folder_that_is_gone_is_one_line(shell: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
    done = shell(f"mkdir gone; cd gone; rmdir ../gone; {COMMAND} /nowhere/cell.py:Elman")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("bptt: the current folder does not exist any more")
    assert done.stderr.count("\n") == 1


@pytest.mark.thorough
def test_each_report_that_cannot_be_written_is_named_and_the_others_are_written(bptt: Bptt, fake: Callable[..., object]) -> None:
    for name in ("full.json", "full.jsonl", "full.html", "full.xml", "full.md"):
        Path(name).symlink_to("/dev/full")
    fake("passed", "failed")
    written = ["run.json", "run.jsonl", "run.html", "run.xml", "run.md"]
    paths = [path for good in written for path in (good.replace("run", "full"), good)]
    exit_code, out, err = bptt("check", "cell.py:Elman", *(word for path in paths for word in ("--report", path)))
    assert exit_code == 1
    assert "exit 1, does not conform" in out
    assert [line.split()[2] for line in err.splitlines()] == ["full.json", "full.jsonl", "full.html", "full.xml", "full.md"]
    assert "could not be written (No space left on device); the verdict above stands" in err
    assert f"report  {'  '.join(written)}" in out
    for name in written:
        assert Path(name).stat().st_size > 0
    assert Path("/dev/full").is_char_device()


def test_no_report_of_an_earlier_run_is_left(bptt: Bptt, fake: Callable[..., object]) -> None:
    names = ["run.json", "run.jsonl", "run.html", "run.xml", "run.md"]
    reports = [word for name in names for word in ("--report", name)]

    def earlier() -> None:
        for name in names:
            Path(name).write_text("an earlier one")

    for ends, code in ((KeyboardInterrupt(), 130), (ZeroDivisionError("odd"), 3), (None, 2)):
        earlier()
        fake("passed", ends=ends, unloadable=() if ends else ("cell.py:Elman",))
        assert bptt("check", "cell.py:Elman", *reports)[0] == code
        for name in names:
            assert "an earlier one" not in Path(name).read_text(), (name, code)
            assert "cell.py:Elman" in Path(name).read_text().replace("\\", ""), (name, code)


def test_a_report_is_gone_as_soon_as_the_run_begins(bptt: Bptt) -> None:
    """What dies without a word (SIGKILL, a power cut) leaves no earlier report, not even while the first target is imported."""
    Path("run.html").write_text("an earlier one")
    text = Path("cell.py").read_text()
    Path("cell.py").write_text(f"import pathlib\nSEEN = pathlib.Path('seen').write_text(str(pathlib.Path('run.html').exists()))\n{text}")
    assert bptt("check", "cell.py:Elman", "--report", "run.html", "--level", "smoke", "--select", "CON110")[0] == 0
    assert Path("seen").read_text() == "False"


@pytest.mark.parametrize("suffix", ["json", "jsonl", "html", "xml", "md"])
def test_a_single_target_that_cannot_be_loaded_is_in_every_report(bptt: Bptt, suffix: str) -> None:
    exit_code, out, err = bptt("check", "cell.py:Elmann", "--report", f"run.{suffix}")
    assert exit_code == 2
    assert "could not be loaded" in out
    assert "did you mean" in err
    text = Path(f"run.{suffix}").read_text().replace("\\", "")
    assert "cell.py:Elmann" in text and "did you mean" in text


def test_a_fault_in_one_view_is_named_and_keeps_nothing_from_the_others(
    bptt: Bptt, fake: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bptt.reports.text import junit

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(junit, "write_junit", broken)
    fake("passed")
    exit_code, _, err = bptt("check", "cell.py:Elman", "--report", "run.xml", "--report", "run.md")
    assert exit_code == 0
    assert "report run.xml could not be written (a fault of bptt's own, ZeroDivisionError: a fault of ours)" in err
    assert Path("run.md").exists()


def test_report_without_a_name_writes_report_html(bptt: Bptt, fake: Callable[..., object]) -> None:
    fake("passed")
    bptt("check", "cell.py:Elman", "--report", "run.json")
    exit_code, _, err = bptt("report", "run.json")
    assert (exit_code, err) == (0, "report.html written\n")
    assert "conforms" in Path("report.html").read_text()
    Path("bench.json").write_text('{"benchmarks": [{"name": "x", "extra_info": {}}]}')
    exit_code, _, err = bptt("report", "bench.json")
    assert exit_code == 2
    assert "bench.json: none of its 1 benchmarks has" in err and err.count("\n") == 1


def test_a_run_that_was_cut_off_is_gone_on_with(bptt: Bptt) -> None:
    options = ("--level", "smoke", "--select", "contract", "--report", "run.jsonl")
    assert bptt("check", "cell.py:Elman", *options)[0] == 0
    whole = read_run("run.jsonl")
    lines = Path("run.jsonl").read_text().splitlines(keepends=True)
    Path("run.jsonl").write_text("".join(lines[:8]))
    assert bptt("check", "cell.py:Elman", *options, "--resume", "run.jsonl")[0] == 0
    again = read_run("run.jsonl")
    assert again.complete and again.run_id != whole.run_id
    assert [(r.check, r.status) for r in again.results] == [(r.check, r.status) for r in whole.results]
    taken = [r.check for r, old in zip(again.results, whole.results, strict=True) if r.duration_s == old.duration_s]
    assert len(taken) >= 5
    exit_code, _, err = bptt("check", "cell.py:Elman", "--resume", "none.jsonl")
    assert exit_code == 2 and "--resume: none.jsonl: cannot be read" in err


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, Terminated])
def test_a_run_that_is_ended_before_it_began_leaves_no_report_of_an_earlier_one(
    interruption: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    earlier = [Path(name) for name in ("r.json", "r.html", "r.xml", "r.md", "r.jsonl")]
    for path in earlier:
        path.write_text("of an earlier run")

    def ended() -> None:
        raise interruption

    monkeypatch.setattr(check, "environment", ended)
    code = main(["check", "cell.py:Elman", *(word for path in earlier for word in ("--report", str(path)))])
    assert code == (143 if interruption is Terminated else 130)
    assert not [path for path in earlier if path.exists()]
    Path("r.json").write_text("of an earlier run")
    assert main(["check", "--report", "r.json"]) == 2 and Path("r.json").exists(), "what is refused is no run"
