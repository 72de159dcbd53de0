"""Language models: what they are told to predict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from bptt.harness.call.network import as_cell
from bptt.harness.cases import Case
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable
from bptt.harness.checks.registry import check
from bptt.harness.subject import Array
from bptt.harness.training.oracle import Named
from bptt.reports.records import Cause, Code, Severity, Where

_FIX = "x, y = words[:-1], words[1:]"


@dataclass(frozen=True)
class _Pattern:
    """What the targets y (T, N) are of the inputs x (T, N), where they are not those one step later."""

    name: str
    holds: Callable[[Array, Array], bool]
    sentence: str
    code: Code = "CONVENTION"
    severity: Severity = "warning"


_PATTERNS = (
    _Pattern(
        "targets-of-last-input",
        lambda x, y: bool(np.all(y == x[-1])),
        "every target of a sequence is its last input: they are built from one word, and not from the sequence shifted by one",
        "BUG",
        "error",
    ),
    _Pattern(
        "targets-of-first-input",
        lambda x, y: bool(np.all(y == x[0])) and bool(np.any(y != y[0, 0])),
        "every target of a sequence is its first input: they are built from one word, and not from the sequence shifted by one",
        "BUG",
        "error",
    ),
    _Pattern(
        "targets-constant",
        lambda x, y: bool(np.all(y == y[0, 0])),
        "every target is the same word, whatever the inputs are: there is nothing to learn",
        "BUG",
        "error",
    ),
    _Pattern(
        "targets-shifted-along-batch",
        lambda x, y: x.shape[1] > 1 and np.array_equal(x[:, 1:], y[:, :-1]),
        "the targets are the inputs of the next row: the shift goes along the batch, and not along time",
        "BUG",
        "error",
    ),
    _Pattern("targets-are-inputs", np.array_equal, "the targets are the inputs themselves, and not those one step later"),
    _Pattern(
        "targets-shifted-back",
        lambda x, y: np.array_equal(x[:-1], y[1:]),
        "the targets are the inputs one step before: the shift goes the wrong way",
    ),
    _Pattern("targets-two-ahead", lambda x, y: np.array_equal(x[2:], y[:-2]), "the targets are the inputs two steps later, and not one"),
    _Pattern(
        "targets-one-a-sequence",
        lambda x, y: bool(np.all(y == y[0])),
        "every target of a sequence is the same: a label of the whole, or else one word for all of its steps",
    ),
)


@check("TIM210", family="time", cases=(Case(),), kinds=("network",), needs=("CON200",))
def a_language_model_predicts_its_next_input(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """y_t = x_(t+1): the targets of a language model are its own inputs, one step later."""
    batches = [_words(context, replace(case, T=max(case.T, 4), seed=case.seed + k)) for k in (0, 50)]
    if all(np.array_equal(x[1:], y[:-1]) for x, y in batches):
        yield Evidence(True)
        return
    found = next((p for p in _PATTERNS if all(p.holds(x, y) for x, y in batches)), None)
    if found is None:
        raise NotApplicable("its targets are none of its inputs: it is no language model")
    cause = Cause(found.name, found.sentence, "in two batches, at every step", 1.0, _FIX)
    yield Evidence(
        False,
        found.sentence,
        found.code,
        found.severity,
        where=Where(tensor="targets"),
        detail=Named((cause,), found.code, found.severity),
        fails_at=lambda _: False,
    )


def _words(context: CheckContext, case: Case) -> tuple[Array, Array]:
    """Inputs and targets (T, N).  Raises NotApplicable where they are not whole numbers over the same steps."""
    batch = as_cell(context.subject, case).implementation
    x, y = np.asarray(batch.inputs), np.asarray(batch.targets)
    if x.dtype.kind not in "iu" or y.dtype.kind not in "iu" or x.shape != y.shape:
        raise NotApplicable("its inputs and targets are not words over the same steps")
    if x.shape == (case.T, case.N):
        return x, y
    if x.shape == (case.N, case.T):
        return x.T, y.T
    if x.shape == (case.T,):
        return x[:, None], y[:, None]
    raise NotApplicable("its inputs and targets are not words over the same steps")
