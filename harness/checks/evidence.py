"""What a check yields: two things that must agree, and what to say when they do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bptt.harness.cases import Case
from bptt.harness.subject import Array
from bptt.reports.records import Code, Severity, Where


class NotApplicable(Exception):
    """Raised by a check that has nothing to say about this subject; the text is the reason."""


@dataclass(frozen=True)
class Evidence:
    """One comparison.

    detail     travels to the diagnosis and not into the record
    fails_at   whether the same failure shows at another case, where that can be told more cheaply than by running the check again
    """

    holds: bool
    headline: str = ""
    code: Code = "BUG"
    severity: Severity = "error"
    where: Where = field(default_factory=Where)
    observed: float | None = None
    expected: float | None = None
    relative_error: float | None = None
    noise: float | None = None
    bad: int | None = None
    total: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    detail: Any = None
    fails_at: Callable[[Case], bool] | None = None


def holds(**metrics: Any) -> Evidence:
    """Evidence that a property holds."""
    return Evidence(True, metrics=metrics)


def agree(
    what: str,
    *,
    got: Array,
    expected: Array,
    tolerance: float,
    than: str,
    code: Code = "BUG",
    where: Where | None = None,
    floor: float = 0.0,
    **metrics: Any,
) -> Evidence:
    """Whether `got` equals `expected` within `tolerance` times the largest expected entry.   Equal shapes; NaN never agrees.

    what    the thing compared ("outputs of run(0..3) then run(3..5)")
    than    what it is held against, for the headline ("those of run(0..5)")
    floor   a difference up to this one is rounding whatever the size: see `dust`
    """
    got, expected = np.asarray(got), np.asarray(expected)
    where = where or Where(tensor=what)
    if got.shape != expected.shape:
        return Evidence(False, f"{what}: shape {got.shape}, wanted {expected.shape} as {than}", "CONTRACT", where=where, metrics=metrics)
    if not got.size:
        return Evidence(True, metrics=metrics)
    with np.errstate(all="ignore"):
        error = np.abs(np.asarray(got - expected, dtype=np.float64))
        sizes = np.abs(np.concatenate([expected.ravel(), got.ravel()]))
        size = float(np.max(sizes, where=np.isfinite(sizes), initial=0.0))  # an infinity would forgive everything
    error = np.where(np.isnan(error), np.inf, error)
    error = np.where((got == expected), 0.0, error)
    worst = tuple(int(i) for i in np.unravel_index(int(np.argmax(error)), error.shape))
    bad = int(np.sum(error > max(tolerance * size, floor)))
    relative = float(error[worst] / size) if size > 0 else 0.0
    if not bad:
        return Evidence(True, relative_error=relative, metrics=metrics)
    return Evidence(
        False,
        f"{what} differ from {than}",
        code,
        where=Where(where.tensor, where.gate, worst, where.step, where.lag, where.direction, where.layer),
        observed=float(np.real(got[worst])),
        expected=float(np.real(expected[worst])),
        relative_error=relative,
        bad=bad,
        total=int(error.size),
        metrics=metrics,
    )


def dust(gradients: Mapping[str, Array], eps: float) -> float:
    """What is rounding beside the largest entry of all gradients: a parameter without influence has a gradient of that size."""
    largest = max((float(np.max(np.abs(g), initial=0.0)) for g in gradients.values()), default=0.0)
    return 64 * eps * largest
