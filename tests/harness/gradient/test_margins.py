"""Every margin of the certificate, from both sides: what is just within it is forgiven, what is just beyond it is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import Case, Cotangent, Data
from bptt.harness.gradient import certificate
from bptt.harness.gradient.certificate import Judged, Opinion, confirmed_by_another, second_opinion, to_be_asked
from bptt.harness.gradient.derivatives.blocks import Block
from bptt.harness.gradient.derivatives.step_jacobians import NoChain
from bptt.harness.subject import Array, Subject
from tests.harness.gradient.support import changed, one_entry, reference

W = Block("params", "W")
XS = Block("xs", "xs")
ONE = np.ones(1)
SUBJECT = Subject("f", "f", "numpy", "cell", object())
IN_FLOAT32 = replace(SUBJECT, dtype="float32")
EPS = 2.0**-52
MARGIN = 2.0**-42  # 2**11 unit roundoffs of numbers whose sizes add up to one


def of(value: Any, dtype: str = "float64") -> Gradients:
    return Gradients({"W": np.atleast_1d(np.asarray(value, dtype))}, None, {})


def look(exact: float, yours: Any, error: float = 0.0, scale: float = 1.0, subject: Subject = SUBJECT, dtype: str = "float64") -> Judged:
    return certificate._first_look(subject, W, 0, of(yours, dtype), [ONE], np.array([exact]), np.array([error]), np.array([scale]))


@pytest.mark.every(1)
@pytest.mark.parametrize(
    ("off", "error", "verdict"),
    [
        (0.9 * MARGIN, 0.0, "agrees"),
        (MARGIN, 0.0, "agrees"),
        (1.1 * MARGIN, 0.0, "undecided"),
        (-0.9 * MARGIN, 0.0, "agrees"),
        (-1.1 * MARGIN, 0.0, "undecided"),
        (MARGIN + 29 * MARGIN, MARGIN, "agrees"),  # the error of the oracle widens the margin
        (MARGIN + 31 * MARGIN, MARGIN, "undecided"),
    ],
)
def test_a_difference_is_held_against_rounding_and_the_error_of_the_oracle(off: float, error: float, verdict: str) -> None:
    found = look(0.5 + off, 0.5, error, 0.5)
    assert (found.verdict, found.exact, found.yours) == (verdict, 0.5 + off, 0.5)
    assert found.relative == pytest.approx(abs(off), rel=1e-3)


def test_the_margin_grows_with_the_sizes_of_all_terms() -> None:
    assert look(0.5 + 3.9 * MARGIN, 0.5, 0.0, 3.5).verdict == "agrees"
    assert look(0.5 + 4.1 * MARGIN, 0.5, 0.0, 3.5).verdict == "undecided"
    assert look(0.5 + 4.0 * MARGIN, 0.5, 0.0, 3.5).relative == MARGIN
    cancelling = certificate._first_look(SUBJECT, W, 0, of([2.0, -2.0]), [np.ones(2)], *(np.array([x]) for x in (3.9 * MARGIN, 0.0, 0.0)))
    assert cancelling.verdict == "agrees"


def test_the_margin_is_that_of_the_wider_roundoff() -> None:
    wide = MARGIN * 2.0**29
    for subject, dtype in ((SUBJECT, "float32"), (IN_FLOAT32, "float64"), (IN_FLOAT32, "float32")):
        assert look(0.5 + 0.9 * wide, 0.5, 0.0, 0.5, subject, dtype).verdict == "agrees"
        assert look(0.5 + 1.1 * wide, 0.5, 0.0, 0.5, subject, dtype).verdict == "undecided"
    assert look(0.0, 1, 0.0, 0.0, dtype="int64").verdict == "undecided"


@pytest.mark.parametrize(("subject", "limit"), [(SUBJECT, 1e-290), (IN_FLOAT32, 1e-30)])
def test_what_has_lost_its_digits_to_underflow_is_held_to_none(subject: Subject, limit: float) -> None:
    below, above = look(0.1 * limit, 0.5 * limit, 0.0, 0.4 * limit, subject), look(0.1 * limit, 0.5 * limit, 0.0, 0.6 * limit, subject)
    assert (below.verdict, below.relative) == ("agrees", 0.0)
    assert (above.verdict, above.relative) == ("undecided", pytest.approx(0.4 / 1.1))
    at = look(0.0, limit, 0.0, 0.0, subject)
    assert (at.verdict, at.relative) == ("agrees", 0.0)


def test_what_is_no_number_is_told_apart_from_what_is_wrong() -> None:
    assert look(float("nan"), 1.0).verdict == "undecided"
    assert np.isnan(look(float("nan"), 1.0).relative)
    for value in (float("nan"), float("inf")):
        assert (look(1.0, value).verdict, look(1.0, value).relative) == ("not finite", float("inf"))
    given = certificate._first_look(SUBJECT, W, 3, Gradients({}, None, {}), [ONE], ONE, ONE, ONE)
    assert (given.verdict, given.cotangent, given.relative) == ("not given", 3, 0.0)
    assert np.isnan(given.exact) and np.isnan(given.yours)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_of_several_draws_the_worst_is_kept(order: tuple[int, ...]) -> None:
    offs = np.array([0.1 * MARGIN, 5 * MARGIN, 9 * MARGIN])[list(order)]
    us = [np.array([1.0 + 0.0 * k]) for k in range(3)]
    found = certificate._first_look(SUBJECT, W, 0, of(0.5), us, 0.5 + offs, np.zeros(3), np.full(3, 0.5))
    assert (found.verdict, found.exact) == ("undecided", 0.5 + 9 * MARGIN)


def test_the_largest_entry_is_that_of_all_gradients() -> None:
    parts = {"a": np.array([1.0, -3.0])}, np.array([2.0]), {"h": np.zeros((0, 2))}
    assert certificate._largest(Gradients(*parts)) == 3
    assert certificate._largest(Gradients({}, np.array([-5.0]), {"h": np.array([4.0])})) == 5
    assert certificate._largest(Gradients({}, None, {"h": np.array([-4.0])})) == 4
    assert certificate._largest(Gradients({}, None, {})) == 0


# -------------------------------------------------------------------------------------------------------------- dust

FLOOR = 64 * EPS * 2.0  # of a block of four entries beside a largest entry of one
CANCELLED = 0.01 * 2.0**-26


def dusty(exact: float, yours: float, block: Block = W, cotangent: int = 0, **fields: Any) -> bool:
    """Whether an undecided item is called zero but for rounding; the largest entry of its gradients is one, of the others' a thousand."""
    item = replace(Judged(block, cotangent, "undecided", 1e-3, exact, yours, np.ones(4)), **fields)
    whole = {"V": np.array([1.0]), "W": np.zeros(4)}, np.zeros(4), {}
    other = {"V": np.array([1000.0]), "W": np.zeros(4)}, np.zeros(4), {}
    return bool(certificate._zero_but_for_rounding([item], [Gradients(*whole), Gradients(*other)]))


