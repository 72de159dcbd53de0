"""The table of published cells: names, shapes, documentation, and that everything is what the plug-in contract needs."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

import bptt.refimpl
from bptt.harness.weights.map import shape_of
from bptt.refimpl import CELLS, unroll
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.cells.lstm_tf1 import Options, make

every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


def test_the_names_are_those_that_like_accepts() -> None:
    for name, cell in CELLS.items():
        assert cell.name == name
        assert getattr(bptt.refimpl, name) is cell
        assert bptt.refimpl.find(name) is cell


def test_an_unknown_name_says_which_is_near() -> None:
    with pytest.raises(LookupError, match="no published cell is called 'lsmt': did you mean 'lstm'\\? known are elman, "):
        bptt.refimpl.find("lsmt")
    with pytest.raises(LookupError, match="no published cell is called 'transformer': known are elman, "):
        bptt.refimpl.find("transformer")


@every_cell
def test_shapes_are_the_canonical_ones(cell: Cell) -> None:
    D, H, N = 3, 7, 2
    params = cell.init(np.random.default_rng(0), D, H)
    P = params["W_p"].shape[1] if "W_p" in params else H
    own = {parameter.name: shape_of(parameter.shape(P != H), {"D": D, "H": H, "P": P}) for parameter in cell.parameters}
    assert not own or {name: p.shape for name, p in params.items()} == own  # a cell that is not searched for declares none
    assert all(p.dtype == np.float64 and (p != 0).all() for p in params.values())
    assert {gate for parameter in cell.parameters for gate in parameter.gates} <= set(cell.gates)
    state = cell.zero_state(params, N)
    assert {name: s.shape for name, s in state.items()} == {name: (N, P if name == "h" else H) for name in cell.states}
    assert not any(s.any() for s in state.values())
    float32 = cell.zero_state({name: p.astype(np.float32) for name, p in params.items()}, N)
    assert {s.dtype for s in float32.values()} == {np.dtype(np.float32)}


@every_cell
def test_init_depends_on_the_generator_alone(cell: Cell) -> None:
    first, again = (cell.init(np.random.default_rng(4), 3, 7) for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])


@every_cell
def test_a_cell_travels_to_another_process(cell: Cell) -> None:
    copy = pickle.loads(pickle.dumps(cell))
    params = cell.init(np.random.default_rng(4), 3, 7)
    xs, state = np.ones((2, 1, 3)), cell.zero_state(params, 1)
    np.testing.assert_array_equal(unroll.forward(copy, params, xs, state)[0], unroll.forward(cell, params, xs, state)[0])


@every_cell
def test_the_output_is_the_new_h_and_tapes_have_rows(cell: Cell) -> None:
    N, params = 2, cell.init(np.random.default_rng(4), 3, 7)
    axs = cell.project_inputs(params, np.ones((1, N, 3)))
    y, state, tape = cell.step(params, axs[0], cell.zero_state(params, N))
    np.testing.assert_array_equal(y, state["h"])
    assert all(len(z) == N for z in tape)


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_documented_in_five_parts(name: str) -> None:
    doc = importlib.import_module(f"bptt.refimpl.cells.{name}").__doc__ or ""
    parts = [line.split()[0] for line in doc.splitlines() if line and not line.startswith(" ")][1:]
    assert parts == ["Equations", "Shapes", "Derivation", "Source", "Variant"]


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="proj_size is 3, but projected is False"):
        Options(proj_size=3)
    with pytest.raises(ValueError, match=r"proj_clip is 0\.5, but projected is False"):
        Options(proj_clip=0.5)
    with pytest.raises(ValueError, match=r"cell_clip is -1\.0, but should be positive"):
        Options(cell_clip=-1.0)
    assert make(Options(projected=True, proj_size=3)).init(np.random.default_rng(0), 2, 5)["W_p"].shape == (5, 3)


def test_the_reference_needs_numpy_alone() -> None:
    program = (
        "import sys, numpy; before = set(sys.modules); import bptt.refimpl, bptt.refimpl.unroll;"
        "new = {name.split('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "['bptt']"
