"""Every derivation is right: each cell's backward pass equals a difference quotient at 50 digits."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from bptt.refimpl import CELLS, unroll
from bptt.refimpl.cells import elman, lstm, lstm_tf1
from bptt.refimpl.cells.cell import Cell, Share
from bptt.refimpl.cells.lstm_tf1 import Options
from bptt.refimpl.types import Array, Params, State, Tape
from tests.refimpl.multiprecision import exact
from tests.refimpl.proof import Case, complex_step, gradients, loss, random_case, worst_error

FULL_TF1 = Options(forget_bias=1.0, peepholes=True, cell_clip=0.5, projected=True, proj_size=3, proj_clip=0.1)
CLIPPED_TF1 = Options(forget_bias=-1.0, peepholes=True, cell_clip=0.4)
PROVEN: dict[str, Cell] = {
    **CELLS,
    "lstm_tf1 with all options": lstm_tf1.make(FULL_TF1),
    "lstm_tf1 peepholes and cell clip": lstm_tf1.make(CLIPPED_TF1),
}
every_cell = pytest.mark.parametrize("cell", list(PROVEN.values()), ids=[name.replace(" ", "_") for name in PROVEN])


def kink_distance(cell: Cell, case: Case) -> float:
    """How far the nearest argument of a relu or a clip is from its kink."""
    _, _, tapes = unroll.forward(cell, case.params, case.xs, case.state)
    distances = [np.inf]
    for tape in tapes:
        if cell.name == "elman_relu":
            _, a = tape
            distances.append(float(np.abs(a).min()))
        if isinstance(cell.step, partial):
            options = cell.step.keywords["options"]
            u, v = tape[8], tape[-1]
            for value, limit in ((u, options.cell_clip), (v, options.proj_clip)):
                if limit is not None:
                    distances.append(float(np.abs(np.abs(value) - limit).min()))
    return min(distances)


@every_cell
def test_backward_equals_the_difference_quotient_at_50_digits(cell: Cell) -> None:
    case = random_case(cell, np.random.default_rng(20), T=3, N=2, D=2, H=3)
    assert kink_distance(cell, case) > 1e-6
    error, where = worst_error(cell, case)
    assert error < 1e-35, f"{where}: relative error {error:.1e}"


@pytest.mark.parametrize("options", [FULL_TF1, CLIPPED_TF1], ids=["all_options", "peepholes_and_cell_clip"])
def test_the_proof_of_the_clips_has_values_on_both_sides(options: Options) -> None:
    cell = lstm_tf1.make(options)
    case = random_case(cell, np.random.default_rng(20), T=3, N=2, D=2, H=3)
    _, _, tapes = unroll.forward(cell, case.params, case.xs, case.state)
    inside = np.concatenate([np.abs(tape[8]).ravel() < (options.cell_clip or np.inf) for tape in tapes])
    assert 0 < inside.mean() < 1
    if options.proj_clip is not None:
        inside = np.concatenate([np.abs(tape[-1]).ravel() < options.proj_clip for tape in tapes])
        assert 0 < inside.mean() < 1


def wrong_sign(params: Params, tape: Tape, dy: Array, dstate: State) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    da, dstate_prev, dparams = lstm.step_backward(params, tape, dy, dstate)
    return da, {**dstate_prev, "c": -dstate_prev["c"]}, dparams


def slightly_off(params: Params, tape: Tape, dy: Array, dstate: State) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    da, dstate_prev, dparams = lstm.step_backward(params, tape, dy, dstate)
    return da * (1 + exact(np.array(1e-25))), dstate_prev, dparams


@pytest.mark.parametrize("mistake", [wrong_sign, slightly_off])
def test_the_proof_finds_a_mistake(mistake: Any) -> None:
    planted = replace(lstm.CELL, step_backward=mistake)
    case = random_case(planted, np.random.default_rng(20), T=3, N=1, D=1, H=2)
    right, wrong = gradients(lstm.CELL, case.map(exact)), gradients(planted, case.map(exact))
    assert any((right[key] != wrong[key]).any() for key in right)
    error, where = worst_error(planted, case)
    assert error > 1e-30
    assert where.startswith("dL/d")


@every_cell
@pytest.mark.parametrize("scale", [1.0, 20.0], ids=["ordinary", "saturated"])
def test_backward_equals_the_complex_step(cell: Cell, scale: float) -> None:
    case = random_case(cell, np.random.default_rng(3), T=5, N=2, D=3, H=7, scale=scale)
    hand = gradients(cell, case)
    for group, name, a in case.inputs():
        difference = complex_step(cell, case, group, name)
        error = np.abs(hand[group, name] - difference).max() / (np.abs(difference).max() or 1.0)  # sru and qrnn never read h
        assert error < 1e-13, f"dL/d{name}: relative error {error:.1e}"
        assert difference.shape == a.shape


def test_saturated_gates_lose_no_digits() -> None:
    """With all gates at a = 30, z * (1 - z) has no digit left; the gradients here agree to 15 digits with those at 70 digits."""
    cell = lstm.CELL
    case = random_case(cell, np.random.default_rng(5), T=3, N=1, D=1, H=2)
    case = replace(case, params={**case.params, "b": np.full(8, 30.0)})
    exactly = gradients(cell, case.map(exact))
    for key, d in gradients(cell, case).items():
        reference = exactly[key].astype(float)
        assert np.abs(reference).min() > 0
        np.testing.assert_allclose(d, reference, rtol=1e-11, err_msg=str(key))


def test_a_tanh_at_its_end_loses_no_digits() -> None:
    case = random_case(elman.CELL, np.random.default_rng(6), T=2, N=1, D=1, H=2)
    case = replace(case, params={**case.params, "b": np.full(2, 25.0)})
    exactly = gradients(elman.CELL, case.map(exact))
    for key, d in gradients(elman.CELL, case).items():
        np.testing.assert_allclose(d, exactly[key].astype(float), rtol=1e-12, err_msg=str(key))


@every_cell
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble, np.complex128, object])
def test_results_have_the_dtype_of_the_inputs(cell: Cell, dtype: type) -> None:
    case = random_case(cell, np.random.default_rng(1), T=2, N=2, D=2, H=3)
    case = case.map(exact) if dtype is object else case.map(lambda a: a.astype(dtype))
    ys, final, tapes = unroll.forward(cell, case.params, case.xs, case.state)
    full = unroll.backward(cell, case.params, case.xs, tapes, case.dys, case.dfinal)
    short = unroll.truncated_backward(cell, case.params, case.xs, tapes, case.dys, case.dfinal, window=0)
    for dparams, dxs, dstate in (full, short):
        results = [ys, *final.values(), *(z for tape in tapes for z in tape), *dparams.values(), dxs, *dstate.values()]
        assert {z.dtype for z in results} == {np.dtype(dtype)}


@every_cell
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-4), (np.longdouble, 1e-12)])
def test_other_precisions_agree_with_float64(cell: Cell, dtype: type, tolerance: float) -> None:
    case = random_case(cell, np.random.default_rng(2), T=5, N=2, D=3, H=7)
    expected = gradients(cell, case)
    for key, d in gradients(cell, case.map(lambda a: a.astype(dtype))).items():
        assert np.abs(d - expected[key]).max() <= tolerance * np.abs(expected[key]).max(), key


def test_one_complex_input_makes_everything_complex() -> None:
    case = random_case(lstm.CELL, np.random.default_rng(2), T=2, N=1, D=2, H=2)
    z = case.with_input("params", "b", case.params["b"].astype(complex))
    assert np.iscomplexobj(loss(lstm.CELL, z))
    assert {d.dtype for d in gradients(lstm.CELL, z).values()} == {np.dtype(complex)}
