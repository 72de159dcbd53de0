"""What the oracle compares before it is trusted, what is cut into blocks, and how the map of lags is held: each from both sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import Case, Cotangent, Data
from bptt.harness.errors import ContractError
from bptt.harness.gradient import lags
from bptt.harness.gradient.derivatives import blocks as cutting
from bptt.harness.gradient.derivatives import differences, oracle
from bptt.harness.gradient.derivatives.blocks import Block, blocks
from bptt.harness.gradient.derivatives.oracle import rows_stay_apart, why_not_analytic
from bptt.harness.gradient.derivatives.slopes import by_complex_step
from bptt.harness.gradient.derivatives.step_jacobians import Chain, NoChain, chain_of
from bptt.harness.gradient.derivatives.tangent import Direction, Tangent
from bptt.harness.gradient.lags import Part
from bptt.harness.subject import Array, Arrays, Region, Subject
from tests.harness.gradient.support import function


@dataclass(frozen=True)
class Told:
    """Outputs and a final state as functions of the inputs and the state."""

    ys: Callable[[Array], Array]
    h: Callable[[Array], Array]
    c: Callable[[Array], Array] = lambda c: c

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        return self.ys(xs), {"h": self.h(state["h"]), "c": self.c(state["c"])}


def told(ys: Callable[[Array], Array], h: Callable[[Array], Array], c: Callable[[Array], Array] = lambda c: c) -> Subject:
    return Subject("t", "t", "numpy", "cell", Told(ys, h, c))


def same(value: Array) -> Array:
    return value


RNG = np.random.default_rng(0)
DATA = Data({}, RNG.normal(size=(3, 2, 4)), {"h": RNG.normal(size=(2, 4)), "c": RNG.normal(size=(2, 4))})
CASE = Case(T=3, N=2, D=4, H=4)


def off(by: float) -> Callable[[Array], Array]:
    """The largest entry is off by so much of itself."""

    def f(value: Array) -> Array:
        other = value.copy()
        at = np.unravel_index(int(np.argmax(np.abs(value))), value.shape)
        other[at] *= 1 + by
        return other

    return f


@pytest.mark.every(1)
@pytest.mark.parametrize(
    ("ys", "h", "c", "equal"),
    [
        (same, same, same, True),
        (off(0.9e-11), off(0.9e-11), off(-0.9e-11), True),
        (off(1.2e-11), same, same, False),
        (same, off(1.2e-11), same, False),
        (same, same, off(-1.2e-11), False),
        (lambda x: x[:2], same, same, False),
        (same, lambda h: h[:1], same, False),
    ],
)
def test_the_reference_stands_in_only_where_outputs_and_every_state_are_equal(ys: Any, h: Any, c: Any, equal: bool) -> None:
    assert oracle._same_outputs(told(same, same), told(ys, h, c), DATA) is equal


def test_the_reference_stands_in_only_where_its_states_have_the_same_names() -> None:
    @dataclass(frozen=True)
    class One:
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
            return xs, {"h": state["h"]}

    one = replace(told(same, same), implementation=One())
    assert not oracle._same_outputs(told(same, same), one, DATA)
    assert not oracle._same_outputs(one, told(same, same), DATA)


def test_float32_outputs_are_equal_to_four_digits() -> None:
    narrow = Data({}, DATA.xs.astype(np.float32), {k: s.astype(np.float32) for k, s in DATA.state.items()})
    assert oracle._same_outputs(told(same, same), told(off(0.9e-4), same), narrow)
    assert not oracle._same_outputs(told(same, same), told(off(1.2e-4), same), narrow)


def test_closeness_is_relative_to_the_largest_entry_of_the_second() -> None:
    assert oracle._close(np.array([1.5, 0.0]), np.array([1.0, 0.0]), 0.5)
    assert not oracle._close(np.array([1.5, 0.0]), np.array([1.0, 0.0]), 0.4999)
    assert not oracle._close(np.array([2.0, 0.0]), np.array([1.0, 0.0]), 0.5)
    assert oracle._close(np.array([0.0, 2.0]), np.array([-4.0, 0.0]), 1.0)
    assert oracle._close(np.zeros(3), np.zeros(3), 0.0) and not oracle._close(np.full(3, 1e-300), np.zeros(3), 0.5)
    assert oracle._close(np.zeros((0, 2)), np.zeros((0, 2)), 0.0) and not oracle._close(np.zeros(2), np.zeros(3), 1.0)


WORDS = "run gives other values for complex inputs with imaginary part zero"


@pytest.mark.every(1)
@pytest.mark.parametrize("where", ["ys", "h", "c"])
@pytest.mark.parametrize(("by", "found"), [(1e-8, True), (0.5e-9, False)])
def test_other_values_for_complex_numbers_are_seen_in_outputs_and_in_every_state(where: str, by: float, found: bool) -> None:
    def branch(value: Array) -> Array:
        return off(by)(value) if np.iscomplexobj(value) else value

    cell = told(*(branch if name == where else same for name in ("ys", "h", "c")))
    assert (why_not_analytic(cell, CASE, DATA) == WORDS) is found


def test_code_that_is_not_analytic_is_held_against_differences() -> None:
    assert why_not_analytic(told(same, same), CASE, DATA) == ""
    for where in range(3):
        parts: list[Callable[[Array], Array]] = [same, same, same]
        parts[where] = lambda value: value * 1 if not np.iscomplexobj(value) else np.real(value) + 0j
        assert "run is not analytic" in why_not_analytic(told(*parts), CASE, DATA)

    def real_only(value: Array) -> Array:
        if np.iscomplexobj(value):
            raise TypeError("only real numbers\nhere")
        return value

    assert why_not_analytic(told(real_only, same), CASE, DATA).startswith("run cannot take complex numbers (SubjectError: t.run raised")


def test_a_tangent_is_near_the_nearest_of_several_differences() -> None:
    def tangent(*ys: float, h: tuple[float, ...] = (1.0,)) -> Tangent:
        return Tangent(np.array(ys), {"h": np.array(h)})

    got = tangent(1.0, 2.0)
    assert oracle._near(got, [tangent(1.0, 2.0003)])
    assert not oracle._near(got, [tangent(1.0, 2.0005)]), "1e-4 of the sum of both sizes"
    assert oracle._near(got, [tangent(1.0, 7.0), tangent(7.0, 2.0)]), "entry by entry"
    assert not oracle._near(got, [tangent(1.0, 2.0, h=(1.0003,))])
    assert oracle._near(got, [tangent(1.0, 2.0, h=(1.0001,))])
    empty = Tangent(np.zeros(0), {"h": np.array([1.0])})
    assert oracle._near(empty, [empty]) and not oracle._near(empty, [Tangent(np.zeros(0), {"h": np.array([2.0])})])
    assert oracle._agrees_with(got, [[tangent(9.0, 9.0)], [tangent(1.0, 2.0)]])
    assert not oracle._agrees_with(got, [[tangent(9.0, 9.0)], [tangent(9.0, 2.0)]])


def mean(value: Array) -> Array:
    """Rows that mix, along the axis of the batch."""
    return value + 1e-3 * value.mean(axis=-2, keepdims=True)


def test_rows_stay_apart_only_where_outputs_and_every_state_do() -> None:
    assert rows_stay_apart(told(same, same), DATA)
    assert not rows_stay_apart(told(mean, same), DATA)
    assert not rows_stay_apart(told(same, mean), DATA)
    assert not rows_stay_apart(told(same, same, mean), DATA)
    assert not rows_stay_apart(replace(told(same, same), batch_sizes=(2, 4)), DATA)
    assert not rows_stay_apart(told(lambda x: x[:, :2], same), DATA)
    assert not rows_stay_apart(told(same, lambda h: h[:2]), DATA)
    assert not rows_stay_apart(told(same, same, lambda c: c[:2]), DATA)


def test_rows_are_compared_to_ten_digits() -> None:
    def slightly(by: float) -> Callable[[Array], Array]:
        return lambda x: x * (1 + by * (x.shape[1] > 2))

    def slightly_state(by: float) -> Callable[[Array], Array]:
        return lambda h: h * (1 + by * (h.shape[0] > 2))

    for by, apart in ((0.9e-10, True), (1.2e-10, False)):
        assert rows_stay_apart(told(slightly(by), same), DATA) is apart
        assert rows_stay_apart(told(same, slightly_state(by)), DATA) is apart


def test_the_direction_of_the_preflight_moves_everything_by_about_one_in_all() -> None:
    data = Data({"W": np.zeros((4, 5)), "n": np.array([3]), "a": np.array(1.0)}, DATA.xs, {"h": DATA.state["h"]})
    found = oracle._everywhere(CASE, data)
    assert set(found.params) == {"W", "a"} and found.xs is not None
    for value, u in ((data.params["W"], found.params["W"]), (data.xs, found.xs), (data.state["h"], found.state["h"])):
        sizes = np.abs(u) * np.sqrt(value.size)
        assert sizes.min() >= 0.5 and sizes.max() <= 1.5 and sizes.std() > 0
    assert 0.5 <= abs(found.params["a"].item()) <= 1.5
    words = replace(data, xs=np.zeros((3, 2, 1), int), state={"k": np.zeros(2, int)})
    assert oracle._everywhere(CASE, words).xs is None and not oracle._everywhere(CASE, words).state


@pytest.mark.parametrize(("inputs", "calls"), [(3, 4), (4, 2)])
def test_many_directions_of_inputs_go_side_by_side(inputs: int, calls: int) -> None:
    asked: list[int] = []

    def one(data: Data, u: Direction) -> Tangent:
        asked.append(data.xs.shape[1])
        ys_dot = np.zeros_like(data.xs) if u.xs is None else 2 * u.xs
        return Tangent(ys_dot + sum(float(p.sum()) for p in u.params.values()), {})

    us = [Direction({"W": np.ones(2)}), *(Direction(xs=np.full((3, 2, 4), 1.0 + k)) for k in range(inputs))]
    data = replace(DATA, params={"W": np.ones(2)}, state={})
    found = oracle._batched(function(lambda x: x), data, one)(us)
    assert len(asked) == calls
    assert [float(t.ys_dot[0, 0, 0]) for t in found] == [2.0, *(2.0 * (1 + k) for k in range(inputs))]
    assert {t.ys_dot.shape for t in found} == {(3, 2, 4)}
    asked.clear()
    alone = oracle._batched(replace(function(lambda x: x), batch_sizes=(2,)), data, one)(us)
    assert len(asked) == inputs + 1 and [t.ys_dot.shape for t in alone] == [t.ys_dot.shape for t in found]


# ----------------------------------------------------------------------------------------------------------- blocks


def cut(shape: tuple[int, ...], D: int = 3, H: int = 7, regions: tuple[Region, ...] = ()) -> list[tuple[str | None, tuple[int, ...]]]:
    data = Data({"W": np.zeros(shape)}, np.zeros((0, 1, D)), {})
    return [(b.gate, b.input(data)[b.index].shape) for b in blocks(Case(D=D, H=H), data, regions) if b.source == "params"]


def test_where_no_gate_is_known_parts_of_the_size_of_the_state_stand_in() -> None:
    assert cut((3, 7)) == [(None, (3, 7))]
    assert cut((3, 14)) == [("block 1 of 2", (3, 7)), ("block 2 of 2", (3, 7))]
    assert cut((28, 3)) == [(f"block {k} of 4", (7, 3)) for k in (1, 2, 3, 4)]
    assert cut((14, 21)) == [(f"block {k} of 3", (14, 7)) for k in (1, 2, 3)], "the last axis first"
    assert cut((35,)) == [(None, (35,))], "no cell has five"
    assert cut((21,)) == [(f"block {k} of 3", (7,)) for k in (1, 2, 3)]
    assert cut((22,)) == [(None, (22,))] and cut(()) == [(None, ())]
    assert cut((2, 14), D=14) == [(None, (2, 14))], "as wide as the input"
    assert cut((14, 5), D=14) == [(None, (14, 5))]
    assert cut((0, 7)) == []


def test_regions_are_taken_where_they_cover_all() -> None:
    halves = tuple(Region("W", (slice(None), slice(7 * k, 7 * k + 7)), g) for k, g in enumerate("ab"))
    assert cut((3, 14), regions=halves) == [("a", (3, 7)), ("b", (3, 7))]
    assert [gate for gate, _ in cut((3, 14), regions=halves[:1])] == ["block 1 of 2", "block 2 of 2"]
    elsewhere = tuple(replace(r, tensor="V") for r in halves)
    assert [gate for gate, _ in cut((3, 14), regions=elsewhere)] == ["block 1 of 2", "block 2 of 2"]


def test_steps_states_and_integers() -> None:
    data = Data({"n": np.array([3])}, np.zeros((3, 1, 2)), {"h": np.zeros((1, 2)), "k": np.zeros(1, int), "e": np.zeros((1, 0))})
    found = blocks(Case(T=3), data, ())
    assert [(b.source, b.tensor, b.step) for b in found] == [("xs", "xs", 0), ("xs", "xs", 1), ("xs", "xs", 2), ("state", "h", None)]
    assert [b.input(data)[b.index].shape for b in found] == [(1, 1, 2)] * 3 + [(1, 2)]
    assert not [b for b in blocks(Case(T=3), replace(data, xs=np.zeros((3, 1, 2), int)), ()) if b.source == "xs"]
    assert cutting._chosen_steps(4, 4) == [0, 1, 2, 3] and cutting._chosen_steps(5, 4) == [0, 1, 3, 4]
    assert cutting._chosen_steps(101, 3) == [0, 50, 100]


def test_a_block_is_a_part_of_a_gradient_and_of_an_input() -> None:
    g = Gradients({"W": np.arange(4.0)}, np.arange(6.0).reshape(3, 1, 2), {"h": np.arange(2.0)})
    block = Block("params", "W", (slice(1, 3),))
    assert block.of(g) is not None and np.asarray(block.of(g)).tolist() == [1.0, 2.0]
    assert Block("params", "V").of(g) is None and Block("xs", "xs").whole(g) is g.xs and Block("state", "h").whole(g) is g.state["h"]
    assert Block("xs", "xs", (slice(0, 1),)).of(Gradients({}, None, {})) is None
    data = Data({"W": np.zeros(4)}, np.zeros((3, 1, 2)), {"h": np.zeros(2)})
    along = block.direction_along(data, np.array([5.0, 6.0]))
    assert along.params["W"].tolist() == [0.0, 5.0, 6.0, 0.0] and along.xs is None and not along.state
    assert Block("state", "h").direction_along(data, np.array([1.0, 2.0])).state["h"].tolist() == [1.0, 2.0]
    moved = Block("xs", "xs", (slice(2, 3),)).direction_along(data, np.ones((1, 1, 2)))
    assert moved.xs is not None and moved.xs.sum() == 2 and moved.xs[2].sum() == 2


# ------------------------------------------------------------------------------------------------------------- lags

TEN_DIGITS = 4.5e5 * 2.0**-52


def judge(exact: bool = True, dtype: str = "float64") -> Any:
    oracle_of: Any = type("O", (), {"exact": exact})()
    return lags._Judge(told(same, same), replace(CASE, dtype=dtype), DATA, oracle_of, DATA.xs, {})


def candidate(off: float, size: float = 1.0, others: tuple[float, ...] = (), exact: bool = True, dtype: str = "float64") -> bool:
    block = np.array([[[0.25 * size, -size]]])
    beside = [block + np.array([[[o, 0.0]]]) for o in others]
    (((found,),),) = (judge(exact, dtype).candidates(block + np.array([[[off, 0.0]]]), block, beside).tolist(),)
    return bool(found)


def test_a_block_is_held_to_ten_digits_of_its_own_largest_entry() -> None:
    for size in (1.0, 1e-200):
        assert not candidate(0.99 * TEN_DIGITS * size, size) and candidate(1.02 * TEN_DIGITS * size, size)
        assert not candidate(-0.99 * TEN_DIGITS * size, size) and candidate(-1.02 * TEN_DIGITS * size, size)
    assert not candidate(0.9e-6, exact=False) and candidate(1.1e-6, exact=False)
    assert candidate(float("nan")) and candidate(float("inf"))
    narrow = 4.5e5 * 2.0**-23
    assert not candidate(0.99 * narrow, dtype="float32") and candidate(1.02 * narrow, dtype="float32")


def test_what_the_exact_blocks_differ_by_among_themselves_is_no_mistake() -> None:
    assert not candidate(29e-6, others=(1e-6,)) and candidate(31e-6, others=(1e-6,))
    assert not candidate(29e-6, others=(1e-7, -1e-6, 1e-8))
    assert candidate(1.02 * TEN_DIGITS, others=(1e-3 * TEN_DIGITS,))


def test_a_block_that_is_lost_to_underflow_is_held_to_being_as_small() -> None:
    assert not candidate(0.9e-247, 0.9e-250) and candidate(1.1e-247, 0.9e-250)
    assert candidate(0.5e-250, 1.1e-250) and candidate(0.5e-250, 1e-250), "what is no smaller than that keeps its digits"


def test_a_part_names_the_entry_that_is_furthest_off() -> None:
    exact = np.zeros((1, 3, 2))
    exact[0, 0], exact[0, 1] = (1.0, -4.0), (2.0, 2.0)
    yours = exact.copy()
    yours[0, 0, 0] += 1e-14
    yours[0, 0, 1] -= 2e-14
    yours[0, 2, 1] = 1e-300
    found = judge().part("xs", yours, exact, [])
    assert found.index.tolist() == [[1, 0, 1]] and found.sizes.tolist() == [[4.0, 2.0, 0.0]]
    assert found.relative[0, 0] == pytest.approx(5e-15, rel=0.1) and found.relative[0, 1] == 0.0 and found.relative[0, 2] == float("inf")
    assert found.exact.tolist() == [[-4.0, 2.0, 0.0]] and found.yours[0, 0] == yours[0, 0, 1] and found.yours[0, 2] == 1e-300
    assert not found.wrong.any()


def asked(relative: list[list[float]], stays: Callable[[tuple[int, ...]], bool]) -> tuple[list[list[bool]], list[tuple[int, ...]]]:
    """What is called wrong of a map with these candidates (0: none), and which of them were asked."""
    seen: list[tuple[int, ...]] = []

    class Asked(lags._Judge):
        def _stays(self, name: str, found: Part, place: tuple[int, ...], shape: tuple[int, ...]) -> bool:
            seen.append(place)
            return stays(place)

    values = np.array(relative)
    part = Part(np.zeros(values.shape, int), values, values, values, values, values > 0)
    one = judge()
    wrong = Asked(one.subject, one.case, one.data, one.oracle, one.v, {})._asked("xs", part, (2, 4))
    return wrong.tolist(), seen


def test_candidates_that_do_not_stay_are_forgiven_and_what_is_like_them_too() -> None:
    assert asked([[0.0, 0.0]], lambda _: True) == ([[False, False]], [])
    assert asked([[1.0, 0.0]], lambda _: True)[0] == [[True, False]]
    assert asked([[1.0, 0.0]], lambda _: False)[0] == [[False, False]]
    row = [10.0**-k for k in range(12)]
    wrong, seen = asked([row], lambda place: place[1] != 3)  # one of a thousandth is forgiven, and with it what is not ten times as large
    assert seen == [(0, k) for k in (0, 1, 2, 3, 10, 11)], "the four largest, and two of either end of the lags"
    assert wrong == [[True, True, True, False, False, False, False, False, False, False, True, True]]
    assert asked([row], lambda _: True)[0] == [[True] * 12]
    assert asked([row], lambda place: place[1] != 1)[0] == [[True, False, True, True, *[False] * 6, True, True]]
    wrong, _ = asked([row], lambda place: place[1] not in (0, 10))
    assert wrong == [[False, True, True, True, *[False] * 7, True]], "the largest that is forgiven counts"
    twenty = [[1.0] * 4 + [1e-3] * 8]
    _, seen = asked([*twenty, [0.0] * 12, *twenty], lambda _: True)
    assert seen == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 10), (0, 11), (2, 0), (2, 1)], "longest lags are those of the last outputs"
    assert asked([[0.0], [1.0], [0.5]], lambda place: place[0] == 2)[0] == [[False], [False], [True]]
    nine = [[1e-2, 1e-3, 1.1e-3, *[0.0] * 3, 1e-5]]
    assert asked(nine, lambda place: place[1] != 6)[0] == [[True, True, True, False, False, False, False]]


def test_the_blocks_of_a_backward_are_those_of_each_output_alone() -> None:
    """ys_t = sum_(s<=t) x_s: dL/dx_s of output t is v_t for s <= t, whatever number of them goes through at once."""

    class Sums:
        def backward(
            self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays
        ) -> tuple[dict[str, Array], Array, dict[str, Array]]:
            calls.append(xs.shape[1])
            return {}, np.cumsum(dys[::-1], axis=0)[::-1], {"h": dys.sum(0)}

    data, v = replace(DATA, state={"h": DATA.state["h"]}), RNG.normal(size=(3, 2, 4))
    cell = Subject("s", "s", "numpy", "cell", Sums(), capabilities=frozenset({"backward"}))
    for at_once, passes in ((2_000_000, [6]), (3 * 2 * 12 * 2, [4, 2]), (1, [2, 2, 2])):
        calls: list[int] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lags, "_AT_ONCE", at_once)
            found = lags.your_blocks(cell, data, v, {"h": data.state["h"]}).parts
        assert calls == passes
        assert found["xs"].shape == (3, 3, 2, 4) and found["h"].shape == (3, 1, 2, 4)
        for t in range(3):
            np.testing.assert_array_equal(found["h"][t, 0], v[t])
            for s in range(3):
                np.testing.assert_array_equal(found["xs"][t, s], v[t] if s <= t else np.zeros((2, 4)))


def test_without_gradients_of_inputs_there_is_no_map() -> None:
    class Nothing:
        def backward(self, *_: Any) -> tuple[dict[str, Array], None, dict[str, Array]]:
            return {"W": np.ones(1)}, None, {}

    cell = Subject("n", "n", "numpy", "cell", Nothing(), capabilities=frozenset({"backward"}))
    with pytest.raises(NoChain, match="no gradient of inputs or states"):
        lags.your_blocks(cell, DATA, DATA.xs, {})


def test_all_inputs_have_their_blocks_laid_flat() -> None:
    g = Gradients({}, np.zeros((3, 2, 4)), {"h": np.zeros((2, 4))})
    assert [(name, value.shape) for name, value in lags._inputs(g)] == [("xs", (3, 2, 4)), ("h", (1, 2, 4))]
    assert [name for name, _ in lags._inputs(Gradients({}, None, {"h": np.zeros(2)}))] == ["h"]
    assert lags._flat(np.zeros((2, 3, 4, 5))).shape == (2, 3, 20)


# ----------------------------------------------------------------------------------------- what is asked of one block


class Stays:
    """Whether a block stays wrong, with every answer given: an exact 1 on which the map says yours is 2."""

    def __init__(self, **answers: Any) -> None:
        self.yours, self.noise, self.whole, self.shrinks = 2.0, 0.0, 1.0, False
        self.opinion, self.exact, self.relative, self.map = "sides", True, 0.5, 2.0
        self.asked: list[str] = []
        self.given: dict[str, Any] = {}
        for name, answer in answers.items():
            setattr(self, name, answer)

    def answer(self, name: str = "xs") -> bool:
        def told(word: str, value: Any) -> Callable[..., Any]:
            def answer(*given: Any) -> Any:
                self.asked.append(word)
                self.given[word] = given
                return value

            return answer

        contractions = type("C", (), {"values": np.array([[self.whole]])})
        oracle_of: Any = type("O", (), {"exact": self.exact, "contractions": staticmethod(told("whole", contractions))})()
        g = Gradients({}, np.zeros((3, 2, 4)), {"h": np.zeros((2, 4))})
        assert g.xs is not None
        g.xs[1, 1, 2], g.state["h"][1, 2] = self.yours, self.yours
        found = Part(*(np.array([[0, v]]) for v in (6, self.map, 1.0, self.relative, 1.0, True)))
        found = replace(found, index=np.array([[0, 6]]))
        given: list[Cotangent] = []

        def backward(_: Subject, data: Data, v: Cotangent) -> Gradients:
            given.append(v)
            return g

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lags, "backward", backward)
            patch.setattr(lags, "rounding_noise", told("noise", self.noise))
            patch.setattr(lags, "second_opinion", told("opinion", self.opinion))
            shrinking = type("P", (), {"__init__": lambda *_: None, "shrinks": told("shrinks", self.shrinks)})
            patch.setattr(lags, "Precisions", shrinking)
            one = judge()
            final = {"h": np.ones((2, 4))}
            stays = lags._Judge(one.subject, one.case, one.data, oracle_of, DATA.xs, final)._stays(name, found, (0, 1), (2, 4))
        assert given[0].dys[0].tolist() == DATA.xs[0].tolist() and not given[0].dys[1:].any() and not given[0].dfinal["h"].any()
        return bool(stays)


def test_what_is_gross_is_held_against_whole_runs_two_precisions_and_another_oracle() -> None:
    for name in ("xs", "h"):
        one = Stays()
        assert one.answer(name) and one.asked == ["whole", "shrinks", "opinion"]
        _, block, cotangent, u = one.given["shrinks"]
        assert (block.source, cotangent, np.count_nonzero(u)) == ("xs" if name == "xs" else "state", 0, 1)
        item = one.given["opinion"][3]
        assert (item.cotangent, item.verdict, item.relative, item.exact, item.yours) == (0, "wrong", 0.5, 1.0, 2.0)
    assert not Stays(whole=1.31).answer() and not Stays(whole=0.69).answer() and Stays(whole=1.29).answer()
    assert not Stays(shrinks=True).answer() and Stays(shrinks=None).answer()
    for said in ("disagrees", "cannot see", "flat"):
        assert not Stays(opinion=said).answer()


def test_differences_see_too_little_of_whole_runs_to_be_asked() -> None:
    one = Stays(exact=False, whole=5.0, shrinks=True, opinion="flat")
    assert one.answer() and one.asked == []
    assert not Stays(exact=False, relative=0.99e-3, noise=0.01).answer()


def test_rows_that_mix_make_no_map() -> None:
    with pytest.raises(NoChain, match="rows of a batch mix"):
        Stays(yours=1.29).answer()
    assert Stays(yours=1.31).answer() and Stays(yours=0.69).answer()
    assert not Stays(map=float("inf")).answer() and Stays(map=float("nan"), yours=float("nan")).answer()


def test_what_is_slight_is_asked_for_its_noise() -> None:
    assert not Stays(relative=0.99e-3, noise=0.01).answer() and Stays(relative=0.99e-3, noise=0.0099).answer()
    one = Stays(relative=1e-3, noise=1.0)
    assert one.answer() and "noise" not in one.asked


# --------------------------------------------------------------------------------------------- the chain of one's own steps


def linear_chain(T: int = 3) -> tuple[Subject, Chain]:
    """h' = A h + B x and y = h', k' = 2 k: its Jacobian is known."""
    A, B = np.array([[0.5, 0.25], [0.0, -1.0]]), np.array([[2.0], [3.0]])

    class Linear:
        off: ClassVar[dict[str, float]] = {}

        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
            ys, h, k = [], state["h"], state["k"]
            for x in xs:
                h, k = h @ A.T + x @ B.T, 2 * k
                ys.append(h)
            return np.stack(ys), {"h": h, "k": k}

        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Any:
            dh, dk = dfinal["h"], dfinal["k"]
            dxs = np.zeros_like(xs)
            for t in reversed(range(len(xs))):
                dh = dh + dys[t]
                dxs[t], dh, dk = dh @ B, dh @ A, 2 * dk
            found = {"xs": dxs, "h": dh, "k": dk}
            found = {name: g * (1 + self.off.get(name, 0.0)) for name, g in found.items() if not np.isnan(self.off.get(name, 0.0))}
            return {}, found.pop("xs", None), found

    subject = Subject("l", "l", "numpy", "cell", Linear(), capabilities=frozenset({"backward"}))
    data = Data({}, RNG.normal(size=(T, 2, 1)), {"h": RNG.normal(size=(2, 2)), "k": RNG.normal(size=(2, 3))})
    return subject, chain_of(subject, data, by_complex_step(subject))