def test_a_parameter_without_influence_is_zero_but_for_rounding() -> None:
    assert dusty(0.9 * FLOOR, 0.9 * FLOOR) and dusty(FLOOR, -FLOOR)
    assert not dusty(1.01 * FLOOR, 0.9 * FLOOR) and not dusty(0.9 * FLOOR, -1.01 * FLOOR)
    assert dusty(900 * FLOOR, 900 * FLOOR, cotangent=1) and not dusty(1100 * FLOOR, 900 * FLOOR, cotangent=1)
    assert not dusty(0.0, 0.0, verdict="wrong")


def test_a_sum_that_cancels_may_be_off_by_the_root_of_a_roundoff() -> None:
    assert dusty(0.0, 0.9 * CANCELLED) and not dusty(0.0, 1.1 * CANCELLED)
    assert dusty(0.9e-6 * 0.9 * CANCELLED, 0.9 * CANCELLED)
    assert not dusty(1.1e-6 * 0.9 * CANCELLED, 0.9 * CANCELLED)
    assert not dusty(1e-6 * (0.9 * CANCELLED), 0.9 * CANCELLED)


def test_a_small_gradient_of_an_input_is_no_dust() -> None:
    assert dusty(0.0, 0.9 * FLOOR, XS) and dusty(0.9e-3 * 0.9 * FLOOR, 0.9 * FLOOR, XS)
    assert not dusty(1.1e-3 * 0.9 * FLOOR, 0.9 * FLOOR, XS) and not dusty(0.0, 0.0, XS)
    assert not dusty(0.9 * FLOOR, 0.0, XS) and dusty(0.9 * FLOOR, 0.0)


