from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.harness.experiments.flow import truncated_bptt
from bptt.harness.experiments.flow.advisor import advise
from bptt.harness.experiments.flow.truncated_bptt import aicher_bound, artbp, scalar_bias, tanh_network
from bptt.harness.experiments.truncation import DEFINITION
from tests.harness.experiments.measuring import is_sound, run, wrong

SMALL: dict[str, Any] = {"gain": (0.6,), "seed": (0,), "reach": 30, "E": 10, "H": 8, "N": 2, "samples": 2000}


def test_all_claims_hold() -> None:
    e = run(DEFINITION, **SMALL)
    assert wrong(e) == []
    assert "steps at gain 0.6" in str(e.words)
    is_sound(DEFINITION)


@settings(max_examples=20, deadline=None)
@given(lam=st.floats(0.3, 0.97), K=st.integers(1, 25))
def test_the_bias_of_a_scalar_memory_is_lam_to_the_window(lam: float, K: int) -> None:
    assert scalar_bias(lam, K) == pytest.approx(lam**K, abs=1e-12)


def test_the_numbers_of_the_publication() -> None:
    assert [round(scalar_bias(0.9, K), 5) for K in (5, 10, 20)] == [0.59049, 0.34868, 0.12158]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), gain=st.floats(0.3, 1.3), tau=st.integers(1, 10))
def test_the_bound_is_above_the_bias(seed: int, gain: float, tau: int) -> None:
    lags = tanh_network(gain, 6, 34, 2, np.random.default_rng(seed)).lags(10, 25)
    assert np.all(aicher_bound(lags.all_shares, tau, 25) >= advise([lags]).bias[:-1] * (1 - 1e-12))


def test_the_bound_is_tight_where_the_decay_is_geometric() -> None:
    shares = [0.8**k * np.ones(2) for k in range(200)]
    bound = aicher_bound(shares, 5, 200)
    assert np.all(np.isinf(bound[:5]))
    np.testing.assert_allclose(bound[5:40], 0.8 ** np.arange(5.0, 40.0), rtol=1e-9)


def test_no_bound_where_nothing_decays() -> None:
    assert np.all(np.isinf(aicher_bound([np.ones(2)] * 30, 5, 30)))


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 1000), c=st.sampled_from([0.1, 0.5, 0.8]))
def test_random_cuts_are_unbiased(seed: int, c: float) -> None:
    rng = np.random.default_rng(seed)
    found = artbp(tanh_network(0.9, 3, 9, 1, rng), c, 100, rng)
    assert float(str(found["artbp"])) < 1e-12
    assert float(str(found["spread"])) > 0 < float(str(found["always cut"]))


def test_cuts_without_their_factor_are_biased(monkeypatch: pytest.MonkeyPatch) -> None:
    right = truncated_bptt._cut
    monkeypatch.setattr(truncated_bptt, "_cut", lambda network, pattern, c: right(network, pattern, 0.0))
    found = wrong(run(DEFINITION, **SMALL))
    assert any("all 256 cut patterns" in name for name in found)


def test_a_window_that_is_one_too_long_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right: Any = truncated_bptt.truncated_backward
    monkeypatch.setattr(truncated_bptt, "truncated_backward", lambda *args: right(*args[:-1], args[-1] + 1))
    found = wrong(run(DEFINITION, **SMALL))
    assert any("relative bias of window 5" in name for name in found)
    assert any("windows of truncated BPTT" in name for name in found)


def test_blocks_lose_more_than_windows() -> None:
    network = tanh_network(0.9, 8, 60, 2, np.random.default_rng(0))
    whole = network.gradient(network.dys)
    window = np.linalg.norm(network.gradient(network.dys, window=10) - whole) / np.linalg.norm(whole)
    assert network.block_bias(10) > window
    assert network.block_bias(60) == 0
