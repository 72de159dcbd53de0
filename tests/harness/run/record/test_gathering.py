"""What came back is put down to the target whose process sent it: junk, foreign, doubled, missing and unknown events, each planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bptt.harness.errors import BpttError
from bptt.harness.run import runner
from bptt.harness.run.events import (
    KINDS,
    Began,
    Checking,
    Ended,
    Event,
    Explaining,
    Found,
    Measured,
    Outside,
    Recognised,
    Remarked,
    Task,
    Unloadable,
    event_from_dict,
    event_to_dict,
    numbered,
)
from bptt.harness.run.record.gathering import Gathering
from bptt.reports import accounting
from bptt.reports.errors import RecordError
from bptt.reports.records import Experiment, Identified, Remark, Result, Run, Target
from bptt.reports.serial import dumps, loads
from tests.harness.checks.planted import Clean, CleanLSTM

A, B = (Target("LSTM", f"{k}.py:LSTM", "numpy", id=f"{k}.py:LSTM", planned=("X", "Y")) for k in "ab")


def passed(target: Target, *checks: str) -> list[Event]:
    return [event for check in checks for event in (Checking(target.id, check), Found(Result(target.id, check, "passed")))]


def whole(target: Target) -> list[Event]:
    return [Began(target), *passed(target, "X", "Y"), Ended(target.id)]


def gathered(a: list[Event], b: list[Event]) -> dict[str, accounting.Verdict]:
    """The verdicts of two tasks from what their processes said."""
    asked = (A.id, B.id)
    gathering = Gathering(asked)
    for k, events in ((0, a), (1, b)):
        for event in events:
            gathering.take(k, event)
        gathering.end(k)
    run = gathering.run(Run("bptt check", 0, asked=asked))
    assert run.exit_code == accounting.exit_code(run)
    return {row.target.id: row.verdict for row in accounting.rows(run)}


def test_each_target_has_what_its_own_process_said() -> None:
    assert {name: v.words for name, v in gathered(whole(A), whole(B)).items()} == {A.id: "conforms", B.id: "conforms"}


#: What the process of a.py:LSTM said, the exit code of a.py:LSTM, and why.  That of b.py:LSTM said what it should.
FAULTS: dict[str, tuple[list[Event], int, str]] = {
    "a result for another target": ([*whole(A)[:-1], Found(Result(B.id, "X", "failed")), Ended(A.id)], 3, "spoke of b.py:LSTM"),
    "another target's name": ([Began(B), *passed(B, "X", "Y"), Ended(B.id)], 3, "the run ended before it"),
    "an identification of another": ([*whole(A), Recognised(B.id, Identified("gru", "a GRU", 0.0))], 3, "spoke of b.py:LSTM"),
    "a remark about another": ([*whole(A), Remarked(B.id, Remark("identification", "lost", "error"))], 3, "spoke of b.py:LSTM"),
    "an experiment of another": ([*whole(A), Measured(B.id, Experiment("flow", B.id, ()))], 3, "spoke of b.py:LSTM"),
    "that another cannot be loaded": ([*whole(A), Unloadable(B.id, B.spec, "no such file")], 3, "spoke of b.py:LSTM"),
    "that another has ended": ([*whole(A), Ended(B.id)], 3, "spoke of b.py:LSTM"),
    "a result twice": ([Began(A), *passed(A, "X", "Y", "X"), Ended(A.id)], 3, "more than one result of X"),
    "a result of a check that was not planned": ([Began(A), *passed(A, "X", "Y", "Z"), Ended(A.id)], 3, "not planned: Z"),
    "one result too few": ([Began(A), *passed(A, "X"), Ended(A.id)], 3, "no result of Y"),
    "no end": (whole(A)[:-1], 3, "its process ended before all checks were made"),
    "nothing but a beginning": ([Began(A)], 3, "no result of X Y"),
    "nothing": ([], 3, "the run ended before it"),
    "that it cannot be loaded": ([Unloadable(A.id, A.spec, "no such file")], 2, "no such file"),
    "that it cannot be run": ([Began(A), Outside(A.id, "admission"), Unloadable(A.id, A.spec, "init raised")], 2, "init raised"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("wrong", [False, True], ids=["beside a right one", "beside a wrong one"])
def test_what_a_process_says_that_it_should_not_is_no_verdict_and_touches_no_other(fault: str, wrong: bool) -> None:
    said, code, why = FAULTS[fault]
    other: list[Event] = [Began(B), *passed(B, "X"), Found(Result(B.id, "Y", "failed")), Ended(B.id)] if wrong else whole(B)
    orders: list[Callable[[], dict[str, accounting.Verdict]]] = [lambda: gathered(said, other)]
    if fault != "another target's name":  # who comes first with another's name is not told apart here, but by the process's letterhead
        orders.append(lambda: dict(reversed(gathered_b_first(said, other).items())))
    for found in (order() for order in orders):
        assert (found[A.id].code, found[B.id].code) == (code, 1 if wrong else 0)
        assert any(why in reason for reason in found[A.id].reasons), found[A.id].reasons


def gathered_b_first(a: list[Event], b: list[Event]) -> dict[str, accounting.Verdict]:
    asked = (A.id, B.id)
    gathering = Gathering(asked)
    for k, events in ((1, b), (0, a)):
        for event in events:
            gathering.take(k, event)
        gathering.end(k)
    return {row.target.id: row.verdict for row in accounting.rows(gathering.run(Run("bptt check", 0, asked=asked)))}


def test_a_target_that_begins_again_after_its_process_was_lost_keeps_what_it_has() -> None:
    again = [Began(A), *passed(A, "X"), Began(A), *passed(A, "Y"), Ended(A.id)]
    assert gathered(again, whole(B))[A.id].words == "conforms"


def test_a_fault_of_ours_leaves_its_target_undecided_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    honest: Any = vars(runner)["packed"]

    def broken(task: Task) -> object:
        if task.spec == "refimpl:elman":
            raise ZeroDivisionError("a fault of ours")
        return honest(task)

    monkeypatch.setattr(runner, "packed", broken)
    run = runner.check(["refimpl:elman", "refimpl:lstm"], level="smoke", select=["CON100"]).run
    first, second = accounting.rows(run)
    assert (first.verdict.code, second.verdict.code, run.exit_code) == (3, 0, 3)
    assert "ZeroDivisionError: a fault of ours (" in first.verdict.words


# ------------------------------------------------------------------------------------------------------------------- the events


ONE_OF_EACH: list[Event] = [
    *whole(A),
    Outside(A.id, "identification"),
    Explaining(Result(A.id, "GRD110", "failed")),
    Recognised(A.id, Identified("lstm", "an LSTM", 1e-16)),
    Measured(A.id, Experiment("flow", A.id, ())),
    Remarked(A.id, Remark("gradient over lag", "lost")),
    Unloadable(A.id, A.spec, "no such file"),
]


def test_every_event_passes_as_json() -> None:
    assert {type(event).__name__ for event in ONE_OF_EACH} == set(KINDS)
    for event in ONE_OF_EACH:
        assert event_from_dict(loads(dumps(event_to_dict(event)))) == event


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"event": "Exec"},
        {"event": ["Ended"]},
        {"event": "Ended"},
        {"event": "Ended", "target_id": "a", "more": 1},
        {"event": "Ended", "target_id": 3},
        {"event": "Found", "result": {"target": "a", "check": "X", "status": "excellent"}},
        {"event": "Found", "result": "passed"},
    ],
    ids=str,
)
def test_anything_else_is_no_event(data: object) -> None:
    with pytest.raises(RecordError, match=r"event"):
        event_from_dict(data)


# ----------------------------------------------------------------------------------------------------------------- the identities


def test_an_identity_is_the_spec_with_its_arguments_and_what_it_claims_to_be() -> None:
    tasks = [
        Task("a.py:X"),
        Task("a.py:X", {"b": 1, "a": 2}),
        Task("a.py:X", {"a": 2, "b": 1}),
        Task("a.py:X", like="lstm"),
        Task("a.py:X"),
    ]
    ids = [task.id for task in numbered(tasks)]
    assert ids == ["a.py:X", 'a.py:X {"a":2,"b":1}', 'a.py:X {"a":2,"b":1} #2', "a.py:X as lstm", "a.py:X #2"]
    assert numbered([Task("a.py"), Task("a.py:X")])[0].id_of("a.py:X") == "a.py:X #2"


def test_an_object_is_known_by_where_it_is_defined() -> None:
    class Local(Clean):
        pass

    here = "tests/harness/run/record/test_gathering.py:test_an_object_is_known_by_where_it_is_defined.<locals>.Local"
    ids = [task.id for task in numbered([Task(Clean), Task(CleanLSTM), Task(Local), Task(Local()), Task(Clean())])]
    planted = "tests/harness/checks/planted.py"
    assert [each.rpartition("/work/")[2] for each in ids] == [
        f"{planted}:Clean",
        f"{planted}:CleanLSTM",
        here,
        f"{here} #2",
        f"{planted}:Clean #2",
    ]
    assert not any("0x" in each for each in ids)


def test_a_run_that_cannot_start_a_process_says_so_of_each_target(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(task: Task) -> object:
        raise BpttError("no process can be started")

    monkeypatch.setattr(runner, "packed", none)
    run = runner.check(["refimpl:elman"], level="smoke", select=["CON100"]).run
    (row,) = accounting.rows(run)
    assert row.verdict.code == run.exit_code == 3
    assert "no process can be started" in row.verdict.words
