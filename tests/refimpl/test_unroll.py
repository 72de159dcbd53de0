"""Properties of the loop over time, for every cell and every small size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.refimpl import CELLS, unroll
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.cells.lstm_tf1 import Options, make
from bptt.refimpl.types import Array
from tests.refimpl.proof import Case, Key, keyed, random_case

UNROLLED = [*CELLS.values(), make(Options(peepholes=True, cell_clip=0.3, projected=True, proj_clip=0.2), name="lstm_tf1_full")]
every_cell = pytest.mark.parametrize("cell", UNROLLED, ids=lambda cell: cell.name)
sizes = st.integers(1, 5)
cases = {"T": sizes, "N": sizes, "D": sizes, "H": sizes, "seed": st.integers(0, 2**32 - 1)}
quick = settings(max_examples=15, deadline=None, derandomize=True)


def agree(got: dict[Key, Array], expected: dict[Key, Array], tolerance: float = 1e-12) -> None:
    assert got.keys() == expected.keys()
    scale = max(1.0, *(float(np.abs(d).max(initial=0)) for d in expected.values()))
    for key, d in expected.items():
        np.testing.assert_allclose(got[key], d, rtol=0, atol=tolerance * scale, err_msg=str(key))


def full_gradients(cell: Cell, case: Case) -> dict[Key, Array]:
    _, _, tapes = unroll.forward(cell, case.params, case.xs, case.state)
    return keyed(*unroll.backward(cell, case.params, case.xs, tapes, case.dys, case.dfinal))


def truncated_gradients(cell: Cell, case: Case, window: int) -> dict[Key, Array]:
    _, _, tapes = unroll.forward(cell, case.params, case.xs, case.state)
    return keyed(*unroll.truncated_backward(cell, case.params, case.xs, tapes, case.dys, case.dfinal, window))


def sum_over_errors(cell: Cell, case: Case, window: int) -> dict[Key, Array]:
    """Truncated BPTT as it is defined: for each step t alone, full BPTT over the steps t - window to t."""
    T = len(case.xs)
    total = {key: np.zeros_like(d) for key, d in full_gradients(cell, case).items()}
    states = [case.state]
    for t in range(T):
        states.append(unroll.forward(cell, case.params, case.xs[t : t + 1], states[t])[1])
    for t in range(T):
        start = max(0, t - window)
        xs = case.xs[start : t + 1]
        _, _, tapes = unroll.forward(cell, case.params, xs, states[start])
        dys = np.zeros((len(xs), *case.dys.shape[1:]))
        dys[-1] = case.dys[t]
        dfinal = case.dfinal if t == T - 1 else {name: np.zeros_like(d) for name, d in case.dfinal.items()}
        dparams, dxs, dstate = unroll.backward(cell, case.params, xs, tapes, dys, dfinal)
        for name, d in dparams.items():
            total["params", name] += d
        total["xs", "xs"][start : t + 1] += dxs
        if start == 0:
            for name, d in dstate.items():
                total["state", name] += d
    return total


@every_cell
@quick
@given(**cases, cut=st.integers(0, 5))
def test_two_halves_equal_the_whole(cell: Cell, T: int, N: int, D: int, H: int, seed: int, cut: int) -> None:
    case = random_case(cell, np.random.default_rng(seed), T, N, D, H)
    params, xs, dys, cut = case.params, case.xs, case.dys, min(cut, T)
    ys, final, _ = unroll.forward(cell, params, xs, case.state)
    ys_1, middle, tapes_1 = unroll.forward(cell, params, xs[:cut], case.state)
    ys_2, final_2, tapes_2 = unroll.forward(cell, params, xs[cut:], middle)
    np.testing.assert_allclose(np.concatenate([ys_1, ys_2]), ys, atol=1e-13)
    for name in final:
        np.testing.assert_allclose(final_2[name], final[name], atol=1e-13)
    dparams_2, dxs_2, dmiddle = unroll.backward(cell, params, xs[cut:], tapes_2, dys[cut:], case.dfinal)
    dparams_1, dxs_1, dstate = unroll.backward(cell, params, xs[:cut], tapes_1, dys[:cut], dmiddle)
    halves = keyed({name: dparams_1[name] + dparams_2[name] for name in params}, np.concatenate([dxs_1, dxs_2]), dstate)
    agree(halves, full_gradients(cell, case))


@every_cell
@quick
@given(**cases, extra=st.integers(-1, 3))
def test_a_full_window_is_full_bptt(cell: Cell, T: int, N: int, D: int, H: int, seed: int, extra: int) -> None:
    case = random_case(cell, np.random.default_rng(seed), T, N, D, H)
    agree(truncated_gradients(cell, case, max(T + extra, 0)), full_gradients(cell, case))


@every_cell
@quick
@given(**cases, window=st.integers(0, 6))
def test_a_window_is_the_sum_over_the_errors_of_single_steps(cell: Cell, T: int, N: int, D: int, H: int, seed: int, window: int) -> None:
    case = random_case(cell, np.random.default_rng(seed), T, N, D, H)
    agree(truncated_gradients(cell, case, window), sum_over_errors(cell, case, window))


@every_cell
def test_a_short_window_changes_the_gradient(cell: Cell) -> None:
    case = random_case(cell, np.random.default_rng(1), T=5, N=2, D=3, H=7)
    full, short = full_gradients(cell, case), truncated_gradients(cell, case, 1)
    assert not np.allclose(full["params", "W_x"], short["params", "W_x"], rtol=1e-3)


@every_cell
@pytest.mark.parametrize(("T", "N"), [(0, 2), (3, 0), (0, 0), (1, 0)])
@pytest.mark.parametrize("window", [None, 0, 1])
def test_no_steps_and_no_rows_are_sizes_too(cell: Cell, T: int, N: int, window: int | None) -> None:
    case = random_case(cell, np.random.default_rng(1), T, N, D=3, H=4)
    ys, final, _ = unroll.forward(cell, case.params, case.xs, case.state)
    assert ys.shape == case.dys.shape
    gradients = full_gradients(cell, case) if window is None else truncated_gradients(cell, case, window)
    assert {(g, n): a.shape for g, n, a in case.inputs()} == {key: d.shape for key, d in gradients.items()}
    assert not any(d.any() for (group, _), d in gradients.items() if group == "params")
    if T == 0:
        for name, s in case.state.items():
            np.testing.assert_array_equal(final[name], s)
            np.testing.assert_array_equal(gradients["state", name], case.dfinal[name])


@every_cell
def test_inputs_are_left_alone_and_results_are_new(cell: Cell) -> None:
    for T in (0, 4):
        case = random_case(cell, np.random.default_rng(1), T, N=2, D=3, H=4)
        before = case.map(np.copy)
        ys, final, tapes = unroll.forward(cell, case.params, case.xs, case.state)
        results = unroll.backward(cell, case.params, case.xs, tapes, case.dys, case.dfinal)
        short = unroll.truncated_backward(cell, case.params, case.xs, tapes, case.dys, case.dfinal, 1)
        unroll.gradient_by_lag(cell, case.params, tapes, case.dfinal)
        again = unroll.backward(cell, case.params, case.xs, tapes, case.dys, case.dfinal)
        for key, d in keyed(*results).items():
            np.testing.assert_array_equal(d, keyed(*again)[key])
        for name, s in final.items():
            s += 1
            for gradients in (results, short):
                gradients[2][name][...] += 1
        ys += 1
        for (_, name, a), (_, _, b) in zip(case.inputs(), before.inputs(), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
        for name, d in case.dfinal.items():
            np.testing.assert_array_equal(d, before.dfinal[name])


@every_cell
def test_gradient_by_lag_is_the_norm_of_the_error_on_its_way_back(cell: Cell) -> None:
    T = 6
    case = random_case(cell, np.random.default_rng(1), T, N=2, D=3, H=7)
    _, _, tapes = unroll.forward(cell, case.params, case.xs, case.state)
    logs = unroll.gradient_by_lag(cell, case.params, tapes, case.dfinal)
    assert logs.shape == (T + 1,)
    for lag in range(T + 1):
        none = np.zeros_like(case.dys[T - lag :])
        _, _, dstate = unroll.backward(cell, case.params, case.xs[T - lag :], tapes[T - lag :], none, case.dfinal)
        norm = np.sqrt(sum((d**2).sum() for d in dstate.values()))
        assert logs[lag] == pytest.approx(np.log10(norm), abs=1e-12)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_gradient_by_lag_neither_underflows_nor_overflows(factor: float) -> None:
    """The linear cell with W_h = factor * I: the norm after k steps is exactly factor**k."""
    T, cell = 5000, CELLS["elman_linear"]
    params = {"W_x": np.eye(1), "W_h": np.full((1, 1), factor), "b": np.zeros(1)}
    tape = (np.zeros((1, 1)), np.zeros((1, 1)))
    logs = unroll.gradient_by_lag(cell, params, [tape] * T, {"h": np.ones((1, 1))})
    np.testing.assert_allclose(logs, np.arange(T + 1) * np.log10(factor), rtol=1e-12)


def test_gradient_by_lag_of_a_dead_cell_is_minus_infinity() -> None:
    cell = CELLS["elman_relu"]
    params = {"W_x": np.eye(1), "W_h": np.eye(1), "b": np.zeros(1)}
    tape = (np.zeros((1, 1)), np.full((1, 1), -1.0))
    np.testing.assert_array_equal(unroll.gradient_by_lag(cell, params, [tape] * 3, {"h": np.ones((1, 1))}), [0, *[-np.inf] * 3])


def test_a_negative_window_is_refused() -> None:
    case = random_case(CELLS["elman"], np.random.default_rng(1), 3, 1, 1, 1)
    with pytest.raises(ValueError, match="window is -1, but should be 0 or more"):
        truncated_gradients(CELLS["elman"], case, -1)
