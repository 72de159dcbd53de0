"""Checks of cells asked directly, at one case each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from bptt.harness.cases import Case
from bptt.harness.checks.context import CheckContext, First
from bptt.harness.checks.evidence import Evidence
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.targets import load
from tests.harness.checks.planted import Clean
from tests.harness.checks.planted import Gradients as Given

EPS = 2.0**-52
SMALL = Case(T=3, N=2, D=2, H=3, seed=1)


def context(cell: object, **fields: Any) -> CheckContext:
    (subject,) = [cell] if isinstance(cell, Subject) else load(cell)  # type: ignore[arg-type]  # a class
    return CheckContext(replace(subject, **fields))


def stub(**said: Any) -> Any:
    """A context that answers `data` and `run` as it is told to."""
    it = SimpleNamespace(**said)

    def first(case: Case) -> First:
        ys, final = it.run(it.data(case))
        return First(it.data(case), ys, final, {}, {})

    it.first = first
    return it


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
