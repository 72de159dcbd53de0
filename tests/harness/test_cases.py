from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings

from bptt.harness.call.cell import run
from bptt.harness.call.drawing import draw, draw_params
from bptt.harness.call.guard import named_arrays
from bptt.harness.cases import REGIMES, Case, admissible, cotangents, generator, is_bias, parse_case, strategy
from bptt.harness.errors import ContractError, SubjectError, UsageError
from bptt.harness.targets import load
from bptt.refimpl import CELLS
from tests.harness.checks.planted import Clean
from tests.harness.gradient.support import reference

LSTM = reference("lstm")


@pytest.mark.parametrize("case", [Case(), Case(T=1, N=1, D=1, H=1), Case(12, 2, 3, 7, "closed")])
def test_a_case_is_written_and_read(case: Case) -> None:
    assert parse_case(str(case)) == case


@pytest.mark.parametrize(
    ("text", "words"),
    [("T5", "wanted sizes"), ("T1-N1-D1-H1-open2", "wanted sizes"), ("T1-N1-D1-H1-opn", "got regime 'opn'"), ("T0-N1-D1-H1", "at least 1")],
)
def test_what_is_no_case(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_case(text)


@pytest.mark.parametrize("regime", [r for r in REGIMES if r not in ("zeros", "unbiased")])
@pytest.mark.parametrize("name", CELLS)
def test_nothing_drawn_is_zero_and_all_is_finite(name: str, regime: str) -> None:
    data = draw(reference(name), Case(regime=regime))
    for value in (*data.params.values(), data.xs, *data.state.values()):
        assert np.isfinite(value).all()
        assert np.all(value != 0)
        assert value.dtype == np.float64


@pytest.mark.parametrize("name", CELLS)
def test_zeros_are_the_state_the_step_in_the_middle_and_the_first_row_after_it_and_nothing_else(name: str) -> None:
    data = draw(reference(name), Case(T=5, N=2, regime="zeros"))
    assert not any(value.any() for value in data.state.values())
    zero = np.zeros(data.xs.shape, bool)
    zero[2] = zero[3, 0] = True
    np.testing.assert_array_equal(data.xs == 0, zero)
    assert all(np.all(value != 0) for value in data.params.values())
    assert np.all(draw(reference(name), Case(T=1, regime="zeros")).xs != 0)


@pytest.mark.parametrize(("D", "H"), [(7, 1), (1, 7), (1, 1)])
def test_unbiased_leaves_matrices_of_one_row_or_column(D: int, H: int) -> None:
    """They are weights, which may be divided by their norm."""
    data = draw(reference("elman"), Case(D=D, H=H, regime="unbiased"))
    assert [not value.any() for value in data.params.values()] == [value.ndim == 1 for value in data.params.values()]


@pytest.mark.parametrize("H", [1, 4])
def test_unbiased_leaves_a_number_by_itself(H: int) -> None:
    """It may be a temperature, which divides."""

    class Tempered(Clean):
        def init(self, rng: Any, input_size: int, hidden_size: int) -> Any:
            return super().init(rng, input_size, hidden_size) | {"tau": np.array([0.7]), "c": rng.normal(size=hidden_size)}

    (subject,) = load(Tempered)
    params = draw(subject, Case(H=H, regime="unbiased")).params
    assert params["tau"].all() and not params["c"].any()


@pytest.mark.parametrize("name", CELLS)
def test_unbiased_has_every_bias_zero_and_nothing_else(name: str) -> None:
    data = draw(reference(name), Case(regime="unbiased"))
    for value in data.params.values():
        assert np.all((value == 0) == is_bias(value))
    assert all(np.all(value != 0) for value in (data.xs, *data.state.values()))


def test_the_same_case_gives_the_same_arrays_whatever_was_drawn_before() -> None:
    first = draw(LSTM, Case(seed=3))
    draw(LSTM, Case(seed=4))
    again, other = draw(LSTM, Case(seed=3)), draw(LSTM, Case(seed=4))
    np.testing.assert_array_equal(first.xs, again.xs)
    np.testing.assert_array_equal(first.params["W_h"], again.params["W_h"])
    assert not np.array_equal(first.xs, other.xs)
    assert generator(Case(), "a").normal() != generator(Case(), "b").normal()


def test_regimes_do_what_they_say() -> None:
    standard, small, closed, opened = (draw_params(LSTM, Case(regime=r)) for r in ("standard", "small", "closed", "open"))
    scaled = {r: np.mean([np.abs(draw_params(LSTM, Case(regime=r, seed=s))["W_h"]).mean() for s in range(20)]) for r in REGIMES}
    assert scaled["saturated"] > 1.3 * scaled["standard"]
    assert scaled["small"] < 0.2 * scaled["standard"]
    assert np.abs(small["b"]).max() < np.abs(standard["b"]).max()
    assert closed["b"].mean() < -1.5
    assert opened["b"].mean() > 2.5


def test_zeros_of_the_subjects_own_init_are_moved_away() -> None:
    class Zeros(Clean):
        def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> Any:
            return super().init(rng, input_size, hidden_size) | {"b": np.zeros(hidden_size), "k": np.arange(3)}

    (subject,) = load(Zeros)
    params = draw_params(subject, Case(regime="initial"))
    assert 0 < np.abs(params["b"]).max() < 0.2
    assert params["k"].tolist() == [0, 1, 2]
    assert np.abs(draw_params(subject, Case())["b"]).max() > 0.2


def test_sizes_that_a_subject_can_take() -> None:
    narrow = replace(LSTM, batch_sizes=(1,), input_sizes=(4, 8), hidden_sizes=(6,), dtype="float32")
    assert admissible(narrow, Case(N=3, D=7, H=7)) == Case(N=1, D=8, H=6, dtype="float32")
    assert admissible(replace(LSTM, square=True), Case(D=3, H=7)).D == 7
    assert draw(narrow, admissible(narrow, Case())).xs.dtype == np.float32


@pytest.mark.parametrize("name", ["lstm", "elman"])
def test_cotangents_isolate_the_last_step_and_each_final_state(name: str) -> None:
    subject = reference(name)
    data = draw(subject, Case())
    ys, final = run(subject, data)
    vs = {v.name: v for v in cotangents(subject, Case(), ys, final)}
    assert set(vs) == {"every output and final state", "last output only", "first output only", *(f"final {k} only" for k in final)}
    dense = vs["every output and final state"]
    for a in (dense.dys, *dense.dfinal.values()):
        assert 0.5 <= np.abs(a).min() <= np.abs(a).max() <= 1.5
    assert not vs["last output only"].dys[:-1].any()
    assert not any(a.any() for a in vs["last output only"].dfinal.values())
    assert not vs["final h only"].dys.any()
    small = cotangents(replace(subject, dys_scale=1e-3), Case(), ys, final)[0]
    assert np.abs(small.dys).max() <= 1.5e-3
    closed = cotangents(replace(subject, no_dfinal=("h",)), Case(), ys, final)
    assert not any(v.dfinal["h"].any() for v in closed)


def test_one_step_has_its_output_alone() -> None:
    data = draw(LSTM, Case(T=1))
    ys, final = run(LSTM, data)
    assert [v.name for v in cotangents(LSTM, Case(T=1), ys, final)] == [
        "every output and final state",
        "output only",
        "final h only",
        "final c only",
    ]


def test_what_init_and_zero_state_must_return() -> None:
    class Listed(Clean):
        def init(self, *args: Any) -> Any:
            return {"W": [1.0]}

    class Nothing(Clean):
        def init(self, *args: Any) -> Any:
            return {}

    class Raising(Clean):
        def zero_state(self, *args: Any) -> Any:
            raise IndexError("no such axis")

    class Tupled(Clean):
        def zero_state(self, *args: Any) -> Any:
            return ()

    for cell, error, words in (
        (Listed, ContractError, "init: 'W' is a list, wanted a NumPy array"),
        (Nothing, ContractError, "returned no parameters"),
        (Raising, SubjectError, "Raising.zero_state raised IndexError: no such axis"),
        (Tupled, ContractError, "zero_state returned a tuple, wanted a dict"),
    ):
        (subject,) = load(cell)
        with pytest.raises(error, match=words):
            draw(subject, Case())


def test_what_is_a_bias() -> None:
    assert [is_bias(np.zeros(s)) for s in ((7,), (1, 7), (7, 1), (3, 7), (1, 2, 3))] == [True, True, True, False, False]
    assert list(named_arrays({"a": np.float64(1)}, "here")) == ["a"]


@given(case=strategy(LSTM, max_T=6, max_size=4))
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_every_case_of_the_strategy_can_be_run(case: Case) -> None:
    data = draw(LSTM, case)
    ys, _ = run(LSTM, data)
    assert ys.shape == (case.T, case.N, case.H)
    assert case.regime in REGIMES


def test_the_strategy_shrinks_to_the_smallest_case() -> None:
    assert find(strategy(LSTM), lambda case: True) == Case(1, 1, 1, 1)
    found = find(strategy(LSTM), lambda case: case.T >= 3 and case.regime == "closed")
    assert found == Case(3, 1, 1, 1, "closed")
