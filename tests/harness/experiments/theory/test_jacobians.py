from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from bptt.harness.adapters.reference import subject as reference_subject
from bptt.harness.errors import ContractError
from bptt.harness.experiments.theory.jacobians import (
    by_backward,
    by_complex_step,
    cell_jacobians,
    cell_map,
    flatten,
    subject_jacobians,
    unflatten,
)
from bptt.harness.subject import Array
from bptt.harness.targets import load
from bptt.refimpl import CELLS
from bptt.refimpl.cells.lstm_tf1 import Options, make
from bptt.refimpl.unroll import backward, forward

#: Reference cells and options of them that have no name of their own.
MORE = {
    "lstm_tf1, peepholes": make(Options(peepholes=True)),
    "lstm_tf1, projected": make(Options(peepholes=True, projected=True, proj_size=3)),
}
ALL = {**CELLS, **MORE}


def drawn(name: str, T: int, H: int = 5, seed: int = 0, gain: float = 2.0):  # type: ignore[no-untyped-def]
    """cell, params, xs (T, 1, 3), state: weights and states well inside the nonlinear range."""
    cell, rng = ALL[name], np.random.default_rng(seed)
    params = {key: gain * p for key, p in cell.init(rng, 3, H).items()}
    state = {key: np.asarray(0.5 * rng.normal(size=s.shape)) for key, s in cell.zero_state(params, 1).items()}
    return cell, params, rng.normal(size=(T, 1, 3)), state


def test_flattening_and_back() -> None:
    rng = np.random.default_rng(0)
    state = {"h": rng.normal(size=(4, 3)), "c": rng.normal(size=(4, 5)), "stack": rng.normal(size=(4, 2, 2))}
    s = flatten(state)
    assert s.shape == (4, 12)
    for name, part in unflatten(s[:2], state).items():
        np.testing.assert_array_equal(part, state[name][:2])


@pytest.mark.parametrize("name", CELLS)
def test_three_ways_to_one_jacobian(name: str) -> None:
    """Unit cotangents through step_backward, through the subject's backward, and a complex step of its forward pass."""
    cell, params, xs, state = drawn(name, 3)
    subject = reference_subject(cell)
    for t, J in enumerate(cell_jacobians(cell, params, xs, state)):
        assert J.shape == (flatten(state).shape[1],) * 2
        for other in (by_backward, by_complex_step):
            np.testing.assert_allclose(other(subject, params, xs[t], state), J, rtol=1e-12, atol=1e-14)
        _, state, _ = forward(cell, params, xs[t : t + 1], state)


@pytest.mark.parametrize("name", ["elman", "lstm", "gru_reset_before", "lstm_projected"])
def test_it_is_the_slope_of_the_next_state(name: str) -> None:
    """Against differences of the step itself: J[i, j] is d s_t[i] / d s_(t-1)[j], not its transpose."""
    cell, params, xs, state = drawn(name, 1)
    advance, s = cell_map(cell, params, xs, state), flatten(state)
    n, e = s.shape[1], 1e-6
    apart = (advance(0, s + e * np.eye(n)) - advance(0, s - e * np.eye(n))) / (2 * e)
    (J,) = cell_jacobians(cell, params, xs, state)
    np.testing.assert_allclose(J, apart.T, atol=1e-9)
    assert np.max(np.abs(J - J.T)) > 0.1


def test_the_map_walks_the_trajectory() -> None:
    cell, params, xs, state = drawn("lstm_peephole", 4)
    s, advance = flatten(state), cell_map(cell, params, xs, state)
    for t in range(4):
        s = advance(t, s)
    np.testing.assert_allclose(s, flatten(forward(cell, params, xs, state)[1]), rtol=1e-13)


def test_batches_of_steps_are_cut_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    case = drawn("lstm", 7)
    whole = list(cell_jacobians(*case))
    monkeypatch.setattr("bptt.harness.experiments.theory.jacobians._ROWS", 30)  # three steps of ten rows
    np.testing.assert_array_equal(list(cell_jacobians(*case)), whole)


