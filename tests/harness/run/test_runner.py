from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bptt.harness.errors import UsageError
from bptt.harness.run.events import Event, Task, event_from_dict, event_to_dict
from bptt.harness.run.runner import CheckFailed, RunHandle, check
from bptt.reports.records import Run
from bptt.reports.serial import dumps, loads, record_to_dict
from bptt.reports.view import names_of
from tests.harness.checks.planted import Clean, CleanLSTM, ForgotSigmoidDerivative, Noisy

QUICK: dict[str, Any] = {"select": ["contract"], "level": "smoke"}


def module(tmp_path: Path, body: str, name: str = "cells.py") -> Path:
    """A file with a right contract cell `Right`, and what `body` adds."""
    path = tmp_path / name
    path.write_text(
        textwrap.dedent(
            """\
            import numpy as np, os, sys, time

            class Right:
                def init(self, rng, D, H):
                    return {"W": rng.normal(size=(D + H, H)), "b": rng.normal(size=H)}

                def zero_state(self, params, N):
                    return {"h": np.zeros((N, len(params["b"])))}

                def run(self, params, xs, state):
                    h, hs = state["h"], []
                    for x in xs:
                        h = np.tanh(np.concatenate([x, h], axis=1) @ params["W"] + params["b"])
                        hs.append(h)
                    return np.stack(hs), {"h": h}

                def backward(self, params, xs, state, dys, dfinal):
                    hs = [state["h"], *self.run(params, xs, state)[0]]
                    D, dh = xs.shape[2], dfinal["h"]
                    dW, db, dxs = np.zeros_like(params["W"]), np.zeros_like(params["b"]), np.zeros_like(xs)
                    for t in reversed(range(len(xs))):
                        da = (dh + dys[t]) * (1 - hs[t + 1] ** 2)
                        dW += np.concatenate([xs[t], hs[t]], axis=1).T @ da
                        db += da.sum(axis=0)
                        dv = da @ params["W"].T
                        dxs[t], dh = dv[:, :D], dv[:, D:]
                    return {"W": dW, "b": db}, dxs, {"h": dh}
            """
        )
        + textwrap.dedent(body)
    )
    return path


def without_times(run: Run) -> Run:
    return replace(run, duration_s=0.0, run_id="", results=tuple(replace(r, duration_s=0.0) for r in run.results))


def statuses(run: RunHandle) -> dict[str, str]:
    return {r.check: r.status for r in run.run.results}


# ----------------------------------------------------------------------------------------------------------- crashes and hangs

