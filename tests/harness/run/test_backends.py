"""Loky and dask give the same bytes; a lost dask worker costs nothing but time."""

from __future__ import annotations

import importlib
import os
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bptt.harness.errors import UsageError
from bptt.harness.experiments.engine.run import run_planned
from bptt.harness.run import backends
from bptt.harness.run.backends import Dask, Loky, backend
from bptt.reports.serial import dumps, to_dict
from tests.harness.experiments.engine.sweeping import failing, numbers, planned

no_dask = pytest.mark.skipif(find_spec("distributed") is None, reason="dask.distributed is not installed: pip install 'bptt[dask]'")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("dask", 2, None), "--backend dask: wanted --scheduler ADDRESS"),
        (("loky", 2, "tcp://a:1"), "--scheduler: wanted --backend dask"),
        (("threads", 2, None), "--backend: got 'threads', wanted loky or dask"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        backend(*arguments)
    assert backend("loky", 3, None) == Loky(3)


def test_without_dask_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(backends, "import_module", missing)
    with pytest.raises(UsageError, match=r"^--backend dask needs dask.distributed: pip install 'bptt\[dask\]'$"):
        backend("dask", 2, "tcp://127.0.0.1:1")


@no_dask
@pytest.mark.filterwarnings("default")  # those of dask are not ours
def test_a_scheduler_that_does_not_answer_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "PATIENCE", 1)
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        with pytest.raises(UsageError, match="no dask scheduler answers at") as raised, Dask(address).open():
            pass
        assert "\n" not in str(raised.value)


@pytest.mark.thorough
@no_dask
@pytest.mark.filterwarnings("default")
def test_a_dask_worker_that_is_killed_half_way_changes_nothing(tmp_path: Path) -> None:
    distributed = importlib.import_module("distributed")
    whole = planned(numbers("a", 150, tmp_path / "marks", seconds=0.004), numbers("b", 50))
    killed: list[int] = []
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None, silence_logs=50
    ) as cluster:
        pids = [worker.pid for worker in cluster.workers.values()]

        def kill_one(done: int, total: int, experiment: str) -> None:
            if done == total // 2 and not killed:
                killed.append(pids[0])
                os.kill(pids[0], signal.SIGKILL)

        by_dask = run_planned(whole, "x", backend="dask", scheduler=cluster.scheduler_address, on_point=kill_one)

        def error(k: int) -> None:
            raise ArithmeticError(f"no {k}")

        bad = run_planned(planned(failing("bad", 2, error)), "x", backend="dask", scheduler=cluster.scheduler_address)
    assert killed and len(pids) == 2
    by_loky = run_planned(whole, "x", jobs=2)
    assert by_dask.resumed == by_loky.resumed == 0
    assert dumps(to_dict(by_dask.run)) == dumps(to_dict(by_loky.run))
    assert by_dask.run.exit_code == 0
    assert bad.failures[0].error == "ArithmeticError: no 0"
