from __future__ import annotations

import numpy as np
import pytest

from bptt.harness.gradient.derivatives.complex_step import complex_step
from bptt.harness.gradient.derivatives.tangent import Direction, astype, contract, side_by_side
from tests.harness.gradient.support import drawn, exact, forgetful_lstm, function, on, reference


def test_it_is_exact_where_a_forgetful_lstm_has_a_gradient_of_1e_43() -> None:
    subject, data = forgetful_lstm(T=60)
    v = on(subject, data, "last output only")
    truth = exact("lstm", data, v).xs
    assert truth is not None
    assert 1e-44 < np.max(np.abs(truth[0])) < 1e-42  # lag 59
    for lag in (0, 1, 9, 30, 59):
        for unit in range(3):
            u = np.zeros_like(data.xs)
            u[59 - lag, 0, unit] = 1
            value, _ = contract(complex_step(subject, data, Direction(xs=u)), v)
            assert value == pytest.approx(truth[59 - lag, 0, unit], rel=1e-12, abs=0)


@pytest.mark.parametrize("dtype", [np.float64, np.longdouble])
def test_it_follows_the_dtype(dtype: type) -> None:
    subject = reference("gru_reset_after")
    data = astype(drawn(subject), dtype)
    tangent = complex_step(subject, data, Direction(xs=np.ones_like(data.xs)))
    assert tangent.ys_dot.dtype == dtype


def test_rows_of_one_batch_give_what_single_runs_give() -> None:
    subject = reference("lstm")
    data = drawn(subject)
    directions = [Direction(xs=np.ones_like(data.xs)), Direction(state={"c": np.ones_like(data.state["c"])})]
    for together, u in zip(side_by_side(lambda at, u: complex_step(subject, at, u), data, directions), directions, strict=True):
        alone = complex_step(subject, data, u)
        np.testing.assert_allclose(together.ys_dot, alone.ys_dot, rtol=1e-13, atol=1e-16)
        np.testing.assert_allclose(together.final_dot["c"], alone.final_dot["c"], rtol=1e-13, atol=1e-16)


def test_code_that_drops_the_imaginary_part_is_an_error_and_not_a_zero() -> None:
    data = drawn(reference("elman"))

    def cast(xs: np.ndarray) -> np.ndarray:
        ys = np.zeros(xs.shape)
        ys[:] = xs
        return ys

    with pytest.raises(TypeError, match="returned float64 outputs"):
        complex_step(function(lambda xs: xs.real), data, Direction(xs=np.ones_like(data.xs)))
    with pytest.raises(Exception, match="imaginary part"):
        complex_step(function(cast), data, Direction(xs=np.ones_like(data.xs)))
