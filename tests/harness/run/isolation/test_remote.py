"""Targets on the workers of a dask cluster: the same record as here, a process for each there too."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bptt.harness.cli.main import main
from bptt.harness.run.events import Began, Remarked
from bptt.harness.run.isolation.parcels import Parcel
from bptt.harness.run.isolation.remote import Submitted
from bptt.harness.run.runner import check
from bptt.reports.records import Run
from bptt.reports.serial import dumps, to_dict
from tests.harness.checks.planted import Clean
from tests.harness.run.isolation.planted import in_backward, write

PARCEL = Parcel("cells.py:GRU", "cells.py:GRU", False, ({},))


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    if find_spec("distributed") is None:
        pytest.skip("dask.distributed is not installed: pip install 'bptt[dask]'")
    distributed = importlib.import_module("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None, silence_logs=50
    ) as cluster:
        yield cluster.scheduler_address


def bare(run: Run) -> str:
    """The record without times and without the name of the run."""
    results = tuple(replace(result, duration_s=0.0) for result in run.results)
    return dumps(to_dict(replace(run, duration_s=0.0, results=results, run_id="", command="")))


@pytest.mark.thorough
@pytest.mark.filterwarnings("default")  # those of dask are not ours
def test_the_record_is_the_one_that_this_machine_makes(scheduler: str, tmp_path: Path) -> None:
    told = f"if True: open({str(tmp_path / 'told')!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
    cell = write(tmp_path, told + in_backward("os._exit(7)"))
    targets = [f"{cell}:Right", f"{cell}:Cell", f"{cell}:Wrong", "refimpl:elman", "nowhere.py:X", Clean]
    options: dict[str, Any] = {"level": "smoke", "select": ["CON110", "GRD110"]}
    there = check(targets, backend="dask", scheduler=scheduler, **options).run
    pids = (tmp_path / "told").read_text().split()
    assert len(set(pids)) == len(pids) == 4 and str(os.getpid()) not in pids  # one started again after its crash
    assert bare(there) == bare(check(targets, **options).run)
    statuses = {(r.target, r.check): r.status for r in there.results}
    assert [statuses[f"{cell}:{name}", "GRD110"] for name in ("Right", "Cell", "Wrong")] == ["passed", "crashed", "failed"]


@pytest.mark.thorough
@pytest.mark.filterwarnings("default")
def test_the_example_starts_a_cluster_that_a_check_runs_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if find_spec("distributed") is None:
        pytest.skip("dask.distributed is not installed: pip install 'bptt[dask]'")
    script = Path(__file__).parents[4] / "examples" / "local_cluster.py"
    cluster = subprocess.Popen([sys.executable, str(script), "1", "0"], stdout=subprocess.PIPE, text=True)
    assert cluster.stdout is not None
    try:
        address = cluster.stdout.readline().strip()
        command = ["check", "refimpl:elman", "--level", "smoke", "--select", "CON110", "--backend", "dask", "--scheduler", address]
        assert main(command) == 0
        assert "elman" in capsys.readouterr().out
    finally:
        cluster.terminate()
        cluster.communicate(timeout=60)
    assert cluster.returncode == 0


def answered(text: str | BaseException) -> list[Any]:
    answer: Future[str] = Future()
    if isinstance(text, str):
        answer.set_result(text)
    else:
        answer.set_exception(text)
    return list(Submitted(PARCEL, "5ec4e7", answer).events())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (dumps({"secret": "other", "events": []}), "the answer is not the one that was asked for"),
        (dumps({"secret": "5ec4e7", "events": [{"event": "Passed"}]}), "not an event"),
        (dumps({"secret": "5ec4e7"}), "KeyError"),
        (dumps({"secret": "5ec4e7", "fault": "no process could be started"}), "no process could be started"),
        ("junk", "JSONDecodeError"),
        ("[1]", "the answer is not the one that was asked for"),
        (RuntimeError("3 workers died"), "3 workers died"),
    ],
)
def test_an_answer_that_is_none_leaves_the_target_undecided(answer: str | BaseException, words: str) -> None:
    began, said = answered(answer)
    assert isinstance(began, Began) and isinstance(said, Remarked)
    assert words in said.remark.text and said.remark.severity == "error"
