from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from bptt.harness.call.cell import run
from bptt.harness.cases import Case, cotangents
from bptt.harness.gradient.derivatives.slopes import by_complex_step, by_differences
from bptt.harness.gradient.derivatives.step_jacobians import NoChain, adjoints, chain_of, moved_by_errors, single_steps
from bptt.harness.subject import Array, Arrays
from bptt.refimpl import CELLS
from tests.harness.gradient.support import Changed, drawn, exact, forgetful_lstm, on, reference


@pytest.mark.parametrize("case", [Case(T=1, N=1, D=2, H=3), Case(), Case(T=9, N=1, D=4, H=4, regime="saturated")], ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_cotangents_carried_back_through_the_steps_are_the_references_own_gradients(name: str, case: Case) -> None:
    subject = reference(name)
    data = drawn(subject, case)
    ys, final = run(subject, data)
    vs = cotangents(subject, case, ys, final)
    carried = adjoints(chain_of(subject, data, by_complex_step(subject)), vs)
    for k, v in enumerate(vs):
        truth = exact(name, data, v)
        assert truth.xs is not None
        np.testing.assert_allclose(carried.xs[k], truth.xs, rtol=1e-11, atol=1e-13 * np.max(np.abs(truth.xs)))
        states = np.concatenate([truth.state[n] for n in data.state], axis=1)
        np.testing.assert_allclose(carried.state[k], states, rtol=1e-11, atol=1e-13 * np.max(np.abs(states)))


def test_a_gradient_of_1e_43_keeps_its_digits() -> None:
    subject, data = forgetful_lstm(T=60)
    v = on(subject, data, "last output only")
    carried = adjoints(chain_of(subject, data, by_complex_step(subject)), [v])
    truth = exact("lstm", data, v).xs
    assert truth is not None
    assert np.max(np.abs(truth[0])) < 1e-40
    np.testing.assert_allclose(carried.xs[0], truth, rtol=1e-11)


def test_differences_of_single_steps_state_their_error() -> None:
    subject, data = forgetful_lstm(T=40)
    v = on(subject, data, "last output only")
    chain = chain_of(subject, data, by_differences(subject))
    truth = exact("lstm", data, v).xs
    assert truth is not None
    found = adjoints(chain, [v]).xs[0]
    np.testing.assert_allclose(found, truth, rtol=1e-7)
    moved = adjoints(moved_by_errors(chain, np.random.default_rng(0)), [v]).xs[0]
    assert np.all(np.max(np.abs(moved - found), axis=(1, 2)) < 1e-6 * np.max(np.abs(truth), axis=(1, 2)))
    assert np.any(moved != found)


@dataclass(frozen=True)
class Remembering(Changed):
    """Adds the number of the step to the outputs: no state says it."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        ys, final = self.whole.run(params, xs, state)
        return ys + 1e-3 * np.arange(len(xs))[:, None, None], final


@dataclass(frozen=True)
class Mixing(Changed):
    """Takes the mean over the batch out of the outputs."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        ys, final = self.whole.run(params, xs, state)
        return ys - ys.mean(axis=1, keepdims=True), final


@pytest.mark.parametrize(("made", "why"), [(Remembering, "one step after the other"), (Mixing, "rows of a batch")])
def test_a_run_that_is_not_its_single_steps_has_no_chain(made: Any, why: str) -> None:
    whole = reference("elman")
    subject = replace(whole, implementation=made(whole.implementation, lambda g: g))
    with pytest.raises(NoChain, match=why):
        single_steps(subject, drawn(subject))


def test_neither_has_one_that_reads_both_ways_or_takes_one_row() -> None:
    for subject in (replace(reference("elman"), bidirectional=True), replace(reference("elman"), batch_sizes=(2,))):
        with pytest.raises(NoChain):
            single_steps(subject, drawn(subject))
