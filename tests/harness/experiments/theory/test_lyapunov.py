from __future__ import annotations

import math
from itertools import cycle, islice, repeat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.harness.experiments.theory.jacobians import cell_jacobians, cell_map, flatten
from bptt.harness.experiments.theory.lyapunov import (
    attractor_dimension,
    benettin,
    entropy_rate,
    floquet,
    invariant_start,
    largest_of,
    random_start,
    spectrum,
)
from bptt.harness.experiments.theory.random_matrices import orthogonal
from bptt.refimpl.activations import sigmoid
from bptt.refimpl.unroll import forward
from tests.harness.experiments.theory.test_jacobians import ALL, drawn

#: An inactive unit of relu has a row of zeros: det J = 0, and its smallest exponent is -inf; so has an h that is not read.  What is
#: normalised has lost two directions, but for rounding.
SINGULAR = {"elman_relu", "indrnn", "sru", "qrnn", "lstm_layernorm"}


@pytest.mark.parametrize("name", sorted(ALL.keys() - SINGULAR))
def test_the_sum_of_all_exponents_is_the_mean_of_log_det(name: str) -> None:
    """For any start and any length, as the product of R's diagonal is |det J|: of the full state, h alone would not do."""
    cell, params, xs, state = drawn(name, 60)
    found = list(cell_jacobians(cell, params, xs, state))
    n = len(found[0])
    log_det = np.mean([np.linalg.slogdet(J)[1] for J in found])
    exponents = spectrum(found, random_start(np.random.default_rng(1), n, n)).exponents
    assert np.sum(exponents) == pytest.approx(log_det, abs=1e-10)


def test_the_sum_was_held_for_ten_cells() -> None:
    assert len(ALL.keys() - SINGULAR) >= 10


def test_what_a_unit_at_rest_loses_is_not_trusted() -> None:
    cell, params, xs, state = drawn("elman_relu", 60)
    found = list(cell_jacobians(cell, params, xs, state))
    assert any(np.linalg.matrix_rank(J) < len(J) for J in found)
    s = spectrum(found, random_start(np.random.default_rng(1), 5, 5))
    assert not s.trusted[-1]
    assert not np.isnan(s.exponents).any()


def test_an_exact_zero_is_minus_infinity() -> None:
    s = spectrum(repeat(np.diag([2.0, 1.0, 0.0]), 10), np.eye(3))
    np.testing.assert_allclose(s.exponents, [math.log(2), 0, -math.inf], atol=1e-15)
    assert s.trusted.tolist() == [True, True, False]
    assert s.standard_errors.tolist() == [pytest.approx(0, abs=1e-15), pytest.approx(0, abs=1e-15), math.inf]


@pytest.mark.parametrize("name", ["elman", "lstm", "gru_reset_after"])
def test_a_periodic_input_has_the_exponents_of_one_period(name: str) -> None:
    """Exact where the start spans the eigenvectors of the period; else off by what the start has to forget, over T."""
    J = on_a_cycle(name, 3)
    exact, n = floquet(J), len(J[0])
    aligned = spectrum(islice(cycle(J), 300), invariant_start(J[2] @ J[1] @ J[0])).exponents
    np.testing.assert_allclose(by_planes(J, aligned), by_planes(J, exact), atol=1e-9)
    start = random_start(np.random.default_rng(2), n, n)
    unaligned, turned = (spectrum(islice(cycle(J), 1500), start, burn_in=burn_in).exponents for burn_in in (0, 600))
    off, left = (abs(by_planes(J, found) - by_planes(J, exact))[0] for found in (unaligned, turned))
    assert 1e-6 < off < 5e-3
    assert left < 1e-9


def on_a_cycle(name: str, p: int) -> list[np.ndarray]:
    """One period of Jacobians of a cell that has settled on a p-periodic input."""
    cell, params, xs, state = drawn(name, p, gain=1.5)
    for _ in range(300):
        _, state, _ = forward(cell, params, xs, state)
    _, again, _ = forward(cell, params, xs, state)
    np.testing.assert_allclose(flatten(again), flatten(state), atol=1e-13)
    return list(cell_jacobians(cell, params, xs, state))


def by_planes(J: list[np.ndarray], exponents: np.ndarray) -> np.ndarray:
    """Sums over complex pairs of the period's eigenvalues: at finite time only those are exact."""
    values = np.linalg.eigvals(J[2] @ J[1] @ J[0])
    ends = np.cumsum([2 if value.imag else 1 for value in sorted(values, key=lambda v: (-abs(v), -v.imag)) if value.imag >= 0])
    return np.add.reduceat(exponents, [0, *ends[:-1]])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_a_fixed_point_has_the_logarithms_of_its_eigenvalues(n: int, seed: int) -> None:
    W = np.random.default_rng(seed).normal(size=(n, n))
    values = np.log(np.sort(np.abs(np.linalg.eigvals(W)))[::-1])
    s = spectrum(repeat(W, 50), invariant_start(W))
    cumulative, exact = np.cumsum(s.exponents), np.cumsum(values)
    whole = np.append(values[:-1] - values[1:] > 1e-6, True)  # not between the two of a pair
    np.testing.assert_allclose(cumulative[whole], exact[whole], atol=1e-9)
    np.testing.assert_allclose(floquet([W]), values, atol=1e-12)


