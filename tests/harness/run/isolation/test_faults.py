"""Whatever a cell's code does, the run ends with its own verdict on it, and with the right ones on its neighbours."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from bptt.harness.run.isolation.starting import can_fork
from bptt.harness.run.runner import check
from bptt.reports.records import Run
from tests.harness.run.isolation.planted import FAULTS, on_import, write

pytestmark = pytest.mark.skipif(not can_fork(), reason="targets are forks on Linux alone: what is asked here is asked of those")
OPTIONS: dict[str, Any] = {"level": "smoke", "select": ["CON110", "GRD110"]}


def said(run: Run, target: str) -> str:
    """All that the record says of a target in words."""
    results = [r for r in run.results if r.target == target]
    texts = [r.reason or (r.finding.headline if r.finding else "") for r in results]
    return " | ".join([*texts, *(remark.text for t in run.targets if t.id == target for remark in t.remarks)])


@pytest.mark.every(4)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_a_result_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    fault = FAULTS[name]
    monkeypatch.chdir(tmp_path)
    write(tmp_path, fault.body)
    run = check(["cell.py:Cell"], timeout=fault.seconds, memory=fault.memory, **OPTIONS).run
    words = said(run, "cell.py:Cell")
    assert {r.check: r.status for r in run.results}.get("GRD110") == fault.status, words
    assert fault.words in words.replace(f"{tmp_path}/", "")
    assert "harness failed" not in words
    assert run.exit_code == fault.exit_code


@pytest.mark.every(2)
@pytest.mark.parametrize("jobs", [1, 3])
def test_a_fault_touches_no_other_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    """In both orders, with a right and a wrong cell between them."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "", "beside.py")
    chosen = [
        "an exit",
        "a signal",
        "junk on every descriptor",
        "a fork that comes back",
        "every descriptor closed",
        "sys.exit in the import",
    ]
    targets = []
    for k, name in enumerate(chosen):
        write(tmp_path, FAULTS[name].body, f"cell{k}.py")
        targets.append(f"cell{k}.py:Cell")
    targets = [*targets[:2], "beside.py:Wrong", *targets[2:4], "beside.py:Right", *targets[4:]]
    for order in (targets, targets[::-1]):
        run = check(order, jobs=jobs, **OPTIONS).run
        statuses = {(r.target, r.check): r.status for r in run.results}
        assert (statuses["beside.py:Wrong", "GRD110"], statuses["beside.py:Right", "GRD110"]) == ("failed", "passed")
        assert [statuses.get((f"cell{k}.py:Cell", "GRD110")) for k in range(len(chosen))] == [FAULTS[name].status for name in chosen]
        assert [t.id for t in run.targets] == order


def test_what_a_target_wanted_to_leave_running_is_ended(tmp_path: Path) -> None:
    body = f"os.chdir({str(tmp_path)!r})\nsubprocess.run(['sh', '-c', 'setsid sleep 1000 & echo $! > pid'])"
    path = write(tmp_path, on_import(body))
    assert check(f"{path}:Cell", **OPTIONS).exit_code == 0
    pid = int((tmp_path / "pid").read_text())
    until = time.monotonic() + 20
    while time.monotonic() < until and Path(f"/proc/{pid}").exists():
        time.sleep(0.02)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
