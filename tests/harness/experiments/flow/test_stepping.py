from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from bptt.harness.errors import ContractError
from bptt.harness.experiments.flow.advisor import states_along
from bptt.harness.experiments.flow.stepping import Setting, affordable, log_norms, sign_cotangent, start, why_not
from bptt.harness.subject import Array, Subject
from bptt.harness.targets import load
from bptt.refimpl.cells import CELLS
from bptt.refimpl.unroll import backward, forward
from tests.harness.checks.planted import CleanNetwork
from tests.harness.gradient.support import changed, reference


def logs(setting: Setting) -> Array:
    return log_norms(setting, states_along(setting.subject, setting.params, setting.xs, setting.state))


def by_whole_bptt(setting: Setting, lag: int) -> float:
    """log of the norm of one sequence's dL/ds_{T-lag}, by refimpl's BPTT over the last `lag` steps."""
    cell = CELLS[setting.subject.name]
    T, N = setting.xs.shape[:2]
    states = states_along(setting.subject, setting.params, setting.xs, setting.state)
    ys, final, tapes = forward(cell, setting.params, setting.xs[T - lag :], states[T - lag])
    dys = np.zeros_like(ys)
    dys[-1] = sign_cotangent(ys[-1])
    _, _, dstate = backward(cell, setting.params, setting.xs[T - lag :], tapes, dys, {k: np.zeros_like(s) for k, s in final.items()})
    return math.log(math.sqrt(sum(float(np.sum(d * d)) for d in dstate.values()) / N))


@pytest.mark.parametrize("name", CELLS)
def test_norms_are_those_of_bptt(name: str) -> None:
    setting = start(reference(name), 9, 2, 3, 5, 4)
    np.testing.assert_allclose(
        logs(setting), [by_whole_bptt(setting, k) for k in range(1, 10)], rtol=1e-12, atol=1e-15
    )  # logarithms near 0


def test_the_norm_is_that_of_one_sequence_however_often_it_is_in_the_batch() -> None:
    one = start(reference("lstm"), 8, 1, 3, 5, 4)
    several = replace(one, xs=np.repeat(one.xs, 5, axis=1), state={k: np.repeat(s, 5, axis=0) for k, s in one.state.items()})
    np.testing.assert_allclose(logs(several), logs(one), rtol=1e-12)


def test_a_gradient_of_e_to_the_minus_thousand_and_more_is_told() -> None:
    T, H = 2000, 8
    Q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(H, H)))
    setting = start(reference("elman_linear"), T, 1, 3, H, 0)
    params = dict(setting.params) | {"W_h": 0.5 * Q}
    found = logs(replace(setting, params=params))
    np.testing.assert_allclose(found, np.arange(1, T + 1) * math.log(0.5) + math.log(H) / 2, rtol=1e-10)
    grows = logs(replace(setting, params=dict(setting.params) | {"W_h": 2.0 * Q}, xs=np.zeros((1000, 1, 3))))
    assert grows[-1] == pytest.approx(1000 * math.log(2) + math.log(H) / 2, rel=1e-10)


def test_a_forward_pass_alone_does() -> None:
    setting = start(reference("gru_reset_after"), 7, 1, 3, 5, 4)
    forward_only = replace(setting, subject=replace(setting.subject, capabilities=frozenset()))
    np.testing.assert_allclose(logs(forward_only), logs(setting), rtol=1e-10)


def test_a_gradient_that_stops_is_minus_infinity_from_there() -> None:
    setting = start(reference("elman"), 6, 2, 3, 4, 0)
    params = {**setting.params, "W_h": np.zeros((4, 4))}
    assert np.all(logs(replace(setting, params=params)) == -np.inf)


def test_parameters_do_not_depend_on_the_length_or_the_batch() -> None:
    subject = reference("lstm")
    short, long = start(subject, 3, 1, 3, 5, 1), start(subject, 30, 4, 3, 5, 1)
    for name, value in short.params.items():
        np.testing.assert_array_equal(value, long.params[name])


def test_a_subject_that_cannot_be_stepped_says_why() -> None:
    subject = changed(reference("gru_reset_after"), lambda g: replace(g, state={}))
    with pytest.raises(ContractError, match="gives no dstate for 'h'"):
        logs(start(subject, 3, 2, 3, 4, 0))
    assert why_not(subject) is None
    assert "no step" in str(why_not(replace(subject, bidirectional=True)))
    (network,) = load(CleanNetwork)
    assert "its loss inside" in str(why_not(network))


class Stateless:
    def zero_state(self, params: dict[str, Array], batch_size: int) -> dict[str, Array]:
        return {}

    def init(self, rng: np.random.Generator, D: int, H: int) -> dict[str, Array]:
        return {"W": rng.normal(size=(D, H))}


def test_a_subject_that_shows_no_state_says_so() -> None:
    with pytest.raises(ContractError, match="zero_state gives no state"):
        start(Subject("Mine", "mine", "numpy", "cell", Stateless()), 3, 1, 3, 4, 0)


@pytest.mark.parametrize(("seconds", "steps"), [(1e9, 200), (0.0, 50)])
def test_the_length_is_cut_to_what_can_be_afforded(seconds: float, steps: int) -> None:
    assert affordable(start(reference("elman"), 200, 1, 3, 4, 0), seconds) == steps
