from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from bptt.harness.call.cell import Gradients, backward, run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, Cotangent, cotangents
from bptt.harness.gradient import certificate
from bptt.harness.gradient.certificate import MISS_PER_DRAW, _first_look, examine, second_opinion
from bptt.harness.gradient.derivatives.blocks import Block
from bptt.harness.gradient.derivatives.oracle import Contractions, Oracle, choose
from bptt.harness.gradient.derivatives.stepwise import OneStepAtATime
from bptt.harness.gradient.derivatives.tangent import Direction
from bptt.refimpl import CELLS
from tests.harness.gradient.support import changed, drawn, exact, one_entry, reference


def regions_of(name: str) -> Callable[..., object]:
    return reference(name).regions


@pytest.mark.parametrize("name", CELLS)
def test_a_right_backward_agrees_in_every_block(name: str) -> None:
    for case in (Case(), Case(T=3, N=1, D=1, H=1), Case(T=4, regime="saturated")):
        found = examine(reference(name), case, draws=4)
        assert found.oracle.exact
        # the memory of one unit, normalised, is a constant: its gradient is zero but for rounding
        constant = name == "lstm_layernorm" and case.H == 1
        assert {j.verdict for j in found.judged} <= ({"agrees", "rounding"} if constant else {"agrees"})
        assert constant or max(j.relative for j in found.judged) < 1e-12


@pytest.mark.parametrize("seed", range(20))
def test_a_relative_error_of_1e_4_in_one_weight_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    subject, case = reference("lstm"), Case(T=3, seed=seed)
    params = draw(subject, case).params
    tensor = str(rng.choice(list(params)))
    index = tuple(int(rng.integers(n)) for n in params[tensor].shape)
    found = examine(changed(subject, one_entry(tensor, index, 1 + 1e-4)), case, regions_of("lstm"), draws=4)  # type: ignore[arg-type]  # a function of params
    gate = "ifgo"[index[-1] // case.H]
    assert {(j.block.tensor, j.block.gate) for j in found.wrong} == {(tensor, gate)}
    assert not found.undecided


def test_the_chance_of_a_miss_falls_with_the_draws() -> None:
    subject = reference("elman")
    assert [examine(subject, Case(), draws=k).miss_probability for k in (1, 4, 8)] == [MISS_PER_DRAW**k for k in (1, 4, 8)]
    assert MISS_PER_DRAW**8 < 2e-9


def test_what_is_not_given_is_said_and_not_called_right() -> None:
    subject = changed(reference("lstm"), lambda g: Gradients({k: v for k, v in g.params.items() if k != "b"}, None, {}))
    found = examine(subject, Case(), draws=2)
    not_given = {j.block.tensor for j in found.judged if j.verdict == "not given"}
    assert not_given == {"b", "xs", "h", "c"}
    assert not found.wrong


def test_a_gradient_that_is_not_finite_is_wrong() -> None:
    def spoilt(g: Gradients) -> Gradients:
        return replace(g, params=g.params | {"b": g.params["b"] * np.nan})

    found = examine(changed(reference("elman"), spoilt), Case(), draws=2)
    assert {(j.block.tensor, j.verdict) for j in found.wrong} == {("b", "not finite")}


# ---------------------------------------------------------------------------------------------- an oracle that is itself wrong

LIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "a tenth too large": lambda values: 1.1 * values,
    "the wrong sign": lambda values: -values,
    "zero": lambda values: 0 * values,
    "shuffled": lambda values: values[::-1],
    "one in a thousand": lambda values: values * 1.001,
}


