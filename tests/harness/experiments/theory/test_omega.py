from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.harness.experiments.theory.omega import Omega, coded, printed
from bptt.harness.subject import Array

FORMS = {"printed": printed, "coded": coded}


def drawn(seed: int, T: int = 4, N: int = 2, H: int = 3) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(H, H)), rng.normal(size=(T, N, H)), rng.uniform(0.1, 1, size=(T, N, H))


def by_hand(W_h: Array, d: Array, slopes: Array, squared: bool) -> float:
    """Omega term by term: for each step and row the length of what arrives over the length of what leaves."""
    terms = []
    for t in range(len(d)):
        for n in range(d.shape[1]):
            arrives = np.array([sum(d[t, n, i] * slopes[t, n, i] * W_h[j, i] for i in range(len(W_h))) for j in range(len(W_h))])
            ratio = np.sqrt(np.sum(arrives**2)) / np.sqrt(np.sum(d[t, n] ** 2))
            terms.append((ratio**2 - 1) ** 2 if squared else (ratio - 1) ** 2)
    return float(np.mean(terms))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_both_forms_are_what_they_say_and_are_told_apart(seed: int) -> None:
    W_h, d, slopes = drawn(seed)
    assert printed(W_h, d, slopes).value == pytest.approx(by_hand(W_h, d, slopes, squared=False), rel=1e-12)
    assert coded(W_h, d, slopes).value == pytest.approx(by_hand(W_h, d, slopes, squared=True), rel=1e-12)
    assert abs(float(printed(W_h, d, slopes).value) / float(coded(W_h, d, slopes).value) - 1) > 1e-3


def test_near_one_the_coded_form_is_four_times_the_printed() -> None:
    rng = np.random.default_rng(0)
    Q, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    d = rng.normal(size=(3, 2, 4))
    ones = np.ones_like(d)
    assert float(coded(1.0001 * Q, d, ones).value / printed(1.0001 * Q, d, ones).value) == pytest.approx(4, rel=1e-3)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), H=st.integers(1, 5))
def test_the_gradient_is_that_of_a_complex_step(form: str, seed: int, H: int) -> None:
    W_h, d, slopes = drawn(seed, H=H)
    gradient = FORMS[form](W_h, d, slopes).gradient
    for at in np.ndindex(W_h.shape):
        moved = W_h.astype(complex)
        moved[at] += 1e-30j
        exact = FORMS[form](moved, d, slopes).value.imag / 1e-30
        assert gradient[at] == pytest.approx(exact, abs=1e-12 * max(1.0, float(np.max(np.abs(gradient)))))


@pytest.mark.parametrize("form", FORMS)
def test_it_is_zero_for_a_linear_orthogonal_network(form: str) -> None:
    rng = np.random.default_rng(0)
    Q, _ = np.linalg.qr(rng.normal(size=(20, 20)))
    d = rng.normal(size=(6, 3, 20))
    found = FORMS[form](Q, d, np.ones_like(d))
    assert float(found.value) < 1e-28
    assert np.max(np.abs(found.gradient)) < 1e-13


@pytest.mark.parametrize("form", FORMS)
def test_rows_without_a_gradient_count_as_nothing(form: str) -> None:
    W_h, d, slopes = drawn(3)
    faint = np.concatenate([d, 1e-12 * d])
    some: Omega = FORMS[form](W_h, d, slopes)
    both: Omega = FORMS[form](W_h, faint, np.concatenate([slopes, slopes]))
    assert float(both.value) == pytest.approx(float(some.value), rel=1e-12)
    np.testing.assert_allclose(both.gradient, some.gradient, rtol=1e-10)
    assert np.all(both.ratios[4:] == 1) and not np.any(both.counted[4:])


@pytest.mark.parametrize("form", FORMS)
def test_a_gradient_that_dies_in_one_step_is_a_whole_loss(form: str) -> None:
    W_h, d, slopes = drawn(3)
    found = FORMS[form](np.zeros_like(W_h), d, slopes)
    assert float(found.value) == 1
    assert np.all(np.isfinite(found.gradient))
