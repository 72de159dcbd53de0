"""Checks of cells asked directly, at one case each: what is just within a margin holds, what is just beyond it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import Case, cotangents
from bptt.harness.checks.cells import batch, contract, linearity, repeated, time
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, NotLinear
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.targets import load
from tests.harness.checks.planted import Clean, CleanLSTM
from tests.harness.checks.planted import Gradients as Given

EPS = 2.0**-52
SMALL = Case(T=3, N=2, D=2, H=3, seed=1)


def context(cell: object, **fields: Any) -> CheckContext:
    (subject,) = [cell] if isinstance(cell, Subject) else load(cell)  # type: ignore[arg-type]  # a class
    return CheckContext(replace(subject, **fields))


def verdicts(found: Iterator[Evidence]) -> list[bool]:
    return [e.holds for e in found]


def failures(found: Iterator[Evidence]) -> list[Evidence]:
    return [e for e in found if not e.holds]


def giving(change: Callable[[Given, Array, Arrays, Array], Given], of: type[Clean] = Clean) -> type[Clean]:
    """A right cell whose gradients are changed.   change(gradients, xs, params, dys)"""

    class Changed(of):  # type: ignore[misc, valid-type]  # a class that is handed in
        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Given:
            return change(super().backward(params, xs, state, dys, dfinal), xs, params, dys)

    return Changed


# -------------------------------------------------------------------------------------------------------- linearity


def linear(off: float, size: float, largest: float) -> Evidence:
    expected = np.array([1.0, 2.0])
    terms = np.array([0.5 * size, size])
    return linearity._linear("W", expected + np.array([0.0, off]), expected, EPS, "2 B(v)", terms, largest)


def test_linearity_is_held_to_the_terms_that_were_added_up_and_to_the_largest_gradient() -> None:
    at = EPS * 2.0**18  # that the sums are exact
    assert linear(0.7 * at, 1.0, 0.0).holds and not linear(0.8 * at, 1.0, 0.0).holds  # 2e5 of it: 0.763
    assert linear(7.6 * at, 10.0, 0.0).holds and not linear(7.7 * at, 10.0, 0.0).holds
    assert linear(0.99e3 * EPS, 0.0, 1.0).holds and not linear(1.02e3 * EPS, 0.0, 1.0).holds
    assert linear(9.9e3 * EPS, 0.0, 10.0).holds and not linear(1.02e4 * EPS, 0.0, 10.0).holds
    assert linear(0.5 * at, 4.0, 0.0).relative_error == pytest.approx(0.125 * at)
    assert linear(0.0, 0.0, 0.0).relative_error == 0.0
    wrong = linear(-1.0, 1.0, 0.0)
    assert (wrong.observed, wrong.expected, wrong.bad, wrong.where.tensor) == (1.0, 2.0, 1, "W")
    nothing = linearity._linear("W", np.zeros(0), np.zeros(0), EPS, "", np.zeros(0), 0.0)
    assert nothing.holds and nothing.relative_error == 0.0
    assert not linear(float("nan"), 1.0, 1.0).holds


def test_gradients_are_added_and_scaled_in_every_part() -> None:
    a = Gradients({"W": np.array([1.0])}, np.array([2.0]), {"h": np.array([3.0])})
    b = Gradients({"W": np.array([10.0])}, np.array([20.0]), {"h": np.array([30.0])})
    assert [v.item() for v in linearity._named(linearity._sum(a, b)).values()] == [11.0, 33.0, 22.0]
    assert [v.item() for v in linearity._named(linearity._times(3.0, a)).values()] == [3.0, 9.0, 6.0]
    assert list(linearity._named(a)) == ["W", "h0", "xs"]
    for other in (replace(a, xs=None), b):
        assert linearity._sum(replace(b, xs=None), other).xs is None
        assert linearity._sum(other, replace(b, xs=None)).xs is None
    assert linearity._times(2.0, replace(a, xs=None)).xs is None and "xs" not in linearity._named(replace(a, xs=None))


@pytest.mark.parametrize("limit", [None, 1e-3])
def test_the_combination_of_cotangents_is_what_it_says(limit: float | None) -> None:
    asked = context(Clean, dys_scale=limit)
    data = asked.data(SMALL)
    v = cotangents(asked.subject, SMALL, *asked.run(data))[0]
    first, second, both = (linearity._at(asked, SMALL, a, b)[0] for a, b in ((1.0, 0.0), (0.0, 1.0), (3.0, -2.0)))
    np.testing.assert_array_equal(first.dys, v.dys)
    np.testing.assert_array_equal(first.dfinal["h"], v.dfinal["h"])
    for part in (second.dys, second.dfinal["h"]):
        sizes = np.abs(part) / (limit or 1.0)
        assert sizes.min() >= 0.5 and sizes.max() <= 1.5 and np.any(part > 0) and np.any(part < 0)
    np.testing.assert_allclose(both.dys, 3 * v.dys - 2 * second.dys, rtol=1e-14)
    np.testing.assert_allclose(both.dfinal["h"], 3 * v.dfinal["h"] - 2 * second.dfinal["h"], rtol=1e-14)


@pytest.mark.parametrize("where", ["W_x", "h", "xs"])
def test_what_is_there_for_no_cotangent_is_found_in_every_gradient(where: str) -> None:
    def constant(g: Given, *_: Any) -> Given:
        dparams, dxs, dstate = g
        parts = {**dparams, **dstate, "xs": dxs}
        parts[where] = parts[where] + 1e-9
        return {k: parts[k] for k in dparams}, parts["xs"], {k: parts[k] for k in dstate}

    found = failures(linearity.zero_cotangents_give_zero_gradients(context(giving(constant)), SMALL))
    assert [e.where.tensor for e in found] == [{"h": "h0"}.get(where, where)] and found[0].observed == 1e-9
    names = {e.where.tensor for e in failures(linearity.backward_is_linear_in_its_cotangents(context(giving(constant)), SMALL))}
    assert names == {{"h": "h0"}.get(where, where)}
    right = list(linearity.backward_is_linear_in_its_cotangents(context(Clean), SMALL))
    assert len(right) == 3 * 5 and all(e.holds for e in right)


def test_what_clips_its_gradients_is_asked_below_its_scale() -> None:
    sizes: list[float] = []

    def seen(g: Given, xs: Array, params: Arrays, dys: Array) -> Given:
        sizes.append(float(np.max(np.abs(dys))))
        return g

    list(linearity.backward_is_linear_in_its_cotangents(context(giving(seen)), SMALL))
    assert max(sizes) > 100
    sizes.clear()
    list(linearity.backward_is_linear_in_its_cotangents(context(giving(seen), dys_scale=1.0), SMALL))
    assert max(sizes) < 5 and min(sizes) < 1e-2

    def folded(g: Given, xs: Array, params: Arrays, dys: Array) -> Given:
        return {k: p + (np.abs(p) if np.max(np.abs(dys)) > 500 else 0) for k, p in g[0].items()}, g[1], g[2]

    assert failures(linearity.backward_is_linear_in_its_cotangents(context(giving(folded)), SMALL))
    assert not failures(linearity.backward_is_linear_in_its_cotangents(context(giving(folded), dys_scale=1.0), SMALL))


def test_a_gradient_that_is_odd_in_its_cotangents_is_not_linear() -> None:
    """It passes B(0) = 0: only sums and scales see it."""

    def bent(g: Given, xs: Array, params: Arrays, dys: Array) -> Given:
        return {k: p * (1 + 1e-8 * float(np.sum(dys**2))) for k, p in g[0].items()}, g[1], g[2]

    asked = context(giving(bent))
    assert not failures(linearity.zero_cotangents_give_zero_gradients(asked, SMALL))
    found = failures(linearity.backward_is_linear_in_its_cotangents(asked, SMALL))
    assert {e.where.tensor for e in found} == {"W_x", "W_h", "b"}
    assert any("B(v) + 2 B(w)" in e.headline for e in found) and any("1000 B(v)" in e.headline for e in found)
    (first, *_) = found
    assert isinstance(first.detail, NotLinear)
    np.testing.assert_allclose(first.detail.expected.params["b"].shape, first.detail.yours.params["b"].shape)
    assert first.detail.expected.xs is not None and first.detail.yours.xs is not None
    np.testing.assert_allclose(first.detail.expected.xs, first.detail.yours.xs, rtol=1e-9)


# ------------------------------------------------------------------------------------------------------------- time


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

    list(time.a_sequence_cut_in_two_gives_the_same_outputs(context(Counted), Case(T=T, N=1, D=2, H=3)))
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


# ------------------------------------------------------------------------------------------------------------ batch


def mixing(by: float) -> type[Clean]:
    class Mixes(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            return ys + by * xs.sum(axis=(1, 2), keepdims=True) * (xs.shape[1] > 1), final

    return Mixes


ROWS = Case(T=2, N=3, D=2, H=3, seed=1)


def test_rows_may_differ_by_rounding_alone() -> None:
    for sizes in (None, (3,)):
        assert not failures(batch.batch_rows_do_not_mix(context(Clean, batch_sizes=sizes), ROWS))
        assert not failures(batch.batch_rows_do_not_mix(context(mixing(2e2 * EPS), batch_sizes=sizes), ROWS))
        found = failures(batch.batch_rows_do_not_mix(context(mixing(1e5 * EPS), batch_sizes=sizes), ROWS))
        assert [e.headline.split(" differ")[0] for e in found] == [
            f"outputs of row {n} alone" if sizes is None else f"outputs of other rows when row {n} is changed" for n in range(3)
        ]


def test_a_final_state_of_another_row_is_found() -> None:
    class Rolled(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            return ys, {k: np.roll(s, 1, axis=0) for k, s in final.items()}

    found = failures(batch.batch_rows_do_not_mix(context(Rolled), ROWS))
    assert [e.headline.split(" differ")[0] for e in found] == [f"final h of row {n} alone" for n in range(3)]


def test_a_fixed_batch_is_asked_with_one_row_changed() -> None:
    seen: list[Array] = []

    class Kept(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            seen.append(xs.copy())
            return super().run(params, xs, state)

    list(batch.batch_rows_do_not_mix(context(Kept, batch_sizes=(3,)), ROWS))
    first, *others = seen
    for n, xs in enumerate(others):
        np.testing.assert_allclose(xs[:, n], 0.3 - first[:, n])
        np.testing.assert_array_equal(np.delete(xs, n, axis=1), np.delete(first, n, axis=1))


def test_a_batch_of_one_has_no_rows_to_mix() -> None:
    for one in (batch.batch_rows_do_not_mix, batch.gradients_of_a_row_come_from_that_row):
        with pytest.raises(NotApplicable, match="batches of 1"):
            list(one(context(Clean), replace(ROWS, N=1)))
        assert not failures(one(context(Clean), replace(ROWS, N=2)))


@pytest.mark.parametrize("sizes", [None, (3,)])
def test_gradients_of_a_batch_are_the_sum_over_its_rows(sizes: tuple[int, ...] | None) -> None:
    def scaled(by: float) -> type[Clean]:
        # of the whole batch, and not of a row alone or of a cotangent on one row
        def change(g: Given, xs: Array, params: Arrays, dys: Array) -> Given:
            whole = xs.shape[1] > 1 and np.count_nonzero(np.abs(dys).sum(axis=(0, 2))) > 1
            return {k: p * (1 + by * whole) for k, p in g[0].items()}, g[1], g[2]

        return giving(change)

    row = batch.gradients_of_a_row_come_from_that_row
    assert not failures(row(context(Clean, batch_sizes=sizes), ROWS))
    assert not failures(row(context(scaled(5e5 * EPS), batch_sizes=sizes), ROWS))
    found = failures(row(context(scaled(3e6 * EPS), batch_sizes=sizes), ROWS))
    assert {e.where.tensor for e in found} == {"W_x", "W_h", "b"}
    assert all("the sum over its rows" in e.headline for e in found)
    assert {e.where.tensor for e in failures(row(context(scaled(-2 / 3), batch_sizes=sizes), ROWS))} == {"W_x", "W_h", "b"}


def test_a_gradient_in_another_row_is_found() -> None:
    def in_xs(g: Given, *_: Any) -> Given:
        return g[0], g[1] + 1e-9 * np.roll(g[1], 1, axis=1), g[2]

    def in_state(g: Given, *_: Any) -> Given:
        return g[0], g[1], {k: s + 1e-9 * np.roll(s, 1, axis=0) for k, s in g[2].items()}

    row = batch.gradients_of_a_row_come_from_that_row
    assert [e.where.tensor for e in failures(row(context(giving(in_xs)), ROWS))] == ["xs"] * 3
    assert [e.where.tensor for e in failures(row(context(giving(in_state)), ROWS))] == ["h0"] * 3


# --------------------------------------------------------------------------------------------------------- contract


def test_what_is_given_is_a_gradient_of_something_and_has_its_shape() -> None:
    def with_parts(**parts: Any) -> list[str]:
        def change(g: Given, xs: Array, *_: Any) -> Given:
            dparams, dxs, dstate = g
            return {**dparams, **parts.get("params", {})}, parts.get("xs", dxs), {**dstate, **parts.get("state", {})}

        return [
            e.headline for e in failures(contract.gradients_have_the_shapes_of_what_they_are_gradients_of(context(giving(change)), SMALL))
        ]

    assert with_parts() == []
    assert with_parts(params={"b": np.zeros(4)}) == ["backward: dparams['b'] has shape (4,), wanted (3,) as b"]
    assert with_parts(params={"V": np.zeros(4)}) == ["backward: dparams has 'V', wanted names among W_x, W_h, b"]
    assert with_parts(params={"b": np.zeros(3, int)}) == ["backward: dparams['b'] has dtype int64, wanted float64"]
    assert with_parts(state={"h": np.zeros((1, 3))}) == ["backward: dstate['h'] has shape (1, 3), wanted (2, 3) as h"]
    assert with_parts(xs=np.zeros((3, 2, 3))) == ["backward: dxs['xs'] has shape (3, 2, 3), wanted (3, 2, 2) as xs"]
    assert with_parts(params={"b": np.full(3, np.nan)}) == ["dL/db is not finite"]
    assert with_parts(xs=np.full((3, 2, 2), np.inf)) == ["dL/dxs is not finite"]


def test_what_is_not_given_is_said() -> None:
    def without(*names: str) -> str:
        def change(g: Given, *_: Any) -> Given:
            dparams, dxs, dstate = g
            kept = {k: p for k, p in dparams.items() if k not in names}
            return kept, None if "xs" in names else dxs, {k: s for k, s in dstate.items() if k not in names}

        with pytest.raises(NotApplicable) as said:
            list(contract.every_gradient_is_given(context(giving(change)), SMALL))
        return str(said.value)

    assert without("b", "xs", "h") == "not given, so not checked: dL/db, dL/dxs, dL/dh0"
    assert without("xs") == "not given, so not checked: dL/dxs"
    assert without("h") == "not given, so not checked: dL/dh0"
    assert verdicts(contract.every_gradient_is_given(context(Clean), SMALL)) == [True]


def test_a_cell_without_a_backward_is_asked_for_none() -> None:
    forward_only = {"capabilities": frozenset[str]()}
    for one in (
        contract.gradients_do_not_depend_on_earlier_calls,
        contract.backward_leaves_its_inputs_alone,
        contract.gradients_have_the_shapes_of_what_they_are_gradients_of,
        contract.every_gradient_is_given,
        linearity.zero_cotangents_give_zero_gradients,
        linearity.backward_is_linear_in_its_cotangents,
        batch.gradients_of_a_row_come_from_that_row,
    ):
        with pytest.raises(NotApplicable, match="no backward"):
            list(one(context(Clean, **forward_only), SMALL))
    found = list(contract.the_layout_of_arrays_in_memory_does_not_matter(context(Clean, **forward_only), SMALL))
    assert len(found) == 2 * 2 and all(e.holds for e in found)


def by_layout(of_outputs: float, of_gradients: float) -> type[Clean]:
    """What is off where an array is not contiguous."""

    class Layout(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            return ys * (1 + of_outputs * (not xs.flags["C_CONTIGUOUS"])), final

        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Given:
            dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
            off = 1 + of_gradients * (not dys.flags["C_CONTIGUOUS"])
            return {k: p * off for k, p in dparams.items()}, dxs, dstate

    return Layout


def test_the_layout_may_change_rounding_alone() -> None:
    layout = contract.the_layout_of_arrays_in_memory_does_not_matter
    assert not failures(layout(context(Clean), SMALL)) and not failures(layout(context(by_layout(5e4 * EPS, 5e4 * EPS)), SMALL))
    found = failures(layout(context(by_layout(1.5e5 * EPS, 0.0)), SMALL))
    assert [e.headline.split(" differ")[0] for e in found] == ["ys for Fortran order inputs", "ys for strided inputs"]
    found = failures(layout(context(by_layout(0.0, 1.5e5 * EPS)), SMALL))
    assert {e.headline.split(" differ")[0].split(" for ")[1] for e in found} == {
        "Fortran order cotangents",
        "strided cotangents",
        "stride-zero cotangents",
    }
    assert {e.where.tensor for e in found} == {"W_x", "W_h", "b"}

    class Drifts(Clean):
        calls = 0

        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Given:
            type(self).calls += 1
            dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
            return {k: p * (1 + 1e-9 * self.calls) for k, p in dparams.items()}, dxs, dstate

    with pytest.raises(NotApplicable, match="change from call to call"):
        list(layout(context(Drifts), SMALL))


def test_arrays_are_laid_out_as_they_are_called() -> None:
    value = np.arange(6.0).reshape(2, 3)
    fortran, strided = contract._in_fortran_order(value), contract._strided(value)
    assert fortran.flags["F_CONTIGUOUS"] and not fortran.flags["C_CONTIGUOUS"] and np.array_equal(fortran, value)
    assert strided.strides == (48, 16) and np.array_equal(strided, value)
    number = np.array(2.0)
    assert contract._strided(number) is number and contract._in_fortran_order(number).shape == ()


def test_of_two_dicts_every_name_is_compared() -> None:
    one, other = {"a": np.zeros(1), "b": np.ones(1)}, {"b": np.ones(1)}
    assert [e.headline for e in contract._same("a second run", one, one, "BUG", "the first") if not e.holds] == []
    assert [e.headline for e in contract._same("a second run", one, other, "BUG", "the first") if not e.holds] == [
        "a second run gives no a, the first did"
    ]
    (found,) = failures(contract._same("a run", other, {"b": np.full(1, 1 + EPS)}, "NONDETERMINISTIC", "the first"))
    assert (found.code, found.where.tensor) == ("NONDETERMINISTIC", "b")


def test_what_was_changed_in_place_is_counted() -> None:
    before = {"W": np.array([1.0, np.nan, 3.0, 4.0]), "n": np.array([1, 2])}
    assert all(verdicts(contract._unchanged("run", before, before)))
    after = {"W": np.array([1.0, np.nan, 5.0, 6.0]), "n": np.array([1, 2])}
    (found,) = failures(contract._unchanged("run", before, after))
    assert (found.code, found.where.tensor) == ("MUTATION", "W")
    numbers = {"W": np.array([1.0, 2.0, 3.0])}
    (found,) = failures(contract._unchanged("run", numbers, {"W": np.array([1.0, 5.0, 7.0])}))
    assert (found.where.index, found.expected, found.observed, found.bad, found.total) == ((1,), 2.0, 5.0, 2, 3)
    (found,) = failures(contract._unchanged("run", {"n": np.array([1, 2])}, {"n": np.array([1, 3])}))
    assert found.where.index == (1,)


# --------------------------------------------------------------------------------------------------------- repeated


def told_apart(values: list[float]) -> str:
    """The cause of calls that give these values."""
    rest = [{"W": np.array([v])} for v in values]
    first, second = rest.pop(0), rest.pop(0)
    return repeated.told_apart(first, second, lambda: rest.pop(0)).causes[0].code


def test_what_grows_by_the_first_call_is_accumulated() -> None:
    assert told_apart([2.0, 4.0, 6.0, 8.0, 10.0]) == "accumulated"
    assert told_apart([2.0, 4.0 + 3e-6, 6.0 - 5e-6, 8.0, 10.0]) == "accumulated"
    assert told_apart([2.0, 4.0 + 5e-6, 6.0, 8.0, 10.0]) == "kept"
    assert told_apart([2.0, 4.0, 6.0 + 7e-6, 8.0, 10.0]) == "kept"
    assert told_apart([2.0, 4.0, 7.0, 8.0, 10.0]) == "kept"
    assert told_apart([2.0, 5.0, 6.0, 8.0, 10.0]) == "kept"


def test_what_is_the_same_where_generators_stand_the_same_is_random() -> None:
    rng: Any = np.random  # the generator that everybody shares
    rng.seed(0)
    before = rng.get_state()[1].tolist()

    def drawn() -> Arrays:
        return {"W": rng.normal(size=3), "b": np.ones(2)}

    first, second = drawn(), drawn()
    found = repeated.told_apart(first, second, drawn)
    assert found.causes[0].code == "random" and found.causes[0].hypothesis == "W: random numbers are drawn in it"
    assert rng.get_state()[1].tolist() == before or rng.get_state()[2] > 0
    assert told_apart([1.0, 5.0, 7.0, 7.0, 7.0]) == "random"
    assert told_apart([1.0, 5.0, 7.0, 7.0, 8.0]) == "kept"


@pytest.mark.parametrize("module", ["random", "numpy", "torch"])
def test_generators_stand_where_they_stood(module: str) -> None:
    import random

    torch = pytest.importorskip("torch") if module == "torch" else None

    def draw() -> float:
        if torch is not None:
            return float(torch.rand(1).item())
        return random.random() if module == "random" else float(np.random.random())  # noqa: NPY002  # as above

    with repeated._generators_where_they_stand():
        inside = draw()
    assert draw() == inside != draw()
    with pytest.raises(ZeroDivisionError), repeated._generators_where_they_stand():
        inside = draw()
        raise ZeroDivisionError
    assert draw() == inside


def test_closeness_of_repeated_answers() -> None:
    assert repeated._close(np.array([1.0 + 0.9e-6, -2.0]), np.array([1.0, -2.0]))
    assert not repeated._close(np.array([1.0, -2.0 + 3e-6]), np.array([1.0, -2.0]))
    assert repeated._close(np.zeros(2), np.zeros(2)) and not repeated._close(np.full(2, 1e-300), np.zeros(2))
    assert not repeated._close(np.zeros(2), np.zeros(3)) and repeated._close(np.zeros(0), np.zeros(0))
