from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.harness.cases import Cotangent, Data
from bptt.harness.gradient.derivatives.differences import contracted, ladder, ladders, measured_noise, slope
from bptt.harness.gradient.derivatives.extrapolation import smooth_from
from bptt.harness.gradient.derivatives.tangent import Direction
from tests.harness.gradient.support import drawn, exact, function, on, reference

Pair = tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]
#: f(x; k, c) and its derivative.
SMOOTH: dict[str, Pair] = {
    "polynomial": (lambda x, k, c: (k * x) ** 5 - c * x**2, lambda x, k, c: 5 * k**5 * x**4 - 2 * c * x),
    "sine": (lambda x, k, c: np.sin(k * x + c), lambda x, k, c: k * np.cos(k * x + c)),
    "tanh": (lambda x, k, c: np.tanh(k * (x - c)), lambda x, k, c: k / np.cosh(k * (x - c)) ** 2),
    "exponential": (lambda x, k, c: np.exp(k * x / 3), lambda x, k, c: k / 3 * np.exp(k * x / 3)),
}
KINKED: dict[str, Pair] = {
    "relu": (lambda x, k, c: np.maximum(k * (x - c), 0), lambda x, k, c: k * (x > c)),
    "abs": (lambda x, k, c: np.abs(x - c) * np.exp(x), lambda x, k, c: (np.sign(x - c) + np.abs(x - c)) * np.exp(x)),
    "clip": (lambda x, k, c: np.clip(k * x, -abs(c) - 0.1, abs(c) + 0.1), lambda x, k, c: k * (np.abs(k * x) < abs(c) + 0.1)),
}


def differentiated(pair: Pair, dtype: str, x0: float, k: float, c: float) -> tuple[float, float, float]:
    """Value and error from the ladder, and the derivative."""
    f, df = pair
    kk, cc = np.dtype(dtype).type(k), np.dtype(dtype).type(c)
    x = np.full((1, 1, 1), x0, dtype)
    one = np.ones_like(x)
    value, error = contracted(ladder(function(lambda xs: f(xs, kk, cc), dtype), Data({}, x, {}), Direction(xs=one)), Cotangent("", one, {}))
    return value, error, float(df(x.astype(np.float64), float(kk), float(cc)).sum())


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(
    name=st.sampled_from([*SMOOTH, *KINKED]),
    x0=st.floats(-2, 2),
    k=st.floats(0.2, 4),
    c=st.floats(-2, 2),
    near=st.none() | st.floats(1e-5, 1),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_the_stated_error_bounds_the_true_one(dtype: str, name: str, x0: float, k: float, c: float, near: float | None) -> None:
    """Within what the certificate forgives: 30 times the stated error, and rounding."""
    x0 = c + near if near is not None and name in KINKED else x0
    value, error, truth = differentiated((SMOOTH | KINKED)[name], dtype, x0, k, c)
    unit = float(np.finfo(dtype).eps) / 2
    assert abs(value - truth) <= 30 * error + 2**11 * unit * (abs(value) + abs(truth)) + 1e-300


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [*SMOOTH, *KINKED])
def test_nearly_always_the_error_itself_is_a_bound_and_it_is_small(name: str, dtype: str) -> None:
    rng = np.random.default_rng(5)
    eps, within, relative = float(np.finfo(dtype).eps), 0, []
    for _ in range(80):
        value, error, truth = differentiated((SMOOTH | KINKED)[name], dtype, 1.5 * rng.normal(), rng.uniform(0.3, 3), rng.normal())
        within += abs(value - truth) <= error + 8 * eps * abs(value)
        relative.append(error / max(abs(truth), 0.1))
    assert within >= 76
    assert np.median(relative) < (1e-9 if dtype == "float64" else 5e-3)


def test_the_noise_is_measured() -> None:
    rng = np.random.default_rng(0)
    data = Data({}, rng.normal(size=(4, 3, 5)), {})
    along = Direction(xs=np.ones_like(data.xs))
    exact_noise = measured_noise(function(np.sin), data, along).ys_dot
    rounded = measured_noise(function(lambda xs: np.sin(xs).astype(np.float32).astype(np.float64)), data, along).ys_dot
    assert np.max(exact_noise) < 1e-14
    assert 1e-9 < np.sqrt(np.mean(rounded**2)) < 1e-6


def test_steps_over_a_kink_are_left_out() -> None:
    steps = 2.0 ** -np.arange(4, 11)
    assert smooth_from(steps, steps, 1e-16, 1.0) == 0
    assert smooth_from(np.where(steps > 0.01, 0.5, 1e-3 * steps), steps, 1e-16, 1.0) == 3


def test_ladders_through_one_wide_batch_equal_ladders_one_by_one() -> None:
    subject = reference("gru_reset_before")
    data = drawn(subject)
    v = on(subject, data, "every output and final state")
    truth = exact("gru_reset_before", data, v)
    assert truth.xs is not None
    directions = [Direction(xs=np.ones_like(data.xs)), Direction(state={"h": np.ones_like(data.state["h"])})]
    for rows_apart in (True, False):
        found = [contracted(one, v) for one in ladders(subject, data, directions, rows_apart)]
        for (value, error), expected in zip(found, (truth.xs.sum(), truth.state["h"].sum()), strict=True):
            assert abs(value - expected) <= error < 1e-7


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_noise_is_never_below_two_units_in_the_last_place(dtype: str) -> None:
    """A function that is computed without any rounding: nothing is seen, and that is no proof of exactness."""
    sizes = np.array([[[0.0, 1.0, -3.0]]], dtype)
    data = Data({}, np.zeros((1, 1, 3), dtype), {})
    noise = measured_noise(function(lambda xs: sizes + 0 * xs, dtype), data, Direction(xs=np.ones_like(data.xs))).ys_dot
    assert np.array_equal(noise, 2 * float(np.finfo(dtype).eps) * np.abs(sizes))


def test_a_lucky_entry_has_the_noise_of_the_others() -> None:
    rng = np.random.default_rng(3)
    quiet, loud = np.zeros(40), np.ones(40)
    noisy = function(lambda xs: xs * 0 + 1e-6 * rng.normal(size=xs.shape) * np.concatenate([quiet, loud]))
    noise = measured_noise(noisy, Data({}, np.ones((1, 1, 80)), {}), Direction(xs=np.ones((1, 1, 80)))).ys_dot[0, 0]
    assert np.all(noise[:40] == noise[0]) and 3e-7 < noise[0] < 2e-6  # the root mean square of 40 quiet and 40 loud ones
    assert np.max(noise[40:]) > 1e-6 and np.min(noise[40:]) >= noise[0]


def test_the_error_of_a_slope_has_the_same_floor() -> None:
    (value,), (error,) = slope(lambda h: np.array([3.0]), 1.0)
    eps, smallest, largest = np.finfo(float).eps, 2.0**-10, 2.0**-4
    assert value == 0.0
    assert 2 * (2 * eps * 3.0) / largest <= error <= 2 * (2 * eps * 3.0) / smallest


def test_a_slope_is_relative_to_the_size_of_its_direction() -> None:
    (value,), (error,) = slope(lambda h: np.array([np.sin(h / 100)]), 0.01)
    assert abs(value - 0.01) <= 30 * error < 1e-11
