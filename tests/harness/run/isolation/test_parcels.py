"""What is checked in another process is what was handed over, with its file and lines."""

from __future__ import annotations

import enum
import functools
import inspect
import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bptt.harness.cases import Case
from bptt.harness.run.events import Options, Task
from bptt.harness.run.isolation.fingerprint import fingerprint
from bptt.harness.run.isolation.parcels import CannotTravel, packed, packed_options, unpacked, unpacked_options
from bptt.harness.run.isolation.pickling import pickled, unpickled
from bptt.harness.run.runner import check
from bptt.reports.serial import dumps, loads
from tests.harness.checks.planted import Clean, CleanLSTM

QUICK: dict[str, Any] = {"level": "smoke", "select": ["CON110", "GRD110"]}
HELPER = """\
def scale(x): return x
class Base:
    factor = 1.0
    def f(self, x): return scale(x) * self.factor
class Cell(Base):
    def g(self): return [k for k in range(3)]
"""


def made(tmp_path: Path, name: str, text: str) -> dict[str, Any]:
    """The names of a module with this text."""
    path = tmp_path / f"{name}.py"
    path.write_text(text)
    spec: dict[str, Any] = {"__name__": "m"}
    exec(compile(text, str(path), "exec"), spec)
    return spec


def test_the_same_code_has_the_same_fingerprint_wherever_it_stands(tmp_path: Path) -> None:
    one, other = made(tmp_path, "a", HELPER), made(tmp_path, "b", HELPER)
    assert fingerprint(one["Cell"]) == fingerprint(other["Cell"])


def changed_method(m: dict[str, Any]) -> None:
    m["Base"].f = lambda self, x: 2 * x


def changed_helper(m: dict[str, Any]) -> None:
    m["scale"] = lambda x: 2 * x


def changed_attribute(m: dict[str, Any]) -> None:
    m["Base"].factor = 2.0


def new_attribute(m: dict[str, Any]) -> None:
    m["Cell"].like = "lstm"


@pytest.mark.parametrize("change", [changed_method, changed_helper, changed_attribute, new_attribute])
def test_what_was_changed_since_the_file_was_read_is_seen(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    one, other = made(tmp_path, "a", HELPER), made(tmp_path, "b", HELPER)
    change(other)
    assert fingerprint(one["Cell"]) != fingerprint(other["Cell"])


@pytest.mark.thorough
def test_a_fingerprint_is_the_same_in_every_process() -> None:
    line = "from bptt.harness.run.isolation.fingerprint import fingerprint\n"
    line += "from tests.harness.checks.planted import CleanLSTM\nprint(fingerprint(CleanLSTM))"
    root = Path(__file__).parents[4]
    found = {
        subprocess.run(
            [sys.executable, "-c", line],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
            cwd=root,
        ).stdout
        for seed in "123"
    }
    assert len(found) == 1


def test_code_keeps_its_file_whatever_the_serialiser_keeps() -> None:
    def local() -> None:
        raise ArithmeticError

    class Local:
        def method(self) -> int:
            return sum(k for k in range(3))

    function, kind = unpickled(pickled((local, Local)))
    assert function.__code__.co_filename == kind.method.__code__.co_filename == __file__
    assert inspect.getsourcelines(kind.method)[1] == inspect.getsourcelines(Local.method)[1]


def test_a_class_travels_by_its_place_and_comes_back_itself() -> None:
    first = packed(Task(CleanLSTM)).ways[0]
    assert first["target"] == {"module": CleanLSTM.__module__, "name": "CleanLSTM", "fingerprint": fingerprint(CleanLSTM)}
    assert unpacked(loads(dumps(first))).target is CleanLSTM


def test_a_class_that_was_changed_travels_by_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    parcel = packed(Task(CleanLSTM))
    monkeypatch.setattr(CleanLSTM, "run", lambda self: "other")
    with pytest.raises(CannotTravel, match="not the same where it is imported again"):
        unpacked(parcel.ways[0])
    assert unpacked(packed(Task(CleanLSTM)).ways[-1]).target().run() == "other"


@pytest.mark.thorough
def test_a_method_put_in_by_a_test_is_the_one_that_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Clean.backward

    def wrong(self: Any, *given: Any) -> Any:
        dparams, dxs, dstate = right(self, *given)
        return {name: 1.1 * value for name, value in dparams.items()}, dxs, dstate

    assert check(Clean, **QUICK)["GRD110"].status == "passed"
    monkeypatch.setattr(Clean, "backward", wrong)
    for target in (Clean, Clean()):
        run = check(target, **QUICK)
        assert run["GRD110"].status == "failed", run.text()
        assert "checked_in_this_process" not in run.run.env


def test_a_local_class_has_its_file_and_line_in_the_finding() -> None:
    class Local(Clean):
        def backward(self, *given: Any) -> Any:
            raise IndexError("no such step")

    finding = check(Local, **QUICK)["GRD110"].finding
    assert finding is not None
    assert f"Local.backward raised IndexError: no such step (at {Path(__file__)}:" in finding.headline


class Like(enum.StrEnum):
    ELMAN = "elman"


@pytest.mark.parametrize("args", [None, {"a": 1, "b": [1.5, None, "x"]}, {"a": (1, 2)}, {"f": abs}, {"nan": float("inf")}])
def test_arguments_arrive_as_they_are(args: dict[str, object] | None) -> None:
    for like in ("elman", Like.ELMAN, None):
        (way,) = packed(Task("cells.py:Cell", args, like)).ways
        task = unpacked(json.loads(json.dumps(way)))
        assert (task.args, task.like, type(task.like)) == (args, like, type(like))


def test_options_arrive_as_they_are() -> None:
    pairs = frozenset({("a", "CON100"), ("b", "GRD110")})
    options = Options(
        "full",
        ("GRD110",),
        ("time",),
        7,
        Case(3, 1, 2, 2, "closed", sizes=(("heads", 2), ("K", 5))),
        False,
        {"GRD110": {"code": "BUG"}},
        pairs,
        pairs,
        60.0,
    )
    assert unpacked_options(loads(dumps(packed_options(options)))) == options


@pytest.mark.parametrize("target", [Clean(), functools.partial(Clean), lambda: Clean()])
def test_instances_and_factories_travel(target: object) -> None:
    run = check(target, **QUICK)
    assert run.exit_code == 0 and "checked_in_this_process" not in run.run.env, run.text()


class Locked(Clean):
    def __init__(self) -> None:
        self.lock = threading.Lock()


class Unpickled(Clean):
    """Goes into a pickle and does not come out of it."""

    def __reduce__(self) -> Any:
        return (open, ("/nowhere/at/all",))


@pytest.mark.parametrize(("target", "words"), [(Locked(), "cannot pickle"), (Unpickled(), "FileNotFoundError")])
def test_what_cannot_travel_is_checked_here_and_the_run_says_why(target: object, words: str) -> None:
    run = check(target, **QUICK)
    assert run.exit_code == 0
    (said,) = run.run.env["checked_in_this_process"]
    assert words in said and type(target).__name__ in said


@pytest.mark.thorough
def test_a_script_that_checks_its_own_class_runs_once(tmp_path: Path) -> None:
    from tests.harness.run.isolation.planted import RIGHT

    (tmp_path / "script.py").write_text(
        RIGHT
        + textwrap.dedent(
            """
            import bptt
            run = bptt.check(Wrong, level="smoke", select=["GRD110"])
            print("done", run.exit_code, run["GRD110"].finding.source.file, run.run.env.get("checked_in_this_process"))
            """
        )
    )
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("done 1 script.py None\n", "")
