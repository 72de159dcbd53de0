from __future__ import annotations

import math

import pytest

from bptt.harness.experiments.training.panels import (
    curve,
    falls,
    furthest,
    guesses,
    not_judged,
    optional,
    perplexities,
    same_as_torch,
    written,
)


def test_a_curve_stands_beside_torchs_where_both_are_as_long() -> None:
    assert curve("a", "loss", [3.0, 2.0], [3.0, 2.1]).expected == (3.0, 2.1)
    alone = curve("a", "loss", [3.0, 2.0], [3.0])
    assert (alone.x, alone.expected, alone.source) == ((1.0, 2.0), (), None)


def test_the_largest_difference_decides() -> None:
    assert furthest([1.0, 2.0, 9.0], [1.0, 1.6]) == pytest.approx(0.25)
    assert math.isnan(furthest([1.0], []))
    assert same_as_torch("", [1.0], [], [1.0], 1e-16, "loss") == []
    (good,), (bad,) = (same_as_torch("", [1.0 + d], [1.0], [1.0 + d + 1e-11], 1e-16, "loss") for d in (5e-10, 2e-9))
    assert (good.verdict, bad.verdict) == ("agrees", "differs")
    (lost,) = same_as_torch("", [math.nan], [1.0], [1.0], 1e-16, "loss")
    assert lost.verdict != "agrees"


def test_the_tolerance_is_what_rounding_makes_and_where_that_is_too_much_nothing_is_judged() -> None:
    (grown,) = same_as_torch("", [1.0, 1.0], [1.0, 1.0 + 1e-6], [1.0, 1.0 + 1e-7], 1e-16, "loss")
    assert grown.verdict == "agrees" and grown.tolerance == pytest.approx(1e-5)
    (early,) = same_as_torch("", [1.0, 1.0], [1.0 + 1e-6, 1.0], [1.0, 1.0 + 1e-7], 1e-16, "loss")
    assert early.verdict == "differs"  # rounding had not grown yet
    (blind,) = same_as_torch("", [1.0], [1.5], [1.0 + 1e-4], 1e-16, "loss")
    assert blind.verdict == "not judged"


def test_claims() -> None:
    assert falls("", "loss", 4.0, 2.0, 0.5).verdict == "agrees"
    assert falls("", "loss", 4.0, 2.1, 0.5).verdict == "differs"
    assert guesses("", 51.0, 50.0, 256).verdict == "agrees"
    assert guesses("", 54.0, 50.0, 256).verdict == "differs"
    assert not_judged("time", 9.0, "a loaded machine", 1.3).verdict == "not judged"


def test_values_that_may_be_missing() -> None:
    assert optional({"a": [1.0]}, "a") == (1.0,)
    assert optional({}, "a") == optional({"a": []}, "a") == ()
    assert perplexities([0.0, math.log(3), 1e4]) == (1.0, pytest.approx(3.0), math.inf)


def test_what_no_page_shows_is_written_as_its_code() -> None:
    assert written("n", "a\nb\x07\r").text == "a\nb\\x07\\r"
