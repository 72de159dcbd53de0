"""The regressor: proven at 50 digits, exact for the linear cell, and rolled out from its own predictions."""

from __future__ import annotations

import numpy as np
import pytest

from bptt.refimpl.models.regressor import MINIMAL, Regressor, windows
from tests.refimpl.models.modelproof import assert_proven, random_state
from tests.refimpl.multiprecision import exact

T, N, D, H = 4, 3, 2, 3


@pytest.mark.parametrize("cell", ["minimal", "elman_linear", "elman", "lstm", "gru_reset_after", "lstm_projected"])
@pytest.mark.parametrize("output_size", [1, 2])
def test_every_gradient_is_proven_at_50_digits(cell: str, output_size: int) -> None:
    model, rng = Regressor(cell, output_size), np.random.default_rng(0)
    params = model.init(rng, D, H)
    inputs, targets = model.batch(rng, params, T, N)
    assert_proven(model, params, exact(inputs), exact(targets), random_state(model, rng, params, N), rng)


def test_the_minimal_cell_is_a_sum_of_powers() -> None:
    """h_T = sum of x_t W_x W_h^(T-t) + h_0 W_h^T, and no bias anywhere."""
    model, rng = Regressor(), np.random.default_rng(1)
    params = model.init(rng, D, H)
    assert set(params) == {"W_x", "W_h", "W_y", "b_y"}
    inputs, targets = model.batch(rng, params, T, N)
    state = random_state(model, rng, params, N)
    powers = [np.linalg.matrix_power(params["W_h"], k) for k in range(T + 1)]
    h = sum(inputs[t] @ params["W_x"] @ powers[T - 1 - t] for t in range(T)) + state["h"] @ powers[T]
    y, final = model.predict(params, inputs, state)
    np.testing.assert_allclose(final["h"], h, rtol=1e-13)
    np.testing.assert_allclose(y, h @ params["W_y"] + params["b_y"], rtol=1e-13)
    loss, dparams, _ = model.loss(params, inputs, targets, state)
    assert loss == pytest.approx(((y - targets) ** 2).mean(), rel=1e-14)
    dh = 2 * (y - targets) / y.size @ params["W_y"].T
    np.testing.assert_allclose(dparams["W_x"], sum(inputs[t].T @ dh @ powers[T - 1 - t].T for t in range(T)), rtol=1e-12)


def test_the_minimal_cell_is_the_linear_cell_with_a_zero_bias() -> None:
    minimal, biased = Regressor(), Regressor("elman_linear")
    rng = np.random.default_rng(2)
    params = minimal.init(rng, D, H)
    inputs, targets = minimal.batch(rng, params, T, N)
    state = random_state(minimal, rng, params, N)
    loss, dparams, _ = minimal.loss(params, inputs, targets, state)
    loss_biased, dbiased, _ = biased.loss({**params, "b": np.zeros(H)}, inputs, targets, state)
    assert loss == loss_biased
    assert "b" not in dparams
    assert "b" not in minimal.zero_state(params, N)
    for name, d in dparams.items():
        np.testing.assert_array_equal(d, dbiased[name])
    assert MINIMAL.name == "minimal"


def test_a_rollout_is_fed_its_own_predictions() -> None:
    """The minimal cell can be a pure delay of two steps: x_{t+1} = x_{t-1} goes on for ever."""
    model = Regressor()
    params = {"W_x": np.array([[1.0, 0.0]]), "W_h": np.array([[0.0, 1.0], [0.0, 0.0]]), "W_y": np.array([[0.0], [1.0]]), "b_y": np.zeros(1)}
    window = np.array([3.0, 5.0, 7.0])[:, None, None]
    np.testing.assert_allclose(model.rollout(params, window, 5)[:, 0, 0], [5, 7, 5, 7, 5])
    assert window[:, 0, 0].tolist() == [3, 5, 7]
    assert model.rollout(params, window, 0).shape == (0, 1, 1)


def test_a_sine_needs_two_units_and_goes_on_exactly() -> None:
    """sin((t+1) w) = 2 cos(w) sin(t w) - sin((t-1) w): a linear recurrence, which a cell without activation can be."""
    series = np.sin(0.3 * np.arange(60))
    inputs, targets = windows(series, 10)
    assert inputs.shape == (10, 50, 1)
    np.testing.assert_array_equal(inputs[:, 7, 0], series[7:17])
    assert targets[7, 0] == series[17]
    params = {
        "W_x": np.array([[1.0, 0.0]]),
        "W_h": np.array([[0.0, 1.0], [0.0, 0.0]]),
        "W_y": np.array([[2 * np.cos(0.3)], [-1.0]]),
        "b_y": np.zeros(1),
    }
    model = Regressor()
    loss, _, _ = model.loss(params, inputs, targets, model.zero_state(params, 50))
    assert loss < 1e-30
    predictions = model.rollout(params, inputs[:, :1], 50)
    np.testing.assert_allclose(predictions[:, 0, 0], series[10:], atol=1e-12)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(LookupError, match="no published cell is called 'minimum'"):
        Regressor("minimum")
    model = Regressor()
    params = model.init(np.random.default_rng(0), D, H)
    with pytest.raises(ValueError, match="rollout: the window has 2 values a step, wanted 1, as many as it predicts"):
        model.rollout(params, np.zeros((T, N, D)), 3)
    with pytest.raises(ValueError, match="the series has 5 values, wanted at least 6: a window of 5 and its target"):
        windows(np.zeros(5), 5)


@pytest.mark.parametrize("cell", ["minimal", "lstm"])
@pytest.mark.parametrize("dtype", [np.float32, np.longdouble, np.complex128])
def test_results_have_the_dtype_of_the_parameters(cell: str, dtype: type) -> None:
    model, rng = Regressor(cell), np.random.default_rng(0)
    params = {name: p.astype(dtype) for name, p in model.init(rng, 1, H).items()}
    inputs, targets = model.batch(rng, params, T, N)
    loss, dparams, final = model.loss(params, inputs, targets, model.zero_state(params, N))
    arrays = [inputs, targets, np.asarray(loss), *dparams.values(), *final.values(), model.rollout(params, inputs, 2)]
    assert {a.dtype for a in arrays} == {np.dtype(dtype)}
