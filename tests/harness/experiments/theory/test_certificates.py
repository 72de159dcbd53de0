from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.harness.experiments.book import matrix
from bptt.harness.experiments.theory.certificates import FAST, _schatten, certify, diagonal_scaling, scaled_norm, spectral_radius
from bptt.harness.subject import Array


@st.composite
def matrices(draw: st.DrawFn, largest: int = 7) -> Array:
    H, seed = draw(st.integers(1, largest)), draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    return rng.normal(size=(H, H)) * (rng.random((H, H)) < draw(st.sampled_from([0.3, 1.0])))


def test_the_book() -> None:
    found = certify(matrix())
    assert 1 / found.smax == pytest.approx(0.37602, abs=5e-6)
    assert found.scaled == pytest.approx(2.25582, abs=5e-6)
    assert 1 / found.rho == pytest.approx(0.79669, abs=5e-6)
    verdicts = {scale: (certify(scale * matrix()).verdict, certify(scale * matrix()).by) for scale in (0.37, 0.44, 0.5, 0.8)}
    assert verdicts == {
        0.37: ("vanishing", "singular value"),
        0.44: ("vanishing", "diagonal scaling"),
        0.5: ("undecided", ""),
        0.8: ("exploding linearly", "spectral radius"),
    }


@settings(max_examples=30, deadline=None)
@given(W=matrices())
def test_the_scaled_norm_lies_between_the_radius_and_the_other_bounds(W: Array) -> None:
    found = certify(W, 1.0, FAST)
    assert found.rho <= found.scaled * (1 + 1e-6) + 1e-6
    assert found.scaled <= found.smax * (1 + 1e-12)
    if np.all(W):  # else the best P may be infinite
        assert found.scaled <= spectral_radius(np.abs(W)) * (1 + 1e-9)


@settings(max_examples=10, deadline=None)
@given(W=matrices(5), seed=st.integers(0, 1000))
def test_signs_and_the_order_of_units_do_not_matter(W: Array, seed: int) -> None:
    rng = np.random.default_rng(seed)
    signs, order = rng.choice([-1.0, 1.0], size=len(W)), rng.permutation(len(W))
    same = (signs[:, None] * W * signs)[np.ix_(order, order)]
    assert scaled_norm(same, diagonal_scaling(same)) == pytest.approx(scaled_norm(W, diagonal_scaling(W)), rel=1e-3, abs=1e-3)


def test_scaling_undoes_a_change_of_units() -> None:
    rng = np.random.default_rng(0)
    S = rng.normal(size=(6, 6))
    S = (S + S.T) / 2  # symmetric: its norm is its spectral radius, the least that any P can reach
    W = np.diag(d := np.exp(2 * rng.normal(size=6))) @ S @ np.diag(1 / d)
    assert certify(W).smax > 5 * certify(W).rho
    assert certify(W).scaled == pytest.approx(np.linalg.norm(S, 2), rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(W=matrices(6), order=st.sampled_from([1, 3, 16]), seed=st.integers(0, 1000))
def test_the_gradient_of_the_schatten_norm(W: Array, order: int, seed: int) -> None:
    if not np.any(W):
        return
    rng = np.random.default_rng(seed)
    log_p, along = 0.3 * rng.normal(size=len(W)), rng.normal(size=len(W))
    _, gradient = _schatten(W, log_p, order)
    h = 1e-5
    difference = (_schatten(W, log_p + h * along, order)[0] - _schatten(W, log_p - h * along, order)[0]) / (2 * h)
    assert gradient @ along == pytest.approx(difference, abs=1e-6)
