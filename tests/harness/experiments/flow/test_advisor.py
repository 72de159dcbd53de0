from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case
from bptt.harness.errors import ContractError
from bptt.harness.experiments.flow.advisor import KEPT, NEGLIGIBLE, Lags, _folded, advise, lags_of, states_along
from bptt.harness.subject import Array
from bptt.refimpl.cells import CELLS
from bptt.refimpl.unroll import forward, truncated_backward
from tests.harness.gradient.support import changed, reference


def lags(shares: Sequence[Array] | Array, errors: Sequence[float] | Array | None = None) -> Lags:
    """One draw, as far as something is left of it; the error falls as the shares do where nothing else is said."""
    g = np.array(shares, dtype=float)
    sizes = np.linalg.norm(g, axis=1) if errors is None else np.array(errors)
    n = int(np.sum(sizes > NEGLIGIBLE * sizes.max())) if errors is None and sizes[-1] < NEGLIGIBLE * sizes.max() else len(g)
    return Lags(g[:n], sizes[:n], len(g))


@settings(deadline=None)
@given(lam=st.floats(0.05, 0.95), tolerated=st.sampled_from([0.01, 0.1, 0.5]))
def test_geometric_shares_need_a_window_of_log_tolerated_over_log_lam(lam: float, tolerated: float) -> None:
    reach = 400
    advice = advise([lags([lam**k * np.ones(3) for k in range(reach)])], tolerated)
    expected = math.log(tolerated) / math.log(lam)
    np.testing.assert_allclose(advice.bias[:60], lam ** np.arange(60.0), atol=1e-8)
    if abs(expected - round(expected)) > 1e-6:
        assert advice.window == advice.endless == math.ceil(expected)


@settings(deadline=None, max_examples=20)
@given(lam=st.floats(0.99, 0.9999), seed=st.integers(0, 1000))
def test_lags_beyond_the_reach_are_added_by_the_measured_rate(lam: float, seed: int) -> None:
    reach, rng = 200, np.random.default_rng(seed)
    draws = [lags([lam**k * rng.normal(size=900) for k in range(reach)], lam ** np.arange(1.0, reach + 1)) for _ in range(4)]
    advice, K = advise(draws), np.arange(reach + 1.0)
    np.testing.assert_allclose(advice.bias**2, (lam ** (2 * K) - lam ** (2 * reach)) / (1 - lam ** (2 * reach)), atol=0.06)
    assert advice.factor == pytest.approx(lam, rel=1e-9)
    assert advice.endless == pytest.approx(math.log(0.1) / math.log(lam), rel=0.1)
    assert advice.bound is None or (advice.endless is not None and advice.bound >= advice.endless)


def test_a_bias_that_comes_back_counts() -> None:
    advice = advise([lags([np.array([s]) for s in (1.0, -0.5, 0.5, 0.0, 0.0)])])  # g(1) = 1 = g, and yet window 2 is wrong by half
    np.testing.assert_allclose(advice.bias, [1, 0, 0.5, 0, 0, 0])
    assert advice.window == 3


def test_no_window_for_endless_sequences_where_the_error_does_not_fade() -> None:
    flat = advise([lags([np.ones(2)] * 10)])
    assert (flat.window, flat.endless, flat.bound) == (10, None, None)
    growing = advise([lags([1.1**k * np.ones(2) for k in range(10)])])
    assert growing.endless is None and growing.factor == pytest.approx(1.1)


def test_a_rate_that_is_lost_in_its_error_promises_nothing() -> None:
    rng = np.random.default_rng(0)
    errors = np.exp(np.cumsum(rng.normal(-0.001, 0.1, size=200)))
    assert advise([lags(rng.normal(size=(200, 5)), errors.tolist())]).endless is None


def test_an_error_that_explodes_needs_all_of_the_sequence() -> None:
    advice = advise([Lags(np.ones((5, 2)), 1e4 ** np.arange(5.0), 50)])
    assert (advice.window, advice.endless, advice.factor) == (50, None, math.inf)


def test_no_gradient_at_all_needs_no_window() -> None:
    assert advise([lags([np.zeros(2)] * 3)]).window == 0


def test_a_long_gradient_is_folded_and_keeps_its_norm() -> None:
    g = np.random.default_rng(0).normal(size=50_000)
    folded = _folded(g)
    assert folded.shape == (KEPT,)
    assert np.linalg.norm(folded) == pytest.approx(np.linalg.norm(g), rel=0.05)
    np.testing.assert_allclose(_folded(2 * g), 2 * folded)


@pytest.mark.parametrize("name", CELLS)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000), E=st.integers(1, 4), reach=st.integers(1, 5), N=st.integers(1, 3))
def test_shares_add_up_to_the_windows_of_truncated_bptt(name: str, seed: int, E: int, reach: int, N: int) -> None:
    subject, cell, T = reference(name), CELLS[name], E + reach - 1
    data = draw(subject, Case(T, N, 3, 4, seed=seed))
    ys, final, tapes = forward(cell, data.params, data.xs, data.state)
    dys = np.asarray(np.random.default_rng(seed).normal(size=ys.shape))
    dys[: T - E] = 0
    states = states_along(subject, data.params, data.xs, data.state)
    shares = lags_of(subject, data.params, data.xs, states, dys[T - E :], reach).all_shares
    assert len(shares) == reach
    for K in range(1, reach + 1):
        dfinal = {k: np.zeros_like(s) for k, s in final.items()}
        dparams, _, _ = truncated_backward(cell, data.params, data.xs, tapes, dys, dfinal, K - 1)
        expected = np.concatenate([dparams[k].ravel() for k in sorted(dparams)])
        np.testing.assert_allclose(np.sum(shares[:K], axis=0), expected, atol=1e-12 * max(float(np.max(np.abs(expected))), 1.0))


def arrays(batch_sizes: tuple[int, ...] | None) -> Array:
    subject = replace(reference("lstm"), batch_sizes=batch_sizes)
    data = draw(subject, Case(8, 2, 3, 4))
    dys = np.random.default_rng(1).normal(size=(3, 2, 4))
    return lags_of(subject, data.params, data.xs, states_along(subject, data.params, data.xs, data.state), dys, 6).all_shares


def test_a_subject_of_one_batch_size_is_asked_step_by_step() -> None:
    np.testing.assert_allclose(arrays((2,)), arrays(None), atol=1e-14)


def test_a_backward_without_dstate_is_told() -> None:
    subject = changed(reference("gru_reset_after"), lambda g: replace(g, state={}))
    data = draw(subject, Case(4, 2, 3, 4))
    states = states_along(subject, data.params, data.xs, data.state)
    with pytest.raises(ContractError, match="gives no dstate for 'h'"):
        lags_of(subject, data.params, data.xs, states, np.ones((1, 2, 4)), 2)
    with pytest.raises(ValueError, match="4 steps, wanted at least 6"):
        lags_of(subject, data.params, data.xs, states, np.ones((3, 2, 4)), 4)
