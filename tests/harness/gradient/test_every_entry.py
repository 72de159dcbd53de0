from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bptt.harness.call.cell import Gradients, run
from bptt.harness.cases import Case, Cotangent, Data, cotangents
from bptt.harness.gradient.derivatives import every_entry, jacobian_columns
from bptt.harness.gradient.derivatives.blocks import Block, blocks
from bptt.harness.gradient.derivatives.every_entry import exact_gradients, from_whole_runs, through_single_steps
from bptt.harness.gradient.derivatives.oracle import Oracle, choose
from bptt.harness.gradient.derivatives.step_jacobians import NoChain
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.targets import load
from bptt.refimpl import CELLS
from tests.harness.checks.right import LayerNorm, Softsign, TextbookLSTM
from tests.harness.gradient.support import Changed, drawn, exact, reference

#: In these a step meets its state in another way than through a matrix or unit by unit.
NOT_IN_FACTORS = ("gru_reset_before", "lstm_projected", "mgu", "mgu_keep", "lstm_layernorm")


def asked(subject: Subject, case: Case) -> tuple[Oracle, Data, list[Cotangent], list[Block]]:
    data = drawn(subject, case)
    ys, final = run(subject, data)
    regions = subject.regions
    return choose(subject, case, data), data, cotangents(subject, case, ys, final), blocks(case, data, regions(data.params))


def same(found: Gradients, truth: Gradients, within: float = 1e-12) -> None:
    for a, b in [(found.xs, truth.xs), *((found.params[k], truth.params[k]) for k in truth.params)]:
        assert a is not None
        assert b is not None
        np.testing.assert_allclose(a, b, rtol=within, atol=within * float(np.max(np.abs(b))))
    for name in truth.state:
        np.testing.assert_allclose(found.state[name], truth.state[name], rtol=within, atol=within * np.max(np.abs(truth.state[name])))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(sorted(CELLS)),
    sizes=st.tuples(*[st.integers(1, n) for n in (5, 3, 6, 6)]),
    regime=st.sampled_from(["standard", "saturated", "open", "closed", "small"]),
    seed=st.integers(0, 99),
)
def test_every_entry_is_that_of_the_references_own_bptt(name: str, sizes: tuple[int, int, int, int], regime: str, seed: int) -> None:
    subject, case = reference(name), Case(*sizes, regime=regime, seed=seed)
    oracle, data, vs, of = asked(subject, case)
    found = through_single_steps(oracle, data, vs, of, np.random.default_rng(seed))
    for g, v in zip(found, vs, strict=True):
        same(g, exact(name, data, v), 1e-10)


@pytest.mark.parametrize("cell", [LayerNorm, TextbookLSTM, Softsign])
def test_single_steps_and_whole_runs_agree_however_a_cell_is_written(cell: type) -> None:
    (subject,) = load(cell)
    oracle, data, vs, of = asked(subject, Case(T=3, D=2, H=4))
    through = through_single_steps(oracle, data, vs, of, np.random.default_rng(0))
    for g, h in zip(through, from_whole_runs(oracle, data, vs, of), strict=True):
        same(g, h, 1e-12 if oracle.exact else 1e-6)


@pytest.mark.parametrize("name", [n for n in CELLS if n not in NOT_IN_FACTORS])
def test_the_steps_of_a_large_cell_are_had_in_factors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(every_entry, "MOST_NUMBERS", 0)
    oracle, data, vs, of = asked(reference(name), Case(D=7))  # D == H: the input and the state have to be told apart
    for g, v in zip(through_single_steps(oracle, data, vs, of, np.random.default_rng(0)), vs, strict=True):
        same(g, exact(name, data, v))


@pytest.mark.parametrize("name", NOT_IN_FACTORS)
def test_a_cell_that_meets_its_state_otherwise_says_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(every_entry, "MOST_NUMBERS", 0)
    monkeypatch.setattr(every_entry, "_MOST_RUNS", 0)
    oracle, data, vs, of = asked(reference(name), Case())
    with pytest.raises(NoChain):
        through_single_steps(oracle, data, vs, of, np.random.default_rng(0))


def test_a_guess_is_believed_only_when_a_random_direction_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jacobian_columns._Proofs, "stand", lambda self, guesses: True)
    monkeypatch.setattr(every_entry, "_hold_against_whole_runs", lambda *args: None)
    oracle, data, vs, of = asked(reference("gru_reset_before"), Case())
    found = through_single_steps(oracle, data, vs, of, np.random.default_rng(0))
    wrong = np.abs(found[0].params["W_h"] - exact("gru_reset_before", data, vs[0]).params["W_h"])
    assert np.max(wrong) > 1e-3


def test_what_single_steps_give_is_held_against_whole_runs() -> None:
    """A subject whose derivative over several steps is not that of its steps, although its values are."""

    @dataclass(frozen=True)
    class Detached(Changed):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
            if len(xs) > 1:
                params = {**params, "W_h": params["W_h"].real}
            return self.whole.run(params, xs, state)  # type: ignore[no-any-return]  # the implementation is untyped

    whole = reference("elman")
    subject = replace(whole, implementation=Detached(whole.implementation, lambda g: g))
    oracle, data, vs, of = asked(whole, Case())
    assert oracle.steps is not None
    odd = choose(subject, Case(T=1), drawn(subject, Case(T=1)))
    assert odd.steps is not None
    mixed = replace(oracle, steps=replace(odd.steps, data=data))
    assert through_single_steps(mixed, data, vs, of, np.random.default_rng(0))
    whole_runs = replace(mixed, contractions=lambda us, cs: _halved(oracle, us, cs))
    with pytest.raises(NoChain, match="whole runs"):
        through_single_steps(whole_runs, data, vs, of, np.random.default_rng(0))


def _halved(oracle: Oracle, us: Any, cs: Any) -> Any:
    found = oracle.contractions(us, cs)
    return replace(found, values=0.5 * found.values)


def test_a_matrix_costs_a_run_or_two_a_gate_and_no_run_an_entry() -> None:
    runs = 0

    @dataclass(frozen=True)
    class Counted(Changed):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
            nonlocal runs
            runs += 1
            return self.whole.run(params, xs, state)  # type: ignore[no-any-return]  # the implementation is untyped

    whole = reference("lstm")
    subject = replace(whole, implementation=Counted(whole.implementation, lambda g: g))
    oracle, data, vs, of = asked(subject, Case(D=11, H=13))
    runs = 0
    found = exact_gradients(oracle, data, vs, of, np.random.default_rng(0))
    assert sum(g.size for g in found[0].params.values()) > 1000
    assert runs < 60
