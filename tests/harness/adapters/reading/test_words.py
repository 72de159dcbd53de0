from __future__ import annotations

from typing import Any

import pytest

from bptt.harness.adapters.reading.code.words import half_of, keys_read, state_of


def plain(x: Any, weights: Any) -> Any:
    return x @ weights["W"] + weights.get("b")


def in_a_generator(x: Any, weights: Any) -> Any:
    W, U, b = (weights[k] for k in ("W", "U", "b"))
    return x @ W + U + b


def by_gate(x: Any, weights: Any) -> Any:
    total = 0
    for gate in "if":
        total += x @ weights["W" + gate] + weights[f"b_{gate}"]
    return total


def of_something_else(x: Any, weights: Any, others: Any) -> Any:
    return [weights[k] for k in others] + [others["W"]]


@pytest.mark.parametrize(
    ("function", "keys"),
    [(plain, ["W", "b"]), (in_a_generator, ["W", "U", "b"]), (by_gate, ["Wi", "Wf", "b_i", "b_f"]), (of_something_else, [])],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_keys_of_a_dict_of_weights(function: Any, keys: list[str]) -> None:
    assert sorted(keys_read([function], "weights")) == sorted(keys)


@pytest.mark.parametrize(
    ("name", "state"),
    [("h_next", "h"), ("cT", "c"), ("a0", "h"), ("hidden_state", "h"), ("prev_c", "c"), ("H", ""), ("out", ""), ("probs", ""), ("x", "")],
)
def test_which_state_a_name_is_of(name: str, state: str) -> None:
    assert state_of(name) == state


def test_halves_are_told_by_their_whole_name_before_a_word_for_a_cell_is_left_out() -> None:
    fronts, backs = ["LSTM_cell_forward", "LSTM_forward", "gru_cell_step"], ["lstm_cell_backward", "lstm_backwards", "gru_step_backward"]
    assert [half_of(front, backs, fronts) for front in fronts] == backs
    assert half_of("forward", ["backward"], ["forward"]) is None
