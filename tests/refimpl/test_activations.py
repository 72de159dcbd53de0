"""Activations and derivatives: exact to the last digits in every regime, in every number system, without a warning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

from bptt.refimpl import activations
from bptt.refimpl.types import Array
from tests.refimpl.multiprecision import CONTEXT, Number, exact

POINTS = np.array([-700.0, -100.0, -40.0, -20.0, -3.0, -0.5, -1e-8, 0.0, 1e-8, 0.5, 3.0, 20.0, 40.0, 100.0, 700.0])


def sigmoid_exactly(a: float) -> mpmath.mpf:
    return 1 / (1 + CONTEXT.exp(-CONTEXT.mpf(a)))


EXACT: dict[str, tuple[Callable[[Array], Array], Callable[[float], mpmath.mpf]]] = {
    "sigmoid": (activations.sigmoid, sigmoid_exactly),
    "sigmoid_bar": (lambda a: activations.sigmoid_pair(a)[1], lambda a: sigmoid_exactly(-a)),
    "sigmoid_derivative": (activations.sigmoid_derivative, lambda a: sigmoid_exactly(a) * sigmoid_exactly(-a)),
    "tanh": (activations.tanh, lambda a: CONTEXT.tanh(CONTEXT.mpf(a))),
    "tanh_derivative": (activations.tanh_derivative, lambda a: 1 / CONTEXT.cosh(CONTEXT.mpf(a)) ** 2),
}
each = pytest.mark.parametrize(("function", "exactly"), EXACT.values(), ids=EXACT)


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_values_are_exact_to_a_few_ulp(function: Callable[[Array], Array], exactly: Callable[[float], mpmath.mpf], dtype: type) -> None:
    reach = 40 if dtype is np.float32 else 350
    points = POINTS[np.abs(POINTS) <= reach].astype(dtype)
    for a, z in zip(points, function(points), strict=True):
        expected = exactly(CONTEXT.mpf(float(a)))
        number: Any = exact(np.array(z))[()]
        assert abs(number.value - expected) <= 8 * float(np.finfo(dtype).eps) * abs(expected), a


@each
def test_nothing_overflows(function: Callable[[Array], Array], exactly: Callable[[float], mpmath.mpf]) -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for a in (-np.inf, -1.7e308, -1000.0, 1000.0, 1.7e308, np.inf):
            assert np.isfinite(function(np.array([a]))).all()
        for a in (-1000.0, 1000.0):
            z = function(np.array([complex(a, 1e-30)]))[0]
            assert np.isfinite(z)
            assert z.real == pytest.approx(float(exactly(a)), abs=1e-300)


@each
def test_nan_passes(function: Callable[[Array], Array], exactly: Callable[[float], mpmath.mpf]) -> None:
    assert np.isnan(function(np.array([np.nan]))).all()
    assert np.isnan(activations.relu(np.array([np.nan]))).all()
    assert np.isnan(activations.clip_real(np.array([np.nan]), 1.0)).all()


@each
@pytest.mark.parametrize("a", [-30.0, -2.0, 0.0, 0.3, 30.0])
def test_one_code_for_complex_and_multiprecision_numbers(
    function: Callable[[Array], Array], exactly: Callable[[float], mpmath.mpf], a: float
) -> None:
    real = function(np.array([a]))
    assert function(np.array([complex(a)]))[0].real == pytest.approx(real[0], rel=1e-13)
    many_digits = function(exact(np.array([a])))[0]
    assert abs(many_digits.value - exactly(a)) <= CONTEXT.mpf(10) ** -65


DERIVATIVES: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "sigmoid": (activations.sigmoid, activations.sigmoid_derivative),
    "tanh": (activations.tanh, activations.tanh_derivative),
    "relu": (activations.relu, activations.relu_derivative),
    "identity": (activations.identity, activations.identity_derivative),
    "clip": (lambda a: activations.clip_real(a, 0.4), lambda a: activations.clip_real_derivative(a, 0.4)),
}


@pytest.mark.parametrize(("function", "derivative"), DERIVATIVES.values(), ids=DERIVATIVES)
def test_a_derivative_is_the_complex_step_of_its_function(function: Callable[[Array], Array], derivative: Callable[[Array], Array]) -> None:
    a = np.array([-5.0, -0.45, -0.3, 0.2, 0.5, 4.0, 30.0])
    np.testing.assert_allclose(derivative(a), function(a + 1e-30j).imag / 1e-30, rtol=1e-14)


@pytest.mark.parametrize(("function", "derivative"), DERIVATIVES.values(), ids=DERIVATIVES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble, np.complex128, object])
def test_dtype_is_kept(function: Callable[[Array], Array], derivative: Callable[[Array], Array], dtype: type) -> None:
    a = exact(np.array([-1.0, 0.0, 2.0])) if dtype is object else np.array([-1, 0, 2], dtype)
    assert function(a).dtype == derivative(a).dtype == np.dtype(dtype)
    if dtype is object:
        assert {type(z) for z in function(a)} == {Number}


def test_kinks_have_the_derivatives_that_the_frameworks_give_them() -> None:
    """relu'(0) = 0, and a clip passes the gradient at its border."""
    np.testing.assert_array_equal(activations.relu_derivative(np.array([-1.0, 0.0, 1.0])), [0, 0, 1])
    np.testing.assert_array_equal(activations.clip_real_derivative(np.array([-0.5, -0.4, 0.4, 0.5]), 0.4), [0, 1, 1, 0])
    np.testing.assert_array_equal(activations.clip_real(np.array([-0.5, -0.4, 0.1, 0.5]), 0.4), [-0.4, -0.4, 0.1, 0.4])


def test_arguments_are_left_alone() -> None:
    for function, derivative in DERIVATIVES.values():
        a = np.array([-2.0, 0.3, 2.0])
        before = a.copy()
        function(a), derivative(a)
        np.testing.assert_array_equal(a, before)
