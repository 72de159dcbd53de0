from __future__ import annotations

import numpy as np
import pytest

from bptt.harness.checks.evidence import Evidence, agree, holds
from bptt.reports.records import Where

A = np.array([[1.0, -2.0], [0.0, 4.0]])


def test_equal_arrays_agree_and_the_error_is_told() -> None:
    found = agree("outputs", got=A * (1 + 1e-12), expected=A, tolerance=1e-10, than="those", noise=1e-9)
    assert found.holds
    assert found.relative_error == pytest.approx(1e-12, rel=1e-2)
    assert found.metrics == {"noise": 1e-9}
    assert holds(noise=1.0).metrics == {"noise": 1.0}
    assert Evidence(True, oracle="x", metrics={"a": None, "b": 2}).recorded == {"b": 2, "oracle": "x"}


def test_the_worst_entry_is_named() -> None:
    wrong = A.copy()
    wrong[1, 0], wrong[0, 0] = 0.4, 1.1
    found = agree("outputs", got=wrong, expected=A, tolerance=1e-3, than="those of run", where=Where(tensor="ys"), code="MUTATION")
    assert (found.holds, found.code, found.headline) == (False, "MUTATION", "outputs differ from those of run")
    assert (found.where.tensor, found.where.index, found.observed, found.expected) == ("ys", (1, 0), 0.4, 0.0)
    assert (found.bad, found.total) == (2, 4)
    assert found.relative_error == pytest.approx(0.1)


@pytest.mark.parametrize("got", [np.array([1.0, np.nan]), np.array([np.inf, 2.0]), np.array([np.nan, np.nan])])
def test_what_is_not_finite_never_agrees(got: np.ndarray) -> None:
    for tolerance in (0.0, 1e-3, 1e300):
        found = agree("outputs", got=got, expected=np.array([1.0, 2.0]), tolerance=tolerance, than="those", code="NONDETERMINISTIC")
        assert (found.holds, found.code, found.headline) == (False, "BUG", "outputs is not finite")
        assert not agree("outputs", got=got, expected=got, tolerance=tolerance, than="those").holds
    other = agree("outputs", got=np.array([1.0, 2.0]), expected=got, tolerance=1.0, than="those of run")
    assert other.headline == "what outputs should equal, those of run, is not finite"
    assert agree("outputs", got=got[:0], expected=got[:0], tolerance=0.0, than="those").holds


def test_zero_against_zero_agrees_and_against_nearly_zero_does_not() -> None:
    zero = np.zeros(3)
    assert agree("dxs", got=zero, expected=zero, tolerance=0.0, than="zero").holds
    assert not agree("dxs", got=zero + 1e-300, expected=zero, tolerance=0.0, than="zero").holds


def test_other_shapes_are_the_contracts_business() -> None:
    found = agree("outputs", got=A, expected=A[:1], tolerance=1.0, than="those")
    assert (found.holds, found.code) == (False, "CONTRACT")
    assert "shape (2, 2), wanted (1, 2)" in found.headline