def test_the_jacobians_of_single_steps_are_those_that_backward_gives() -> None:
    subject, chain = linear_chain()
    own = lags.your_own_steps(subject, chain)
    assert own is not None and own.errors is None
    np.testing.assert_allclose(own.jacobians, chain.jacobians, atol=1e-14)
    of_row = chain.jacobians[1, 1]
    np.testing.assert_allclose(of_row[:2], np.array([[2, 0.5, 0.25, 0, 0, 0], [3, 0, -1, 0, 0, 0]]), atol=1e-14)
    np.testing.assert_allclose(of_row[4:, 3:], 2 * np.eye(3), atol=1e-14)


@pytest.mark.every(1)
@pytest.mark.parametrize(
    ("off", "near"),
    [
        ({"xs": 0.9e-6}, True),
        ({"xs": 1.1e-6}, False),
        ({"h": -2.9e-6}, True),  # of an entry of one beside one of three
        ({"h": -3.1e-6}, False),
        ({"k": 2e-6}, False),
        ({"xs": float("nan")}, False),  # not given
        ({"k": float("nan")}, False),
    ],
)
def test_steps_of_ones_own_are_taken_where_they_are_slightly_off_at_most(off: dict[str, float], near: bool) -> None:
    subject, chain = linear_chain()
    subject.implementation.off.update(off)
    try:
        assert (lags.your_own_steps(subject, chain) is not None) is near
    finally:
        subject.implementation.off.clear()


