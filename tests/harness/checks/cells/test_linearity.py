"""LIN: what is just within a margin holds, what is just beyond it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import cotangents
from bptt.harness.checks.cells import linearity
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, NotLinear
from bptt.harness.subject import Array, Arrays, Clip
from tests.harness.checks.cells.asked import EPS, SMALL, context, failures, giving
from tests.harness.checks.planted import Clean
from tests.harness.checks.planted import Gradients as Given


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
        assert 0.5 <= sizes.min() < 1 < sizes.max() <= 1.5 and np.any(part > 0) and np.any(part < 0)
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


@pytest.mark.parametrize(("dust", "found"), [(1e-16, 3), (1e-23, 0)])
def test_gradients_that_are_all_small_are_held_to_the_largest_of_them(dust: float, found: int) -> None:
    """A gradient of b that is always the same beside others of about 1e-6, in each of the three combinations."""

    def constant(g: Given, *_: Any) -> Given:
        return {**g[0], "b": np.full_like(g[0]["b"], dust)}, g[1], g[2]

    asked = context(giving(constant), dys_scale=1e-6)
    assert len(failures(linearity.backward_is_linear_in_its_cotangents(asked, SMALL))) == found


def test_a_final_state_without_a_cotangent_gets_none() -> None:
    asked = context(Clean, no_dfinal=frozenset({"h"}))
    assert not np.any(linearity._at(asked, SMALL, 0.0, 1.0)[0].dfinal["h"])


# ------------------------------------------------------------------------------------------------------------ clips that are said


def clipped(threshold: float, of_norm: bool, done: float | None, own: type[Clean] = Clean) -> CheckContext:
    """A cell that says that it cuts at `threshold`, and cuts at `done`."""

    def cut_backward(params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Given:
        dparams, dxs, dstate = own().backward(params, xs, state, dys, dfinal)
        if done is not None and of_norm:
            norm = float(np.sqrt(sum(np.sum(g**2) for g in dparams.values())))
            dparams = {k: g * min(1.0, done / norm) for k, g in dparams.items()}
        elif done is not None:
            dparams = {k: np.clip(g, -done, done) for k, g in dparams.items()}
        return dparams, dxs, dstate

    return context(Clean, clip=Clip(threshold, of_norm, cut_backward))


@pytest.mark.parametrize("of_norm", [False, True])
@pytest.mark.parametrize("threshold", [1e-3, 5.0])
def test_a_clip_cuts_as_it_says(of_norm: bool, threshold: float) -> None:
    check = linearity.a_clip_that_is_said_cuts_as_it_says
    found = list(check(clipped(threshold, of_norm, threshold), SMALL))
    assert len(found) == 2 * 3 and all(e.holds for e in found)
    (none,) = failures(check(clipped(threshold, of_norm, None), SMALL))
    what = "the norm of all" if of_norm else "an entry"
    assert none.severity == "warning"
    assert none.headline == f"it says that it cuts {what} of its gradients at {threshold:g}, and cuts none at {10 * threshold:g}"
    early = failures(check(clipped(threshold, of_norm, 0.05 * threshold), SMALL))
    assert early and all(e.headline.startswith("dL/d") and f"{what} at {threshold:g}" in e.headline for e in early)
    if not of_norm:
        assert all(e.severity == "error" and e.detail is linearity._CUT_ELSEWHERE for e in early if "it is cut at" in e.headline)
        assert any(f": it is cut at {0.05 * threshold:.4g}" in e.headline for e in early)
    with pytest.raises(NotApplicable, match="says no clip"):
        list(check(context(Clean), SMALL))
    said = clipped(threshold, of_norm, threshold).subject
    with pytest.raises(NotApplicable, match="no backward"):
        list(check(CheckContext(replace(said, capabilities=frozenset())), SMALL))


def test_what_is_cut_is_close_to_five_digits_of_its_largest() -> None:
    one = np.array([1.0, 1e-9])
    assert linearity._close(one * (1 + 0.9e-5), one) and not linearity._close(one * (1 + 1.1e-5), one)
    assert linearity._close(one + np.array([0.0, 0.9e-9]), one) and not linearity._close(one + np.array([0.0, 1.1e-9]), one)
    assert not linearity._close(one, one[:1]) and linearity._close(np.zeros(0), np.zeros(0))
    assert [c.score for c in linearity._CUT_ELSEWHERE.causes] == [0.9]
