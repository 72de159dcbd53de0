"""The command `bptt`: exit codes, one clear line for each bad input, files written, and what an interruption leaves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from bptt.harness.cli import main as cli
from bptt.harness.run import runner
from bptt.harness.run.events import Began, Ended, Found, OnEvent, Task, Unloadable
from bptt.harness.run.record.gathering import Gathering
from bptt.harness.run.runner import RunHandle
from bptt.reports.accounting import PRECEDENCE, gravest
from bptt.reports.records import Finding, Result, Run, Target
from bptt.reports.store import read_run

CELL = '''
import numpy as np

class Elman:
    """h' = tanh(x W_x + h W_h + b)"""
    def init(self, rng, input_size, hidden_size):
        D, H = input_size, hidden_size
        return {"W_x": rng.normal(size=(D, H)), "W_h": rng.normal(size=(H, H)) / H, "b": rng.normal(size=H)}
    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, len(params["b"])), params["b"].dtype)}
    def _hs(self, params, xs, state):
        hs = [state["h"]]
        for x in xs:
            hs.append(np.tanh(x @ params["W_x"] + hs[-1] @ params["W_h"] + params["b"]))
        return np.stack(hs)
    def run(self, params, xs, state):
        hs = self._hs(params, xs, state)
        return hs[1:], {"h": hs[-1]}
    def backward(self, params, xs, state, dys, dfinal):
        hs = self._hs(params, xs, state)
        dp, dxs, dh = {k: np.zeros_like(v) for k, v in params.items()}, np.zeros_like(xs), dfinal["h"]
        for t in reversed(range(len(xs))):
            da = (dh + dys[t]) * (1 - hs[t + 1] ** 2)
            dp["W_x"] += xs[t].T @ da
            dp["W_h"] += hs[t].T @ da
            dp["b"] += da.sum(0)
            dxs[t], dh = da @ params["W_x"].T, da @ params["W_h"].T
        return dp, dxs, {"h": dh}
