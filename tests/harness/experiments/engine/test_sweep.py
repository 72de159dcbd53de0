"""The same record whatever the number of workers, the order in which they end, and how often the sweep was cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptt.harness.errors import UsageError
from bptt.harness.experiments.engine import points as points_
from bptt.harness.experiments.engine.points import Measured, Store, key, measured
from bptt.harness.experiments.engine.run import run_planned
from bptt.reports.errors import RecordError
from bptt.reports.records import Run
from bptt.reports.serial import dumps, to_dict
from tests.harness.experiments.engine.sweeping import failing, numbers, planned

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def record(run: Run) -> str:
    return dumps(to_dict(run))


def marked(path: Path) -> list[int]:
    return sorted(map(int, path.read_text().split()))


@pytest.mark.thorough
def test_the_record_is_the_same_bytes_whatever_the_number_of_workers(tmp_path: Path) -> None:
    made = [run_planned(planned(numbers("a", 9, seconds=0.01), numbers("b", 4)), "x", jobs=jobs) for jobs in (1, 3)]
    assert len({record(ran.run) for ran in made}) == 1
    assert made[0].run.exit_code == 0 and [e.name for e in made[0].run.experiments] == ["a", "b"]
    assert made[0].run.experiments[0].series[0].x == tuple(map(float, range(9)))
    assert all(seconds > 0 for ran in made for seconds in ran.seconds.values())


def test_workers_have_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "7")

    def threads(k: int) -> None:
        import os

        assert os.environ["OMP_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == "1"

    assert run_planned(planned(failing("a", 2, threads)), "x", jobs=1).failures == ()


@pytest.mark.thorough
def test_a_point_that_raises_costs_its_own_experiment_alone() -> None:
    def error(k: int) -> None:
        if k in (2, 3):
            raise ArithmeticError(f"no\n{k}")

    ran = run_planned(planned(numbers("before", 3), failing("bad", 5, error), numbers("after", 3)), "x", jobs=1)
    assert ran.run.exit_code == 3
    before, bad, after = ran.run.experiments
    assert before.claims[0].verdict == after.claims[0].verdict == "agrees"
    (lacking,) = bad.claims
    assert (lacking.verdict, lacking.measured, lacking.expected) == ("differs", 3, 5)
    (failure,) = ran.failures
    assert failure.line == (
        f"experiment 'bad' failed: ArithmeticError: no 2 ({__file__}:{error.__code__.co_firstlineno + 2} in error), at k=2"
    )
    again = run_planned(planned(numbers("before", 3), failing("bad", 5, lambda k: None), numbers("after", 3)), "x", jobs=1)
    assert again.run.exit_code == 0 and again.resumed == 9


def test_a_point_that_gives_no_numbers_has_raised() -> None:
    def unfit(k: int) -> None:
        raise TypeError("not a number")

    ran = run_planned(planned(failing("bad", 1, unfit)), "x", jobs=1)
    assert ran.failures[0].error == "TypeError: not a number"
    with pytest.raises(RecordError, match=r"values.a: found object"):
        measured({"a": object()}, 0.0)  # type: ignore[dict-item]  # the mistake under test


@pytest.mark.thorough
def test_a_worker_that_dies_takes_no_point_along(tmp_path: Path) -> None:
    once = tmp_path / "died"

    def die_once(k: int) -> None:
        import os

        if k == 3 and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    ran = run_planned(planned(failing("a", 12, die_once), numbers("b", 3)), "x", jobs=2)
    calm = run_planned(planned(failing("a", 12, lambda k: None), numbers("b", 3)), "x", jobs=1)
    assert once.exists() and record(ran.run) == record(calm.run)


@pytest.mark.thorough
def test_a_point_that_always_ends_its_worker_is_named_and_the_others_go_on() -> None:
    def die(k: int) -> None:
        import os

        if k == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    ran = run_planned(planned(failing("a", 4, die), numbers("b", 6)), "x", jobs=2)
    assert ran.run.exit_code == 3 and ran.run.experiments[1].claims[0].verdict == "agrees"
    assert ran.failures[0].line == "experiment 'a' failed: the process that measured it died (no place known), at k=1"
    assert ran.run.experiments[0].claims[0].measured == 3


def test_a_gather_that_raises_is_a_failure_of_that_experiment() -> None:
    broken = numbers("broken", 2)
    object.__setattr__(broken, "gather", lambda points: dict[str, int]()["nothing"])
    ran = run_planned(planned(broken, numbers("b", 2)), "x", jobs=1)
    assert ran.run.exit_code == 3 and ran.failures[0].error == "KeyError: 'nothing'"
    assert [e.claims[0].verdict for e in ran.run.experiments] == ["differs", "agrees"]


@pytest.mark.thorough
def test_an_interruption_keeps_what_is_done(tmp_path: Path) -> None:
    marks = tmp_path / "marks"

    def interrupt(done: int, total: int, experiment: str) -> None:
        assert experiment in ("first", "second")
        if done == 4:
            raise KeyboardInterrupt

    whole = planned(numbers("first", 2), numbers("second", 10, marks, seconds=0.05))
    cut = run_planned(whole, "x", jobs=1, on_point=interrupt)
    assert cut.run.exit_code == 130 and not cut.run.complete
    assert [e.name for e in cut.run.experiments] == ["first"]
    rest = run_planned(whole, "x", jobs=1)
    assert rest.resumed == 4 and rest.run.exit_code == 0
    fresh = run_planned(whole, "x", jobs=1)
    assert fresh.resumed == 0 and record(fresh.run) == record(rest.run)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from bptt.harness.experiments.engine import points
points._ours = lambda: "the same code"
from bptt.harness.experiments.engine.run import run_planned
from tests.harness.experiments.engine.sweeping import numbers, planned
run_planned(planned(numbers("a", 24, Path("marks"), seconds=0.05), numbers("b", 2)), "x", jobs=2)
"""


