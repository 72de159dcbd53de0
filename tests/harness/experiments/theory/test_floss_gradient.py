from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.harness.experiments.theory import floss_gradient
from bptt.harness.experiments.theory.floss_gradient import follow, gradient
from bptt.harness.experiments.theory.jacobians import cell_jacobians
from bptt.harness.experiments.theory.lyapunov import random_start, spectrum
from bptt.harness.subject import Array
from bptt.refimpl.cells import CELLS

STEP = 1e-30


def drawn(seed: int, H: int = 6, k: int = 3, T: int = 9) -> tuple[dict[str, Array], Array, Array, Array]:
    rng = np.random.default_rng(seed)
    params = {"W_x": rng.normal(size=(2, H)), "W_h": rng.normal(size=(H, H)) / np.sqrt(H), "b": 0.3 * rng.normal(size=H)}
    return params, rng.normal(size=(T, 2)), np.tanh(rng.normal(size=H)), random_start(rng, H, k)


def by_gram_schmidt(params: dict[str, Array], xs: Array, h: Array, Q: Array, burn_in: int) -> complex:
    """The loss in complex numbers: every scalar product without a conjugate, so that a complex step goes through."""
    logs = []
    for x in xs:
        h = np.tanh(x @ params["W_x"] + params["b"] + h @ params["W_h"])
        M = (1 - h * h)[:, None] * (params["W_h"].T @ Q)
        columns: list[Array] = []
        lengths = []
        for m in M.T:
            for _ in range(2):
                for q in columns:
                    m = m - q * np.sum(q * m)
            if not columns or len(lengths) == len(columns):
                lengths.append(np.sqrt(np.sum(m * m)))
            columns.append(m / lengths[-1])
        Q = np.array(columns).T
        logs.append(np.log(lengths))
    return complex(np.mean(np.mean(logs[burn_in:], axis=0) ** 2))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 6), burn_in=st.integers(0, 8))
def test_the_gradient_is_the_complex_step_of_gram_schmidt(seed: int, k: int, burn_in: int) -> None:
    params, xs, h, Q = drawn(seed, k=k)
    track = follow(params, xs, h, Q, burn_in)
    grads = gradient(params, xs, track)
    assert track.loss == pytest.approx(by_gram_schmidt(params, xs, h, Q, burn_in).real, rel=1e-9)
    rng = np.random.default_rng(seed)
    for name, p in params.items():
        M = rng.normal(size=p.shape)
        exact = by_gram_schmidt({**params, name: p + STEP * 1j * M}, xs, h, Q, burn_in).imag / STEP
        terms = grads[name] * M
        assert float(np.sum(terms)) == pytest.approx(exact, rel=1e-7, abs=1e-9 * float(np.sum(np.abs(terms)))), name


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), burn_in=st.integers(0, 8))
def test_the_exponents_are_those_of_the_reference(seed: int, burn_in: int) -> None:
    params, xs, h, Q = drawn(seed)
    jacobians = cell_jacobians(CELLS["elman"], params, xs[:, None], {"h": h[None]})
    found = spectrum(jacobians, Q, burn_in=burn_in).exponents
    np.testing.assert_allclose(follow(params, xs, h, Q, burn_in).exponents, found, atol=1e-12)


def test_of_all_exponents_the_sum_is_the_mean_of_log_det() -> None:
    params, xs, h, Q = drawn(0, k=6)
    track = follow(params, xs, h, Q, 0)
    log_det = np.linalg.slogdet(params["W_h"])[1] + np.mean(np.sum(np.log(1 - track.hs[1:] ** 2), axis=1))
    assert np.sum(track.exponents) == pytest.approx(log_det, abs=1e-11)


def test_a_mirrored_upper_triangle_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """dQ.T Q is not symmetric: its other triangle is another gradient."""
    params, xs, h, Q = drawn(0)
    track = follow(params, xs, h, Q, 2)
    right = gradient(params, xs, track)["W_h"]
    mirrored = floss_gradient._mirrored
    monkeypatch.setattr(floss_gradient, "_mirrored", lambda S: mirrored(S.T))
    assert np.abs(gradient(params, xs, track)["W_h"] - right).max() > 1e-3 * np.abs(right).max()


def test_a_burn_in_that_leaves_nothing_is_refused() -> None:
    params, xs, h, Q = drawn(0)
    with pytest.raises(ValueError, match="burn-in of 9 steps of 9"):
        follow(params, xs, h, Q, 9)
