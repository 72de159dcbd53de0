"""How a run ends early: by a signal to it, by the death of its helpers; and that nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bptt.harness.run.isolation import starting
from bptt.harness.run.isolation.processes import descendants
from bptt.harness.run.runner import check
from tests.harness.run.isolation.planted import in_backward, write

pytestmark = pytest.mark.skipif(not starting.can_fork(), reason="processes are looked at under /proc: on Linux alone")
HANGS = in_backward(
    "child = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
    "open('pids', 'w').write(f'{os.getpid()} {os.getppid()} {child.pid}')\nos.rename('pids', 'told')\ntime.sleep(1000)"
)


def gone(pid: int, patience_s: float = 30.0) -> bool:
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def started(folder: Path, *more: str) -> tuple[subprocess.Popen[str], list[int]]:
    """`bptt check` of a right cell and of one that hangs, and the processes that there are by then."""
    write(folder, HANGS)
    command = [sys.executable, "-m", "bptt.harness.cli.main", "check", "cell.py:Right", "cell.py:Cell", "--jobs", "1"]
    options = ["--level", "smoke", "--select", "CON110", "--select", "LIN100", "--report", "run.json", *more]
    run = subprocess.Popen([*command, *options], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    told, until = folder / "told", time.monotonic() + 100
    while not told.exists():
        assert time.monotonic() < until and run.poll() is None, run.communicate(timeout=5)
        time.sleep(0.05)
    return run, [*map(int, told.read_text().split()), *descendants(run.pid)]


@pytest.mark.thorough
@pytest.mark.parametrize(("number", "exit_code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")])
def test_a_signal_ends_the_run_with_its_summary_and_its_reports(tmp_path: Path, number: int, exit_code: int, word: str) -> None:
    run, pids = started(tmp_path)
    run.send_signal(number)
    out, err = run.communicate(timeout=100)
    assert run.returncode == exit_code
    assert word in err and "Traceback" not in err
    assert "Right" in out and f"exit {exit_code}" in out
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["exit_code"] == exit_code and not record["complete"]
    assert {(r["target"], r["check"], r["status"]) for r in record["results"]} >= {("cell.py:Right", "LIN100", "passed")}
    assert all(map(gone, pids))


def test_a_run_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    run, pids = started(tmp_path)
    run.kill()
    assert len(pids) >= 4 and all(map(gone, pids))
    run.communicate()


@pytest.mark.thorough
def test_a_server_that_is_killed_is_replaced(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    options = {"level": "smoke", "select": ["CON110"]}
    assert check(f"{path}:Right", level="smoke", select=["CON110"]).exit_code == 0
    server = starting.fork_server(torch=False)
    server._process.kill()
    assert check(f"{path}:Right", level="smoke", select=["CON110"]).exit_code == 0, options
    assert starting.fork_server(torch=False) is not server


def test_targets_have_no_parent_that_ran_anything_and_no_thread_but_their_own(tmp_path: Path) -> None:
    body = "class Cell(Right):\n    def __init__(self):\n"
    body += "        open('told', 'w').write(f'{len(os.listdir(\"/proc/self/task\"))} {len(sys.modules)}')\n"
    path = write(tmp_path, f"if True: os.chdir({str(tmp_path)!r})\n{body}")
    seen = []
    for _ in range(2):
        assert check(f"{path}:Cell", level="smoke", select=["CON110"]).exit_code == 0
        seen.append((tmp_path / "told").read_text())
    assert seen[0] == seen[1] and seen[0].startswith("1 ")
    assert os.getcwd() != str(tmp_path)


def test_a_server_whose_run_has_ended_before_it_was_ready_says_nothing() -> None:
    here, there = socket.socketpair()
    program = "import sys; from bptt.harness.run.isolation.server import main; main(sys.argv[1:])"
    with there:
        command = [sys.executable, "-c", program, str(there.fileno()), "json"]
        server = subprocess.Popen(command, pass_fds=[there.fileno()], stderr=subprocess.PIPE, text=True)
        here.close()
    _, said = server.communicate(timeout=120)
    assert (server.returncode, said) == (0, "")