@pytest.mark.parametrize(("off", "asked"), [(0.0, False), (0.5, True)])
def test_other_chains_are_asked_where_some_block_is_off(off: float, asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, _ = linear_chain()
    seen: list[int] = []

    def candidates(self: Any, yours: Array, exact: Array, others: list[Array]) -> Array:
        found = np.zeros(yours.shape[:2], bool)
        found[0, 0] = off > 0
        return found

    monkeypatch.setattr(lags._Judge, "candidates", candidates)
    monkeypatch.setattr(lags._Judge, "part", lambda self, name, yours, exact, others: seen.append(len(others)))
    monkeypatch.setattr(lags, "draw", lambda *_: Data({}, RNG.normal(size=(3, 2, 1)), {"h": RNG.normal(size=(2, 2)), "k": np.ones((2, 3))}))
    lags.lag_map(subject, Case(T=3, N=2, D=1, H=2))
    assert seen == [3 if asked else 0] * 3, "its own steps, and two that are moved by a roundoff"


def test_a_map_that_is_too_large_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, _ = linear_chain()
    monkeypatch.setattr(lags, "draw", lambda *_: Data({}, np.ones((3, 2, 1)), {"h": np.ones((2, 2)), "k": np.ones((2, 3))}))
    numbers = 3 * 3 * 2 + 3 * (2 * 2 + 2 * 3)
    monkeypatch.setattr(lags, "_MOST_NUMBERS", numbers)
    lags.lag_map(subject, Case(T=3, N=2, D=1, H=2))
    monkeypatch.setattr(lags, "_MOST_NUMBERS", numbers - 1)
    with pytest.raises(NoChain, match="a map of 3 x 3 blocks"):
        lags.lag_map(subject, Case(T=3, N=2, D=1, H=2))


def test_the_exact_blocks_are_products_of_the_jacobians() -> None:
    """dL_2/dx_0 = v B' (A')^2, and of the state one more A."""
    _, chain = linear_chain()
    v = RNG.normal(size=(3, 2, 2))
    found = lags.exact_blocks(chain, v).parts
    A, B = np.array([[0.5, 0.25], [0.0, -1.0]]), np.array([[2.0], [3.0]])
    for t in range(3):
        for s in range(3):
            wanted = v[t] @ np.linalg.matrix_power(A, t - s) @ B if s <= t else np.zeros((2, 1))
            np.testing.assert_allclose(found["xs"][t, s], wanted, atol=1e-13)
        np.testing.assert_allclose(found["h"][t, 0], v[t] @ np.linalg.matrix_power(A, t + 1), atol=1e-13)
        assert not found["k"][t].any() and found["k"].shape == (3, 1, 2, 3)


# ------------------------------------------------------------------------------------------- runs that a derivative costs


def rows_of_runs(directions: int, ask: Callable[[Subject, Data, list[Direction]], object]) -> list[int]:
    rows: list[int] = []

    def counted(x: Array) -> Array:
        rows.append(x.shape[1])
        return 2 * x

    ask(function(counted), Data({}, np.ones((1, 2, 1)), {}), [Direction(xs=np.full((1, 2, 1), 1.0 + k)) for k in range(directions)])
    return rows


@pytest.mark.parametrize(("directions", "wide"), [(1, 0), (2, 1)])
def test_differences_of_several_directions_go_side_by_side(directions: int, wide: int) -> None:
    v = Cotangent("dense", np.ones((1, 2, 1)), {})
    rows = rows_of_runs(directions, lambda cell, data, us: oracle._by_differences(cell, data)(us, [v]))
    asked = [2, 2, 4] if wide else []  # whether rows stay apart: each alone, and both
    points = [14 * 2 * directions] if wide else [2] * 14
    noise = [2] * 7
    assert rows == [*asked, *points, 2, *noise] if wide else rows == [2, *points, *noise]


def test_two_inputs_side_by_side_are_two_different_ones() -> None:
    seen: list[Array] = []

    def kept(x: Array) -> Array:
        seen.append(x.copy())
        return x

    states: list[Array] = []

    def kept_state(h: Array) -> Array:
        states.append(h.copy())
        return h

    assert rows_stay_apart(told(kept, kept_state), DATA)
    np.testing.assert_allclose(seen[1], 0.1 - 0.7 * DATA.xs)
    np.testing.assert_allclose(states[1], 0.3 * DATA.state["h"])
    np.testing.assert_array_equal(seen[2], np.concatenate(seen[:2], axis=1))


@pytest.mark.parametrize(("by", "found"), [(0.9e-3, False), (1.1e-3, True)])
def test_in_float32_other_values_for_complex_numbers_are_those_off_by_a_thousandth(by: float, found: bool) -> None:
    narrow = Data({}, DATA.xs.astype(np.float32), {k: s.astype(np.float32) for k, s in DATA.state.items()})
    cell = told(lambda x: off(by)(x) if np.iscomplexobj(x) else x, same)
    assert (why_not_analytic(cell, replace(CASE, dtype="float32"), narrow) == WORDS) is found


def test_the_same_kind_of_derivative_is_taken_at_another_input() -> None:
    def of(name: str, exact: bool = True, mirror: Subject | None = None, cell: Subject | None = None) -> Any:
        named: Any = type("O", (), {"name": name, "exact": exact, "through": "through" in name})()
        return oracle.of_the_same_kind(named, cell or told(lambda x: 2 * x, same), DATA, mirror)

    along = Direction(xs=np.ones_like(DATA.xs))
    assert of("central differences", exact=False) is None
    assert of("complex step")([along])[0].ys_dot.tolist() == np.full_like(DATA.xs, 2.0).tolist()
    assert of("complex step through m") is None
    assert of("complex step through m", mirror=told(same, same)) is None, "it computes something else here"
    assert of("complex step through m", mirror=told(lambda x: 2 * x, same))([along])[0].ys_dot.max() == 2.0

    class Tangents(Told):
        slope = 1.0

        def run_tangent(self, params: Arrays, xs: Array, state: Arrays, params_dot: Arrays, xs_dot: Array, state_dot: Arrays) -> Any:
            return self.slope * xs_dot, {}

    class Others(Tangents):
        slope = 5.0

    def by_mode(of_cell: type[Tangents]) -> Any:
        return of("forward-mode differentiation", cell=replace(told(same, same), implementation=of_cell(same, same)))

    assert by_mode(Tangents)([along])[0].ys_dot.max() == 1.0
    assert by_mode(Others) is None, "differences see another slope here"


def test_a_derivative_is_seen_where_the_first_of_its_tangents_is_that_of_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(tangents: Any) -> bool:
        monkeypatch.setattr(oracle, "of_the_same_kind", lambda *_: tangents)
        named: Any = None
        return oracle.is_seen_by_differences(named, told(lambda x: 2 * x, same), CASE, DATA, None)

    def with_slope(slope: float) -> Any:
        def tangents(directions: Any) -> list[Tangent]:
            (u,) = directions
            return [Tangent(slope * u.xs, {k: u.state[k] for k in ("h", "c")})]

        return tangents

    def no_complex(_: Any) -> Any:
        raise ContractError("no finite complex values")

    assert seen(with_slope(2.0)) and not seen(with_slope(2.1)) and not seen(None) and not seen(no_complex)


def test_scales_of_a_ladder_are_those_of_its_third_step_from_the_end() -> None:
    """Of x**3 along 4 at 2: a tangent of 48 + 64 h**2 at the step h."""
    cell, data = function(lambda x: x**3), Data({}, np.full((1, 1, 1), 2.0), {})
    found = differences.ladder(cell, data, Direction(xs=np.full((1, 1, 1), 4.0)))
    v = [Cotangent("v", np.full((1, 1, 1), -3.0), {}), Cotangent("w", np.zeros((1, 1, 1)), {})]
    values, errors, scales = differences.contracted_all(found, v)
    h = 2.0**-8 / 4
    assert scales.tolist() == [pytest.approx(3 * (48 + 64 * h * h), rel=1e-11), 0.0]
    assert values.tolist() == [pytest.approx(-144.0, rel=1e-9), 0.0] and errors.shape == (2,)
