"""What is put down to rounding: noise of gradients and of outputs measured by hand, and the margins between two precisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bptt.harness.cases import Case, Cotangent, Data
from bptt.harness.gradient import precision
from bptt.harness.gradient.derivatives import differences
from bptt.harness.gradient.derivatives.blocks import Block
from bptt.harness.gradient.derivatives.differences import largest, measured_noise, one_difference
from bptt.harness.gradient.derivatives.tangent import Direction
from bptt.harness.gradient.precision import U32, U64, U80, Noise, Precisions, nudged, rounding_noise
from bptt.harness.subject import Array, Arrays, Subject
from tests.harness.gradient.support import Function, function

EPS = 2.0**-52
W = Block("params", "W")


class Signs:
    """A generator that draws these signs, and then nothing."""

    def __init__(self, *signs: float) -> None:
        self.signs = list(signs)

    def choice(self, of: list[float], size: tuple[int, ...]) -> Array:
        assert of == [-1.0, 0.0, 1.0]
        return np.full(size, self.signs.pop(0))


def given(dtype: str = "float64") -> Data:
    return Data({"W": np.full(2, 3.0, dtype), "n": np.array([3])}, np.full((1, 1, 1), 5.0, dtype), {"h": np.full((1, 1), 7.0, dtype)})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_number_moves_by_a_unit_in_the_last_place(dtype: str) -> None:
    eps = float(np.finfo(dtype).eps)
    signs: Any = Signs(1.0, -1.0, 0.0)
    moved = nudged(given(dtype), signs)
    assert moved.params["W"].tolist() == [float(np.dtype(dtype).type(3.0 * (1 + eps)))] * 2
    assert moved.xs.item() == float(np.dtype(dtype).type(5.0 * (1 - eps)))
    assert moved.state["h"].item() == 7.0
    assert moved.params["n"].item() == 3 and moved.params["n"].dtype.kind == "i"
    assert {moved.params["W"].dtype, moved.xs.dtype, moved.state["h"].dtype} == {np.dtype(dtype)}


class Passes:
    """Its gradient of W is W, plus what it is off by at each call."""

    def __init__(self, *offs: float) -> None:
        self.offs, self.calls = list(offs), 0

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        return xs, {}

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays
    ) -> tuple[dict[str, Array], Array | None, dict[str, Array]]:
        self.calls += 1
        off = self.offs.pop(0) if self.offs else 0.0
        return {"W": np.array([1.0 + off, 2.0])}, None, {}


def subject(implementation: object) -> Subject:
    return Subject("p", "p", "numpy", "cell", implementation, capabilities=frozenset({"backward"}))


V = Cotangent("dense", np.ones((1, 1, 1)), {})
ON_W = Data({"W": np.array([1.0, 2.0])}, np.ones((1, 1, 1)), {})
U = np.array([3.0, -1.0])


@pytest.mark.parametrize("offs", [(0.1, -0.4, 0.2), (-0.4, 0.1, 0.2), (0.1, 0.2, 0.4)])
def test_the_noise_of_a_block_is_the_largest_change_of_three(offs: tuple[float, ...]) -> None:
    cell = Passes(*offs, 100.0)
    noise = Noise(subject(cell), Case(), ON_W, [V])
    assert noise.of(W, 0, U, 1.0) == pytest.approx(3 * 0.4)
    assert noise.of(W, 0, U, 2.0) == pytest.approx(max(abs(1.0 + 3 * off - 2.0) for off in offs))
    assert cell.calls == 3, "each cotangent is asked once"
    assert noise.of(Block("params", "Z"), 0, U, 1.0) == 0.0
    asked = rounding_noise(subject(Passes(*offs, 100.0)), ON_W, V, W, U, 1.0, np.random.default_rng(0))
    assert asked == pytest.approx(3 * 0.4)


def test_each_cotangent_has_a_noise_of_its_own() -> None:
    noise = Noise(subject(Passes(0.1, 0.0, 0.0, 0.5, 0.0, 0.0)), Case(), ON_W, [V, V])
    assert (noise.of(W, 0, U, 1.0), noise.of(W, 1, U, 1.0)) == (pytest.approx(0.3), pytest.approx(1.5))


# ------------------------------------------------------------------------------------------------- two precisions


class Told(Precisions):
    """Discrepancies that are given, by dtype."""

    told: dict[type, float | None]

    def discrepancy(self, block: Block, cotangent: int, u: Array, dtype: type) -> float | None:
        return self.told.get(dtype)


def shrinks(dtype: str, told: Mapping[Any, float | None], entries: int = 3) -> bool | None:
    data = Data({"W": np.zeros(entries)}, np.zeros((1, 1, 1), dtype), {})
    asked = Told(subject(Passes()), data, [V])
    object.__setattr__(asked, "told", told)
    return asked.shrinks(W, 0, U)


@pytest.mark.skipif(U80 >= U64, reason="nothing is wider than a double here")
def test_a_mistake_stays_where_eighty_bits_are_had() -> None:
    wide = np.longdouble
    for here in (1e-6, 1e-10):
        limit = 32 * (U80 / U64) * here
        assert shrinks("float64", {np.float64: here, wide: 0.99 * limit}) is True
        assert shrinks("float64", {np.float64: here, wide: limit}) is True
        assert shrinks("float64", {np.float64: here, wide: 1.01 * limit}) is False
    assert shrinks("float64", {np.float64: 0.0, wide: 0.99e5 * U80}) is True
    assert shrinks("float64", {np.float64: 0.0, wide: 1e5 * U80}) is True
    assert shrinks("float64", {np.float64: 0.0, wide: 1.01e5 * U80}) is False


def test_of_large_and_of_narrow_code_the_narrower_precision_is_asked() -> None:
    for told, entries in (({}, 3), ({np.longdouble: 1.0}, 50_000)):
        if told and U80 == U64:
            continue
        for narrow in (1e-3, 1e-5):
            limit = 2**11 * (U64 / U32) * narrow
            assert shrinks("float64", {np.float64: 0.99 * limit, np.float32: narrow, **told}, entries) is True
            assert shrinks("float64", {np.float64: limit, np.float32: narrow, **told}, entries) is True
            assert shrinks("float64", {np.float64: 1.01 * limit, np.float32: narrow, **told}, entries) is False
        assert shrinks("float64", {np.float64: 0.99e3 * U64, np.float32: 0.0, **told}, entries) is True
        assert shrinks("float64", {np.float64: 1e3 * U64, np.float32: 0.0, **told}, entries) is True
        assert shrinks("float64", {np.float64: 1.01e3 * U64, np.float32: 0.0, **told}, entries) is False
        assert shrinks("float64", {np.float64: 1.0, **told}, entries) is None
    if U80 < U64:
        assert shrinks("float64", {np.float64: 1.0, np.longdouble: 0.0, np.float32: 0.0}, 49_999) is True
    assert shrinks("float64", {np.float32: 1.0}) is None
    assert shrinks("float16", {np.float64: 1.0, np.float32: 1.0}) is None


def test_float32_is_held_against_float64() -> None:
    for here in (1e-3, 1e-5):
        limit = 2**11 * (U64 / U32) * here
        assert shrinks("float32", {np.float32: here, np.float64: limit}) is True
        assert shrinks("float32", {np.float32: here, np.float64: 1.01 * limit}) is False
    assert shrinks("float32", {np.float32: 0.0, np.float64: 1e5 * U64}) is True
    assert shrinks("float32", {np.float32: 0.0, np.float64: 1.01e5 * U64}) is False
    assert shrinks("float32", {np.float32: 1.0}) is shrinks("float32", {np.float64: 1.0}) is None


def test_fifty_digits_are_asked_for_where_nothing_is_wider_than_a_double(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float | None] = [0.9e-40, 1.1e-40, None, None]
    monkeypatch.setattr(precision, "discrepancy_in_digits", lambda *_: told.pop(0))
    two: dict[Any, float | None] = {np.float64: 1.0, np.float32: 1.0}
    monkeypatch.setattr(precision, "U80", U64)
    assert [shrinks("float64", {**two, np.longdouble: 0.0}) for _ in range(2)] == [True, False]
    assert shrinks("float64", two) is False, "and float32 where digits cannot be had"
    monkeypatch.setattr(precision, "U80", U64 / 2)
    assert shrinks("float64", two) is False and len(told) == 1, "nor where there is something wider"


class Line:
    """y = w x, and dL/dw that is too large by a factor."""

    def __init__(self, factor: float, cast: type | None = None) -> None:
        self.factor, self.cast = factor, cast

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        return params["W"] * xs, {}

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays
    ) -> tuple[dict[str, Array], Array | None, dict[str, Array]]:
        dW = np.asarray(self.factor * (dys * xs).sum((0, 1)), xs.dtype)
        return {"W": dW if self.cast is None else dW.astype(self.cast).astype(dW.dtype)}, None, {}


def test_a_mistake_is_the_same_on_every_rung_of_the_ladder_and_rounding_falls() -> None:
    data = Data({"W": np.array([0.7])}, np.array([[[1.1]], [[1.3]]]), {})
    v = Cotangent("dense", np.array([[[0.9]], [[1.7]]]), {})

    def rungs(line: Line) -> tuple[precision.Rung, ...]:
        return precision.ladder(subject(line), data, (v,), W, 0, np.array([1.0]))

    wide = ["longdouble"] if U80 < U64 else []
    wrong = rungs(Line(1.5))
    assert [r.precision for r in wrong] == ["float32", "float64", *wide]
    assert [r.roundoff for r in wrong] == [U32, U64, U80][: len(wrong)]
    assert [r.difference for r in wrong] == pytest.approx([0.2] * len(wrong), rel=1e-6), "0.5 of 1 + 1.5"
    assert all(r.difference <= 4 * r.roundoff for r in rungs(Line(1.0)))
    assert [r.precision for r in rungs(Line(1.5, np.float32))] == ["float32"], "it computes in nothing wider"


def test_the_discrepancy_is_relative_to_the_sizes_of_all_terms() -> None:
    data = Data({"W": np.array([0.7])}, np.array([[[1.1]], [[1.3]]]), {})
    v = Cotangent("dense", np.array([[[0.9]], [[1.7]]]), {})
    for dtype in (np.float32, np.float64, np.longdouble):
        found = Precisions(subject(Line(1.5)), data, [v]).discrepancy(W, 0, np.array([-1.0]), dtype)
        assert found == pytest.approx(0.5 / 2.5, rel=1e-6)
    assert Precisions(subject(Line(1.5, np.float32)), data, [v]).discrepancy(W, 0, np.array([1.0]), np.float64) is None
    nothing = Precisions(subject(Line(0.0)), replace(data, xs=0 * data.xs), [v])
    assert nothing.discrepancy(W, 0, np.array([1.0]), np.float64) is None
    assert Precisions(subject(Line(1.5)), data, [v]).discrepancy(Block("params", "Z"), 0, np.array([1.0]), np.float64) is None


def test_numbers_that_were_cast_are_not_of_the_precision_that_they_came_in() -> None:
    third = np.array([1.0, 1.0]) / 3
    assert precision.computed_in(third, np.float64)
    assert not precision.computed_in(third, np.float32)
    assert not precision.computed_in(third.astype(np.float32).astype(np.float64), np.float64)
    assert precision.computed_in(np.array([1.0, 1 / 3]), np.float64), "one entry is enough"
    assert precision.computed_in(third.astype(np.float32), np.float32), "nothing narrower is asked for"


# ------------------------------------------------------------------------------------------------------ differences


class Sequence:
    """Outputs that are given, one a call; what it was called with is kept."""

    def __init__(self, values: list[list[float]], dtype: str = "float64") -> None:
        self.values, self.xs, self.dtype = list(values), [], dtype

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        self.xs.append(float(xs[0, 0, 0]))
        return np.array(self.values.pop(0), self.dtype).reshape(1, 1, -1), {}


X = Data({}, np.full((1, 1, 1), 2.0), {})
ALONG = Direction(xs=np.full((1, 1, 1), 4.0))
NORM = float(np.sqrt(924.0))  # of 1 -6 15 -20 15 -6 1


def test_the_noise_of_outputs_is_what_sixth_differences_leave() -> None:
    rows = [[0.0, 0.0, 0.0, 0.0] for _ in range(7)]
    rows[2][0] = 1.0  # the third of seven points: a weight of 15
    noise = measured_noise(subject(Sequence(rows)), X, ALONG).ys_dot[0, 0]
    typical = (15 / NORM) / 2
    assert noise.tolist() == [pytest.approx(15 / NORM), *[pytest.approx(typical)] * 3]


@pytest.mark.parametrize(("dtype", "step"), [("float64", 1e-3), ("float32", 1e-2)])
def test_the_noise_is_at_least_two_units_in_the_last_place_of_the_largest_output(dtype: str, step: float) -> None:
    eps = float(np.finfo(dtype).eps)
    cell = Sequence([[8.0, 0.0]] * 7, dtype)
    data = Data({}, np.full((1, 1, 1), 2.0, dtype), {})
    noise = measured_noise(replace(subject(cell), dtype=dtype), data, Direction(xs=np.full((1, 1, 1), 4.0, dtype)))
    assert noise.ys_dot[0, 0].tolist() == [16 * eps, 0.0]
    assert cell.xs == pytest.approx([2 + step * k for k in range(-3, 4)], rel=1e-6)  # the direction is four long: a fourth of the step


def test_steps_are_relative_to_the_largest_entry_of_a_direction() -> None:
    assert largest(Direction({"a": np.array([1.0, -3.0])}, np.array([2.0]), {"h": np.zeros((0,))})) == 3
    assert largest(Direction(xs=np.array([-5.0]), state={"h": np.array([4.0])})) == 5
    assert largest(Direction(state={"h": np.array([-4.0])})) == 4
    assert largest(Direction()) == largest(Direction(xs=np.zeros(2))) == 1


@pytest.mark.parametrize(("dtype", "first", "count"), [("float64", 4, 7), ("float32", 2, 5)])
def test_differences_of_a_cube_tell_their_steps(dtype: str, first: int, count: int) -> None:
    """(f(x + hu) - f(x - hu)) / 2h of x**3 is 3 x**2 u + h**2 u**3; the bend of x**2 is h u**2."""
    data = Data({}, np.full((1, 1, 1), 2.0, dtype), {})
    u = Direction(xs=np.full((1, 1, 1), 4.0, dtype))
    steps = [2.0**-k / 4 for k in range(first, first + count)]
    found = differences.ladder(function(lambda x: x**3, dtype), data, u)
    assert found.steps.tolist() == steps
    near = 1e-3 if dtype == "float32" else 1e-9
    assert [t.ys_dot.item() for t in found.tangents] == pytest.approx([48 + 64 * h * h for h in steps], abs=near)
    square = differences.ladder(function(lambda x: x**2, dtype), data, u)
    assert [t.ys_dot.item() for t in square.bends] == pytest.approx([16 * h for h in steps], rel=1e-2 if dtype == "float32" else 1e-9)
    one = one_difference(function(lambda x: x**3, dtype), data, u).ys_dot.item()
    assert one == pytest.approx(48 + 64 * steps[-1] ** 2, abs=near)
    fine = differences.fine_ladder(function(lambda x: x**3, dtype), data, u)
    assert fine.steps.tolist() == [h * differences.FINER[dtype] for h in steps]


def test_a_ladder_of_many_directions_is_that_of_each() -> None:
    cell = replace(function(lambda x: x**3), implementation=Function(lambda x: x**3))
    data = Data({"W": np.ones(2)}, np.arange(1.0, 7.0).reshape(2, 3, 1), {})
    us = [Direction(xs=np.full((2, 3, 1), 1.0 + k)) for k in range(3)] + [Direction({"W": np.ones(2)})]
    alone = [differences.ladder(cell, data, u) for u in us]
    for apart in (True, False):
        for one, many in zip(alone, differences.ladders(cell, data, us, apart), strict=True):
            assert one.steps.tolist() == many.steps.tolist()
            for a, b in zip([*one.tangents, *one.bends], [*many.tangents, *many.bends], strict=True):
                np.testing.assert_allclose(a.ys_dot, b.ys_dot, rtol=0, atol=1e-9)


def test_points_side_by_side_go_through_in_runs_of_at_most_so_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []

    def counted(x: Array) -> Array:
        rows.append(x.shape[1])
        return x

    monkeypatch.setattr(differences, "_MOST_ROWS", 7)
    points = [Data({}, np.full((1, 3, 1), float(k)), {}) for k in range(5)]
    found = differences._outputs(function(counted), points, [False, True, True, True, True], True)
    assert [ys.ravel().tolist() for ys, _ in found] == [[float(k)] * 3 for k in range(5)]
    assert sorted(rows) == [3, 6, 6]
    rows.clear()
    differences._outputs(function(counted), points, [True] * 5, False)
    assert rows == [3] * 5
    rows.clear()
    monkeypatch.setattr(differences, "_MOST_ROWS", 2)
    differences._outputs(function(counted), points, [True] * 5, True)
    assert rows == [3] * 5


def test_the_noise_of_many_directions_is_measured_along_all_of_them_at_once() -> None:
    data = Data({"W": np.ones(2), "V": np.ones(1)}, np.ones((1, 1, 1)), {"h": np.ones((1, 1))})
    us = [
        Direction({"W": np.array([2.0, -4.0])}),
        Direction({"W": np.array([9.0, 9.0])}),
        Direction({"V": np.array([5.0])}),
        Direction(xs=np.full((1, 1, 1), 8.0)),
        Direction(xs=np.full((1, 1, 1), -8.0), state={"h": np.full((1, 1), 2.0)}),
    ]
    joint = differences._joint(us, data)
    assert {k: v.tolist() for k, v in joint.params.items()} == {"W": [0.5, -1.0], "V": [1.0]}
    assert joint.xs is not None and joint.xs.item() == 1.0
    assert joint.state["h"].item() == 0.25


def test_the_slope_of_a_function_has_its_steps_relative_to_a_size() -> None:
    at: list[float] = []

    def cube(h: float) -> Array:
        at.append(h)
        return np.array([(2 + 4 * h) ** 3, 1.0])

    value, error = differences.slope(cube, 4.0)
    assert value == pytest.approx([48.0, 0.0], abs=1e-9) and error.max() < 1e-9 and error.min() > 0
    assert at[0] == 0.0
    assert at[1:8] == [2.0**-k / 4 for k in range(4, 11)]
    assert at[8:15] == [-(2.0**-k) / 4 for k in range(4, 11)]
    assert at[15:] == pytest.approx([1e-3 / 4 * k for k in range(-3, 4)])
    at.clear()
    differences.slope(cube, 4.0, 0.5)
    assert at[1] == 2.0**-5 / 4


def test_the_noise_of_a_function_is_a_part_of_the_error_of_its_slope() -> None:
    rng = np.random.default_rng(0)

    def error_with(size: float) -> float:
        return float(differences.slope(lambda h: np.array([h + size * rng.normal()]), 1.0)[1].item())

    small, large = error_with(1e-12), error_with(1e-6)
    assert 1e-11 < small < 1e-8 and 1e-5 < large < 1e-2
