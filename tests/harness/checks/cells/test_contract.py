"""CON: what is just within a margin holds, what is just beyond it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import Case, Cotangent, Data, cotangents
from bptt.harness.checks.cells import batch, contract, linearity
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable
from bptt.harness.subject import Accumulation, Array, Arrays, Detection
from tests.harness.checks.cells.asked import EPS, SMALL, context, failures, giving, stub, verdicts
from tests.harness.checks.planted import Clean
from tests.harness.checks.planted import Gradients as Given


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
    never = {"dL/dW": np.full(1, np.nan)}
    (found,) = failures(contract._same("a second call", never, never, "NONDETERMINISTIC", "the first"))
    assert found.headline == "dL/dW is not finite"  # at no call


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


# ------------------------------------------------------------------------------------------------- each check from both sides


def headlines(found: Iterator[Evidence]) -> list[str]:
    return [e.headline for e in found if not e.holds]


def of(**methods: Any) -> type[Clean]:
    return type("Cell", (Clean,), methods)


def test_gradients_are_told_apart_by_their_names() -> None:
    g = Gradients({"W": np.ones(1)}, np.full(1, 2.0), {"h": np.full(1, 3.0)})
    assert {k: v.item() for k, v in contract._flat(g).items()} == {"dL/dW": 1.0, "dL/dh0": 3.0, "dL/dxs": 2.0}
    assert list(contract._flat(replace(g, xs=None))) == ["dL/dW", "dL/dh0"]
    data = Data({"W": np.ones(1)}, np.ones(2), {"h": np.ones(3)})
    assert {k: v.size for k, v in contract._inputs(data).items()} == {"params['W']": 1, "xs": 2, "state['h']": 3}
    given = contract._given(Cotangent("v", np.ones(2), {"h": np.ones(3)}))
    assert {k: v.size for k, v in given.items()} == {"dys": 2, "dfinal['h']": 3}
    assert [(e.headline, e.code, e.where.tensor) for e in [contract._contract("it is", "W")]] == [("it is", "CONTRACT", "W")]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"h": np.zeros((2, 3))}, []),
        ({"h": np.zeros((2, 0))}, []),
        ({"h": np.zeros(2)}, []),
        ({"h": np.zeros((3, 3))}, ["zero_state: 'h' has shape (3, 3), wanted (2, ...), one row a batch entry"]),
        ({"h": np.zeros(())}, ["zero_state: 'h' has shape (), wanted (2, ...), one row a batch entry"]),
        ({"h": np.full((2, 3), np.nan)}, ["zero_state: 'h' is not finite"]),
    ],
)
def test_an_initial_state_has_a_row_a_batch_entry(state: dict[str, Array], words: list[str]) -> None:
    asked = context(Clean)
    asked = CheckContext(replace(asked.subject, implementation=of(zero_state=lambda *_: state)()))
    found = list(contract.init_gives_named_finite_parameters(asked, SMALL))
    assert headlines(iter(found)) == words and found[-1].holds and len(found) == 3 + len(state) + 1


def test_a_parameter_that_is_not_finite_is_named() -> None:
    def init(self: Clean, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return {**Clean.init(self, rng, input_size, hidden_size), "b": np.array([1.0, np.inf, 0.0])}

    found = [e for e in contract.init_gives_named_finite_parameters(context(of(init=init)), SMALL) if not e.holds]
    assert [(e.headline, e.where.tensor) for e in found] == [("parameter b is not finite", "b")]


def test_a_zero_state_is_the_same_at_every_call_and_zero_where_a_published_cell_is_claimed() -> None:
    same = contract.a_sequence_that_starts_from_zero_state_starts_from_the_same
    assert not failures(same(context(Clean), SMALL)) and not failures(same(context(Clean, like="elman"), SMALL))

    kept = {"h": np.zeros((2, 3))}

    def writes(self: Clean, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, final = Clean.run(self, params, xs, state)
        state["h"][...] = final["h"]
        return ys, final

    cell = CheckContext(replace(context(Clean).subject, implementation=of(zero_state=lambda *_: kept, run=writes)()))
    (found,) = failures(same(cell, SMALL))
    assert found.code == "MUTATION" and found.where.tensor == "h0" and "that of the first: it is kept" in found.headline

    ones = {"h": np.array([[0.0, 0.0, 5.0], [0.0, 7.0, 0.0]])}
    learned = replace(context(Clean).subject, implementation=of(zero_state=lambda *_: {"h": ones["h"].copy()})())
    assert not failures(same(CheckContext(learned), SMALL))
    (found,) = failures(same(CheckContext(replace(learned, like="elman")), SMALL))
    assert found.headline == "zero_state gives a h that is not zero; elman starts from zeros"
    assert (found.where.tensor, found.where.index, found.observed, found.expected, found.bad, found.total) == ("h0", (0, 2), 5.0, 0.0, 2, 6)
    none = replace(context(Clean).subject, implementation=of(zero_state=lambda *_: {})())
    with pytest.raises(NotApplicable, match="no initial state"):
        list(same(CheckContext(none), SMALL))


@pytest.mark.every(1)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ys, final: (ys, final), []),
        (lambda ys, final: (ys[0], final), ["run: ys has shape (2, 3), wanted (T, N, width) = (3, 2, ...)"]),
        (lambda ys, final: (ys[:2], final), ["run: ys has shape (2, 2, 3), wanted (T, N, width) = (3, 2, ...)"]),
        (lambda ys, final: (ys[:, :1], final), ["run: ys has shape (3, 1, 3), wanted (T, N, width) = (3, 2, ...)"]),
        (lambda ys, final: (ys, {**final, "k": final["h"]}), ["run: the final state has 'k', wanted 'h' as in zero_state"]),
        (lambda ys, final: (ys, {}), ["run: final state has nothing, wanted 'h' as in zero_state"]),
        (lambda ys, final: (ys, {"h": final["h"][:1]}), ["run: final 'h' has shape (1, 3), wanted (2, 3) as in zero_state"]),
    ],
)
def test_outputs_and_final_state_have_the_shapes_of_the_contract(change: Any, words: list[str]) -> None:
    asked: Any = stub(data=lambda case: DATA, run=lambda data: change(np.zeros((3, 2, 3)), {"h": np.zeros((2, 3))}))
    found = list(contract.outputs_and_final_state_have_the_shapes_of_the_contract(asked, SMALL))
    assert headlines(iter(found)) == words and found[-1].holds is ("ys" not in "".join(words))


DATA = Data({"W": np.ones(1)}, np.ones((3, 2, 2)), {"h": np.zeros((2, 3))})


def test_outputs_have_the_dtype_of_the_inputs() -> None:
    def asked(ys: str, h: str, case: Case = SMALL) -> list[str]:
        it: Any = stub(data=lambda case: DATA, run=lambda data: (np.zeros((3, 2, 3), ys), {"h": np.zeros((2, 3), h)}))
        found = list(contract.outputs_have_the_dtype_of_the_inputs(it, case))
        assert len(found) == 2
        return headlines(iter(found))

    assert asked("float64", "float64") == [] and asked("float32", "float32", replace(SMALL, dtype="float32")) == []
    assert asked("float32", "float64") == ["run: ys has dtype float32, wanted float64 as the inputs"]
    assert asked("float64", "float32") == ["run: h has dtype float32, wanted float64 as the inputs"]


@pytest.mark.parametrize(("where", "words"), [("ys", ["ys is not finite"]), ("h", ["final h is not finite"]), ("", [])])
def test_outputs_and_final_states_are_finite(where: str, words: list[str]) -> None:
    def one(name: str) -> Array:
        return np.full((2, 3), np.inf if name == where else 0.0)

    it: Any = stub(data=lambda case: DATA, run=lambda data: (one("ys"), {"h": one("h")}))
    assert headlines(contract.outputs_are_finite(it, SMALL)) == words


def answers(*values: float) -> Any:
    """A context whose runs give these numbers in turn; what they were asked with is kept."""
    rest = list(values)
    seen: list[Data] = []

    def run(data: Data) -> tuple[Array, dict[str, Array]]:
        seen.append(data)
        value = rest.pop(0)
        return np.full((1, 1, 1), value), {"h": np.full((1, 1), value)}

    return stub(data=lambda case: DATA, run=run, seen=seen, subject=context(Clean).subject)


def test_a_run_is_repeated_and_repeated_after_another() -> None:
    same = contract.the_same_input_gives_the_same_output
    it = answers(1.0, 1.0, 1.0, 5.0, 1.0)
    assert not failures(same(it, SMALL)) and len(it.seen) == 5
    np.testing.assert_array_equal(it.seen[3].xs, -0.7 * DATA.xs)
    np.testing.assert_array_equal(it.seen[3].state["h"], 0.3 * DATA.state["h"])
    found = failures(same(answers(1.0, 2.0, 2.0, 5.0, 1.0), SMALL))
    assert {e.code for e in found} == {"NONDETERMINISTIC"} and [e.where.tensor for e in found] == ["ys", "final h"]
    assert all("a second run" in e.headline for e in found)
    late = failures(same(answers(1.0, 1.0, 2.0), SMALL))
    assert late == [], "what changes later is not taken for a leak"
    leak = failures(same(answers(1.0, 1.0, 1.0, 5.0, 2.0), SMALL))
    assert len(leak) == 2 and all("state leaks between calls" in e.headline for e in leak)


def test_what_run_has_returned_stays_as_it_is() -> None:
    buffer = np.zeros((3, 2, 3))

    def views(self: Clean, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, final = Clean.run(self, params, xs, state)
        if np.iscomplexobj(ys) or ys.shape != buffer.shape:
            return ys, final
        buffer[...] = ys
        return buffer, final

    stays = contract.results_are_not_overwritten_by_later_calls
    assert not failures(stays(context(Clean), SMALL))
    found = failures(stays(context(of(run=views)), SMALL))
    assert [(e.code, e.where.tensor) for e in found] == [("MUTATION", "ys")] and "a later run writes into it" in found[0].headline


def test_a_layer_without_state_starts_each_sequence_fresh() -> None:
    fresh = contract.a_layer_that_keeps_no_state_starts_each_sequence_fresh
    with pytest.raises(NotApplicable, match="handed in at every call"):
        list(fresh(context(Clean), SMALL))

    def twice(params: Arrays, xs: Array) -> tuple[Array, Array]:
        return xs, xs

    assert verdicts(fresh(context(Clean, two_sequences=twice), SMALL)) == [True]
    (found,) = failures(fresh(context(Clean, two_sequences=lambda params, xs: (xs, xs + 1e-15)), SMALL))
    assert found.where.tensor == "ys" and "the state of the sequence before is kept" in found.headline


def test_gradients_are_asked_twice_and_once_more_after_others() -> None:
    def calls(*factors: float) -> type[Clean]:
        rest = list(factors)

        def change(g: Given, *_: Any) -> Given:
            factor = rest.pop(0) if rest else 1.0
            return {k: p * factor for k, p in g[0].items()}, g[1], g[2]

        return giving(change)

    def asked(*factors: float) -> list[Evidence]:
        cell = CheckContext(replace(context(Clean).subject, implementation=calls(*factors)()))
        return failures(contract.gradients_do_not_depend_on_earlier_calls(cell, SMALL))

    assert asked() == []
    second = asked(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
    assert {e.code for e in second} == {"NONDETERMINISTIC"} and "a second call" in second[0].headline
    assert second[0].detail is not None and second[0].detail.causes[0].code == "accumulated"  # type: ignore[union-attr]  # it is Named
    later = asked(1.0, 1.0, 1.0, 2.0)
    assert [e.where.tensor for e in later] == ["W_x", "W_h", "b"] and all("something is kept" in e.headline for e in later)


def test_adding_to_some_gradients_and_overwriting_others_is_a_mistake() -> None:
    mixed = contract.gradients_are_all_accumulated_or_all_overwritten
    with pytest.raises(NotApplicable, match="returns its gradients"):
        list(mixed(context(Clean), SMALL))
    (found,) = mixed(context(Clean, accumulation=Accumulation(("W_x", "W_h"), ("b", "V"))), SMALL)
    assert not found.holds and found.where.tensor == "b"
    assert found.headline.startswith("backward adds to the gradients of W_x, W_h but overwrites those of b, V:")
    kept = (Detection("gradients", "in grads, by their names"),)
    assert verdicts(mixed(context(Clean, detected=kept), SMALL)) == [True]
    with pytest.raises(NotApplicable):
        list(mixed(context(Clean, detected=kept, framework="torch"), SMALL))


def test_whole_numbers_need_no_gradient() -> None:
    class Words(Clean):
        def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
            return {**super().init(rng, input_size, hidden_size), "n": np.array([3])}

    assert verdicts(contract.every_gradient_is_given(context(Words), SMALL)) == [True]


@pytest.mark.parametrize(
    "check",
    [
        contract.gradients_do_not_depend_on_earlier_calls,
        contract.backward_leaves_its_inputs_alone,
        contract.gradients_have_the_shapes_of_what_they_are_gradients_of,
        contract.every_gradient_is_given,
        batch.gradients_of_a_row_come_from_that_row,
    ],
)
def test_backward_is_asked_with_the_dense_cotangent_first(check: Any) -> None:
    seen: list[Array] = []

    def kept(g: Given, xs: Array, params: Arrays, dys: Array) -> Given:
        seen.append(dys.copy())
        return g

    asked = context(giving(kept))
    seen.clear()  # what it was loaded with
    list(check(asked, SMALL))
    v = cotangents(asked.subject, SMALL, *asked.run(asked.data(SMALL)))[0]
    np.testing.assert_array_equal(seen[0], v.dys)
    if check is contract.gradients_do_not_depend_on_earlier_calls:
        assert [np.array_equal(dys, v.dys) for dys in seen[:4]] == [True, True, False, True]
        np.testing.assert_array_equal(seen[2], -v.dys)


def test_the_run_between_is_of_another_input() -> None:
    seen: list[tuple[Array, Array]] = []

    class Kept(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            seen.append((xs.copy(), state["h"].copy()))
            return super().run(params, xs, state)

    asked = context(Kept)
    seen.clear()  # what it was loaded with
    list(contract.results_are_not_overwritten_by_later_calls(asked, SMALL))
    (xs, h), (other, other_h) = seen
    np.testing.assert_array_equal(other, -0.7 * xs)
    np.testing.assert_array_equal(other_h, 0.3 * h)