def test_an_orthogonal_network_neither_gains_nor_loses_a_direction() -> None:
    W = orthogonal(np.random.default_rng(0), 12, 0.9)
    s = spectrum(repeat(W, 1000), random_start(np.random.default_rng(1), 12, 12))
    np.testing.assert_allclose(s.exponents, math.log(0.9), atol=4e-14)
    np.testing.assert_allclose(np.linalg.svd(np.linalg.matrix_power(W, 1000))[1] / 0.9**1000, 1, atol=1e-12)


def test_diagonal_weights_decay_each_on_its_own() -> None:
    """A linear network, and one of relu as long as all units are active."""
    w = np.array([0.9, 0.5, 0.2])
    for name, b in (("elman_linear", 0.0), ("elman_relu", 1.0)):
        params = {"W_x": np.zeros((1, 3)), "W_h": np.diag(w), "b": np.full(3, b)}
        s = spectrum(cell_jacobians(ALL[name], params, np.zeros((40, 1, 1)), {"h": np.ones((1, 3))}), np.eye(3))
        np.testing.assert_allclose(s.exponents, np.log(w), atol=1e-15)


def test_without_recurrent_weights_an_lstm_keeps_what_its_forget_gates_keep() -> None:
    """dc_T/dc_0 = prod f_t; what was in h is lost in one step."""
    cell, params, xs, state = drawn("lstm", 50)
    params["W_h"] = np.zeros_like(params["W_h"])
    a_f = (xs @ params["W_x"] + params["b"])[:, 0, 5:10]
    product = np.eye(10)
    for J in cell_jacobians(cell, params, xs, state):
        product = J @ product
    np.testing.assert_allclose(product[5:, 5:], np.diag(np.exp(np.log(sigmoid(a_f)).sum(axis=0))), rtol=1e-12)
    np.testing.assert_array_equal(product[:, :5], 0)
    full = spectrum(cell_jacobians(cell, params, xs, state), random_start(np.random.default_rng(0), 10, 10))
    assert full.trusted.tolist() == [True] * 5 + [False] * 5


def test_without_recurrent_weights_a_gru_keeps_what_its_update_gates_keep() -> None:
    cell, params, xs, state = drawn("gru_reset_after", 50)
    params["W_h"] = np.zeros_like(params["W_h"])
    a_z = (xs @ params["W_x"] + params["b_x"] + params["b_h"])[:, 0, 5:10]
    s = spectrum(cell_jacobians(cell, params, xs, state), np.eye(5))
    np.testing.assert_allclose(s.exponents, np.log(sigmoid(a_z)).mean(axis=0), atol=1e-13)


@pytest.mark.parametrize("name", ["elman", "gru_reset_after", "lstm", "lstm_peephole"])
def test_decomposing_at_every_fourth_step_changes_no_more_than_the_rounding_that_is_stated(name: str) -> None:
    cell, params, xs, state = drawn(name, 400)
    J = list(cell_jacobians(cell, params, xs, state))
    Q = random_start(np.random.default_rng(0), len(J[0]), len(J[0]))
    often, seldom = spectrum(J, Q), spectrum(J, Q, every=4)
    assert often.steps == seldom.steps == 400
    assert np.all(np.abs(often.exponents - seldom.exponents) <= 1e-13 + often.rounding + seldom.rounding)
    assert np.all(often.trusted)
    np.testing.assert_allclose(often.exponents[:3], seldom.exponents[:3], atol=1e-9)


@pytest.mark.parametrize(("name", "gain"), [("elman", 5.0), ("lstm", 3.0), ("gru_reset_before", 3.0)])
def test_two_trajectories_part_as_the_first_exponent_says(name: str, gain: float) -> None:
    cell, params, xs, state = drawn(name, 1200, H=8, gain=gain)
    n = flatten(state).shape[1]
    start = random_start(np.random.default_rng(3), n, 1)
    by_qr = spectrum(cell_jacobians(cell, params, xs, state), start, burn_in=200).exponents[0]
    apart = benettin(cell_map(cell, params, xs, state), flatten(state)[0], start[:, 0], 1000, burn_in=200)
    assert apart == pytest.approx(by_qr, abs=2e-3)


