"""BAT: what is just within a margin holds, what is just beyond it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bptt.harness.cases import Case
from bptt.harness.checks.cells import batch
from bptt.harness.checks.evidence import NotApplicable
from bptt.harness.subject import Array, Arrays
from tests.harness.checks.cells.asked import EPS, context, failures, giving
from tests.harness.checks.planted import Clean
from tests.harness.checks.planted import Gradients as Given


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

    asked = context(Kept, batch_sizes=(3,))
    seen.clear()  # what it was loaded with
    list(batch.batch_rows_do_not_mix(asked, ROWS))
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


def test_rows_are_chosen_all_of_a_few_and_three_of_many() -> None:
    assert [batch._some_rows(N) for N in (2, 3, 4, 9)] == [[0, 1], [0, 1, 2], [0, 2, 3], [0, 4, 8]]
    assert [[(s.start, s.stop) for s in batch._in_parts(N)] for N in (2, 3, 4, 9)] == [
        [(0, 1), (1, 2)],
        [(0, 1), (1, 2), (2, 3)],
        [(0, 1), (1, 2), (2, 4)],
        [(0, 1), (1, 4), (4, 9)],
    ]


def test_a_mean_over_the_batch_is_seen_where_rows_can_be_run_alone() -> None:
    def mean(g: Given, xs: Array, params: Arrays, dys: Array) -> Given:
        return {k: p / xs.shape[1] for k, p in g[0].items()}, g[1], g[2]

    row = batch.gradients_of_a_row_come_from_that_row
    for N in (2, 3, 9):
        assert {e.where.tensor for e in failures(row(context(giving(mean)), replace(ROWS, N=N)))} == {"W_x", "W_h", "b"}
    assert not failures(row(context(giving(mean), batch_sizes=(3,)), ROWS)), "a fixed batch has no rows alone"


@pytest.mark.parametrize(("units", "holds"), [(0.9e3, True), (1.1e3, False)])
def test_a_gradient_that_is_dust_beside_the_others_is_held_to_a_thousandth_of_the_largest(units: float, holds: bool) -> None:
    def dust(g: Given, xs: Array, params: Arrays, dys: Array) -> Given:
        largest = max(float(np.max(np.abs(g[0][k]))) for k in ("W_x", "W_h"))
        return {**g[0], "b": np.full_like(g[0]["b"], units * EPS * largest * (xs.shape[1] > 1))}, g[1], g[2]

    found = failures(batch.gradients_of_a_row_come_from_that_row(context(giving(dust)), ROWS))
    assert [e.where.tensor for e in found] == ([] if holds else ["b"])


def test_gradients_of_nothing_are_the_sum_of_nothing() -> None:
    def none(g: Given, *_: Any) -> Given:
        return {"W_x": g[0]["W_x"][:0]}, g[1], g[2]

    def wrong(g: Given, *_: Any) -> Given:
        return {}, g[1], g[2]

    for change in (none, wrong):
        assert not failures(batch.gradients_of_a_row_come_from_that_row(context(giving(change)), ROWS))
