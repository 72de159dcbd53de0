"""What a network's scores may depend on, told from its loss alone.

With one target y_t and one input x_s changed to y' and x',

    L(x, y) - L(x, y') - L(x', y) + L(x', y') = 0     where the score at t does not depend on x_s,

for every loss that is a sum or a mean over the steps: a target meets the score of its own step and row, and no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from bptt.harness.call.drawing import draw
from bptt.harness.call.network import LossAsOutput, as_cell, loss_and_gradients
from bptt.harness.cases import Case, Data
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable
from bptt.harness.checks.registry import check
from bptt.harness.subject import Array
from bptt.reports.records import Where

Place = tuple[int, ...]

#: Rounding of four losses, in units in the last place of the largest.
_ROUNDING = 1e3


@check("TIM200", family="time", cases=(Case(), Case(T=3, N=1, seed=1)), kinds=("network",), needs=("CON210",))
def a_score_does_not_depend_on_later_inputs(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """A language model's score of the word y_t = x_{t+1} is made from x_0 .. x_t: it may not read what it has to predict."""
    batch = _batch(context, case)
    if not batch.predicts_its_next_input:
        raise NotApplicable("its targets are not its own inputs one step later, so it may read ahead")
    T = batch.length
    for t in range(T - 1):
        for s in dict.fromkeys((t + 1, T - 1)):
            mixed, noise = batch.mixed((t, 0), (s, 0))
            yield Evidence(
                abs(mixed) <= noise,
                f"the score at step {t} depends on the input at step {s}: the network reads what it has to predict",
                where=Where(tensor="score", step=t),
                observed=mixed,
                expected=0.0,
                noise=noise,
            )


@check("BAT200", family="batch", cases=(Case(N=3), Case(T=2, N=2, seed=1)), kinds=("network",), needs=("CON210",))
def a_score_does_not_depend_on_other_rows(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """A score in row n is made from the inputs of row n alone: no mean over the batch, no axes mixed by a reshape."""
    batch = _batch(context, case)
    if batch.rows < 2:
        raise NotApplicable("it takes one row at a time")
    for n, m in ((0, 1), (1, 0), (0, batch.rows - 1)):
        for s in range(batch.length):
            mixed, noise = batch.mixed((batch.length - 1, n), (s, m))
            yield Evidence(
                abs(mixed) <= noise,
                f"the score of row {n} at step {batch.length - 1} depends on the input of row {m} at step {s}",
                where=Where(tensor="score", step=batch.length - 1),
                observed=mixed,
                expected=0.0,
                noise=noise,
            )


@dataclass(frozen=True)
class _Batch:
    """One batch of a network, and another one to take changed values from.   time, row: which axis is which; row None: one row"""

    network: LossAsOutput
    data: Data
    inputs: Array
    targets: Array
    other: tuple[Array, Array]
    time: int
    row: int | None

    @property
    def length(self) -> int:
        return int(self.inputs.shape[self.time])

    @property
    def rows(self) -> int:
        return 1 if self.row is None else int(self.inputs.shape[self.row])

    @property
    def predicts_its_next_input(self) -> bool:
        x, y = np.moveaxis(self.inputs, self.time, 0), np.moveaxis(self.targets, self.time, 0)
        return len(x) > 1 and x.shape == y.shape and np.array_equal(x[1:], y[:-1])

    def mixed(self, target: Place, source: Place) -> tuple[float, float]:
        """The mixed difference for a changed target and a changed input, each (step, row), and the rounding that it may have."""
        x1 = self._changed(self.inputs, self.other[0], source)
        y1 = self._changed(self.targets, self.other[1], target)
        losses = [self._loss(x, y) for x, y in ((self.inputs, self.targets), (self.inputs, y1), (x1, self.targets), (x1, y1))]
        eps = float(np.finfo(np.result_type(*losses)).eps)
        a, b, c, d = (float(loss) for loss in losses)
        return (a - b) - (c - d), _ROUNDING * eps * max(abs(a), abs(b), abs(c), abs(d))

    def _loss(self, inputs: Array, targets: Array) -> Array:
        loss, _ = loss_and_gradients(self.network.network, self.network.name, self.data.params, inputs, targets, self.data.state)
        return loss.astype(np.float64) if loss.dtype.kind != "f" else loss

    def _changed(self, values: Array, other: Array, place: Place) -> Array:
        """`values` with another one of its own kind at (step, row)."""
        changed = values.copy()
        index: list[int | slice] = [slice(None)] * values.ndim
        index[self.time] = place[0]
        if self.row is not None:
            index[self.row] = place[1]
        at = tuple(index)
        if values.dtype.kind == "f":
            changed[at] = other[at]
            return changed
        known = np.unique(np.concatenate([values.ravel(), other.ravel()]))
        different = known[known != values[at]] if np.ndim(values[at]) == 0 else known
        if np.ndim(values[at]) == 0 and len(different):
            changed[at] = different[len(different) // 2]
        else:
            changed[at] = other[at]
        return changed


def _batch(context: CheckContext, case: Case) -> _Batch:
    """Raises NotApplicable where inputs and targets are no arrays over the same steps, or the loss does not tell of the scores."""
    subject, another = as_cell(context.subject, case), as_cell(context.subject, replace(case, seed=case.seed + 50))
    network, data = subject.implementation, draw(subject, case)
    given = (network.inputs, network.targets, another.implementation.inputs, another.implementation.targets)
    try:
        arrays = [np.asarray(a) for a in given]
    except ValueError as ragged:  # several arrays of different shapes
        raise NotApplicable("its inputs and targets are not arrays of numbers") from ragged
    inputs, targets = arrays[:2]
    if any(a.dtype.kind not in "iuf" for a in arrays) or arrays[0].shape != arrays[2].shape or arrays[1].shape != arrays[3].shape:
        raise NotApplicable("its inputs and targets are not arrays of numbers")
    axes = _axes(inputs.shape, targets.shape, case)
    if axes is None:
        raise NotApplicable("its targets are not one a step: the score of a step can't be told from the loss")
    batch = _Batch(network, data, inputs, targets, (arrays[2], arrays[3]), *axes)
    mixed, noise = batch.mixed((0, 0), (0, 0))
    if not abs(mixed) > noise:
        raise NotApplicable("its loss is not one of targets and inputs at the same step")
    return batch


def _axes(inputs: Place, targets: Place, case: Case) -> tuple[int, int | None] | None:
    """Which axis is time and which is the batch, in both."""
    for shape, axes in (((case.T, case.N), (0, 1)), ((case.N, case.T), (1, 0))):
        if inputs[:2] == shape == targets[:2]:
            return axes
    if case.N == 1 and inputs[:1] == (case.T,) == targets[:1]:
        return 0, None
    return None