@pytest.mark.parametrize("name", ["elman", "lstm", "lstm_projected", "gru_reset_after"])
def test_singular_values_of_forward_and_adjoint_products_are_identical(name: str) -> None:
    """Tangents forward in time, by complex steps; and errors back through T steps at once, by BPTT."""
    cell, params, xs, state = drawn(name, 6)
    subject, s, product = reference_subject(cell), dict(state), np.eye(flatten(state).shape[1])
    for t in range(6):
        product = by_complex_step(subject, params, xs[t], s) @ product
        s = forward(cell, params, xs[t : t + 1], s)[1]
    n = len(product)
    rows = {key: np.repeat(part, n, axis=0) for key, part in state.items()}
    xs_rows = np.repeat(xs, n, axis=1)
    ys, _, tapes = forward(cell, params, xs_rows, rows)
    _, _, dstate = backward(cell, params, xs_rows, tapes, np.zeros_like(ys), unflatten(np.eye(n), state))
    adjoint = flatten(dstate)
    forward_values, adjoint_values = (np.linalg.svd(P, compute_uv=False) for P in (product, adjoint.T))
    np.testing.assert_allclose(forward_values, adjoint_values, atol=1e-13 * forward_values[0])


def test_any_subject_with_its_own_backward_or_without() -> None:
    (subject,) = load("examples/contract_cell.py:MinimalGatedUnit")
    rng = np.random.default_rng(0)
    params = subject.implementation.init(rng, 3, 4)
    state = {name: np.asarray(rng.normal(size=s.shape)) for name, s in subject.implementation.zero_state(params, 1).items()}
    xs = rng.normal(size=(3, 1, 3))
    blind = replace(subject, capabilities=frozenset())
    np.testing.assert_allclose(
        list(subject_jacobians(subject, params, xs, state)), list(subject_jacobians(blind, params, xs, state)), rtol=1e-11, atol=1e-13
    )


@pytest.mark.parametrize(("target", "like"), [("torch.nn:LSTM", "lstm"), ("torch.nn:GRU", "gru_reset_after")])
def test_a_torch_module_has_the_jacobians_of_the_reference(target: str, like: str) -> None:
    (subject,) = load(target)
    rng = np.random.default_rng(0)
    theirs = subject.implementation.init(rng, 3, 4)
    state = {name: np.asarray(0.5 * rng.normal(size=s.shape)) for name, s in subject.implementation.zero_state(theirs, 1).items()}
    xs = rng.normal(size=(2, 1, 3))
    b_x, b_h = theirs["bias_ih_l0"], theirs["bias_hh_l0"]
    params = {"W_x": theirs["weight_ih_l0"].T, "W_h": theirs["weight_hh_l0"].T}
    params |= {"b": b_x + b_h} if like == "lstm" else {"b_x": b_x, "b_h": b_h}
    found, exact = subject_jacobians(subject, theirs, xs, state), cell_jacobians(CELLS[like], params, xs, state)
    np.testing.assert_allclose(list(found), list(exact), atol=1e-14)


@pytest.mark.parametrize("sizes", [(1,), (4,), (7, 16)])
def test_only_batch_sizes_that_the_subject_takes_are_used(sizes: tuple[int, ...]) -> None:
    cell, params, xs, state = drawn("lstm", 1)
    subject = replace(reference_subject(cell), batch_sizes=sizes, implementation=Picky(reference_subject(cell).implementation, sizes))
    (J,) = cell_jacobians(cell, params, xs, state)
    for way in (by_backward, by_complex_step):
        np.testing.assert_allclose(way(subject, params, xs[0], state), J, atol=1e-13)


class Picky:
    def __init__(self, whole: object, sizes: tuple[int, ...]) -> None:
        self.run, self.backward = (partial(self._checked, getattr(whole, name)) for name in ("run", "backward"))
        self.sizes = sizes

    def _checked(self, method, params, xs, *rest):  # type: ignore[no-untyped-def]
        assert xs.shape[1] in self.sizes
        return method(params, xs, *rest)


def test_a_subject_that_shows_no_state_is_refused() -> None:
    cell, params, xs, _ = drawn("elman", 1)
    with pytest.raises(ContractError, match=r"elman.zero_state gives no state, wanted every array"):
        next(subject_jacobians(reference_subject(cell), params, xs, {}))


def test_a_backward_that_keeps_the_memory_to_itself_is_refused() -> None:
    cell, params, xs, state = drawn("lstm", 1)
    subject = reference_subject(cell)

    class Forgetful:
        run = subject.implementation.run

        def backward(self, *args: Array) -> tuple[dict[str, Array], Array, dict[str, Array]]:
            dparams, dxs, dstate = subject.implementation.backward(*args)
            return dparams, dxs, {"h": dstate["h"]}

    with pytest.raises(ContractError, match="gives no dstate for 'c'"):
        by_backward(replace(subject, implementation=Forgetful()), params, xs[0], state)
