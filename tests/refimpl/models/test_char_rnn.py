"""The character model: proven at 50 digits, equal to the sum over k of products of step Jacobians, and carried from call to call."""

from __future__ import annotations

import numpy as np
import pytest

from bptt.refimpl.models.char_rnn import CharRNN
from bptt.refimpl.types import Array
from tests.refimpl.models.modelproof import assert_proven, random_state

MODEL = CharRNN()
T, C, H = 6, 5, 4


def case(N: int = 1, seed: int = 0) -> tuple[dict[str, Array], Array, Array, dict[str, Array], np.random.Generator]:
    rng = np.random.default_rng(seed)
    params = MODEL.init(rng, C, H)
    inputs, targets = MODEL.batch(rng, params, T, N)
    return params, inputs, targets, random_state(MODEL, rng, params, N), rng


@pytest.mark.parametrize("N", [1, 2])
def test_every_gradient_is_proven_at_50_digits(N: int) -> None:
    params, inputs, targets, state, rng = case(N)
    assert_proven(MODEL, params, inputs, targets, state, rng)


def test_the_gradients_are_the_sums_of_the_derivation() -> None:
    """dE/dWhh = sum over t and k <= t of h_{k-1}.T @ (dE_t/dh_t J_t ... J_{k+1} * tanh'(a_k)), term by term, in columns."""
    params, inputs, targets, state, _ = case()
    Wxh, Whh, Why = (params[name].T for name in ("Wxh", "Whh", "Why"))
    h, p = {-1: state["h"][0]}, {}
    for t in range(T):
        h[t] = np.tanh(Wxh[:, inputs[t, 0]] + Whh @ h[t - 1] + params["bh"])
        e = np.exp(Why @ h[t] + params["by"])
        p[t] = e / e.sum()
    J = {t: np.diag(1 - h[t] ** 2) @ Whh for t in range(T)}  # dh_t/dh_{t-1}
    dWhh, dWhy = np.zeros_like(Whh), np.zeros_like(Why)
    for t in range(T):
        error = p[t] - np.eye(C)[targets[t, 0]]
        dWhy += np.outer(error, h[t])
        product = np.eye(H)
        for k in range(t, -1, -1):
            dWhh += np.outer((error @ Why @ product) * (1 - h[k] ** 2), h[k - 1])
            product = product @ J[k]
    loss, dparams, _ = MODEL.loss(params, inputs, targets, state)
    assert loss == pytest.approx(-sum(np.log(p[t][targets[t, 0]]) for t in range(T)), rel=1e-13)
    np.testing.assert_allclose(dparams["Whh"].T, dWhh, rtol=0, atol=1e-13)
    np.testing.assert_allclose(dparams["Why"].T, dWhy, rtol=0, atol=1e-13)


def test_the_state_is_carried_and_the_gradient_stops_there() -> None:
    """Two calls with the state handed on add up to the loss of one; their gradients do not, because nothing goes back past the cut."""
    params, inputs, targets, state, _ = case()
    whole, dwhole, final = MODEL.loss(params, inputs, targets, state)
    first, dfirst, middle = MODEL.loss(params, inputs[:3], targets[:3], state)
    second, dsecond, last = MODEL.loss(params, inputs[3:], targets[3:], middle)
    assert first + second == pytest.approx(float(whole), rel=1e-13)
    np.testing.assert_allclose(last["h"], final["h"], rtol=1e-13)
    np.testing.assert_allclose(dfirst["Why"] + dsecond["Why"], dwhole["Why"], rtol=1e-12)
    assert not np.allclose(dfirst["Whh"] + dsecond["Whh"], dwhole["Whh"], rtol=1e-3)


def test_predict_gives_the_scores_that_the_loss_takes() -> None:
    params, inputs, targets, state, _ = case(N=2)
    scores, final = MODEL.predict(params, inputs, state)
    p = np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)
    loss, _, carried = MODEL.loss(params, inputs, targets, state)
    assert loss == pytest.approx(float(-np.log(np.take_along_axis(p, targets[:, :, None], axis=2)).sum()), rel=1e-13)
    np.testing.assert_array_equal(final["h"], carried["h"])