def test_whole_numbers_have_no_dust() -> None:
    item = Judged(W, 0, "undecided", 1e-3, 0.0, 0.0, np.ones(4))
    assert not certificate._zero_but_for_rounding([item], [Gradients({"W": np.zeros(4, int)}, None, {})])
    assert not certificate._zero_but_for_rounding([item], [Gradients({}, None, {})])


# ------------------------------------------------------------------------------------------------------- second look


class Told:
    """Answers that are given, in the place of a noise and of two precisions."""

    def __init__(self, noise: float = 0.0, shrinks: bool | None = None) -> None:
        self.noise, self.told = noise, shrinks

    def of(self, *_: Any) -> float:
        return self.noise

    def shrinks(self, *_: Any) -> bool | None:
        return self.told


class Named:
    def __init__(self, name: str = "complex step", exact: bool = True) -> None:
        self.name, self.exact = name, exact


def second_look(
    gap: float,
    relative: float,
    noise: float,
    shrinks: bool | None = None,
    name: str = "complex step",
    largest: float = 1.0,
    lost: float = float("inf"),
) -> str:
    told: Any = Told(noise, shrinks)
    oracle: Any = Named(name)
    item = Judged(W, 0, "undecided", relative, gap, 0.0, np.ones(4))
    return certificate._second_look(told, told, oracle, item, largest, lost).verdict


def test_what_moves_as_much_when_inputs_move_by_a_roundoff_is_rounding() -> None:
    assert second_look(1.0, 1e-8, 0.01) == "rounding"  # a hundred times the noise, and no more
    assert second_look(1.0, 1e-8, 0.009999) == "wrong"
    assert second_look(-1.0, 1e-8, 0.01) == "rounding"
    told: Any = Told(0.01)
    oracle: Any = Named()
    between = Judged(W, 0, "undecided", 1e-8, 5.0, 4.0, np.ones(4))
    assert certificate._second_look(told, told, oracle, between, 1.0, 1.0).verdict == "rounding", "a gap of one between large numbers"


def test_what_is_gross_is_not_asked_for_its_noise() -> None:
    assert second_look(1.0, 1e-3, 1.0, largest=1e9) == "wrong"
    assert second_look(1.0, 0.99e-3, 1.0, largest=1e9) == "rounding"
    assert second_look(1.0, 1e-3, 1.0, largest=1.01e9) == "rounding"


def test_what_shrinks_with_the_precision_is_rounding_where_the_precision_was_the_oracles_own() -> None:
    assert second_look(1.0, 1e-8, 0.0, True) == "rounding"
    assert second_look(1.0, 1e-8, 0.0, False) == second_look(1.0, 1e-8, 0.0, None) == "wrong"
    assert second_look(1.0, 1e-8, 0.0, True, "central differences") == "wrong"


def test_what_is_more_than_short_numbers_can_lose_is_no_rounding() -> None:
    assert second_look(1.0, 1e-8, 0.0, True, lost=0.5) == "rounding", "half of it an entry, and four entries"
    assert second_look(-1.0, 1e-8, 0.0, True, lost=0.49) == second_look(1.0, 1e-8, 0.0, True, lost=0.49) == "wrong"
    v = Cotangent("dense", np.array([[[1.0, -3.0]]]), {"h": np.array([[2.0]])})
    narrow = replace(DATA, xs=DATA.xs.astype(np.float32))
    assert certificate._most_lost(DATA, v, 1.0) == 3 * 2.0**-24, "half of the digits, and two bits"
    assert certificate._most_lost(narrow, v, 1.0) == pytest.approx(3 * 2.0**-9.5)
    assert certificate._most_lost(DATA, replace(v, dfinal={"h": np.array([[-4.0]])}), 1.0) == 4 * 2.0**-24
    assert certificate._most_lost(DATA, v, 7.0) == 7 * 2.0**-24


