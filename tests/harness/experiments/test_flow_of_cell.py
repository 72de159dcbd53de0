from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.errors import UsageError
from bptt.harness.experiments.engine.definition import Point
from bptt.harness.experiments.flow import flow_panels
from bptt.harness.experiments.flow.flow_panels import Retaken
from bptt.harness.experiments.flow_of_cell import DEFINITION, words_of_rate
from bptt.refimpl.cells import CELLS
from bptt.refimpl.unroll import forward
from bptt.reports.records import Experiment
from tests.harness.experiments.measuring import is_sound, named, run, wrong

ROOT = Path(__file__).parents[3]
SMALL: dict[str, Any] = {"T": 60, "D": 3, "H": 6, "burn_in": 30, "steps": 80, "length": 24, "draws": 2, "rows": 4}


def of(cell: str, **replaced: Any) -> Experiment:
    return run(DEFINITION, cell=cell, **SMALL | replaced)  # type: ignore[arg-type]


def fact(e: Experiment, what: str) -> str:
    return next(str(row[1]) for row in e.tables[0].rows if row[0] == what)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("cell", "identified"),
    [
        ("refimpl:lstm", True),
        ("refimpl:gru_reset_before", True),
        ("refimpl:lstm_projected", True),
        ("refimpl:elman", True),
        ("examples/numpy_gru.py:GRU", True),
        ("examples/textbook_lstm.py:TimeLSTM", True),
        ("examples/contract_cell.py:MinimalGatedUnit", True),
        ("refimpl:lstm_layernorm", False),
    ],
)
def test_any_cell_is_answered(cell: str, identified: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    e = of(cell)
    assert wrong(e) == []
    assert e.target == cell
    assert str(e.words).startswith("vanishing") and "half-life" in str(e.words) and "window of" in str(e.words)
    norm = e.series[0]
    assert len(norm.x) == len(norm.y) == 60
    assert bool(norm.expected) == identified
    assert fact(e, "steps") == "T = 60"
    if not identified:
        assert fact(e, "gates").startswith("not given")


def test_a_torch_cell_is_answered() -> None:
    pytest.importorskip("torch")
    e = of("torch.nn:GRUCell", T=20, panel=("norm",))
    assert wrong(e) == []
    assert named(e, "gru_reset_after").measured < 1e-12


@pytest.mark.thorough
def test_a_flow_is_drawn_from_the_exact_derivative_where_one_step_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    e, right = (of(f"tests/harness/checks/planted.py:{name}", T=30) for name in ("ForgotDirectPath", "CleanGRU"))
    assert wrong(e)[0] == "error of your gradient of a single step"
    assert fact(e, "your gradient") == "your gradient of a single step is wrong in dL/dh0"
    assert str(e.words).startswith("your gradient of a single step is wrong in dL/dh0: drawn from the exact derivative of the forward pass")
    exact, yours = (next(s for s in e.series if s.name == name) for name in ("gradient norm over lag", "yours"))
    clean = right.series[0]
    np.testing.assert_allclose(exact.y, clean.y, rtol=1e-9)
    assert yours.verdict == "differs" and abs(yours.y[-1] - clean.y[-1]) > 0.1
    windows = [next(s.y for s in of_ if s.name == "bias of truncated BPTT") for of_ in (e.series, right.series)]
    np.testing.assert_allclose(windows[0], windows[1], rtol=1e-7)


def test_the_highway_and_the_gates_of_an_lstm() -> None:
    e = of("refimpl:lstm")
    assert any(s.name.startswith("highway over whole, along c") for s in e.series)
    gates = next(t for t in e.tables if t.name == "saturation of its gates")
    assert [row[0] for row in gates.rows] == ["i", "f", "g", "o"]
    assert "the highway's gradient is" in str(e.words)


def test_the_matrix_of_an_elman_network_proves_something() -> None:
    assert "sigma_max" in fact(of("refimpl:elman", panel=("norm",)), "its matrix proves")


def test_a_network_with_its_loss_inside_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    e = of("examples/wordmodel.py:WordModel")
    assert str(e.words).startswith("not answered: it is a network with its loss inside")
    assert e.series == () and e.claims == ()


@dataclass(frozen=True)
class Forgetful:
    """A cell that shows no state: it starts from zeros at each call, and has one backward pass over all steps."""

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, np.ndarray]:
        return dict(CELLS["elman"].init(rng, input_size, hidden_size))

    def zero_state(self, params: dict[str, np.ndarray], batch_size: int) -> dict[str, np.ndarray]:
        return {}

    def run(self, params, xs, state):  # type: ignore[no-untyped-def]
        return forward(CELLS["elman"], params, xs, CELLS["elman"].zero_state(params, xs.shape[1]))[0], {}

    def backward(self, params, xs, state, dys, dfinal):  # type: ignore[no-untyped-def]
        from bptt.refimpl.unroll import backward

        _, final, tapes = forward(CELLS["elman"], params, xs, CELLS["elman"].zero_state(params, xs.shape[1]))
        dparams, dxs, _ = backward(CELLS["elman"], params, xs, tapes, dys, {"h": np.zeros_like(final["h"])})
        return dparams, dxs, {}


def test_a_cell_that_shows_no_state_is_taken_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from bptt.harness.adapters import adapt

    monkeypatch.setattr("bptt.harness.experiments.flow_of_cell.subject_of", lambda target: adapt(Forgetful(), "mine", None))
    e = of("mine")
    assert fact(e, "steps").startswith("one backward pass over 40 steps and dL/dx, because")
    assert fact(e, "spectrum").startswith("not given") and fact(e, "window").startswith("not given")
    assert str(e.words).startswith("vanishing")


@pytest.mark.thorough
def test_several_subjects_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(UsageError, match="wanted one"):
        flow_panels.subject_of("tests/harness/checks/planted.py")


def test_an_unknown_panel_is_refused() -> None:
    with pytest.raises(UsageError, match="panel is 'norms', wanted norm, spectrum, window"):
        of("refimpl:lstm", panel=("norms",))


def test_tapes_that_are_taken_again_are_those_of_the_forward_pass() -> None:
    cell, rng = CELLS["lstm"], np.random.default_rng(0)
    params, xs = cell.init(rng, 3, 4), rng.normal(size=(5, 2, 3))
    state = cell.zero_state(params, 2)
    _, _, tapes = forward(cell, params, xs, state)
    states = [{"h": tape[0], "c": tape[1]} for tape in tapes]
    again = Retaken(cell, params, xs, states)
    assert len(again) == 5
    for tape, same in zip(reversed(tapes), reversed(again), strict=True):
        for a, b in zip(tape, same, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-15)
    assert len(again[1:3]) == 2


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (0.71, "vanishing 0.71 a step, half-life 2.0 steps"),
        (1.1, "exploding 1.10 a step, doubles in 7.3 steps"),
        (1.0, "neither vanishing nor exploding: 1.000 a step"),
    ],
)
def test_the_rate_in_words(factor: float, said: str) -> None:
    assert words_of_rate(math.log(factor)) == said
    assert words_of_rate(math.nan) == "no gradient reaches back"


def test_settings_are_sound_and_nothing_measured_is_no_crash() -> None:
    is_sound(DEFINITION)
    assert DEFINITION.gather([]).words == "nothing measured"
    settings = {**DEFINITION.settings, **SMALL, "panel": "window"}
    p = Point(settings, DEFINITION.point(settings))
    assert DEFINITION.point(settings) == p.values
    assert str(DEFINITION.gather([p]).words).startswith("a window of")
