"""The two parts are held against the whole, and the highway against a cell whose gates are frozen at what they were."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.harness.experiments.flow.paths import Lag, Part, has_highway, recurrent_weights, split, walk
from bptt.refimpl.cells import CELLS
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.types import Array, Params, State, Tape
from bptt.refimpl.unroll import backward, forward

GATED = [name for name, cell in CELLS.items() if has_highway(cell)]
#: Those of which the pre-activations are computed anew below.
COMPUTED = ["lstm", "lstm_peephole", "lstm_tf1", "lstm_projected", "gru_reset_after", "gru_reset_before"]


def trial(name: str, seed: int, T: int, N: int = 2, D: int = 3, H: int = 5, scale: float = 2.0):
    cell, rng = CELLS[name], np.random.default_rng(seed)
    params = {k: scale * p for k, p in cell.init(rng, D, H).items()}
    state = {k: np.asarray(rng.normal(size=s.shape)) for k, s in cell.zero_state(params, N).items()}
    xs = rng.normal(size=(T, N, D))
    _, final, tapes = forward(cell, params, xs, state)
    return cell, params, xs, state, tapes, {k: np.asarray(rng.normal(size=s.shape)) for k, s in final.items()}


def vector(part: Part) -> Array:
    scale = math.exp(part.log)
    return np.concatenate([scale * d for d in part.direction.values()], axis=1)


def difference_from_whole(cell: Cell, params: Params, xs: Array, tapes: list[Tape], dfinal: State, lags: list[Lag]) -> float:
    """Largest difference of highway + recurrent from refimpl's own backward, relative to the largest part."""
    worst = 0.0
    for k in range(len(tapes) + 1):
        tail = tapes[len(tapes) - k :]
        dys = np.zeros((k, *dfinal["h"].shape))
        _, _, dstate = backward(cell, params, xs[len(tapes) - k :], tail, dys, dfinal)
        whole = np.concatenate(list(dstate.values()), axis=1)
        highway, recurrent = vector(lags[k].highway), vector(lags[k].recurrent)
        largest = max(float(np.max(np.abs(a))) for a in (whole, highway, recurrent)) or 1.0
        for summed in (highway + recurrent, vector(lags[k].whole)):
            worst = max(worst, float(np.max(np.abs(summed - whole))) / largest)
    return worst


@pytest.mark.parametrize("name", CELLS)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), T=st.integers(0, 9), N=st.integers(1, 3), H=st.integers(1, 6), scale=st.sampled_from([0.5, 2.0, 6.0])
)
def test_the_parts_sum_to_the_whole(name: str, seed: int, T: int, N: int, H: int, scale: float) -> None:
    cell, params, xs, _, tapes, dfinal = trial(name, seed, T, N, 3, H, scale)
    lags = list(walk(cell, params, tapes, dfinal))
    assert len(lags) == T + 1
    assert difference_from_whole(cell, params, xs, tapes, dfinal, lags) < 1e-12


def test_a_step_left_out_of_the_recurrent_path_is_seen() -> None:
    cell, params, xs, _, tapes, dfinal = trial("lstm", 3, 6)
    lags = list(walk(cell, params, tapes, dfinal))
    lags[4] = replace(lags[4], recurrent=replace(lags[4].recurrent, log=lags[4].recurrent.log + 1e-10))
    assert difference_from_whole(cell, params, xs, tapes, dfinal, lags) > 1e-12