def test_what_is_decided_is_not_looked_at_again() -> None:
    told: Any = Told(1e9, True)
    oracle: Any = Named()
    for verdict in ("agrees", "wrong", "not finite", "not given"):
        item = Judged(W, 0, verdict, 1e-8, 1.0, 0.0, ONE)
        assert certificate._second_look(told, told, oracle, item, 1.0, 1.0) is item
    nowhere = Judged(W, 0, "undecided", float("nan"), 1.0, 0.0, ONE)
    assert certificate._second_look(told, told, oracle, nowhere, 1.0, 1.0) is nowhere


# ---------------------------------------------------------------------------------------------------- second opinion


def wrong(relative: float, block: Block = W, exact: float = 1.0, yours: float = 2.0, u: Array = ONE) -> Judged:
    return Judged(block, 0, "wrong", relative, exact, yours, u)


def test_the_largest_candidates_are_asked_and_each_tensor_once() -> None:
    many = [wrong(1e-3 * (k + 1)) for k in range(14)]
    late, gate = wrong(1e-9, Block("params", "V")), wrong(1e-8, Block("params", "W", gate="f"))
    right = replace(wrong(1.0, Block("params", "Z")), verdict="agrees")
    candidates, asked = to_be_asked([*many, late, gate, right])
    assert candidates == [*reversed(range(14)), 15, 14]
    assert asked == [*range(2, 14), 14, 15]


DATA = Data({"W": ONE}, np.zeros((1, 1, 1)), {"h": np.zeros((1, 1))})
STATELESS = Data({"W": ONE}, np.zeros((1, 1, 1)), {})
V = Cotangent("dense", np.ones((1, 1, 1)), {})


def confirmed(answer: Opinion, item: Judged, exact: bool = True, data: Data = DATA, largest: float = 1.0) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificate, "second_opinion", lambda *_: answer)
        oracle: Any = Named(exact=exact)
        (found,) = confirmed_by_another(SUBJECT, data, [V], oracle, [item], [of(largest)])
    return found.verdict


@pytest.mark.every(1)
@pytest.mark.parametrize(
    ("answer", "exact", "data", "verdict"),
    [
        ("sides", True, DATA, "wrong"),
        ("disagrees", True, DATA, "undecided"),
        ("disagrees", False, DATA, "undecided"),
        ("flat", True, DATA, "rounding"),
        ("flat", False, STATELESS, "rounding"),
        ("sides with the subject", True, DATA, "undecided"),
        ("sides with the subject", False, DATA, "rounding"),
        ("cannot see", True, DATA, "rounding"),
        ("cannot see", True, STATELESS, "undecided"),
        ("cannot see", False, DATA, "undecided"),
    ],
)
def test_without_a_second_oracle_that_sides_nothing_is_called_wrong(answer: Opinion, exact: bool, data: Data, verdict: str) -> None:
    assert confirmed(answer, wrong(1e-3), exact, data) == verdict


def test_no_difference_is_good_to_eight_digits() -> None:
    assert confirmed("disagrees", wrong(0.9e-8)) == "rounding"
    assert confirmed("disagrees", wrong(1e-8)) == "undecided"