@pytest.mark.thorough
@pytest.mark.parametrize("exact_or_not", [True, False])
@pytest.mark.parametrize("lie", LIES)
def test_an_oracle_that_is_wrong_never_makes_a_right_gradient_wrong(lie: str, exact_or_not: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def lying(*args: object) -> Oracle:
        honest = choose(*args)  # type: ignore[arg-type]  # passed on

        def contractions(directions: Sequence[Direction], vs: Sequence[Cotangent]) -> Contractions:
            found = honest.contractions(directions, vs)
            return replace(found, values=LIES[lie](found.values))

        return Oracle("a liar", exact_or_not, "", contractions)

    monkeypatch.setattr(certificate, "choose", lying)
    for name in ("elman", "gru_reset_before", "lstm"):
        for case in (Case(T=3), Case(T=3, regime="saturated", seed=1)):
            found = examine(reference(name), case, draws=2)
            assert not found.wrong
            assert found.undecided


def test_two_oracles_that_agree_do_make_it_wrong() -> None:
    subject = changed(reference("elman"), one_entry("W_h", (1, 2), 1.5))
    data = drawn(subject)
    ys, final = run(subject, data)
    v = cotangents(subject, Case(), ys, final)[0]
    (wrong,) = {j.block.tensor for j in examine(subject, Case(), draws=2).wrong}
    assert wrong == "W_h"
    item = next(j for j in examine(subject, Case(), draws=2).wrong if j.cotangent == 0)
    oracle = choose(subject, Case(), data)
    assert second_opinion(OneStepAtATime(subject, data), v, oracle, item) == "sides"
    assert second_opinion(OneStepAtATime(subject, data), v, oracle, replace(item, exact=item.exact + 3 * abs(item.exact))) != "sides"


def test_gaps_below_the_rounding_of_the_forward_pass_are_not_called_wrong() -> None:
    subject = changed(reference("elman"), one_entry("b", (0,), 1 + 3e-13))
    found = examine(subject, Case(), draws=4)
    assert not found.wrong


def test_the_reference_of_these_tests_is_the_plain_backward() -> None:
    subject = reference("lstm")
    data = drawn(subject)
    ys, final = run(subject, data)
    v = cotangents(subject, Case(), ys, final)[0]
    np.testing.assert_array_equal(exact("lstm", data, v).params["W_h"], backward(subject, data, v).params["W_h"])


# ----------------------------------------------------------------------------------------------- where the first look turns

ONE = Block("params", "w")


def first_look(gap: float, error: float = 0.0, size: float = 1.0, dtype: str = "float64", yours: float | None = None) -> str:
    """The verdict on one gradient of `size` + gap against the exact `size`, with u = 1."""
    g = np.array([size + gap if yours is None else yours], dtype)
    (subject, us, value) = replace(reference("elman"), dtype=dtype), [np.ones(1)], np.array([size])
    return _first_look(subject, ONE, 0, Gradients({"w": g}, None, {}), us, value, np.array([error]), np.abs(value)).verdict


@pytest.mark.parametrize(
    ("gap", "error", "verdict"),
    [
        (4.5e-13, 0.0, "agrees"),  # 2^11 unit roundoffs of the sum of the sizes, 2: 4.547e-13
        (4.6e-13, 0.0, "undecided"),
        (7.5e-13, 1e-14, "agrees"),  # and thirty times what the oracle may be wrong by: the margins add up
        (7.6e-13, 1e-14, "undecided"),
        (-7.5e-13, 1e-14, "agrees"),
        (-7.6e-13, 1e-14, "undecided"),
    ],
)
def test_the_margin_is_that_of_rounding_and_that_of_the_oracle(gap: float, error: float, verdict: str) -> None:
    assert first_look(gap, error) == verdict


@pytest.mark.parametrize(
    ("size", "dtype", "verdict"),
    [
        (4e-291, "float64", "agrees"),  # sums of 1e-290 and less have lost digits to underflow
        (1e-289, "float64", "undecided"),
        (3e-31, "float32", "agrees"),
        (1e-29, "float32", "undecided"),
        (1e-29, "float64", "undecided"),
    ],
)
def test_what_is_lost_to_underflow_is_not_called_wrong(size: float, dtype: str, verdict: str) -> None:
    assert first_look(size / 2, size=size, dtype=dtype) == verdict


def test_what_is_not_finite_is_told_apart() -> None:
    assert first_look(0.0, yours=float("nan")) == "not finite"
    assert first_look(0.0, yours=float("inf")) == "not finite"
    assert first_look(0.0, size=float("nan"), yours=1.0) == "undecided"


def test_the_worst_of_the_directions_decides() -> None:
    g = Gradients({"w": np.array([1.0, 1.0])}, None, {})
    us = [np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([1.0, 1.0])]
    values = np.array([1.0, 1.5, 2.0])
    judged = _first_look(reference("elman"), ONE, 3, g, us, values, np.zeros(3), np.abs(values))
    assert (judged.verdict, judged.cotangent, judged.exact, judged.yours) == ("undecided", 3, 1.5, 1.0)
    assert judged.relative == pytest.approx(0.5 / 2.5)
    assert judged.u is us[1]
