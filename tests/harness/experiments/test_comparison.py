from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.errors import UsageError
from bptt.harness.experiments.comparison import DEFINITION, OTHERS, half_life
from bptt.harness.experiments.engine.plan import plan, with_given
from bptt.harness.experiments.flow import given
from bptt.harness.experiments.flow.flow_panels import subject_of
from bptt.harness.weights import files
from bptt.refimpl.cells import CELLS
from bptt.reports.records import Experiment, Table
from tests.harness.experiments.measuring import is_sound, run, wrong

ROOT = Path(__file__).parents[3]
SMALL = {"T": 30, "N": 2, "H": 6, "burn_in": 20, "steps": 40, "length": 40, "draws": 1, "rows": 4}
GRU = "examples/numpy_gru.py:GRU"


def of(**replaced: object) -> Experiment:
    return run(DEFINITION, **SMALL | replaced)  # type: ignore[arg-type]


def table(e: Experiment, name: str) -> Table:
    return next(t for t in e.tables if t.name.startswith(name))


@pytest.mark.thorough
def test_an_rnn_a_gru_and_an_lstm_stand_beside_any_cell_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (planned,) = plan(["comparison"], cells=[GRU])
    assert planned.settings["cell"] == (GRU, *OTHERS) and planned.settings["sizes_of"] == GRU and planned.cell == GRU
    e = of(cell=(GRU, *OTHERS), sizes_of=GRU)
    own, usual = e.frames
    assert {c.name for c in own.curves} == {"your GRU", "RNN", "GRU", "LSTM"}
    assert own.marked == ("your GRU",) and (own.level, own.above, own.below) == (0.0, "explodes", "vanishes")
    assert {c.name for c in usual.curves} == {"your GRU, chrono", "RNN, orthogonal", "GRU, chrono", "LSTM, forget bias 1", "LSTM, chrono"}
    for curve in (*own.curves, *usual.curves):
        assert curve.x == tuple(map(float, range(31))) and curve.y[0] == 0
    assert "vanish" in str(e.words) and e.claims == ()


@pytest.mark.thorough
def test_the_table_is_sorted_by_half_life_and_says_what_was_used() -> None:
    e = of()
    rates = [float(str(row[1])) for row in e.tables[0].rows]
    assert rates == sorted(rates, reverse=True)
    rows = {row[0]: row for row in table(e, "What was used").rows}
    assert rows["LSTM, forget bias 1"][4] == 1.0 and rows["RNN, orthogonal"][2:4] == (1.0, 1.0)
    assert "N(0, 1), 3 wide" in str(table(e, "What was used").note)


def test_a_cell_that_cannot_be_followed_is_said_and_the_others_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    e = of(cell=("examples/wordmodel.py:WordModel", OTHERS[0]), start="own")
    assert [c.name for c in e.frames[0].curves] == ["RNN"]
    assert "network with its loss inside" in str(table(e, "not in the frame").rows[0][1])


def test_a_wrong_gradient_is_drawn_from_the_exact_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    e = of(
        cell=("tests/harness/checks/planted.py:ForgotDirectPath", "tests/harness/checks/planted.py:CleanGRU"), start="own", T=10, steps=5
    )
    assert len(wrong(e)) == 1 and "ForgotDirectPath: error of your gradient" in wrong(e)[0]
    mine, clean = (next(c for c in e.frames[0].curves if c.name == name) for name in ("ForgotDirectPath", "CleanGRU"))
    np.testing.assert_allclose(mine.y, clean.y, atol=1e-6)


def saved(folder: Path, suffix: str, **arrays: Any) -> str:
    path = folder / f"w{suffix}"
    match suffix:
        case ".npz":
            np.savez(path, **arrays)
        case ".safetensors":
            pytest.importorskip("safetensors.numpy").save_file(arrays, path)
        case ".pt":
            torch = pytest.importorskip("torch")
            torch.save({"state_dict": {f"rnn.{k}": torch.from_numpy(a) for k, a in arrays.items()}}, path)
    return str(path)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_trained_weights_and_own_sequences_have_a_frame_of_their_own(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    params = CELLS["lstm"].init(rng, 4, 5)
    params["b"][5:10] = 3.0  # trained to remember
    weights = saved(tmp_path, suffix, **params)
    np.save(tmp_path / "x.npy", rng.normal(size=(90, 3, 4)))
    data = str(tmp_path / "x.npy")
    (planned,) = with_given(plan(["comparison"], cells=["refimpl:lstm"]), weights, data, given.fingerprint(weights, data))
    assert planned.settings["start"] == (*DEFINITION.settings["start"], "given")  # type: ignore[misc]  # it is a tuple
    e = of(cell=("refimpl:lstm", "refimpl:elman"), start="given", sizes_of="refimpl:lstm", weights=weights, data=data)
    (frame,) = e.frames
    assert (
        frame.name == "The same with your weights and sequences"
        and "5 units" in str(frame.words)
        and "3 sequences, 4 wide" in str(frame.words)
    )
    rows = {row[0]: row for row in table(e, "What was used").rows}
    assert rows["LSTM"][4] == 3.0 and weights in str(rows["LSTM"][1]) and "drawn by its init" in str(rows["RNN"][1])
    assert e.words is not None and e.words.startswith("with your weights or sequences LSTM")


def test_files_that_do_not_fit_are_told(tmp_path: Path) -> None:
    lstm = subject_of("refimpl:lstm")
    with pytest.raises(UsageError, match=r"no single tensor for the parameter 'W_h'.*wanted W_x, W_h, b"):
        given.fitted(lstm, {"W_x": np.zeros((3, 16)), "b": np.zeros(16)}, None)
    with pytest.raises(UsageError, match="no sizes D and H fit: got W_x"):
        given.fitted(lstm, {"W_x": np.zeros((3, 16)), "W_h": np.zeros((5, 16)), "b": np.zeros(16)}, None)
    with pytest.raises(UsageError, match=r"ends in '.txt', wanted .npz"):
        files.tensors("w.txt", "--weights")
    with pytest.raises(UsageError, match="cannot be read"):
        files.tensors(str(tmp_path / "none.npz"), "--weights")
    np.save(tmp_path / "x.npy", np.zeros((2, 2, 2, 2)))
    with pytest.raises(UsageError, match=r"float64 \(2, 2, 2, 2\), wanted a .npy of numbers, time first"):
        given.data(str(tmp_path / "x.npy"))
    with pytest.raises(UsageError, match="takes them, wanted comparison"):
        with_given(plan(["book"]), "w.npz", None, "")
    with pytest.raises(UsageError, match="of no cell"):
        with_given(plan(["comparison"]), "w.npz", None, "")


def test_half_lives_in_words_and_sound_settings() -> None:
    said = [half_life(rate) for rate in (-math.log(2) / 4, math.log(2) / 4, 0.0, math.nan)]
    assert said == ["4.0", "doubles in 4.0", "does not fade", "none: nothing reaches back"]
    is_sound(DEFINITION)
    assert DEFINITION.gather([]).words == "nothing measured"
