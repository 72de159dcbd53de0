from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from bptt.harness.run.events import Found, Options, Task, Unloadable
from bptt.harness.run.isolation import Pool, Worker, isolated, packed
from tests.harness.checks.planted import Clean


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool()
    yield made
    made.discard()


def pid(pool: Pool) -> int:
    return pool.worker()._process.pid


QUICK = Options(level="smoke", select=("CON100", "CON110"))


def test_one_worker_serves_many_tasks(pool: Pool) -> None:
    first = pid(pool)
    for name in ("elman", "gru_reset_after"):
        events = list(isolated(pool, Task(f"refimpl:{name}"), QUICK, 30.0))
        assert [e.result.status for e in events if isinstance(e, Found)] == ["passed", "passed"]
        assert events[-1] == ("done", None)
    assert pid(pool) == first


def test_a_worker_that_died_between_tasks_is_replaced(pool: Pool) -> None:
    os.kill(pid(pool), signal.SIGKILL)
    pool.worker()._process.wait()
    events = list(isolated(pool, Task("refimpl:elman"), QUICK, 30.0))
    assert [e.result.status for e in events if isinstance(e, Found)] == ["passed", "passed"]


def test_the_end_of_a_worker_is_told_in_words() -> None:
    worker = Worker()
    worker.stop()
    assert worker.death() == "killed by SIGKILL"
    assert worker.next(timeout=10) is None
    with pytest.raises(ProcessLookupError):
        os.kill(worker._process.pid, 0)


def test_what_cannot_be_packed_says_why() -> None:
    class Locked(Clean):
        def __init__(self) -> None:
            self.lock = threading.Lock()

    assert isinstance(packed(Task(Clean), QUICK), bytes)
    assert "pickle" in str(packed(Task(Locked()), QUICK))


class Unpickled:
    """An object that goes into a pickle and does not come out of it."""

    def __reduce__(self) -> Any:
        return (open, ("/nowhere/at/all",))


def test_what_cannot_be_unpacked_says_why_and_the_worker_goes_on(pool: Pool) -> None:
    first = pid(pool)
    ((kind, reason),) = list(isolated(pool, Task(Unpickled()), QUICK, 30.0))
    assert kind == "cannot travel"
    assert reason.startswith("FileNotFoundError")
    assert list(isolated(pool, Task("refimpl:elman"), QUICK, 30.0))[-1] == ("done", None)
    assert pid(pool) == first


def test_a_target_that_ends_the_process_while_it_is_loaded_is_unloadable(pool: Pool, tmp_path: Any) -> None:
    path = tmp_path / "ends.py"
    path.write_text("import os\nos._exit(3)\n")
    events = list(isolated(pool, Task(f"{path}:Cell"), QUICK, 30.0))
    told = events[-1]
    assert isinstance(told, Unloadable)
    assert told.target_id == told.spec == f"{path}:Cell"
    assert "exit code 3" in told.reason
    assert "while it was being loaded" in told.reason


def test_known_results_are_not_computed_again(pool: Pool) -> None:
    options = Options(level="smoke", select=("CON100", "CON110"), skip=frozenset({("refimpl:elman", "CON100")}))
    events = list(isolated(pool, Task("refimpl:elman"), options, 30.0))
    assert [e.result.check for e in events if isinstance(e, Found)] == ["CON110"]
    blocked = Options(level="smoke", select=("CON110",), failed=frozenset({("refimpl:elman", "CON100")}))
    (result,) = (e.result for e in isolated(pool, Task("refimpl:elman"), blocked, 30.0) if isinstance(e, Found))
    assert (result.status, result.blocked_by) == ("blocked", "CON100")