@pytest.mark.thorough
def test_a_killed_sweep_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points_, "_ours", lambda: "the same code")
    store = tmp_path / points_.DEFAULT_STORE
    with subprocess.Popen([sys.executable, "-c", KILLED.format(root=str(ROOT))], start_new_session=True) as process:
        wait_until(lambda: process.poll() is not None or (store.exists() and store.read_bytes().count(b"\n") > 6))
        assert process.poll() is None, "it ended before it could be killed"
        process.kill()
    wait_until(lambda: not alive(process.pid))  # no worker stays behind
    known = store.read_bytes().count(b"\n") - 1
    store.write_bytes(store.read_bytes().rpartition(b"\n")[0] + b'\n{"key": "0123", "exper')  # as if it was writing
    before = marked(tmp_path / "marks")
    whole = planned(numbers("a", 24, Path("marks"), seconds=0.05), numbers("b", 2))
    ran = run_planned(whole, "x", jobs=2)
    assert ran.resumed == known >= 6
    after = marked(tmp_path / "marks")
    twice = {k for k in after if after.count(k) > 1}
    assert set(after) == set(range(24)) and len(after) == 24 + len(twice)
    assert len(after) - len(before) == 24 - known  # b comes last: none of it was known
    assert len(twice) <= 4  # two workers: what was under way, and what was done and not yet written
    fresh = run_planned(whole, "x", jobs=2)
    assert fresh.resumed == 0 and record(fresh.run) == record(ran.run)


def alive(group: int) -> bool:
    """Whether a process of the group is there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "the sweep did not get there"
        time.sleep(0.02)


@pytest.mark.thorough
def test_a_file_that_is_named_is_taken_over_and_added_to(tmp_path: Path) -> None:
    small, large = planned(numbers("a", 3)), planned(numbers("a", 5))
    first = run_planned(small, "x", jobs=1, resume="deep/p.jsonl")
    assert (first.resumed, run_planned(small, "x", jobs=1, resume="deep/p.jsonl").resumed) == (0, 3)
    assert run_planned(large, "x", jobs=1, resume="deep/p.jsonl").resumed == 3
    assert run_planned(large, "x", jobs=1, resume="deep/p.jsonl").resumed == 5


@pytest.mark.thorough
def test_points_of_other_code_are_not_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    run_planned(planned(numbers("a", 3)), "x", jobs=1, resume="p.jsonl")
    monkeypatch.setattr(points_, "_ours", lambda: "another version")
    assert run_planned(planned(numbers("a", 3)), "x", jobs=1, resume="p.jsonl").resumed == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("hello\n", "line 1 is not JSON"),
        ("[]\n", "line 1 is none of ours"),
        ('{"schema":"bptt/run@1"}\n', "line 1 is none of ours"),
        ('{"schema":"bptt/points@1"}\n{"key"\n{}\n', "line 2 is not JSON"),
        ('{"schema":"bptt/points@1"}\n{"key":"a"}\n', "a point lacks 'values'"),
        ("something else", "not a file of measured points"),
    ],
)
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(content)
    with pytest.raises(UsageError, match=words):
        Store(path, resume=True)
    assert path.read_text() == content


def test_a_file_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("a file where a folder is wanted")
    for path in (tmp_path / "folder" / "p.jsonl", tmp_path):
        with pytest.raises(UsageError, match=r"cannot be (read|written)"):
            Store(path)


@given(cut=st.integers(0, 2_000))
def test_a_store_that_was_cut_anywhere_keeps_every_whole_line(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("store") / "p.jsonl"
    with Store(path) as store:
        for k in range(5):
            store.add(f"key {k}", "a", {"k": k}, Measured({"y": [0.1 * k, float("nan")]}, 0.5))
    content = path.read_bytes()
    path.write_bytes(content[:cut])
    whole = content[:cut].count(b"\n")
    with Store(path) as store:
        assert list(store.known) == [f"key {k}" for k in range(max(whole - 1, 0))]
        store.add("last", "a", {}, Measured({}, 0.0))
    with Store(path) as store:
        assert list(store.known) == [*(f"key {k}" for k in range(max(whole - 1, 0))), "last"]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_point_is_known_by_its_experiment_its_settings_and_its_code() -> None:
    keys = {key(*a) for a in (("a", {"k": 1}, "c"), ("b", {"k": 1}, "c"), ("a", {"k": 1.0}, "c"), ("a", {"k": 1}, "d"), ("a", {}, "c"))}
    assert len(keys) == 5 and key("a", {"k": 1}, "c") in keys


def test_nothing_measured_is_exit_4() -> None:
    ran = run_planned([], "x", jobs=1)
    assert (ran.run.exit_code, ran.run.experiments, ran.failures, ran.seconds) == (4, (), (), {})
