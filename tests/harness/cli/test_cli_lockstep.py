"""`bptt lockstep`: what it prints and writes, its exit codes, and one clear line for each bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bptt.harness.cli import main as cli
from bptt.reports.store import read_run

LOOP = '''
from bptt.harness.lockstep.models import NAMED

def loop(params, batches, settings, rate=1.0):
    """Plain gradient descent by hand."""
    model = NAMED["lstm"].model
    state = model.zero_state(params, NAMED["lstm"].N)
    for inputs, targets, masks, lengths in batches:
        loss, grads, state = model.loss(params, inputs, targets, state)
        params = {name: p - rate * settings.learning_rate * grads[name] for name, p in params.items()}
        yield loss, params

def faster(params, batches, settings):
    return loop(params, batches, settings, rate=1.5)

def short(params, batches, settings):
    return loop(params, batches[:2], settings)
'''
Bptt = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bptt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Bptt:
    """The command, in a folder of its own with loop.py: -> exit code, stdout, stderr."""
    (tmp_path / "loop.py").write_text(LOOP)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        exit_code = cli.main(["lockstep", *arguments])
        return exit_code, *capfd.readouterr()

    return run


def test_a_line_for_each_model_and_optimizer(bptt: Bptt) -> None:
    pytest.importorskip("torch", reason="needs torch")
    exit_code, out, err = bptt("rnn", "seq2seq", "--steps", "2")
    assert (exit_code, err) == (0, "")
    *runs, tolerance = out.splitlines()
    assert [line.split()[:4] for line in runs] == [
        [name, optimizer, "2", "steps"] for name in ("rnn", "seq2seq-dot", "seq2seq-additive") for optimizer in ("sgd", "adam")
    ]
    assert all("losses equal to" in line and "parameters to" in line and " -> " in line for line in runs)
    assert tolerance.startswith("tolerance: 100 times what rounding makes of the NumPy loop")


def test_a_loop_of_ones_own_and_one_that_parts(bptt: Bptt) -> None:
    exit_code, out, _ = bptt("lstm", "--with", "loop.py:loop", "--steps", "3", "--optimizer", "sgd", "--report", "run.json", "--seed", "5")
    assert exit_code == 0
    assert "3 steps  losses equal to" in out
    assert out.endswith("report  run.json\n")
    run = read_run(Path("run.json"))
    assert run.command.startswith("bptt lockstep lstm --with loop.py:loop")
    assert (run.seed, run.exit_code, run.experiments[0].target) == (5, 0, "loop.py:loop")

    exit_code, out, _ = bptt("lstm", "--with", "loop.py:faster", "--steps", "3", "--optimizer", "sgd", "--report", "run.json")
    assert exit_code == 1
    assert "parts at step 1: " in out
    assert "in loop.py:faster, " in out
    assert "every parameter moved 1.5 times as far" in out
    assert read_run(Path("run.json")).exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lstn",), "no model 'lstn', did you mean 'lstm'?"),
        (("lstm", "--optimizer", "sdg"), "no optimizer 'sdg', did you mean 'sgd'?"),
        (("lstm", "--steps", "0"), "--steps"),
        (("lstm", "--report", "run.pdf"), "--report: got 'run.pdf'"),
        (("--with", "loop.py:loop"), "wanted its name: bptt lockstep lstm --with loop.py:loop"),
        (("rnn", "gru", "--with", "loop.py:loop"), "is one loop, but 2 models are named"),
        (("lstm", "--with", "loop.py:lop"), "no 'lop' in loop.py, did you mean 'loop'?"),
        (("lstm", "--with", "lopp.py:loop"), "no such file, did you mean 'loop.py'?"),
        (("lstm", "--with", "loop.py:short", "--steps", "3", "--optimizer", "sgd"), "loop.py:short: ended after 2 steps, wanted 3"),
        (("gru", "--with", "loop.py:loop", "--steps", "1"), "loop.py:loop: step 1: "),
    ],
)
def test_bad_input_is_answered_in_one_line(bptt: Bptt, arguments: tuple[str, ...], words: str) -> None:
    exit_code, out, err = bptt(*arguments)
    assert exit_code == 2
    assert out == ""
    assert err.startswith("bptt: ")
    assert err.count("\n") == 1
    assert words in err


def test_the_help_says_what_a_loop_is_given(bptt: Bptt) -> None:
    exit_code, out, _ = bptt("--help")
    assert exit_code == 0
    assert "loop(params, batches, settings) yields (loss, params) after each step" in out