def test_two_trajectories_that_meet() -> None:
    assert benettin(lambda t, s: 0 * s, np.ones(2), np.ones(2), 5) == -math.inf


@pytest.mark.parametrize("name", ["elman", "lstm"])
def test_the_order_of_the_units_does_not_matter(name: str) -> None:
    cell, params, xs, state = drawn(name, 200)
    order = np.random.default_rng(4).permutation(5)
    columns = np.concatenate([order + 5 * k for k in range(len(cell.gates))])
    turned = {key: p[..., columns] for key, p in params.items()}
    turned["W_h"] = turned["W_h"][order]
    n = flatten(state).shape[1]
    Q = random_start(np.random.default_rng(5), n, n)
    rows = np.concatenate([order + 5 * k for k in range(n // 5)])
    one = spectrum(cell_jacobians(cell, params, xs, state), Q)
    other = spectrum(cell_jacobians(cell, turned, xs, {key: s[:, order] for key, s in state.items()}), Q[rows])
    np.testing.assert_allclose(other.exponents, one.exponents, atol=1e-12)


def test_scaling_a_linear_network_shifts_all_exponents() -> None:
    cell, params, xs, state = drawn("elman_linear", 100)
    Q = random_start(np.random.default_rng(0), 5, 5)
    half = {**params, "W_h": params["W_h"] / 2}
    one, other = (spectrum(cell_jacobians(cell, p, xs, state), Q).exponents for p in (params, half))
    np.testing.assert_allclose(other, one - math.log(2), atol=1e-13)


@pytest.mark.thorough
def test_standard_errors_are_those_of_a_mean_over_correlated_steps() -> None:
    """Diagonal J_t = exp(a_t), a_t = phi a_(t-1) + noise: the error of its mean is 1 / (1 - phi) that of noise alone."""
    rng, phi, T, n = np.random.default_rng(0), 0.8, 4000, 40
    noise, a = rng.normal(size=(T, n)), np.zeros((T, n))
    for t in range(1, T):
        a[t] = phi * a[t - 1] + noise[t]
    s = spectrum(map(np.diag, np.exp(a)), np.eye(n))
    np.testing.assert_allclose(s.exponents, a.mean(axis=0), atol=1e-13)
    exact = 1 / (1 - phi) / math.sqrt(T)
    assert math.sqrt(np.mean(s.standard_errors**2)) == pytest.approx(exact, rel=0.1)
    assert s.exponents.std() == pytest.approx(exact, rel=0.3)


def test_a_sequence_too_short_for_its_burn_in() -> None:
    with pytest.raises(ValueError, match="no step is left after a burn-in of 5"):
        spectrum(repeat(np.eye(2), 5), np.eye(2), burn_in=5)


def test_one_batch_says_nothing_of_the_error() -> None:
    assert spectrum([np.eye(2)], np.eye(2)).standard_errors.tolist() == [math.inf, math.inf]


def test_the_largest_exponent_is_the_largest_whichever_column_has_it() -> None:
    assert largest_of([-0.5, -0.2, -1.0], [1e-3, 1e-3, 1e-3], 1000)[0] == -0.2
    value, error = largest_of([-0.200, -0.203, -1.0], [1e-3, 2e-3, 1e-1], 1000)
    assert value == -0.2 and error == pytest.approx(math.hypot(2e-3, 3e-3, 1e-3))  # two that trade places
    assert largest_of([-math.inf, -math.inf], [math.inf, math.inf], 10) == (-math.inf, math.inf)


@pytest.mark.parametrize("seed", range(8))
def test_the_error_of_the_largest_covers_close_exponents(seed: int) -> None:
    """Rotations times diag(e^-0.1, e^-0.101): both exponents are -0.1005, and a run of 60 steps cannot tell them apart."""
    rng = np.random.default_rng(seed)
    turns = rng.uniform(0, 2 * math.pi, size=60)
    steps = [np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]]) @ np.diag(np.exp([-0.1, -0.101])) for a in turns]
    value, error = spectrum(steps, random_start(rng, 2, 2)).largest
    assert abs(value - -0.1005) <= 3 * error


def test_entropy_rate_and_dimension_of_exponents_that_are_known() -> None:
    """Lorenz: 0.9056, 0, -14.5723 have the dimension 2.062."""
    assert attractor_dimension(np.array([0.9056, 0.0, -14.5723])) == pytest.approx(2 + 0.9056 / 14.5723)
    assert attractor_dimension(np.array([-0.1, -1.0])) == 0 and attractor_dimension(np.array([0.2, -0.1])) == 2
    assert attractor_dimension(np.array([-3.0, 1.0])) == pytest.approx(1 + 1 / 3)  # in any order
    assert entropy_rate(np.array([0.5, -1.0, 0.25])) == 0.75
