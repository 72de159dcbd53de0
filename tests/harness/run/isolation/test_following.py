"""What a process says is held against what is due; limits; and what a process starts from."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bptt.harness.run.events import (
    Began,
    Checking,
    Ended,
    Event,
    Explaining,
    Found,
    Options,
    Outside,
    Remarked,
    Task,
    Unloadable,
    event_to_dict,
)
from bptt.harness.run.isolation import following, starting
from bptt.harness.run.isolation.following import Follower
from bptt.harness.run.isolation.frames import Garbled
from bptt.harness.run.isolation.keeper import End, How
from bptt.harness.run.isolation.limits import Limits
from bptt.harness.run.isolation.parcels import Parcel, packed
from bptt.harness.run.isolation.starting import can_fork, here
from bptt.harness.run.runner import check
from bptt.reports.records import Finding, Remark, Result, Target, Where
from bptt.reports.serial import Json
from tests.harness.run.isolation.planted import in_backward, on_import, write

LIMITS = Limits(60.0, 300.0, 2**32)
PARCEL = Parcel("cells.py:GRU", "cells.py:GRU", False, ({},))
GRU = Target("GRU", "cells.py:GRU", "numpy", id="cells.py:GRU", planned=("CON100", "GRD110"))
OTHER = Target("LSTM", "cells.py:LSTM", "numpy", id="cells.py:LSTM", planned=("CON100", "GRD110"))
DONE: Json = {"last": {"done": True}}


class Scripted:
    """A process that says what it is told to say, and ends as it is told to end."""

    def __init__(self, bodies: list[Json], end: End) -> None:
        self.bodies, self.end, self.kept, self.began = bodies, end, True, True

    def messages(self) -> Iterator[Json]:
        yield from self.bodies

    def stop(self) -> None: ...


def passed(check: str, target: Target = GRU) -> list[Event]:
    return [Checking(target.id, check), Found(Result(target.id, check, "passed"))]


def followed(monkeypatch: pytest.MonkeyPatch, *scripts: tuple[list[Any], How]) -> tuple[list[Event], list[Any]]:
    """The events that come of processes which say this, one after the other, and the orders that they were started with."""
    pending = [
        Scripted([body if isinstance(body, dict | list | str) else {"event": event_to_dict(body)} for body in bodies], End(how, 7))
        for bodies, how in scripts
    ]
    orders: list[Any] = []

    def start(order: Any, torch: bool, fresh: bool) -> Scripted:
        orders.append(order)
        return pending.pop(0)

    monkeypatch.setattr(following, "start", start)
    return list(Follower(Options(), LIMITS, here()).events(PARCEL)), orders


def test_what_is_due_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [Began(GRU), Outside(GRU.id, "admission"), *passed("CON100"), *passed("GRD110"), Ended(GRU.id)]
    assert followed(monkeypatch, ([*events, DONE], "exit"))[0] == events


NOT_DUE: dict[str, tuple[list[Any], str]] = {
    "a result before its check": ([Began(GRU), Found(Result(GRU.id, "GRD110", "passed"))], "a result of 'GRD110', which is not due"),
    "a second result": ([Began(GRU), *passed("CON100"), passed("CON100")[1]], "a result of 'CON100', which is not due"),
    "the same check again": ([Began(GRU), *passed("CON100"), *passed("CON100")], "the check 'CON100', which is not due"),
    "a check that was not planned": ([Began(GRU), *passed("TIM100")], "the check 'TIM100', which is not due"),
    "another check's result": ([Began(GRU), Checking(GRU.id, "CON100"), passed("GRD110")[1]], "a result of 'GRD110', which is not due"),
    "another target's result": ([Began(GRU), Checking(GRU.id, "CON100"), passed("CON100", OTHER)[1]], "about another target"),
    "another target": ([Began(OTHER)], "the beginning of 'cells.py:LSTM', which is not due"),
    "a second beginning": ([Began(GRU), Began(GRU)], "the beginning of 'cells.py:GRU', which is not due"),
    "a check inside a check": ([Began(GRU), Checking(GRU.id, "CON100"), Checking(GRU.id, "GRD110")], "before the result of CON100"),
    "a word after the last": ([Began(GRU), Ended(GRU.id), DONE, Began(GRU)], "after the last one"),
    "a last word of another form": ([Began(GRU), {"last": {"done": [], "more": 1}}], "a last message of another form"),
    "no event": ([Began(GRU), {"event": {"event": "Checking"}}], "found the keys event"),
    "no word at all": ([Began(GRU), [1, 2]], "a message that is no event"),
    "an event of no kind": ([Began(GRU), {"event": {"event": "Passed", "target_id": "x"}}], "not an event"),
    "another target that cannot be loaded": ([Unloadable(OTHER.id, "x", "y")], "about another target"),
    "the cause of another check": (
        [Began(GRU), Checking(GRU.id, "CON100"), Explaining(Result(GRU.id, "GRD110", "failed"))],
        "the cause of 'GRD110', which is not due",
    ),
    "nothing but junk": ([{"junk": True}], "a message that is no event"),
}


@pytest.mark.parametrize("name", NOT_DUE)
def test_what_is_not_due_leaves_the_target_undecided_and_its_results_as_they_were(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    bodies, words = NOT_DUE[name]
    events, orders = followed(monkeypatch, (bodies, "exit"))
    assert isinstance(events[-1], Remarked) and events[-1].remark.severity == "error"
    assert words in events[-1].remark.text and events[-1].target_id == GRU.id
    assert isinstance(events[0], Began) and events[0].target.id == GRU.id
    assert len([e for e in events if isinstance(e, Found)]) <= 1 == len(orders)


def test_garbled_bytes_are_told_like_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def messages(self: Scripted) -> Iterator[Json]:
        yield {"event": event_to_dict(Began(GRU))}
        raise Garbled("bytes that are no message: b'hello'")

    monkeypatch.setattr(Scripted, "messages", messages)
    ((_, said), _) = followed(monkeypatch, ([], "exit"))
    text = "its process sent bytes that are no message: b'hello': nothing of it from there on is believed"
    assert said == Remarked(GRU.id, Remark("isolation", text, "error"))


def test_a_crash_is_the_result_of_its_check_and_a_new_process_does_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    first = [Began(GRU), Checking(GRU.id, "CON100")]
    second = [Began(GRU), *passed("GRD110"), Ended(GRU.id)]
    events, orders = followed(monkeypatch, (first, "exit"), ([*second, DONE], "exit"))
    (crashed, good) = (e.result for e in events if isinstance(e, Found))
    assert (crashed.check, crashed.status, crashed.reason) == ("CON100", "crashed", "the process died: exit code 7")
    assert (good.check, good.status) == ("GRD110", "passed")
    assert orders[1].options["skip"] == orders[1].options["failed"] == [[GRU.id, "CON100"]]
    assert orders[0].head.secret != orders[1].head.secret
    assert orders[1].limits.clock_s < orders[0].limits.clock_s


@pytest.mark.parametrize(("how", "status"), [("cpu", "timeout"), ("clock", "timeout"), ("lost", "error"), ("memory", "crashed")])
def test_how_it_ended_says_what_its_check_is(monkeypatch: pytest.MonkeyPatch, how: How, status: str) -> None:
    rest: tuple[list[Any], How] = ([Began(GRU), *passed("GRD110"), Ended(GRU.id), DONE], "exit")
    events, orders = followed(monkeypatch, ([Began(GRU), Checking(GRU.id, "CON100")], how), rest)
    assert [e.result.status for e in events if isinstance(e, Found)] == [status, *(["passed"] if status == "crashed" else [])]
    assert len(orders) == (2 if status == "crashed" else 1)


@pytest.mark.parametrize("how", ["exit", "signal", "cpu", "clock", "memory", "lost"])
def test_a_failure_whose_cause_was_being_sought_stays_a_failure(monkeypatch: pytest.MonkeyPatch, how: How) -> None:
    known = Result(GRU.id, "CON100", "failed", finding=Finding("BUG", "it is wrong", Where()))
    first = [Began(GRU), Checking(GRU.id, "CON100"), Explaining(known)]
    second = [Began(GRU), *passed("GRD110"), Ended(GRU.id), DONE]
    events, _ = followed(monkeypatch, (first, how), (second, "exit"))
    found = next(e.result for e in events if isinstance(e, Found))
    assert (found.check, found.status, found.finding and found.finding.headline) == ("CON100", "failed", "it is wrong")
    assert found.finding is not None and found.finding.causes[0].hypothesis.startswith("not known: while it was sought, ")
    assert isinstance(events[-1], Ended) == (how in ("exit", "signal", "memory"))


def test_a_warning_whose_cause_was_being_sought_is_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    warned = Result(GRU.id, "CON100", "passed", "warning", finding=Finding("BUG", "it may be wrong", Where()))
    events, _ = followed(
        monkeypatch, ([Began(GRU), Checking(GRU.id, "CON100"), Explaining(warned)], "exit"), ([Began(GRU), Ended(GRU.id), DONE], "exit")
    )
    assert [e.result.status for e in events if isinstance(e, Found)] == ["crashed"]


def test_a_later_process_that_cannot_load_it_leaves_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    first = [Began(GRU), Checking(GRU.id, "CON100")]
    events, _ = followed(monkeypatch, (first, "signal"), ([], "exit"))
    assert not any(isinstance(e, Unloadable) for e in events)
    assert isinstance(events[-1], Remarked) and events[-1].remark.severity == "error"


def test_a_fault_of_ours_is_said_to_be_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = {"last": {"fault": "the harness failed: KeyError: 'x' (at judging.py:1)"}}
    rest: tuple[list[Any], How] = ([Began(GRU), *passed("GRD110"), Ended(GRU.id), DONE], "exit")
    events, _ = followed(monkeypatch, ([Began(GRU), Checking(GRU.id, "CON100"), fault], "exit"), rest)
    result = next(e.result for e in events if isinstance(e, Found))
    assert (result.status, result.reason) == ("error", "the harness failed: KeyError: 'x' (at judging.py:1)")


# ------------------------------------------------------------------------------------------------------------ processes that run

QUICK = Options(level="smoke", select=("CON110", "GRD110"))


@pytest.mark.skipif(not can_fork(), reason="the keeper of a fork counts what children use: on Linux alone")
@pytest.mark.parametrize("body", ["while True: pass", "subprocess.run([sys.executable, '-c', 'while 1: pass'])"])
def test_seconds_of_the_processor_are_counted_with_those_of_children(tmp_path: Path, body: str) -> None:
    path = write(tmp_path, in_backward(body))
    follower = Follower(QUICK, Limits(0.5, 600.0, 2**33), here())
    results = [e.result for e in follower.events(packed(Task(f"{path}:Cell"))) if isinstance(e, Found)]
    assert [(r.check, r.status) for r in results] == [("CON110", "passed"), ("GRD110", "timeout")]
    assert "ended after 0.5 s of processor time (--timeout)" in str(results[1].reason)


def test_a_fresh_interpreter_says_the_same_as_a_fork(tmp_path: Path) -> None:
    path = write(tmp_path, in_backward("print('x' * 999); sys.stdin.read(); os.write(1, b'y')"))
    known = [list(Follower(QUICK, LIMITS, here(), fresh=fresh).events(packed(Task(f"{path}:Cell")))) for fresh in (True, False)]
    fresh, forked = ([e.result.status if isinstance(e, Found) else type(e) for e in events] for events in known)
    assert fresh == forked and "passed" in fresh


def test_where_no_fork_is_safe_the_run_says_what_is_not_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "can_fork", lambda: False)
    run = check("refimpl:elman", level="smoke", select=["CON110"]).run
    assert run.exit_code == 0 and "memory" in run.env["not_limited"]
    monkeypatch.undo()
    assert can_fork() == ("not_limited" not in check("refimpl:elman", level="smoke", select=["CON110"]).run.env)


ALONE = {
    "os._exit(7)": ("crashed", "exit code 7"),
    "ctypes.string_at(0)": ("crashed", "SIGSEGV, at "),
    "time.sleep(1000)": ("timeout", "by the clock"),
    "while True: pass": ("timeout", "ended after"),
}


@pytest.mark.thorough
@pytest.mark.every(2)
@pytest.mark.parametrize("code", [code for code, (status, _) in ALONE.items() if status])
def test_a_fresh_interpreter_is_held_to_its_limits_too(tmp_path: Path, code: str) -> None:
    status, words = ALONE[code]
    path = write(tmp_path, in_backward(code))
    events = list(Follower(QUICK, Limits(3.0, 15.0, 2**32), here(), fresh=True).events(packed(Task(f"{path}:Cell"))))
    result = next(e.result for e in events if isinstance(e, Found) and e.result.check == "GRD110")
    assert result.status == status and words in str(result.reason)


LEAVES = """
import builtins, warnings
np.max = np.sum = lambda *given, **named: 0.0
np.random.seed(1)
os.environ["LEFT"] = "left"
os.chdir("/")
sys.path.insert(0, "/left")
sys.setrecursionlimit(5000)
builtins.left = True
sys.modules["left"] = sys
warnings.simplefilter("error")
np.seterr(all="raise")
"""
FINDS = """
import builtins
assert np.max([1, 2]) == 2 and "LEFT" not in os.environ and "left" not in sys.modules and not hasattr(builtins, "left")
assert os.getcwd() == FOLDER and "/left" not in sys.path and sys.getrecursionlimit() != 5000
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_one_target_leaves_behind_reaches_no_other(tmp_path: Path, jobs: int) -> None:
    leaves = write(tmp_path, on_import(LEAVES), "leaves.py")
    finds = write(tmp_path, f"FOLDER = {os.getcwd()!r}\n{on_import(FINDS)}", "finds.py")
    before = (list(sys.path), dict(os.environ), os.getcwd())
    targets = [f"{leaves}:Cell", f"{finds}:Cell", f"{finds}:Wrong"]
    for order in (targets, targets[::-1]):
        run = check(order, level="smoke", select=["GRD110"], jobs=jobs)
        assert {r.target: r.status for r in run.run.results} == {t: "failed" if t.endswith("Wrong") else "passed" for t in order}
    assert before == (list(sys.path), dict(os.environ), os.getcwd())