def test_what_nobody_can_see_and_is_a_roundoff_of_the_others_is_rounding() -> None:
    floor, four = 64 * EPS, np.ones(4)
    for exact, yours, verdict in ((2.0, -1.0, "rounding"), (1.0, 2.0, "rounding"), (2.02, 1.0, "undecided"), (1.0, -2.1, "undecided")):
        item = wrong(1e-3, exact=exact * floor, yours=yours * floor, u=four)
        assert confirmed("cannot see", item, data=STATELESS) == verdict
        assert confirmed("disagrees", item, data=STATELESS) == "undecided"
    assert confirmed("cannot see", wrong(1e-3, exact=9 * floor, yours=0.0), data=STATELESS, largest=10.0) == "rounding"


@pytest.mark.parametrize(("answer", "verdict"), [("sides", "wrong"), ("disagrees", "undecided")])
def test_what_is_not_asked_follows_the_others(answer: Opinion, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "second_opinion", lambda *_: answer)
    oracle: Any = Named()
    many = [wrong(1e-3 * (k + 1)) for k in range(14)]
    right = replace(wrong(1.0), verdict="agrees")
    found = confirmed_by_another(SUBJECT, STATELESS, [V], oracle, [*many, right], [of(1.0)])
    assert [item.verdict for item in found] == [verdict] * 14 + ["agrees"]


class Steps:
    """Derivatives one step at a time that are given."""

    def __init__(self, data: Data, along: tuple[float, float] = (0.0, 9.0), finer: tuple[float, float] = (0.0, 9.0)) -> None:
        self.subject, self.data, self._along, self._finer = SUBJECT, data, along, finer

    @property
    def possible(self) -> bool:
        return bool(self.data.state)

    def along(self, *_: Any) -> tuple[float, float]:
        return self._along

    def finer(self, *_: Any) -> tuple[float, float]:
        return self._finer


def opinion(
    monkeypatch: pytest.MonkeyPatch, value: float, error: float, closer: tuple[float, float] = (0.0, 9.0), data: Data = DATA
) -> Opinion:
    """Of a difference of a whole run about an exact 1 against yours of 2, and of all that four times as large."""
    monkeypatch.setattr(certificate, "ladder", lambda *_: None)
    oracle: Any = Named()

    def said(size: float) -> Opinion:
        monkeypatch.setattr(certificate, "contracted", lambda *_: (size * value, size * error))
        steps: Any = Steps(data, (size * closer[0], size * closer[1]))
        return second_opinion(steps, V, oracle, wrong(0.5, exact=size, yours=2 * size))

    assert said(1.0) == said(4.0)
    return said(1.0)


@pytest.mark.every(1)
@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (1.0, 0.2, "sides"),
        (1.29, 0.1, "sides"),
        (0.71, 0.1, "sides"),
        (1.31, 0.1, "disagrees"),
        (0.69, 0.1, "disagrees"),
        (1.69, 0.1, "disagrees"),
        (1.71, 0.1, "sides with the subject"),
        (2.29, 0.0, "sides with the subject"),
        (2.31, 0.0, "disagrees"),
        (1.0, 0.21, "cannot see"),
        (1.0, float("nan"), "cannot see"),
    ],
)
def test_an_opinion_takes_the_nearer_of_two(value: float, error: float, said: Opinion, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opinion(monkeypatch, value, error, data=STATELESS) == said


def test_what_a_whole_run_cannot_see_is_asked_a_step_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert opinion(monkeypatch, 1.0, 0.5, (1.0, 0.1)) == "sides"
    assert opinion(monkeypatch, 1.0, 0.5, (2.0, 0.1)) == "flat"
    assert opinion(monkeypatch, 1.0, 0.5, (1.5, 0.1)) == "disagrees"
    assert opinion(monkeypatch, 1.0, 0.5, (1.0, 0.1), STATELESS) == "cannot see"
    assert opinion(monkeypatch, 2.0, 0.1, (1.0, 0.1)) == "sides with the subject"  # it could see


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (1.0, 0.1, "sides"),
        (2.0, 0.0, "sides with the subject"),
        (5.0, 0.1, "sides with the subject"),  # within thirty times its error of the subject, and far from the other oracle
        (5.1, 0.1, "disagrees"),
        (1.31, 0.0233, "sides with the subject"),
        (1.29, 0.0233, "sides"),
        (4.0, 1.0, "sides with the subject"),
        (1.2, 0.3, "cannot see"),
    ],
)
def test_of_two_differences_the_finer_one_decides_for_the_subject(value: float, error: float, said: Opinion) -> None:
    oracle: Any = Named(exact=False)
    for size in (1.0, 4.0, 0.1):  # the same of a gap that is wider or narrower
        steps: Any = Steps(DATA, finer=(size * value, size * error))
        assert second_opinion(steps, V, oracle, wrong(0.5, exact=size, yours=2 * size)) == said