def frozen_pre_activations(cell: Cell, params: Params, xs: Array, state: State) -> list[Array]:
    """The pre-activations (N, G*H) of all gates of each step, found from the published equations and the states alone."""
    found = []
    for x in xs:
        h, c = state["h"], state.get("c")
        H = (h if c is None else c).shape[1]
        axs = cell.project_inputs(params, x[None])[0]
        _, after, _ = cell.step(params, axs, state)
        if cell.name == "gru_reset_after":
            ah = h @ params["W_h"] + params["b_h"]
            r = 1 / (1 + np.exp(-(axs + ah)[:, :H]))
            a = np.concatenate([(axs + ah)[:, : 2 * H], axs[:, 2 * H :] + r * ah[:, 2 * H :]], axis=1)
        elif cell.name == "gru_reset_before":
            a = axs + h @ params["W_h"]
            r = 1 / (1 + np.exp(-a[:, :H]))
            a[:, 2 * H :] = axs[:, 2 * H :] + (r * h) @ params["W_h"][:, 2 * H :]
        else:
            a = axs + h @ params["W_h"]
            if "p" in params and c is not None:
                p_i, p_f, p_o = params["p"]
                a += np.concatenate([p_i * c, p_f * c, 0 * c, p_o * after["c"]], axis=1)
        found.append(a)
        state = after
    return found


@pytest.mark.parametrize("name", COMPUTED)
def test_the_highway_is_the_gradient_of_the_cell_with_frozen_gates(name: str) -> None:
    cell, params, xs, state, tapes, dfinal = trial(name, 7, 6)
    frozen = frozen_pre_activations(cell, params, xs, state)
    unfed = {k: np.zeros_like(p) if k in ("W_h", "b_h", "p") else p for k, p in params.items()}

    def loss(start: State) -> complex:
        for a in frozen:
            cast = {k: p.astype(complex) for k, p in unfed.items()}
            _, start, _ = cell.step(cast, a.astype(complex), start)
        return complex(sum(np.sum(dfinal[k] * s) for k, s in start.items()))

    start = {k: s.astype(complex) for k, s in state.items()}
    np.testing.assert_allclose(
        loss(start).real,
        sum(np.sum(dfinal[k] * s) for k, s in forward(cell, params, xs, state)[1].items()),
        rtol=1e-12,
    )
    *_, last = walk(cell, params, tapes, dfinal)
    for k, s in state.items():
        derivative = np.zeros_like(s)
        for at in np.ndindex(s.shape):
            moved = start[k].copy()
            moved[at] += 1e-30j
            derivative[at] = loss(start | {k: moved}).imag / 1e-30
        highway = math.exp(last.highway.log) * last.highway.direction[k]
        np.testing.assert_allclose(highway, derivative, atol=1e-13 * np.max(np.abs(vector(last.highway)), initial=0))
    assert np.any(last.highway.direction[str(has_highway(cell))])


@pytest.mark.parametrize("name", [name for name in CELLS if name not in GATED])
def test_a_cell_without_gates_has_no_highway(name: str) -> None:
    cell, params, _, _, tapes, dfinal = trial(name, 1, 4)
    lags = list(walk(cell, params, tapes, dfinal))
    assert [lag.highway.log for lag in lags[1:]] == [-math.inf] * 4
    assert all(lag.recurrent.log > -math.inf for lag in lags[1:])


@pytest.mark.parametrize("name", GATED)
def test_without_recurrent_weights_all_runs_along_the_highway(name: str) -> None:
    cell, params, xs, state, _, dfinal = trial(name, 5, 8)
    params = {k: np.zeros_like(p) if k in recurrent_weights(cell) else p for k, p in params.items()}
    _, _, tapes = forward(cell, params, xs, state)
    found = split(cell, params, tapes, dfinal)
    np.testing.assert_allclose(found.whole, found.highway, rtol=0, atol=1e-14)
    assert np.all(found.recurrent == -np.inf)


def test_a_million_times_smaller_than_the_smallest_number_is_still_told() -> None:
    cell, params, xs, state, _, dfinal = trial("lstm", 2, 1500)
    params = params | {"b": np.full_like(params["b"], -3.0)}
    _, _, tapes = forward(cell, params, xs, state)
    found = split(cell, params, tapes, dfinal, "c")
    assert found.highway[-1] < -2000 and found.recurrent[-1] < -1000
    assert np.all(np.isfinite(found.whole))
    assert np.all(found.whole <= np.logaddexp(found.highway, found.recurrent) + 1e-12)
