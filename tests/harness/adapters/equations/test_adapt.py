"""A cell held against equations, or against another cell: what is right is told right, and a slip is named with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bptt
from bptt.harness.errors import UsageError
from bptt.harness.run.runner import RunHandle
from bptt.refimpl.activations import sigmoid
from tests.harness.adapters.equations.test_graph import GRU
from tests.harness.checks.planted import Clean as CleanElman

SOURCE = """
import numpy as np

class Gru:
    def init(self, rng, D, H):
        shapes = {"W": (D, H), "U": (H, H), "b": (H,)}
        return {f"{k}{gate}": rng.normal(0, 0.5, s) for k, s in shapes.items() for gate in "zrn"}

    def zero_state(self, p, N):
        return {"h": np.zeros((N, len(p["bz"])))}

    def run(self, p, xs, state):
        h, hs = state["h"], []
        for x in xs:
            z = 0.5 + 0.5 * np.tanh(0.5 * (x @ p["Wz"] + h @ p["Uz"] + p["bz"]))
            r = 0.5 + 0.5 * np.tanh(0.5 * (x @ p["Wr"] + h @ p["Ur"] + p["br"]))
            n = np.tanh(x @ p["Wn"] + (r * h) @ p["Un"] + p["bn"])
            h = (1 - z) * n + z * h
            hs.append(h)
        return np.stack(hs), {"h": h}
"""
#: What is written in the place of what, and how it is named.
SLIPS = {
    "polarity": ("(1 - z) * n + z * h", "z * n + (1 - z) * h", "h = z * n + (1 - z) * h in the place of h = (1 - z) * n + z * h"),
    "reset left out": ("(r * h) @", "h @", "n = tanh(x @ W_n + h @ U_n + b_n) in the place of"),
    "a bias left out": (' + p["bz"]', "", "z = sigmoid(x @ W_z + h @ U_z) in the place of"),
    "the other gate": ("(r * h)", "(z * h)", "(z * h) @ U_n"),
    "another weight": ('(r * h) @ p["Un"]', '(r * h) @ p["Ur"]', "(r * h) @ U_r"),
    "another activation": ('np.tanh(x @ p["Wn"]', 'np.maximum(0, x @ p["Wn"]', "n = relu("),
}


def check(tmp_path: Path, source: str, **more: Any) -> RunHandle:
    path = tmp_path / "gru.py"
    path.write_text(source)
    like = tmp_path / "gru.txt"
    like.write_text(GRU)
    return bptt.check(f"{path}:Gru", like=str(like), isolate=False, level="smoke", **more)


def test_a_cell_that_follows_its_equations_conforms(tmp_path: Path) -> None:
    run = check(tmp_path, SOURCE)
    assert run.ok
    assert run["PAR140"].status == "passed"
    assert run["PAR145"].status == "not_applicable"  # it has no backward


@pytest.mark.parametrize("name", SLIPS)
def test_one_slip_is_named_with_its_line(name: str, tmp_path: Path) -> None:
    right, wrong, told = SLIPS[name]
    assert SOURCE.count(right) == 1
    run = check(tmp_path, SOURCE.replace(right, wrong), select=["PAR140"])
    finding = run["PAR140"].finding
    assert finding is not None
    assert told in finding.causes[0].hypothesis
    assert "gru.txt:" in finding.causes[0].hypothesis


def test_a_class_may_say_its_equations_itself() -> None:
    class Decay:
        like = "h = a * h + x @ W"

        def init(self, rng: np.random.Generator, D: int, H: int) -> dict[str, Any]:
            return {"W": rng.normal(size=(D, H)), "a": rng.normal(size=H)}

        def zero_state(self, params: Any, N: int) -> dict[str, Any]:
            return {"h": np.zeros((N, len(params["a"])))}

        def run(self, params: Any, xs: Any, state: Any) -> Any:
            h, hs = state["h"], []
            for x in xs:
                h = self.gate(params["a"]) * h + x @ params["W"]
                hs.append(h)
            return np.stack(hs), {"h": h}

        def gate(self, a: Any) -> Any:
            return a

    class Squashed(Decay):
        def gate(self, a: Any) -> Any:
            return sigmoid(a)

    assert bptt.check(Decay, isolate=False, level="smoke").ok
    assert not bptt.check(Squashed, isolate=False, level="smoke", select=["PAR140"]).ok


def test_columns_for_rows_and_gradients_by_hand(tmp_path: Path) -> None:
    (tmp_path / "rnn.txt").write_text("h = tanh(W_x @ x + W_h @ h + b)")
    assert bptt.check("elman", like=str(tmp_path / "rnn.txt"), isolate=False, level="smoke", select=["PAR140", "PAR145"]).ok


def test_a_gradient_that_is_not_that_of_the_equations_is_found() -> None:
    class Wrong(CleanElman):
        like = "h = tanh(x @ W_x + h @ W_h + b)"

        def backward(self, params: Any, xs: Any, state: Any, dys: Any, dfinal: Any) -> Any:
            dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
            return {**dparams, "W_h": dparams["W_h"].T}, dxs, dstate

    right = type("Right", (CleanElman,), {"like": Wrong.like})
    assert bptt.check(right, isolate=False, level="smoke", select=["PAR140", "PAR145"]).ok
    finding = bptt.check(Wrong, isolate=False, level="smoke", select=["PAR145"], block=False)["PAR145"].finding
    assert finding is not None
    assert finding.headline == "dL/dW_h differ from those of equations"


def test_another_cell_may_be_what_it_is_held_against() -> None:
    run = bptt.check("refimpl:lstm", like="torch.nn:LSTMCell", isolate=False, level="smoke", select=["PAR140", "PAR145"])
    assert [r.status for r in run.run.results] == ["passed", "passed"]
    run = bptt.check("refimpl:lstm", like="refimpl:gru_reset_after", isolate=False, level="smoke", select=["PAR140"])
    assert not run.ok
    assert run["PAR140"].finding is not None
    assert "no weights of the one make it the other" in run["PAR140"].finding.headline


def test_equations_whose_weights_are_not_there_are_said_not_to_have_been_examined(tmp_path: Path) -> None:
    (tmp_path / "rnn.txt").write_text("h = tanh(x @ W_x + h @ W_h + b + extra * h)")
    run = bptt.check("refimpl:elman", like=str(tmp_path / "rnn.txt"), isolate=False, level="smoke", select=["PAR140"])
    finding = run["PAR140"].finding
    assert finding is not None
    assert finding.code == "INCONCLUSIVE"
    assert "was not examined" in finding.headline


@pytest.mark.parametrize(("like", "told"), [("nowhere.txt", "no such file"), ("h = tahn(x @ W + h)", "did you mean 'tanh'")])
def test_what_is_no_file_and_no_equation_is_told(like: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        bptt.check("refimpl:elman", like=like, isolate=False, level="smoke")