CRASHES = {
    "an exit": ("os._exit(7)", "exit code 7"),
    "a segmentation fault": ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    "a signal": ("import signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
}


@pytest.mark.parametrize("how", CRASHES)
def test_a_crash_is_the_result_of_its_check_and_the_others_go_on(tmp_path: Path, how: str) -> None:
    code, words = CRASHES[how]
    path = module(
        tmp_path,
        f"""
        class Crashing(Right):
            def run(self, params, xs, state):
                if np.max(np.abs(xs)) > 500:
                    {code}
                return super().run(params, xs, state)
        """,
    )
    run = check(f"{path}:Crashing", select=["contract", "numerics", "time"])
    found = statuses(run)
    assert found.pop("NUM110") == "crashed"
    assert set(found.values()) <= {"passed", "not_applicable"}
    assert words in str(run["NUM110"].reason)
    assert list(found)[-1].startswith("TIM")
    assert run.exit_code == 1
    assert len(run.run.targets) == 1


def test_a_hang_is_a_timeout_of_its_check_and_leaves_the_target_undecided(tmp_path: Path) -> None:
    path = module(
        tmp_path,
        """
        class Hanging(Right):
            def run(self, params, xs, state):
                if np.max(np.abs(xs)) > 500:
                    time.sleep(600)
                return super().run(params, xs, state)
        """,
    )
    run = check(f"{path}:Hanging", select=["CON110", "NUM110", "TIM110"], timeout=0.5)
    assert statuses(run) == {"CON110": "passed", "NUM110": "timeout"}
    assert "ended after 2.5 s by the clock, five times as long" in str(run["NUM110"].reason)
    assert run.exit_code == 3


def test_what_hangs_while_it_is_judged_blocks_what_builds_on_it(tmp_path: Path) -> None:
    path = module(
        tmp_path,
        """
        class Hanging(Right):
            def backward(self, params, xs, state, dys, dfinal):
                if not dys.any():
                    os._exit(1)
                return super().backward(params, xs, state, dys, dfinal)
        """,
    )
    run = check(f"{path}:Hanging", select=["linearity", "BAT110"])
    assert statuses(run) == {"LIN100": "crashed", "LIN110": "passed", "LIN120": "not_applicable", "BAT110": "passed"}


# ---------------------------------------------------------------------------------------------------------------- isolation


def test_printing_harms_nothing(tmp_path: Path) -> None:
    path = module(
        tmp_path,
        """
        print("loading")
        class Chatty(Right):
            def run(self, params, xs, state):
                print("x" * 5000)
                sys.stdout.write("y")
                os.write(1, b"z" * 100)
                return super().run(params, xs, state)
        """,
    )
    run = check(f"{path}:Chatty", **QUICK)
    assert run.ok, run.text()


def test_an_object_that_cannot_travel_is_checked_here_and_the_run_says_so() -> None:
    class Locked(Clean):
        def __init__(self) -> None:
            self.lock = threading.Lock()

    run = check(Locked(), **QUICK)
    assert run.ok
    (said,) = run.run.env["checked_in_this_process"]
    assert "<locals>.Locked: " in said
    assert "pickle" in said


def test_a_local_class_travels_by_value() -> None:
    class Local(Clean):
        pass

    run = check(Local, **QUICK)
    assert run.ok
    assert "checked_in_this_process" not in run.run.env, run.run.env["checked_in_this_process"]


@pytest.mark.thorough
def test_a_class_of_a_script_without_a_main_guard_is_checked(tmp_path: Path) -> None:
    path = module(
        tmp_path,
        """
        import bptt
        run = bptt.check(Right, level="smoke", select=["contract", "gradient"])
        print(run.exit_code, len(run.run.results), run.run.env.get("checked_in_this_process"))
        """,
        "script.py",
    )
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.stderr == ""
    code, count, here = done.stdout.split(maxsplit=2)
    assert (code, here.strip()) == ("0", "None")
    assert int(count) >= 10


@pytest.mark.thorough
def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    path = module(
        tmp_path,
        """
        class Hanging(Right):
            def run(self, params, xs, state):
                open("worker.pid", "w").write(str(os.getpid()))
                time.sleep(600)
        if __name__ == "__main__":
            import signal
            import bptt
            signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
            bptt.check("cells.py:Hanging", level="smoke")
        """,
    )
    started = subprocess.Popen([sys.executable, str(path)], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    told = tmp_path / "worker.pid"
    until = time.monotonic() + 60
    while not (told.exists() and told.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    worker = int(told.read_text())
    os.kill(worker, 0)
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


# -------------------------------------------------------------------------------------------------------------- the same again


def differences(a: Any, b: Any, place: str = "run") -> Iterator[str]:
    """Where two records differ, and how: one of them in full would be long to read."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*a, *b]):
            yield from differences(a.get(key), b.get(key), f"{place}.{key}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for k, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from differences(one, other, f"{place}[{k}]")
    elif a != b:
        yield f"{place}: {a!r} and {b!r}"


@pytest.mark.thorough
def test_the_same_seed_gives_the_same_record_whatever_the_number_of_jobs() -> None:
    targets = ["refimpl:elman", Task(ForgotSigmoidDerivative), "refimpl:gru_reset_after"]
    runs = [
        without_times(check(targets, level="smoke", seed=3, jobs=jobs, isolate=isolate).run)
        for jobs, isolate in ((1, True), (2, True), (1, False))
    ]
    for other in runs[1:]:
        assert list(differences(record_to_dict(runs[0]), record_to_dict(other))) == []
    assert [t.name for t in runs[0].targets] == ["elman", "ForgotSigmoidDerivative", "gru_reset_after"]
    other = without_times(check(targets, level="smoke", seed=4, isolate=False).run)
    assert other != runs[0]


def test_events_come_in_order_and_pass_as_json() -> None:
    events: list[Event] = []
    check(Clean, on_event=events.append, isolate=False, **QUICK)
    seen = [type(event).__name__ for event in events]
    assert (seen[0], seen[-1], seen.count("Began"), seen.count("Ended")) == ("Began", "Ended", 1, 1)
    assert seen.index("Recognised") < seen.index("Found")
    assert seen.count("Checking") == seen.count("Found") > 5
    assert [event_from_dict(loads(dumps(event_to_dict(event)))) for event in events] == events


# -------------------------------------------------------------------------------------------------------------- what is asked

EXPECTED = {"CON150": {"code": "NONDETERMINISTIC", "reason": "dropout"}}


def test_a_known_failure_is_expected() -> None:
    run = check(Noisy, isolate=False, select=["CON150"], expect=EXPECTED)
    assert statuses(run) == {"CON150": "xfailed"}
    assert run["CON150"].reason == "dropout"
    assert run.ok


def test_a_known_failure_that_passes_is_news() -> None:
    run = check(Clean, isolate=False, select=["CON150"], expect=EXPECTED)
    assert statuses(run) == {"CON150": "xpassed"}
    assert "remove the entry" in str(run["CON150"].reason)
    assert run.exit_code == 1


def test_a_family_is_selected_by_its_word_and_by_the_letters_of_its_checks() -> None:
    by_word, by_letters = (check(Noisy, isolate=False, level="smoke", select=[name]) for name in ("contract", "CON"))
    assert [r.check for r in by_word.run.results] == [r.check for r in by_letters.run.results] != []
    assert not {r.check[:3] for r in check(Noisy, isolate=False, level="smoke", ignore=["CON"]).run.results} & {"CON"}


def test_a_known_failure_with_another_code_is_changed() -> None:
    run = check(Noisy, isolate=False, select=["CON150"], expect={"CON150": {"code": "BUG"}})
    assert statuses(run) == {"CON150": "changed"}
    assert "it fails with NONDETERMINISTIC" in str(run["CON150"].reason)
    assert run.exit_code == 1


def test_an_expectation_runs_out() -> None:
    run = check(Noisy, isolate=False, select=["CON150"], expect={"CON150": EXPECTED["CON150"] | {"expires": "2020-01-01"}})
    assert statuses(run) == {"CON150": "failed"}
    assert "expired on 2020-01-01" in str(run["CON150"].reason)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"select": ["GRD11"]}, "select: no check or family is called 'GRD11', did you mean 'GRD1"),
        ({"select": ["grd110"]}, "did you mean 'GRD110'?"),
        ({"ignore": ["gradients"]}, "ignore: no check or family is called 'gradients', did you mean 'gradient'?"),
        ({"expect": {"CON1500": {}}}, "expect: no check is called 'CON1500', did you mean 'CON150'?"),
        ({"level": "standart"}, "level: got 'standart', wanted one of smoke, standard, full, exhaustive, did you mean 'standard'?"),
        ({"select": "GRD110"}, "got a string, wanted a list"),
        ({"case": "T5"}, "got 'T5', wanted sizes"),
        ({"seed": -1}, "seed: got -1, wanted a whole number"),
        ({"seed": 1.5}, "seed: got 1.5, wanted a whole number"),
        ({"jobs": 0}, "jobs: got 0, wanted how many"),
        ({"args": [1]}, "args: got [1], wanted a dict"),
        ({"like": b"lstm"}, "like: got b'lstm', wanted the name"),
        ({"expect": {"CON150": 5}}, "expect['CON150']: got a int, wanted a table"),
        ({"expect": {"CON150": {"code": "BUG", "expires": "soon"}}}, "got expires 'soon', wanted a date"),
    ],
)
def test_unknown_names_are_refused_with_a_hint(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        check(Clean, isolate=False, **options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_target_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean"):
        check("refimpl:lstn")
    run = check(["refimpl:lstn", Clean], isolate=False, **QUICK)
    assert run.exit_code == 2
    assert [u.spec for u in run.unloadable] == ["refimpl:lstn"]
    assert statuses(run)


def test_nothing_checked_is_no_success() -> None:
    run = check(Clean, isolate=False, select=["CON200"])
    assert (run.exit_code, run.run.results) == (4, ())
    assert not run.ok
    with pytest.raises(CheckFailed):
        run.raise_for_failures()
    assert check([], isolate=False).exit_code == 4


@pytest.mark.thorough
def test_what_a_failure_blocks_names_it() -> None:
    run = check(ForgotSigmoidDerivative, isolate=False, select=["gradient"])
    blocked = {r.check: str(r.blocked_by) for r in run.run.results if r.status == "blocked"}
    assert set(blocked) >= {f"GRD{n}" for n in (120, 130, 140, 150, 160)}
    for why in blocked.values():
        while why in blocked:
            why = blocked[why]
        assert why == "GRD110"
    assert "GRD110 failed" in str(run["GRD120"].reason)
    assert [r.check for r in run.failed] == ["GRD110"]
    unblocked = check(ForgotSigmoidDerivative, isolate=False, select=["GRD110", "GRD120"], block=False)
    assert statuses(unblocked) == {"GRD110": "failed", "GRD120": "failed"}


def test_results_are_asked_for_by_id() -> None:
    run = check([Clean, Noisy], isolate=False, select=["CON150"])
    assert run["CON150"].target.endswith("planted.py:Noisy")
    with pytest.raises(LookupError, match="did you mean 'CON150"):
        run["CON15"]
    with pytest.raises(CheckFailed, match="CON150"):
        run.raise_for_failures()


@pytest.mark.thorough
def test_a_failure_comes_with_lines_that_reproduce_it() -> None:
    finding = check(ForgotSigmoidDerivative, isolate=False, select=["GRD110"])["GRD110"].finding
    assert finding is not None
    assert finding.repro is not None
    assert finding.smallest_case is not None
    assert (finding.smallest_case.T, finding.smallest_case.N, finding.smallest_case.D, finding.smallest_case.H) == (1, 1, 1, 1)
    assert "--select GRD110 --case T1-N1-D1-H1 --seed 0" in finding.repro.command
    again = check(ForgotSigmoidDerivative, isolate=False, select=["GRD110"], case="T1-N1-D1-H1")
    assert [r.check for r in again.failed] == ["GRD110"]


def test_two_targets_of_one_name_are_told_apart() -> None:
    run = check([Clean, Clean, CleanLSTM], isolate=False, select=["CON100"])
    assert len({t.id for t in run.run.targets}) == 3
    assert [r.target for r in run.run.results] == [t.id for t in run.run.targets]
    assert len(set(names_of(run.run).values())) == 3
