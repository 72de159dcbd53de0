"""GRD180 with maps that are given: which lags are wrong, in words, and which block is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bptt.harness.cases import Case
from bptt.harness.checks.cells import lags
from bptt.harness.checks.evidence import Evidence, NotApplicable
from bptt.harness.gradient.derivatives.step_jacobians import NoChain
from bptt.harness.gradient.lags import Lags, Part
from bptt.harness.subject import Array
from tests.harness.checks.cells.asked import SMALL, context
from tests.harness.checks.planted import Clean

T = 4
CASE = replace(SMALL, T=T)


def part(wrong: list[tuple[int, int]], columns: int = T, **values: float) -> Part:
    """Blocks that agree to 1e-15, but for those that are `wrong`: twice what they should be, the later the larger."""
    shape = (T, columns)
    found = np.zeros(shape, bool)
    relative = np.full(shape, 1e-15)
    sizes = np.where(np.arange(columns) <= np.arange(T)[:, None], 1.0, 0.0) if columns > 1 else np.ones(shape)
    for k, place in enumerate(wrong):
        found[place], relative[place] = True, 1.0 + k
    exact = np.full(shape, values.get("exact", 0.5))
    return Part(np.full(shape, 5), exact * (1 + relative), exact, relative, sizes, found)


def given(xs: list[tuple[int, int]] | None = None, h: list[tuple[int, int]] | None = None, case: Case = CASE) -> Lags:
    parts = {} if xs is None else {"xs": part(xs)}
    parts |= {} if h is None else {"h": part(h, 1)}
    oracle: Any = type("O", (), {"name": "complex step"})()
    return Lags(case, oracle, parts, {"xs": (2, 3), "h": (2, 3)})


def evidence(monkeypatch: pytest.MonkeyPatch, found: Lags, **fields: Any) -> Evidence:
    monkeypatch.setattr(lags, "lag_map", lambda *_: found)
    return lags.lags_evidence(context(Clean, **fields), CASE)


def diagonal(lag: int) -> list[tuple[int, int]]:
    return [(t, t - lag) for t in range(T) if 0 <= t - lag < T]


@pytest.mark.every(1)
@pytest.mark.parametrize(
    ("xs", "words", "key"),
    [
        ([0], "at lag 0 and at no other", ((0, 0),)),
        ([1, 2], "at lags 1 to 2 and at no other", ((1, 2),)),
        ([2, 3], "at lags 2 and beyond and at no other", ((2, None),)),
        ([0, 1, 2, 3], "at every lag", ((0, None),)),
        ([0, 2], "at lags 0, 2 and at no other", ((0, 0), (2, 2))),
        ([1, 3], "at lags 1, 3 and at no other", ((1, 1), (3, None))),
        ([-1, 2], "at lag 2 and at no other", ((2, 2),)),
        ([-1], "at lag 0 and at no other", ((0, 0),)),
    ],
)
def test_wrong_lags_are_told_as_bands(xs: list[int], words: str, key: Any) -> None:
    band = lags.bands(given([place for lag in xs for place in diagonal(lag)], []))
    assert set(band) == {"xs"} and band["xs"].longest == 3
    assert (band["xs"].words, band["xs"].key) == (words, key)


def test_a_state_stands_one_step_before_the_first_input() -> None:
    band = lags.bands(given([], [(0, 0), (3, 0)]))
    assert set(band) == {"h"} and band["h"].longest == 4 and band["h"].runs == ((1, 1), (4, 4))
    assert band["h"].words == "at lags 1, 4 and at no other"


def test_many_bands_are_counted() -> None:
    four, five = (tuple((k, k + 1) for k in range(1, 3 * n, 3)) for n in (4, 5))
    assert lags.Band(four, 40).words == "at lags 1 to 2, 4 to 5, 7 to 8, 10 to 11 and at no other"
    assert lags.Band(five, 40).words == "at 10 of 41 lags, first at lag 1"


def test_a_right_map_is_told_by_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    found = evidence(monkeypatch, given([], []))
    assert found.holds and found.oracle == "complex step" and found.total == T * T + T
    assert found.metrics["blocks"] == 10 + 4 and found.metrics["max_relative_error"] == 1e-15 and found.metrics["decades"] == 0.0
    tiny = given([])
    tiny.parts["xs"].sizes[3, 0] = 1e-7
    assert evidence(monkeypatch, tiny).metrics["decades"] == 7.0
    lost = given([])
    lost.parts["xs"].sizes[:] = 1e-250
    assert evidence(monkeypatch, lost).metrics["blocks"] == 0 and evidence(monkeypatch, lost).metrics["decades"] == 0.0


def test_of_wrong_blocks_the_one_at_the_smallest_lag_that_is_furthest_off_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    found = evidence(monkeypatch, given([(3, 0), *diagonal(1)], []))
    assert not found.holds and found.headline == "dL/dxs is wrong at lags 1, 3 and at no other"
    assert (found.where.tensor, found.where.index, found.where.step, found.where.lag) == ("xs", (2, 1, 2), 2, 1)
    assert (found.expected, found.observed, found.relative_error) == (0.5, 2.5, 4.0)
    assert (found.bad, found.total) == (4, 10) and found.metrics["cotangent"] == "output 3 only"
    assert found.metrics["scope"] == "dL/dxs at lags 1, 3 and at no other; dL/dh0 right"
    assert found.metrics["max_relative_error"] == 1e-15
    of_state = evidence(monkeypatch, given([], [(2, 0), (3, 0)]))
    assert (of_state.where.tensor, of_state.where.index, of_state.where.step, of_state.where.lag) == ("h0", (1, 2), None, 3)
    assert of_state.metrics["scope"] == "dL/dh0 at lags 3 and beyond and at no other; dL/dxs right"
    both = evidence(monkeypatch, given(diagonal(0), [(0, 0)]))
    assert both.metrics["scope"] == "dL/dxs at lag 0 and at no other; dL/dh0 at lag 1 and at no other"
    ahead = evidence(monkeypatch, given([(0, 1), (1, 3)]))
    assert (ahead.where.step, ahead.where.lag) == (3, -2), "of what comes from the future the furthest off"
    mixed = evidence(monkeypatch, given([(2, 0), (0, 2)]))
    assert (mixed.where.step, mixed.where.lag) == (0, 2)
    unbounded = given(diagonal(0))
    unbounded.parts["xs"].relative[1, 1] = np.inf
    assert evidence(monkeypatch, unbounded).where.step == 1


def test_a_smaller_case_fails_alike_where_the_same_bands_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    found = evidence(monkeypatch, given(diagonal(2) + diagonal(3), []))
    assert found.fails_at is not None and found.fails_at(CASE)
    for other in (given(diagonal(2), []), given(diagonal(2) + diagonal(3), [(0, 0)]), given([], [])):
        monkeypatch.setattr(lags, "lag_map", lambda *_, other=other: other)
        assert not found.fails_at(CASE)

    def none(*_: Any) -> Lags:
        raise NoChain("rows mix")

    monkeypatch.setattr(lags, "lag_map", none)
    assert not found.fails_at(CASE)
    with pytest.raises(NotApplicable, match="no map of its lags: rows mix"):
        lags.lags_evidence(context(Clean), CASE)
    with pytest.raises(NotApplicable, match="stop after lag 0"):
        lags.lags_evidence(context(Clean, truncation=0), CASE)
    with pytest.raises(NotApplicable, match="no backward"):
        lags.lags_evidence(context(Clean, capabilities=frozenset()), CASE)


def test_the_picture_has_the_states_first_and_signs() -> None:
    found = given([(3, 0)], [(1, 0)])
    found.parts["xs"].yours[3, 0] = 0.1
    picture: Any = lags.heatmap(found)
    assert picture["columns"] == ["h0", "0", "1", "2", "3"] and picture["rows"] == ["0", "1", "2", "3"]
    table = np.array(picture["values"])
    assert table[3, 1] == -1.0 and table[1, 0] == 1.0 and table[0, 0] == 1e-15 and table[0, 4] == 0.0
    assert (picture["row_label"], picture["column_label"]) == ("step of the loss", "step of the input")
    assert str(CASE) in picture["title"]
    alone: Any = lags.heatmap(given(None, [(1, 0)]))
    assert alone["columns"] == ["h0"] and len(alone["values"]) == 4


@pytest.mark.parametrize(("steps", "at_once"), [(40, 1), (41, 2), (80, 2), (81, 3)])
def test_a_long_map_is_pooled_to_its_worst(steps: int, at_once: int) -> None:
    shape = (steps, steps)
    relative = np.full(shape, 1e-15)
    relative[steps - 1, 1] = 0.25
    one = Part(np.zeros(shape, int), np.zeros(shape), np.ones(shape), relative, np.ones(shape), relative > 0.1)
    none = np.zeros((steps, 1))
    state = Part(none, none, none, none, none, np.zeros((steps, 1), bool))
    oracle: Any = None
    picture: Any = lags.heatmap(Lags(replace(CASE, T=steps), oracle, {"xs": one, "h": state}, {}))
    starts = [str(k) for k in range(0, steps, at_once)]
    assert picture["rows"] == starts and picture["columns"] == ["h0", *starts]
    table: Array = np.array(picture["values"])
    assert table.shape == (len(starts), len(starts) + 1)
    assert np.argwhere(np.abs(table) > 0.1).tolist() == [[len(starts) - 1, 1 + 1 // at_once]]


def test_what_is_pooled_keeps_its_sign_and_three_digits() -> None:
    assert lags._worst(np.array([[0.1, -0.23456], [0.2, 0.0]])) == -0.235
    assert lags._tensor("xs") == "xs" and lags._tensor("h") == "h0"
