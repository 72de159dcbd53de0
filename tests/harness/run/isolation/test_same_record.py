"""The same record, but for times and the name of the run, however it is made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bptt.harness.cli.main import main
from tests.harness.run.isolation.planted import in_backward, write

SHOWN = ["--level", "smoke", "--select", "CON110", "--select", "GRD110"]


def bare(record: Any) -> Any:
    """Without what differs from run to run and from machine to machine."""
    if isinstance(record, dict):
        left_out = ("duration_s", "run_id", "command", "env")
        return {key: bare(value) for key, value in record.items() if key not in left_out}
    return list(map(bare, record)) if isinstance(record, list) else record


def recorded(folder: Path, targets: list[str], jobs: int, hash_seed: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bptt.harness.cli.main", "check", *targets, "--jobs", str(jobs), *SHOWN, "--report", "run.json"]
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, check=False, timeout=250)
    return dict(bare(json.loads((folder / "run.json").read_text())))


@pytest.mark.thorough
def test_jobs_hash_seeds_and_order_change_nothing(tmp_path: Path) -> None:
    body = "class Global(Right):\n    def init(self, rng, D, H):\n        W = np.random.normal(size=(D + H, H))\n"
    body += "        return {'W': W, 'b': np.array([len({'a', 'b', name}) for name in map(str, range(H))]) * 0.1}\n"
    write(tmp_path, body + in_backward("os._exit(3)"))
    targets = ["cell.py:Right", "cell.py:Wrong", "cell.py:Cell", "cell.py:Global", "refimpl:elman", "nowhere.py:X"]
    first = recorded(tmp_path, targets, 1, "0")
    assert len(first["targets"]) == len(targets) and len(first["results"]) == 11
    assert recorded(tmp_path, targets, 2, "1") == first
    other = recorded(tmp_path, targets[::-1], 4, "2")
    for key in ("targets", "results"):
        assert sorted(map(json.dumps, other[key])) == sorted(map(json.dumps, first[key]))
    assert other["exit_code"] == first["exit_code"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--timeout", "nan"], "--timeout: got nan, wanted seconds of the processor"),
        (["--timeout", "inf"], "--timeout: got inf"),
        (["--timeout", "-1"], "--timeout: got -1.0"),
        (["--memory", "much"], "--memory: got 'much', wanted a size of at least 64M"),
        (["--case", "T999999999-N9999-D1-H1"], "--case: got 'T999999999-N9999-D1-H1', whose arrays have 9e+13 numbers"),
        (["--case", "T999999999-N9999"], "--case: got 'T999999999-N9999', whose arrays have 1e+13"),
        (["--case", f"T{'9' * 5000}-N1-D1-H1"], "--case: got"),
        (["--args", "[" * 30_000 + "]" * 30_000], "--args: "),
        (["--args", '{"a":' * 30_000 + "1" + "}" * 30_000], "--args: "),
        (["--scheduler", "tcp://127.0.0.1:1"], "--scheduler: wanted --backend dask with it"),
        (["--backend", "dask"], "--backend dask: wanted --scheduler ADDRESS with it"),
    ],
)
def test_an_option_that_cannot_be_is_a_usage_error(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "refimpl:elman", *SHOWN, *options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"bptt: {words}") and err.count("\n") == 1 and len(err) < 300
