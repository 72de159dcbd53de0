"""TIM: what is just within a margin holds, what is just beyond it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from bptt.harness.cases import Case, Data
from bptt.harness.checks.cells import time
from bptt.harness.checks.evidence import NotApplicable
from bptt.harness.subject import Array, Arrays
from tests.harness.checks.cells.asked import EPS, SMALL, context, failures, giving, verdicts
from tests.harness.checks.planted import Clean, CleanLSTM
from tests.harness.checks.planted import Gradients as Given


def by_length(by: float, whole: int) -> type[Clean]:
    """Outputs and final states that are off by so much of themselves where the sequence is shorter."""

    class Shorter(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            factor = 1 + by * (len(xs) < whole)
            return ys * factor, {k: s * factor for k, s in final.items()}

    return Shorter


def test_a_cut_may_round_and_no_more() -> None:
    case = Case(T=3, N=1, D=2, H=3, seed=1)
    assert not failures(time.a_sequence_cut_in_two_gives_the_same_outputs(context(by_length(2e3 * EPS, 3)), case))
    found = failures(time.a_sequence_cut_in_two_gives_the_same_outputs(context(by_length(3e4 * EPS, 3)), case))
    assert any(e.headline.startswith("outputs of run(0..1) then run(1..3)") for e in found)
    assert any(e.headline.startswith("final h after a cut at 2") for e in found)


@pytest.mark.parametrize(("T", "cuts"), [(2, [1]), (12, list(range(1, 12))), (13, [1, 6, 12])])
def test_short_sequences_are_cut_everywhere_and_long_ones_at_three_places(T: int, cuts: list[int]) -> None:
    lengths: list[int] = []

    class Counted(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            lengths.append(len(xs))
            return super().run(params, xs, state)

    asked = context(Counted)
    lengths.clear()  # what it was loaded with
    list(time.a_sequence_cut_in_two_gives_the_same_outputs(asked, Case(T=T, N=1, D=2, H=3)))
    assert lengths == [T, *(length for k in cuts for length in (k, T - k))]


def reading_ahead(by: float) -> type[Clean]:
    class Ahead(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            return ys + by * xs[-1].sum(axis=-1)[..., None], final

    return Ahead


def test_an_output_may_not_depend_on_a_later_input() -> None:
    assert not failures(time.later_inputs_do_not_reach_earlier_outputs(context(reading_ahead(1e-17)), SMALL))
    found = failures(time.later_inputs_do_not_reach_earlier_outputs(context(reading_ahead(1e-13)), SMALL))
    assert [e.where.step for e in found] == [1, 2] and all(e.detail is None for e in found)
    moved = time._moved(np.array([1.0, 2.0, 3.0]), slice(1, None))
    assert moved.tolist() == pytest.approx([1.0, -2.5, -3.8])
    turned = time._turned(np.arange(12.0).reshape(3, 1, 4))
    assert turned.ravel().tolist() == [0, 1, 10, 11, 4, 5, 6, 7, 8, 9, 2, 3]


class Pair:
    """Half of its units sum up what came, half what comes; `turn` of the second half, `mix` of both."""

    turn, mix = False, False

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return {"W": rng.normal(size=(input_size, hidden_size))}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        a = np.tanh(xs @ params["W"])
        back = np.cumsum(a[::-1], axis=0)
        back = back if self.turn else back[::-1]
        return np.concatenate([np.cumsum(a, axis=0) + (back if self.mix else 0), back], axis=-1), {}


def test_what_reads_both_ways_is_told_from_a_leak() -> None:
    def both(cell: type, **seen: Any) -> bool:
        asked = context(cell)
        data = asked.data(SMALL)
        return time._reads_both_ways(asked, data, asked.run(data)[0], **seen)

    turned, mixed = type("Turned", (Pair,), {"turn": True}), type("Mixed", (Pair,), {"mix": True})
    assert both(Pair) and not both(turned) and not both(mixed) and not both(Clean)
    assert both(turned, seen=time._turned) and not both(Pair, seen=time._turned)
    asked = context(Pair)
    data = asked.data(replace(SMALL, T=1))
    assert not time._reads_both_ways(asked, data, asked.run(data)[0]), "one step says nothing"
    with pytest.raises(NotApplicable, match="it is bidirectional"):
        list(time.later_inputs_do_not_reach_earlier_outputs(context(Pair), SMALL))
    found = failures(time.later_inputs_do_not_reach_earlier_outputs(context(turned), SMALL))
    assert found and all(e.detail is time._TURNED for e in found)
    assert all(e.detail is None for e in failures(time.later_inputs_do_not_reach_earlier_outputs(context(mixed), SMALL)))


class TwoStates(Clean):
    """h as in Elman's cell, and k, which `reads` says how it is used."""

    reads = "nothing"

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {**super().zero_state(params, batch_size), "k": np.zeros((batch_size, 2))}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, final = super().run(params, xs, {"h": state["h"]})
        k = state["k"] if self.reads != "own" else np.zeros_like(state["k"])
        if self.reads == "outputs":
            ys = ys + k.sum(axis=1)[:, None] * (np.abs(k).max() > 30)
        return ys, {"h": final["h"], "k": k if self.reads in ("final", "own") else k * 0}


