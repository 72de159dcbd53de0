from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case
from bptt.harness.errors import ContractError
from bptt.harness.experiments.theory.advisor import advise, shares_of_lags, states_along
from bptt.harness.subject import Array
from bptt.refimpl.cells import CELLS
from bptt.refimpl.unroll import forward, truncated_backward
from tests.harness.gradient.support import changed, reference


@settings(deadline=None)
@given(lam=st.floats(0.05, 0.95), tolerated=st.sampled_from([0.01, 0.1, 0.5]))
def test_geometric_shares_need_a_window_of_log_tolerated_over_log_lam(lam: float, tolerated: float) -> None:
    reach = 400
    advice = advise([lam**k * np.ones(3) for k in range(reach)], tolerated)
    expected = math.log(tolerated) / math.log(lam)
    np.testing.assert_allclose(advice.bias[:60], lam ** np.arange(60.0), atol=1e-8)
    if abs(expected - round(expected)) > 1e-6:
        assert advice.window == math.ceil(expected)


def test_a_bias_that_comes_back_counts() -> None:
    shares = [np.array([s]) for s in (1.0, -0.5, 0.5, 0.0, 0.0)]  # g(1) = 1 = g, and yet window 2 is wrong by half
    advice = advise(shares)
    np.testing.assert_allclose(advice.bias, [1, 0, 0.5, 0, 0, 0])
    assert advice.window == 3


def test_no_advice_where_the_last_lag_still_matters() -> None:
    assert advise([np.ones(2)] * 10).window is None
    assert advise([2.0**k * np.ones(2) for k in range(10)]).window is None


def test_no_gradient_at_all_needs_no_window() -> None:
    assert advise([np.zeros(2)] * 3).window == 0


@pytest.mark.parametrize("name", CELLS)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000), E=st.integers(1, 4), reach=st.integers(1, 5), N=st.integers(1, 3))
def test_shares_add_up_to_the_windows_of_truncated_bptt(name: str, seed: int, E: int, reach: int, N: int) -> None:
    subject, cell, T = reference(name), CELLS[name], E + reach - 1
    data = draw(subject, Case(T, N, 3, 4, seed=seed))
    ys, final, tapes = forward(cell, data.params, data.xs, data.state)
    dys = np.random.default_rng(seed).normal(size=ys.shape)
    dys[: T - E] = 0
    states = states_along(subject, data.params, data.xs, data.state)
    shares = shares_of_lags(subject, data.params, data.xs, states, dys[T - E :], reach)
    assert len(shares) == reach
    for K in range(1, reach + 1):
        dfinal = {k: np.zeros_like(s) for k, s in final.items()}
        dparams, _, _ = truncated_backward(cell, data.params, data.xs, tapes, dys, dfinal, K - 1)
        expected = np.concatenate([dparams[k].ravel() for k in sorted(dparams)])
        np.testing.assert_allclose(np.sum(shares[:K], axis=0), expected, atol=1e-12 * max(float(np.max(np.abs(expected))), 1.0))


def arrays(batch_sizes: tuple[int, ...] | None) -> list[Array]:
    subject = replace(reference("lstm"), batch_sizes=batch_sizes)
    data = draw(subject, Case(8, 2, 3, 4))
    dys = np.random.default_rng(1).normal(size=(3, 2, 4))
    return shares_of_lags(subject, data.params, data.xs, states_along(subject, data.params, data.xs, data.state), dys, 6)


def test_a_subject_of_one_batch_size_is_asked_step_by_step() -> None:
    np.testing.assert_allclose(arrays((2,)), arrays(None), atol=1e-14)


def test_a_backward_without_dstate_is_told() -> None:
    subject = changed(reference("gru_reset_after"), lambda g: replace(g, state={}))
    data = draw(subject, Case(4, 2, 3, 4))
    states = states_along(subject, data.params, data.xs, data.state)
    with pytest.raises(ContractError, match="gives no dstate for 'h'"):
        shares_of_lags(subject, data.params, data.xs, states, np.ones((1, 2, 4)), 2)
    with pytest.raises(ValueError, match="4 steps, wanted at least 6"):
        shares_of_lags(subject, data.params, data.xs, states, np.ones((3, 2, 4)), 4)
