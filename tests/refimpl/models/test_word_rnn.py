"""The word model is the textbook's: proven at 50 digits, truncated too, and equal to the text's own double loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.refimpl.models.word_rnn import CELL_OF, WordRNN
from bptt.refimpl.types import Array
from tests.refimpl.models.modelproof import assert_proven, exactly, random_state, wrong_ones
from tests.refimpl.multiprecision import exact

T, N, C, H = 6, 2, 4, 3


def case(model: WordRNN, seed: int = 0, **sizes: int) -> tuple[dict[str, Array], Array, Array, dict[str, Array], np.random.Generator]:
    s = {"T": T, "N": N, "C": C, "H": H, **sizes}
    rng = np.random.default_rng(seed)
    params = model.init(rng, s["C"], s["H"])
    inputs, targets = model.batch(rng, params, s["T"], s["N"])
    return params, inputs, targets, random_state(model, rng, params, s["N"]), rng


@pytest.mark.parametrize("activation", CELL_OF)
def test_every_gradient_is_proven_at_50_digits(activation: str) -> None:
    model = WordRNN(activation)
    params, inputs, targets, state, rng = case(model)
    assert_proven(model, params, inputs, targets, state, rng)


@pytest.mark.parametrize("window", [0, 1, 2, 4])
@pytest.mark.parametrize("activation", CELL_OF)
def test_truncated_gradients_stop_at_a_constant_state_k_steps_back(activation: str, window: int) -> None:
    """The sum over t of the derivative of E_t where s_{t-k-1} does not move with the parameters."""
    model = WordRNN(activation, truncation=window)
    params, inputs, targets, state, rng = case(model, seed=1)
    params, state = exactly(params), exactly(state)
    _, dparams, _ = model.loss(params, inputs, targets, state)
    held = [model.predict(params, inputs[:t], state)[1] for t in range(T)]  # the state before step t

    def up_to(p: Any, s: int, t: int) -> Any:
        """E_s + ... + E_{t-1} of a run that starts from the state held before step s."""
        return model.loss(p, inputs[s:t], targets[s:t], held[s])[0]

    def of_each_step(p: Any) -> Any:
        starts = [max(t - window, 0) for t in range(T)]
        return sum(up_to(p, s, t + 1) - up_to(p, s, t) for t, s in enumerate(starts))

    assert wrong_ones(of_each_step, dparams, params, rng) == []


def test_the_proof_names_the_gradient_that_is_wrong() -> None:
    model = WordRNN()
    params, inputs, targets, state, rng = case(model)
    params, state = exactly(params), exactly(state)
    _, dparams, _ = model.loss(params, inputs, targets, state)
    wrong = {**dparams, "W": dparams["W"] * (1 + exact(np.array(1e-25)))}
    found = wrong_ones(lambda p: model.loss(p, inputs, targets, state)[0], wrong, params, rng)
    assert len(found) == 1
    assert found[0].startswith("dE/dW: relative error 1.0e-25")


@pytest.mark.parametrize("window", [0, 1, 3])
def test_truncation_changes_the_gradients_and_not_the_loss(window: int) -> None:
    full, short = WordRNN(), WordRNN(truncation=window)
    params, inputs, targets, state, _ = case(full)
    loss, dparams, final = full.loss(params, inputs, targets, state)
    loss_short, dparams_short, final_short = short.loss(params, inputs, targets, state)
    assert loss == loss_short
    np.testing.assert_array_equal(final["h"], final_short["h"])
    np.testing.assert_array_equal(dparams["V"], dparams_short["V"])
    assert not np.allclose(dparams["U"], dparams_short["U"], rtol=1e-3)
    assert not np.allclose(dparams["W"], dparams_short["W"], rtol=1e-3)


#: Each activation, and its derivative by its value.
ACTIVATIONS: dict[str, tuple[Any, Any]] = {
    "tanh": (np.tanh, lambda s: 1 - s**2),
    "sigmoid": (lambda a: 1 / (1 + np.exp(-a)), lambda s: s * (1 - s)),
    "relu": (lambda a: np.maximum(a, 0), lambda s: 1.0 * (s > 0)),
    "identity": (lambda a: a, np.ones_like),
}


def double_loop(activation: str, params: Any, x: Array, y: Array, s0: Array, window: int) -> tuple[float, dict[str, Array]]:
    """The textbook's own code for one sentence, in columns: U (H, C), W (H, H), V (C, H)."""
    act, slope = ACTIVATIONS[activation]
    U, W, V = (params[name].T for name in "UWV")
    s, o = {-1: s0}, {}
    for t in range(len(x)):
        s[t] = act(U[:, x[t]] + W @ s[t - 1])
        e = np.exp(V @ s[t])
        o[t] = e / e.sum()
    dU, dW, dV = np.zeros_like(U), np.zeros_like(W), np.zeros_like(V)
    for t in range(len(x)):
        error = o[t] - np.eye(len(V))[y[t]]
        dV += np.outer(error, s[t])
        delta = V.T @ error * slope(s[t])
        for k in range(t, max(t - window, 0) - 1, -1):
            dW += np.outer(delta, s[k - 1])
            dU[:, x[k]] += delta
            delta = W.T @ delta * slope(s[k - 1])
    return -sum(float(np.log(o[t][y[t]])) for t in range(len(x))), {"U": dU.T, "W": dW.T, "V": dV.T}


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(CELL_OF)),
    st.integers(1, 9),
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(0, 9),
    st.integers(0, 99),
)
def test_it_is_the_double_loop_over_t_and_k(activation: str, T: int, N: int, C: int, H: int, window: int, seed: int) -> None:
    model = WordRNN(activation, truncation=window)
    params, inputs, targets, state, _ = case(model, seed, T=T, N=N, C=C, H=H)
    loss, dparams, _ = model.loss(params, inputs, targets, state)
    sentences = [double_loop(activation, params, inputs[:, n], targets[:, n], state["h"][n], window) for n in range(N)]
    assert loss == pytest.approx(sum(each for each, _ in sentences), rel=1e-12)
    for name, d in dparams.items():
        expected = sum(each[name] for _, each in sentences)
        np.testing.assert_allclose(d, expected, rtol=0, atol=1e-12 * max(np.abs(expected).max(), 1e-3))


def test_a_carried_state_continues_the_text() -> None:
    model = WordRNN()
    params, inputs, _, state, _ = case(model)
    z, final = model.predict(params, inputs, state)
    head, middle = model.predict(params, inputs[:2], state)
    tail, last = model.predict(params, inputs[2:], middle)
    np.testing.assert_allclose(np.concatenate([head, tail]), z, rtol=1e-13)
    np.testing.assert_allclose(last["h"], final["h"], rtol=1e-13)


def test_weights_start_within_one_over_the_root_of_their_fan_in() -> None:
    params = WordRNN().init(np.random.default_rng(0), 400, 25)
    for name, n in {"U": 400, "W": 25, "V": 25}.items():
        assert 0.98 < np.abs(params[name]).max() * n**0.5 <= 1


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"activation is 'swish', wanted one of tanh, sigmoid, relu, identity"):
        WordRNN("swish")
