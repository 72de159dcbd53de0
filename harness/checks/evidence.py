"""What a check yields: two things that must agree, and what to say when they do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import Case, Cotangent, Data
from bptt.harness.gradient.certificate import Examination
from bptt.harness.gradient.locate import Located
from bptt.harness.subject import Array
from bptt.harness.training.oracle import Named
from bptt.reports.records import Cause, Code, Severity, Where


class NotApplicable(Exception):
    """Raised by a check that has nothing to say about this subject; the text is the reason."""


class NotGiven(NotApplicable):
    """Raised where gradients are left out.   of_weights   the parameters among them, of which more than a check must be said"""

    def __init__(self, missing: Sequence[str], of_weights: Sequence[str]) -> None:
        super().__init__(f"not given, so not checked: {', '.join(f'dL/d{name}' for name in missing)}")
        self.of_weights = tuple(of_weights)


@dataclass(frozen=True)
class NotLinear:
    """Gradients at a scaled cotangent, and what they should be if backward were linear."""

    case: Case
    data: Data
    cotangent: Cotangent
    yours: Gradients
    expected: Gradients


@dataclass(frozen=True)
class NotCertified:
    """A certificate that does not hold, and where the gradient is wrong."""

    examination: Examination
    located: Located


@dataclass(frozen=True)
class NotOfItsShape:
    """A gradient has another form than what it is a gradient of."""


@dataclass(frozen=True)
class Evidence:
    """One comparison.

    oracle       what an exact derivative was taken with: how small a difference a script can show depends on it
    sensitivity  the smallest relative error that would have been seen here
    metrics      what is told beside the verdict, and decides nothing
    as_made      of the user's object as it is: the largest relative error that rounding explains
    parts        what the recurrent parts of a larger model were recognised as
    detail       what the diagnosis is told, and the record is not: the causes themselves, or the numbers to find them by
    fails_at     whether the same failure shows at another case, where that can be told more cheaply than by running the check again
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
    oracle: str | None = None
    sensitivity: float | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    as_made: float | None = None
    parts: str = ""
    detail: Named | NotLinear | NotCertified | NotOfItsShape | None = None
    fails_at: Callable[[Case], bool] | None = None

    @property
    def recorded(self) -> dict[str, Any]:
        """The metrics as the record has them; what was not measured is left out."""
        typed = {"oracle": self.oracle, "sensitivity": self.sensitivity, "as_made_sensitivity": self.as_made, "inside": self.parts or None}
        return {name: value for name, value in (*self.metrics.items(), *typed.items()) if value is not None}


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
    """Whether `got` equals `expected` within `tolerance` times the largest expected entry.

    Form and finiteness are asked before equality: another shape is CONTRACT, a number that is not finite is said to be that.

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
    for value, words in ((got, what), (expected, f"what {what} should equal, {than},")):
        if not (found := finite(words, value, where)).holds:
            return replace(found, metrics=metrics)
    with np.errstate(all="ignore"):
        error = np.abs(np.asarray(got - expected, dtype=np.float64))
        size = float(max(np.max(np.abs(expected)), np.max(np.abs(got))))
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


#: What stands behind a number that is not finite, whichever check came upon it.
_NOT_FINITE = Cause(
    "not-finite",
    "a division by zero, an overflow, or the root or logarithm of what is not positive",
    "",
    0.5,
    "branch on the sign of a in the sigmoid; subtract the maximum before a softmax; take derivatives from values, s * (1 - s)",
)


def finite(what: str, value: Array, where: Where | None = None) -> Evidence:
    """Whether every number is finite."""
    value = np.asarray(value)
    wrong = ~np.isfinite(value) if value.dtype.kind in "fc" else np.zeros(value.shape, bool)
    if not wrong.any():
        return holds()
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    return Evidence(
        False,
        f"{what} is not finite",
        where=replace(where or Where(tensor=what), index=index),
        observed=float(np.real(value[index])),
        bad=int(wrong.sum()),
        total=int(value.size),
        detail=Named((_NOT_FINITE,)),
    )


def dust(gradients: Mapping[str, Array], eps: float) -> float:
    """What is rounding beside the largest entry of all gradients: a parameter without influence has a gradient of that size."""
    largest = max((float(np.max(np.abs(g), initial=0.0)) for g in gradients.values()), default=0.0)
    return 64 * eps * largest