'''
Bptt = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bptt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Bptt:
    """The command, in a folder of its own with cell.py and wrong.py: -> exit code, stdout, stderr."""
    wrong = CELL.replace("da = (dh + dys[t]) * (1 - hs[t + 1] ** 2)", "da = dh + dys[t]")
    assert wrong != CELL
    (tmp_path / "cell.py").write_text(CELL)
    (tmp_path / "wrong.py").write_text(wrong)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        exit_code = cli.main(arguments)
        return exit_code, *capfd.readouterr()

    return run


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Puts a runner in place that checks nothing: it tells `statuses` of each target, then ends as told."""

    def install(*statuses: str, ends: BaseException | None = None, unloadable: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def check(target: list[Task], *, on_begin: Callable[[], None], on_event: OnEvent, **options: Any) -> RunHandle:
            calls.append({"target": target, **options})
            on_begin()
            asked = tuple(task.id for task in target)
            gathering = Gathering(asked, on_event)
            checks = tuple(entry.id for entry in runner.catalogue()[: len(statuses)])
            for k, task in enumerate(target):
                if task.spec in unloadable:
                    gathering.take(k, Unloadable(task.id, task.spec, f"{task.spec}: no such thing"))
                    continue
                gathering.take(k, Began(Target(task.spec, task.spec, "numpy", id=task.id, planned=checks)))
                for check, status in zip(checks, statuses, strict=True):
                    finding = Finding("BUG", "it is wrong") if status == "failed" else None
                    gathering.take(k, Found(Result(task.id, check, status, finding=finding)))  # type: ignore[arg-type]  # a status by name
                if ends is not None:
                    raise ends
                gathering.take(k, Ended(task.id))
            run = Run(options["command"], options["seed"], catalogue=runner.catalogue(), asked=asked)
            return RunHandle(gathering.run(run), gathering.unloadable)

        monkeypatch.setattr(runner, "check", check)
        return calls

    return install


def one_line(text: str) -> str:
    """The text, if it is one line of ours and no traceback.  (After Ctrl-C a line ends first: the terminal shows ^C in it.)"""
    text = text.removeprefix("\n")
    assert text.startswith("bptt: ")
    assert text.count("\n") == 1
    assert "Traceback" not in text
    return text


@pytest.mark.thorough
def test_a_right_cell_conforms_and_a_wrong_one_does_not(bptt: Bptt) -> None:
    exit_code, out, err = bptt("check", "cell.py:Elman", "--level", "smoke", "--report", "run.json", "--report", "page.html")
    assert (exit_code, err) == (0, "")
    assert "passed" in out
    assert "exit 0" in out
    assert read_run("run.json").complete
    assert read_run("run.json").command == "bptt check cell.py:Elman --level smoke --report run.json --report page.html"
    assert Path("page.html").read_text().startswith("<!")
    exit_code, out, _ = bptt("check", "wrong.py:Elman", "--level", "smoke")
    assert exit_code == 1
    assert "✗ GRD110" in out
    assert "tanh" in out  # the cause
    assert "repro   bptt check wrong.py:Elman --select GRD110" in out


def test_the_line_to_paste_reproduces(bptt: Bptt) -> None:
    _, out, _ = bptt("check", "wrong.py:Elman", "--level", "smoke")
    repro = re.search(r"repro +bptt (.*)", out)
    assert repro
    exit_code, out, _ = bptt(*repro.group(1).split())
    assert exit_code == 1
    assert "1 failed" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("check", "cel.py:Elman"), "did you mean 'cell.py"),
        (("check", "cell.py:Elmann"), "did you mean 'Elman"),
        (("check", "nowhere.cells:A"), "no module named 'nowhere'"),
        (("check", "cell.py:Elman", "--args", "{"), "--args: not JSON"),
        (("check", "cell.py:Elman", "--args", "[1]"), "--args: got"),
        (("check", "cell.py:Elman", "--like", "lstmm"), "did you mean 'lstm"),
        (("check", "cell.py:Elman", "--level", "fast"), "'fast' is not one of"),
        (("check", "cell.py:Elman", "--select", "GRD11"), "did you mean 'GRD110"),
        (("check", "cell.py:Elman", "--ignore", "gradients"), "did you mean 'gradient"),
        (("check", "cell.py:Elman", "--case", "T1"), "--case: got 'T1'"),
        (("check", "cell.py:Elman", "--seed", "x"), "'x' is not a valid integer"),
        (("check", "cell.py:Elman", "--jobs", "0"), "--jobs"),
        (("check", "cell.py:Elman", "--timeout", "-1"), "--timeout"),
        (("check", "cell.py:Elman", "--report", "run.pdf"), "wanted a name that ends in one of .html"),
        (("check", "cell.py:Elman", "--report", "cell.py/run.json"), "a file stands where a folder is wanted"),
        (("check", "cell.py:Elman", "--levle", "smoke"), "--level"),
        (("check",), "no target"),
        (("chekc",), "did you mean 'check'?"),
        (("explain", "GRD111"), "did you mean 'GRD110'?"),
        (("describe", "cell.py:Elmann"), "did you mean 'Elman"),
        (("identify", "cell.py:Elmann"), "did you mean 'Elman"),
        (("report", "none.json", "-o", "x.html"), "none.json: cannot be read"),
        (("report", "cell.py", "-o", "x.html"), "cell.py: not JSON"),
        (("report", "cell.py", "-o", "x.pdf"), "-o: got 'x.pdf'"),
    ],
)
def test_bad_input_is_answered_with_one_line(bptt: Bptt, arguments: tuple[str, ...], words: str) -> None:
    exit_code, _, err = bptt(*arguments)
    assert exit_code == 2
    assert words in one_line(err)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "class A:\n    def __init__(self, input_size, hidden_size): raise ValueError('no table')\n"
            "    def forward(self, x, h): ...\n    def backward(self, dh): ...",
            "no table",
        ),
        (
            "class A:\n    def init(self, rng, input_size, hidden_size): ...\n    def run(self, params, xs, state): ...",
            "zero_state",
        ),
        ("import nowhere", "nowhere"),
        ("class A: (", "SyntaxError"),
    ],
)
def test_a_target_that_cannot_be_made_is_answered_with_one_line(bptt: Bptt, code: str, words: str) -> None:
    Path("bad.py").write_text(code)
    exit_code, _, err = bptt("check", "bad.py:A")
    assert exit_code == 2
    assert words in one_line(err)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("D, H = input_size, hidden_size", "raise ValueError('no table')", "init raised ValueError: no table"),
        ("hs = self._hs(params, xs, state)\n        return", "return 1 / 0,", "run raised ZeroDivisionError"),
        ("return hs[1:], {", "return hs[1:].swapaxes(0, 1), {", "shape"),
        ("return hs[1:], {", "return {", "run returned"),
    ],
)
def test_a_cell_that_cannot_be_run_is_answered_with_one_line(bptt: Bptt, before: str, after: str, words: str) -> None:
    assert before in CELL
    Path("bad.py").write_text(CELL.replace(before, after))
    exit_code, _, err = bptt("check", "bad.py:Elman")
    assert exit_code == 2
    assert words in one_line(err)


def test_a_refused_run_leaves_the_report_of_the_run_before_alone(bptt: Bptt) -> None:
    Path("run.json").write_text("precious")
    assert bptt("check", "cell.py:Elman", "--select", "GRD11", "--report", "run.json")[0] == 2
    assert Path("run.json").read_text() == "precious"


def test_one_target_of_several_that_cannot_be_loaded(bptt: Bptt, fake: Callable[..., Any]) -> None:
    fake("passed", unloadable=("b.py:B",))
    exit_code, out, err = bptt("check", "cell.py:Elman", "b.py:B", "--report", "run.json")
    assert exit_code == 2
    assert one_line(err) == "bptt: b.py:B: no such thing\n"
    assert "cell.py:Elman" in out
    found = {(result.target, result.check): result.status for result in read_run("run.json").results}
    assert found["b.py:B", "LOAD"] == "error"
    assert found["cell.py:Elman", runner.catalogue()[0].id] == "passed"


@pytest.mark.parametrize(("ends", "exit_code", "words"), [(KeyboardInterrupt(), 130, "interrupted"), (ZeroDivisionError("odd"), 3, "odd")])
def test_what_ends_a_run_early_leaves_a_valid_partial_record(
    bptt: Bptt, fake: Callable[..., Any], ends: BaseException, exit_code: int, words: str
) -> None:
    fake("passed", "failed", ends=ends)
    found, out, err = bptt("check", "cell.py:Elman", "b.py:B", "--report", "run.json", "--report", "run.jsonl", "--report", "x.md")
    assert found == exit_code
    assert words in one_line(err)
    assert "incomplete" in out
    for path in ("run.json", "run.jsonl"):
        run = read_run(path)
        assert not run.complete
        assert [result.status for result in run.results] == ["passed", "failed"]
    assert Path("x.md").exists()


def test_results_are_in_the_file_before_the_run_ends(bptt: Bptt, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies leaves what was known: the file is read while the runner is still at work."""
    seen: list[Run] = []

    def check(target: list[Task], *, on_begin: Callable[[], None], on_event: OnEvent, **options: Any) -> RunHandle:
        on_begin()
        target_, result = Target("A", "a.py:A", "numpy", planned=("GRD110",)), Result("A", "GRD110", "passed")
        on_event(Began(target_))
        on_event(Found(result))
        seen.append(read_run("run.json"))
        return RunHandle(Run("bptt check", 0, targets=(target_,), results=(result,)))

    monkeypatch.setattr(runner, "check", check)
    assert bptt("check", "cell.py:Elman", "--report", "run.json")[0] == 0
    assert [(run.complete, len(run.results)) for run in seen] == [(False, 1)]
    assert json.loads(Path("run.json").read_text())["complete"] is True


def test_without_a_target_those_of_pyproject_are_checked(bptt: Bptt, fake: Callable[..., Any]) -> None:
    Path("pyproject.toml").write_text("""
        [tool.bptt]
        level = "smoke"
        targets = ["a.py:A", {target = "torch.nn:LSTM", args = {num_layers = 2}}, {target = "torch.nn:LSTM", like = "lstm"},
                   "torch.nn:LSTM", "a.py:A"]
        [tool.bptt.expect.GRD110]
        code = "BUG"
        reason = "known"
    """)
    calls = fake("passed")
    exit_code, out, _ = bptt("check")
    assert exit_code == 0
    assert "build/report.html  build/report.json" in out
    assert read_run("build/report.json").complete
    assert [(task.spec, task.args, task.like) for task in calls[0]["target"]] == [
        ("a.py:A", None, None),
        ("torch.nn:LSTM", {"num_layers": 2}, None),
        ("torch.nn:LSTM", None, "lstm"),
        ("torch.nn:LSTM", None, None),
    ]
    assert calls[0]["level"] == "smoke"
    assert calls[0]["expect"] == {"GRD110": {"code": "BUG", "reason": "known"}}
    bptt("check", "a.py:A")
    assert [task.spec for task in calls[1]["target"]] == ["a.py:A"]
    assert calls[1]["level"] == "smoke"
    assert bptt("check", "--like", "lstm")[0] == 2


def test_options_reach_the_runner(bptt: Bptt, fake: Callable[..., Any]) -> None:
    calls = fake("passed")
    options = [
        "--select",
        "gradient",
        "--ignore",
        "GRD150",
        "--seed",
        "3",
        "--jobs",
        "2",
        "--timeout",
        "9",
        "--case",
        "T1-N1-D3-H4",
    ]
    bptt("check", "cell.py:Elman", *options, "--no-block", "--like", "elman", "--args", '{"a": 1}', "--level", "full")
    (call,) = calls
    assert call["target"] == [Task("cell.py:Elman", {"a": 1}, "elman")]
    wanted = {
        "select": ("gradient",),
        "ignore": ("GRD150",),
        "seed": 3,
        "jobs": 2,
        "timeout": 9.0,
        "case": "T1-N1-D3-H4",
        "block": False,
    }
    assert {name: call[name] for name in wanted} == wanted
    assert call["level"] == "full"


def test_quiet_prints_one_line_a_target_and_verbose_every_check(bptt: Bptt, fake: Callable[..., Any]) -> None:
    fake("passed", "not_applicable")
    first, second = (entry.property for entry in runner.catalogue()[:2])
    quiet, normal, verbose = (bptt("check", "cell.py:Elman", *option)[1] for option in (["-q"], [], ["-v"]))
    assert quiet.count("\n") == 2
    assert first not in quiet + normal
    assert first in verbose
    assert second in verbose


def test_the_gravest_exit_code_wins() -> None:
    assert PRECEDENCE == (130, 143, 3, 2, 1, 5, 4, 0)
    assert gravest(0, 1, 2) == 2
    assert gravest(4, 1) == 1
    assert gravest(0) == 0


def test_list_names_every_check_and_cell(bptt: Bptt) -> None:
    from bptt.refimpl import CELLS

    exit_code, out, _ = bptt("list")
    assert exit_code == 0
    for entry in runner.catalogue():
        assert entry.id in out
    for name in CELLS:
        assert name in out


def test_every_check_can_be_explained(bptt: Bptt) -> None:
    for entry in runner.catalogue():
        exit_code, out, _ = bptt("explain", entry.id.lower())
        assert exit_code == 0
        assert entry.property in out
        assert entry.description.splitlines()[0].strip() in out


def test_a_family_is_explained_by_its_letters_too(bptt: Bptt) -> None:
    assert bptt("explain", "GRD")[:2] == bptt("explain", "gradient")[:2]
    assert bptt("explain", "GRDX")[0] == 2


def test_explain_says_why_how_and_which_bugs(bptt: Bptt) -> None:
    _, out, _ = bptt("explain", "GRD110")
    for words in ("asserts", "why", "judges", "planted bugs", "missing derivative of the tanh", "GRD120"):
        assert words in out
    assert max(map(len, out.splitlines())) < 200


def test_every_family_has_its_reasons() -> None:
    from bptt.harness.cli.reasons import REASONS

    assert {entry.family for entry in runner.catalogue()} <= REASONS.keys()


def test_describe_and_identify_answer_for_a_cell(bptt: Bptt) -> None:
    exit_code, out, _ = bptt("describe", "cell.py:Elman")
    assert exit_code == 0
    assert "plug-in contract" in out
    exit_code, out, _ = bptt("identify", "cell.py:Elman")
    assert exit_code == 0
    assert "elman" in out


def test_identify_says_so_where_it_knows_no_such_cell(bptt: Bptt) -> None:
    Path("odd.py").write_text(CELL.replace("np.tanh(", "np.sin("))
    exit_code, out, _ = bptt("identify", "odd.py:Elman")
    assert exit_code == 1
    assert "none of the published cells" in out


def test_doctor_works_without_any_framework(bptt: Bptt, monkeypatch: pytest.MonkeyPatch) -> None:
    from bptt.harness.cli import catalogue as _cli_catalogue
    from bptt.harness.run import environment

    present = environment.installed
    for module in (_cli_catalogue, environment):
        monkeypatch.setattr(module, "installed", lambda name: None if name in environment.FRAMEWORKS else present(name))
    exit_code, out, _ = bptt("doctor")
    assert exit_code == 0
    assert re.search(r"torch +not found", out)
    assert "pip install 'bptt[jax]'" in out
    assert "longdouble_bits" in out


def test_report_merges_runs_into_every_format(bptt: Bptt, fake: Callable[..., Any]) -> None:
    fake("passed")
    bptt("check", "a.py:A", "--report", "a.json")
    bptt("check", "b.py:B", "--report", "b.jsonl")
    outputs = [part for suffix in ("html", "json", "jsonl", "xml", "md") for part in ("-o", f"both.{suffix}")]
    assert bptt("report", "a.json", "b.jsonl", *outputs)[0] == 0
    for suffix in ("json", "jsonl"):
        assert {target.name for target in read_run(f"both.{suffix}").targets} == {"a.py:A", "b.py:B"}
    for suffix in ("html", "xml", "md"):
        assert "b.py:B" in Path(f"both.{suffix}").read_text()


def test_the_help_of_each_command_has_a_line_for_each_of_its_options(bptt: Bptt) -> None:
    missing = []
    for name, command in cli.bptt.commands.items():
        _, out, _ = bptt(name, "--help")
        options = [option for each in command.params if isinstance(each, click.Option) for option in each.opts]
        missing += [(name, option) for option in options if not re.search(rf"^ +(-\w, )?{option}\b", out, re.MULTILINE)]
    assert not missing


@pytest.mark.parametrize("arguments", [("--help",), ()])
def test_help_lists_the_commands_that_work(bptt: Bptt, arguments: tuple[str, ...]) -> None:
    exit_code, out, _ = bptt(*arguments)
    assert exit_code == 0
    commands = ["check", "experiment", "identify", "compare", "describe", "init", "lockstep", "bench"]
    commands += ["list", "explain", "report", "diff", "doctor"]
    assert re.findall(r"^  ([a-z]+)  ", out, re.M) == commands


@pytest.mark.thorough
def test_a_terminal_without_unicode_gets_plain_symbols(bptt: Bptt) -> None:
    command = [sys.executable, "-m", "bptt.harness.cli.main", "check", "wrong.py:Elman", "--level", "smoke"]
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=env, check=False)
    assert done.returncode == 1
    assert done.stderr == b""
    assert b"F GRD110" in done.stdout


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_leaves_a_valid_partial_record(bptt: Bptt, tmp_path: Path) -> None:
    slow = CELL.replace(
        "    def run(self, params, xs, state):", "    def run(self, params, xs, state):\n        import time; time.sleep(0.1)"
    )
    (tmp_path / "slow.py").write_text(slow)
    # A shell's background jobs ignore SIGINT, and so would this process if the suite is one of them.
    listen = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from bptt.harness.cli.main import main; "
    command = [sys.executable, "-c", f"{listen} sys.exit(main(['check', 'slow.py:Elman', '--report', 'run.json']))"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            for _ in range(600):  # until the first result is in the file
                if (tmp_path / "run.json").exists() and '"result"' in (tmp_path / "run.json").read_text():
                    break
                time.sleep(0.1)
            os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group: the workers must leave without a word
            _, err = process.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert one_line(err) == "bptt: interrupted\n"
    run = read_run(tmp_path / "run.json")
    assert not run.complete
    assert run.exit_code == 130
    assert run.results


def test_with_strict_a_warning_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A class called LSTM that is no LSTM: a name is a question, unless warnings count."""
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[3] / "examples" / "contract_cell.py").read_text(encoding="utf-8")
    Path("named.py").write_text(text.replace("class MinimalGatedUnit", "class LSTM"), encoding="utf-8")
    command = ["check", "named.py:LSTM", "--select", "PAR100"]
    assert cli.main(command) == 0
    assert cli.main([*command, "--strict", "--report", "run.json"]) == 1
    assert "exit 1, does not conform: warnings count (--strict)" in capsys.readouterr().out
    assert json.loads(Path("run.json").read_text(encoding="utf-8"))["exit_code"] == 1


def test_ctrl_c_while_the_command_is_imported_is_one_line(tmp_path: Path) -> None:
    program = """
import runpy, sys

class CtrlC:
    def find_spec(self, name, path=None, target=None):
        if name == "bptt.harness.levels":
            raise KeyboardInterrupt

sys.meta_path.insert(0, CtrlC())
runpy.run_module("bptt", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "bptt: interrupted\n")