# ------------------------------------------------------------------------------------------------------ whole tensors


def test_exact_gradients_are_contracted_with_each_direction() -> None:
    exact = [Gradients({"W": np.array([1.0, -2.0, 4.0])}, None, {}), Gradients({"W": np.array([0.0, 3.0, 5.0])}, None, {})]
    block = Block("params", "W", (slice(0, 2),))
    found = certificate._contracted(exact, [block], [[np.array([1.0, 1.0]), np.array([-1.0, 2.0])]])
    assert found.values.tolist() == [[-1.0, 3.0], [-5.0, 6.0]]
    assert found.scales.tolist() == [[3.0, 3.0], [5.0, 6.0]]
    assert found.errors.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_directions_are_kept_of_what_is_not_right() -> None:
    u = np.array([0.5, -1.5])
    done: list[Any] = ["agrees", "rounding", "not given"]
    open_ones: list[Any] = ["wrong", "undecided", "not finite"]
    for verdict in done:
        assert certificate._without_direction(replace(wrong(0.1, u=u), verdict=verdict)).u.tolist() == [1.0, 1.0]
    for verdict in open_ones:
        assert certificate._without_direction(replace(wrong(0.1, u=u), verdict=verdict)).u is u


@pytest.mark.parametrize(("entries", "many"), [(9, False), (10, True)])
def test_every_entry_is_asked_for_where_there_are_many_parameters(entries: int, many: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "_MANY", 10)
    told: Any = (of(1.0),)
    monkeypatch.setattr(certificate, "through_single_steps", lambda *_: told)
    data = Data({"W": np.zeros(entries), "V": np.zeros(50)}, np.zeros((50, 1, 1)), {"h": np.zeros((1, 50))})
    chosen = [W, XS, Block("state", "h")]
    oracle: Any = Named()
    found = certificate._every_entry_of_many(oracle, Case(), data, [V], chosen)
    assert found is (told if many else None)

    def no_chain(*_: Any) -> Any:
        raise NoChain("rows mix")

    monkeypatch.setattr(certificate, "through_single_steps", no_chain)
    assert certificate._every_entry_of_many(oracle, Case(), data, [V], chosen) is None


def test_what_an_examination_has_found_is_told_by_its_verdicts() -> None:
    several: list[Any] = ["agrees", "rounding", "wrong", "not finite", "undecided", "not given"]
    judged = tuple(replace(wrong(0.1), verdict=verdict) for verdict in several)
    oracle: Any = Named()
    found = certificate.Examination(Case(), DATA, (V,), (of(1.0),), oracle, judged, 3)
    assert [j.verdict for j in found.wrong] == ["wrong", "not finite"] and [j.verdict for j in found.undecided] == ["undecided"]
    assert found.miss_probability == pytest.approx(0.08**3)


@pytest.mark.parametrize("wrong_entry", [False, True])
def test_every_exact_entry_is_kept_where_one_block_is_wrong(wrong_entry: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "_MANY", 1)
    subject = reference("elman")
    found = certificate.examine(changed(subject, one_entry("b", (0,), 1.5)) if wrong_entry else subject, Case(T=2, N=1, D=2, H=2))
    assert ({j.block.tensor for j in found.wrong} == {"b"}) is wrong_entry and (found.exact is not None) is wrong_entry
    sizes = [np.ptp(np.abs(j.u)) for j in found.judged if j.block.tensor == "W_h"]
    assert not any(sizes), "directions of what agrees are let go of"