@pytest.mark.parametrize(("reads", "ignored"), [("outputs", []), ("final", []), ("nothing", []), ("own", [])])
def test_a_state_is_used_where_it_shows_in_an_output_or_a_final_state(reads: str, ignored: list[str]) -> None:
    cell = type("Two", (TwoStates,), {"reads": reads})
    assert [e.where.tensor for e in failures(time.the_initial_state_matters(context(cell), SMALL))] == ignored


def test_a_state_that_is_ignored_is_named() -> None:
    class Ignores(CleanLSTM):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            return super().run(params, xs, {"h": state["h"], "c": np.zeros_like(state["c"])})

    found = failures(time.the_initial_state_matters(context(Ignores), SMALL))
    assert [(e.where.tensor, e.where.step) for e in found] == [("c0", 0)]
    assert verdicts(time.the_initial_state_matters(context(CleanLSTM), SMALL)) == [True, True]
    one_step = replace(SMALL, T=1)
    assert [e.where.tensor for e in failures(time.the_initial_state_matters(context(Ignores), one_step))] == ["c0"]


def test_nothing_is_left_as_it_is_by_no_steps_and_no_rows() -> None:
    assert all(verdicts(time.an_empty_sequence_or_batch_changes_nothing(context(CleanLSTM), SMALL)))

    def rest(g: Given, xs: Array, params: Arrays, dys: Array) -> Given:
        return {k: p + 1e-9 * (not xs.size) for k, p in g[0].items()}, g[1], g[2]

    found = failures(time.an_empty_sequence_or_batch_changes_nothing(context(giving(rest)), SMALL))
    assert {e.severity for e in found} == {"warning"}
    assert sorted(e.headline for e in found) == [
        f"dL/d{name} for no {what} is not zero" for name in ("W_h", "W_x", "b") for what in ("sequence (N = 0)", "step (T = 0)")
    ]

    def lost(g: Given, xs: Array, params: Arrays, dys: Array) -> Given:
        return g[0], g[1], {k: s * bool(len(xs)) for k, s in g[2].items()}

    (one,) = failures(time.an_empty_sequence_or_batch_changes_nothing(context(giving(lost)), SMALL))
    assert one.headline == "dL/dh0 for no step (T = 0) is not the final state's cotangent" and one.where.tensor == "h0"
    assert not failures(time.an_empty_sequence_or_batch_changes_nothing(context(giving(lost), no_dfinal=frozenset({"h"})), SMALL))

    class Restarts(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            return ys, final if len(xs) else {k: 0 * s for k, s in final.items()}

    assert [e.headline for e in failures(time.an_empty_sequence_or_batch_changes_nothing(context(Restarts), SMALL))] == [
        "final h after no step (T = 0) is not the initial state"
    ]

    class Refuses(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            if not xs.size:
                raise ValueError("nothing")
            return super().run(params, xs, state)

    with pytest.raises(NotApplicable, match="refuses"):
        list(time.an_empty_sequence_or_batch_changes_nothing(context(Refuses), SMALL))
    with pytest.raises(NotApplicable, match="not asked of a framework"):
        list(time.an_empty_sequence_or_batch_changes_nothing(context(Clean, framework="torch"), SMALL))


# ------------------------------------------------------------------------------------------------------- each constant


class Runs:
    """A context whose runs are a function of the inputs and the state."""

    def __init__(self, f: Callable[[Data], tuple[Array, dict[str, Array]]], lengths: tuple[int, ...] | None) -> None:
        self.f = f
        self.subject = context(Clean, lengths_of_sequence=lengths).subject

    def run(self, data: Data) -> tuple[Array, dict[str, Array]]:
        return self.f(data)


def runs(f: Callable[[Data], tuple[Array, dict[str, Array]]], lengths: tuple[int, ...] | None = None) -> Any:
    return Runs(f, lengths)


def test_two_steps_and_six_units_are_enough_to_read_both_ways() -> None:
    asked = context(Pair)
    for T, H in ((2, 3), (3, 1)):  # six units, and two
        data = asked.data(Case(T=T, N=1, D=2, H=H))
        assert time._reads_both_ways(asked, data, asked.run(data)[0])
    odd = runs(lambda data: (data.xs[..., :1].repeat(3, axis=-1), {}))
    xs = np.ones((3, 1, 2))
    assert not time._reads_both_ways(odd, Data({}, xs, {}), xs[..., :1].repeat(3, axis=-1)), "no half of three units"


@pytest.mark.parametrize(("units", "both"), [(64, True), (65, False)])
def test_a_unit_may_move_by_sixty_four_units_in_the_last_place_and_still_read_one_way(units: int, both: bool) -> None:
    xs = np.ones((2, 1, 1))

    for size in (1.0, 8.0):

        def run(data: Data, size: float = size) -> tuple[Array, dict[str, Array]]:
            first, last = data.xs[0, 0, 0], data.xs[1, 0, 0]
            off = units * EPS * (last != 1)  # the first output of what reads forwards, where the last input is another
            return size * np.array([[[1.0 - off, last / 4]], [[first / 4, 1.0]]]), {}

        assert time._reads_both_ways(runs(run), Data({}, xs, {}), run(Data({}, xs, {}))[0]) is both


def test_as_many_units_read_forwards_as_backwards() -> None:
    """Three of four forwards: that is a leak in one unit, and no layer of two directions."""

    def run(data: Data) -> tuple[Array, dict[str, Array]]:
        on, back = np.cumsum(data.xs, axis=0), np.cumsum(data.xs[::-1], axis=0)[::-1]
        return np.concatenate([on, 2 * on, 3 * on, back], axis=-1), {}

    xs = np.array([1.0, 2.0, 4.0]).reshape(3, 1, 1)
    assert not time._reads_both_ways(runs(run), Data({}, xs, {}), run(Data({}, xs, {}))[0])


def test_the_cause_of_outputs_in_reverse_order_is_nearly_certain() -> None:
    assert [c.score for c in time._TURNED.causes] == [0.95]


def test_an_initial_state_is_moved_both_ways_a_little_and_far() -> None:
    seen: list[tuple[int, float]] = []

    class Ignores(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            seen.append((len(xs), float(state["h"][0, 0])))
            return super().run(params, xs, {k: np.zeros_like(s) for k, s in state.items()})

    asked = context(Ignores)
    seen.clear()  # what it was loaded with
    assert [e.holds for e in time.the_initial_state_matters(asked, SMALL)] == [False]
    base = seen[0][1]
    short = [h - base for length, h in seen if length == 1 and h != base]
    assert short[:6] == pytest.approx([0.5, -0.5, 5.0, -5.0, 50.0, -50.0])
    assert {length for length, h in seen[:7]} == {1}, "one step is enough"


@pytest.mark.parametrize("sign", [1, -1])
def test_a_state_that_shows_on_one_side_only_is_used(sign: int) -> None:
    class OneSided(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, final = super().run(params, xs, {"h": np.zeros_like(state["h"])})
            return ys + np.maximum(sign * state["h"] - 20, 0), final

    assert verdicts(time.the_initial_state_matters(context(OneSided), SMALL)) == [True]


def test_an_output_or_a_final_state_that_changes_is_a_change() -> None:
    data = Data({}, np.zeros((1, 1, 1)), {"h": np.zeros(1)})
    one, two = np.zeros(1), np.ones(1)

    def changes(ys: Array, h: Array, c: Array) -> bool:
        return time._changes(runs(lambda _: (ys, {"h": h, "c": c})), data, {}, one, {"h": one, "c": one})

    assert not changes(one, one, one)
    assert changes(two, one, one) and changes(one, two, one) and changes(one, one, two)


def test_a_state_is_read_by_no_step_where_nothing_comes_of_it_after_a_cut() -> None:
    xs = np.ones((3, 1, 1))

    def reads(share: float) -> bool:
        def run(data: Data) -> tuple[Array, dict[str, Array]]:
            h = data.state["h"]
            return data.xs * (1 + share * h), {"h": h}

        return time._is_read_by_no_step(runs(run), Data({}, xs, {"h": np.zeros((1, 1))}), "h")

    assert reads(0.0) and reads(1.9e4 * EPS) and not reads(2.1e4 * EPS)
    for T, none in ((1, False), (2, True)):
        still = runs(lambda data: (data.xs, {"h": data.state["h"]}))
        assert time._is_read_by_no_step(still, Data({}, xs[:T], {"h": np.zeros((1, 1))}), "h") is none
    still = runs(lambda data: (data.xs, {"h": data.state["h"]}), (3,))
    assert not time._is_read_by_no_step(still, Data({}, xs, {"h": np.zeros((1, 1))}), "h"), "three steps cannot be cut there"


def test_sequences_are_cut_where_both_parts_have_lengths_that_are_taken() -> None:
    def cuts(T: int, *lengths: int) -> list[int]:
        return time._cuts(context(Clean, lengths_of_sequence=lengths or None), T)

    assert cuts(3) == [1, 2] and cuts(12) == list(range(1, 12)) and cuts(13) == [1, 6, 12]
    assert cuts(6, 2, 4) == [2, 4] and cuts(6, 3) == [3] and cuts(20, 5, 15) == [5, 15]
    with pytest.raises(NotApplicable, match="sequences of 4 or 6 steps only: none of them can be cut in two"):
        cuts(6, 4, 6)


def test_of_what_takes_some_lengths_only_whole_sequences_are_run() -> None:
    lengths: list[int] = []

    class Whole(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            lengths.append(len(xs))
            return super().run(params, xs, state)

    asked = context(Whole, lengths_of_sequence=(3,))
    lengths.clear()  # what it was loaded with
    assert verdicts(time.the_initial_state_matters(asked, SMALL)) == [True] and set(lengths) == {3}
    empty = time.an_empty_sequence_or_batch_changes_nothing
    with pytest.raises(NotApplicable, match="some lengths only"):
        list(empty(asked, SMALL))


def test_a_cell_that_keeps_its_c_to_itself_cannot_be_continued() -> None:
    def whole(inferred: set[str], state: tuple[str, ...] = ("h",), wide: int = 12) -> bool:
        asked = context(Clean, inferred_final=frozenset(inferred))
        data = Data({"V": np.zeros(5), "W": np.zeros((2, wide))}, np.zeros((1, 1, 2)), {k: np.zeros((1, 3)) for k in state})
        try:
            time._whole_state(asked, data)
        except NotApplicable:
            return False
        return True

    assert not whole({"h"})
    with pytest.raises(NotApplicable, match="its final c, k is not returned, or not handed in"):
        time._whole_state(context(Clean, kept_inside=("c", "k")), Data({}, np.zeros((1, 1, 2)), {"h": np.zeros((1, 3))}))
    assert whole(set()) and whole({"h"}, wide=9) and whole({"h"}, ("h", "c")) and whole({"h", "c"}, ("h", "c"))
    assert not whole({"h", "k"}, ("h", "k"))


def test_what_is_not_given_for_no_steps_is_not_asked_for() -> None:
    def ones(g: Given, xs: Array, params: Arrays, dys: Array) -> Given:
        return g[0], g[1], {k: s if len(xs) else np.ones_like(s) for k, s in g[2].items()}

    empty = time.an_empty_sequence_or_batch_changes_nothing
    assert failures(empty(context(giving(ones)), SMALL))
    assert not failures(empty(context(giving(ones), no_dfinal=frozenset({"h"})), SMALL))


def test_what_is_not_as_it_was_is_counted() -> None:
    assert time._is("it", np.zeros(3), np.zeros(3), "zero", "b").holds
    other = time._is("it", np.ones(3), np.zeros(3), "zero", "b")
    assert not other.holds and (other.headline, other.total, other.where.tensor) == ("it is not zero", 3, "b")
    assert not time._is("it", np.zeros(2), np.zeros(3), "zero", "b").holds


def test_a_cell_may_say_that_it_need_not_be_causal() -> None:
    asked = context(Clean)
    time._unidirectional(asked)

    class Exempt(Clean):
        exempt: ClassVar = {"causal": "it is a filter"}

    class Other(Clean):
        exempt: ClassVar = {"rows": "it normalises"}

    with pytest.raises(NotApplicable, match="it is a filter"):
        time._unidirectional(context(Exempt))
    time._unidirectional(context(Other))
    with pytest.raises(NotApplicable, match="bidirectional"):
        time._unidirectional(context(Clean, bidirectional=True))
