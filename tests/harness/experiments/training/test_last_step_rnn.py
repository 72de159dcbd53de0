from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.harness.experiments.theory.omega import SMALLEST, coded, printed
from bptt.harness.experiments.training import last_step_rnn
from bptt.harness.experiments.training.last_step_rnn import backward, forward, loss, omega, smart_tanh
from bptt.harness.subject import Array
from bptt.refimpl import layers, unroll
from bptt.refimpl.cells import CELLS

ELMAN = CELLS["elman"]
SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, T: int = 9, N: int = 4, H: int = 7) -> tuple[dict[str, Array], Array, Array]:
    rng = np.random.default_rng(seed)
    shapes = {"W_x": (6, H), "W_h": (H, H), "b": (H,), "W_y": (H, 4), "b_y": (4,)}
    params = {name: 0.7 * rng.normal(size=shape) for name, shape in shapes.items()}
    return params, rng.integers(6, size=(T, N)), rng.integers(4, size=N)


def by_reference(params: dict[str, Array], ids: Array, targets: Array) -> tuple[float, dict[str, Array], list[Array]]:
    """Loss, gradients, and dL/dh_t for t = 0, ..., T, from the reference cell and layers."""
    own = {name: params[name] for name in ("W_x", "W_h", "b")}
    xs = np.eye(6)[ids]
    ys, final, tapes = unroll.forward(ELMAN, own, xs, ELMAN.zero_state(own, ids.shape[1]))
    scores = layers.affine(params["W_y"], params["b_y"], final["h"][None])
    losses, tape = layers.cross_entropy(scores, targets[None])
    dscores = layers.cross_entropy_backward(tape, np.full_like(losses, 1 / losses.size))
    dW_y, db_y, dh = layers.affine_backward(params["W_y"], final["h"][None], dscores)
    dparams, _, _ = unroll.backward(ELMAN, own, xs, tapes, np.zeros_like(ys), {"h": dh[0]})
    errors = [
        unroll.backward(ELMAN, own, xs[t:], tapes[t:], np.zeros_like(ys[t:]), {"h": dh[0]})[2]["h"] if t < len(ids) else dh[0]
        for t in range(len(ids) + 1)
    ]
    return float(losses.mean()), {**dparams, "W_y": dW_y, "b_y": db_y}, errors


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, T=st.integers(1, 12), N=st.integers(1, 5))
def test_the_gradients_are_those_of_the_reference(seed: int, T: int, N: int) -> None:
    params, ids, targets = drawn(seed, T, N)
    value, grads, d, u = backward(params, ids, targets, forward(params, ids))
    expected, wanted, errors = by_reference(params, ids, targets)
    assert float(value) == pytest.approx(expected, rel=1e-13)
    assert grads.keys() == wanted.keys() == params.keys()
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, wanted[name], atol=1e-12 * max(1.0, float(np.abs(wanted[name]).max())), err_msg=name)
    np.testing.assert_allclose(d, errors, atol=1e-12 * max(1.0, float(np.abs(d).max())))
    np.testing.assert_allclose(u @ params["W_h"].T, d[:-1], atol=1e-12 * max(1.0, float(np.abs(d).max())))


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_omega_is_the_coded_form(seed: int) -> None:
    params, ids, targets = drawn(seed)
    done = forward(params, ids)
    _, _, d, u = backward(params, ids, targets, done)
    found, wanted = omega(d, u), coded(params["W_h"], d[1:], 1 - done.hs[1:] ** 2)
    assert found[0] == pytest.approx(float(wanted.value), rel=1e-11)
    np.testing.assert_allclose(found[1], wanted.gradient, atol=1e-11 * float(np.abs(wanted.gradient).max()))
    assert found[0] != pytest.approx(float(printed(params["W_h"], d[1:], 1 - done.hs[1:] ** 2).value), rel=1e-3)


@pytest.mark.parametrize("left", [1e-3 * np.sqrt(SMALLEST), 0.0])
def test_steps_whose_gradient_is_gone_do_not_count_in_omega(left: float) -> None:
    rng = np.random.default_rng(0)
    d, u = rng.normal(size=(4, 2, 3)), rng.normal(size=(3, 2, 3))
    d[1] *= left
    kept = np.square(np.sum(d[[1, 2]] ** 2, axis=2) / np.sum(d[[2, 3]] ** 2, axis=2) - 1)
    value, gradient = omega(d, u)
    assert value == pytest.approx(np.mean(kept))
    assert np.all(np.isfinite(gradient))


def test_single_precision_stays_single_and_near_double() -> None:
    params, ids, targets = drawn(3)
    single = {name: p.astype(np.float32) for name, p in params.items()}
    value, grads, d, u = backward(single, ids, targets, forward(single, ids))
    _, wanted, _, _ = backward(params, ids, targets, forward(params, ids))
    assert {a.dtype for a in (*grads.values(), d, u, omega(d, u)[1], np.asarray(value))} == {np.dtype(np.float32)}
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, wanted[name], atol=3e-5 * float(np.abs(wanted[name]).max()))


def test_pascanus_start() -> None:
    params = smart_tanh(np.random.default_rng(0), 6, 40, 4)
    assert np.all(np.count_nonzero(params["W_h"], axis=1) == 15)
    assert np.max(np.abs(np.linalg.eigvals(params["W_h"]))) == pytest.approx(0.95)
    assert not np.any(params["b"]) and not np.any(params["b_y"])
    assert float(params["W_x"].std()) == pytest.approx(0.01, rel=0.2)


def test_the_loss_of_large_scores_does_not_overflow() -> None:
    value, p = loss(np.array([[1e4, 0.0], [0.0, 1e4]]), np.array([0, 0]))
    assert value == pytest.approx(5e3)
    np.testing.assert_allclose(p, np.eye(2))


def test_a_slope_at_the_wrong_state_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof of the comparison above: 1 - h^2 of the state before."""
    right = last_step_rnn.backward

    def late(params: dict[str, Array], ids: Array, targets: Array, done: last_step_rnn.Pass) -> object:
        moved = last_step_rnn.Pass(np.concatenate([done.hs[:1], done.hs[:-1]]), done.scores)
        return right(params, ids, targets, moved)

    params, ids, targets = drawn(0)
    grads = late(params, ids, targets, forward(params, ids))[1]  # type: ignore[index]  # what backward gives
    _, wanted, _ = by_reference(params, ids, targets)
    assert np.abs(grads["W_h"] - wanted["W_h"]).max() > 1e-3
