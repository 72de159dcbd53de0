"""`bptt.compare`: two implementations, weights carried from one to the other, outputs, states and gradients side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from bptt.harness import targets
from bptt.harness.api.exported import has_own_weights, quantities
from bptt.harness.cases import Case
from bptt.harness.errors import UsageError
from bptt.harness.identify.published_cell import identify_layers as identify
from bptt.harness.identify.published_cell import nothing_found_reason
from bptt.harness.identify.side_by_side import ROUNDING, Way
from bptt.harness.subject import Array, Subject
from bptt.harness.weights.map import Identification
from bptt.harness.weights.transfer import refuse_other_cell

Args = Mapping[str, object] | None

CASES = (
    Case(),
    Case(T=1, N=1, seed=1),
    Case(T=12, N=3, D=5, H=4, seed=2),
    Case(regime="saturated", seed=3),
    Case(regime="closed", T=8, seed=4),
)


@dataclass(frozen=True)
class Difference:
    """One quantity of both: `relative` is the largest difference over all cases, relative to the largest value of the first's.

    step   the first time step at which they differ by more than rounding; None where they agree, or the quantity has no time
    case   the case of the largest difference
    """

    quantity: str
    relative: float
    agrees: bool
    case: str
    step: int | None = None


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    carried      how the weights went from `a` to `b`, or why none can; then `differences` is empty
    left_out     what could not be compared, and why
    """

    a: str
    b: str
    conventions: tuple[str, str]
    carried: str
    differences: tuple[Difference, ...]
    left_out: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether something was compared and all of it agrees to rounding."""
        return bool(self.differences) and all(difference.agrees for difference in self.differences)


def compare(a: object, b: object, args: Args = None, args_b: Args = None, seed: int = 0) -> Comparison:
    """Carry the weights of `a` to `b` and hold outputs, final states and gradients against each other.

    Both are identified first, so their conventions may differ.  Where one of them is no published cell, weights are carried by
    name if names and shapes are the same.

    Raises UsageError where a target cannot be loaded or names several subjects, or where an unknown cell's weights fit nowhere.
    """
    first, second = _one(a, args), _one(b, args_b)
    if "onnx" in (first.framework, second.framework) and has_own_weights(first) and has_own_weights(second):
        return _exported(first, second, seed)
    found = identify(first, first.like, seed), identify(second, second.like, seed)
    way = Way(first, second, *found)
    conventions = _convention(first, found[0], seed), _convention(second, found[1], seed)
    if found[0] and found[1]:
        try:
            refuse_other_cell(found[0].mapping, found[1].mapping, (first.name, second.name))
        except UsageError as other:
            return Comparison(first.name, second.name, conventions, str(other), ())
    worst: dict[str, Difference] = {}
    left_out: dict[str, None] = {}
    for case in CASES:
        for quantity, mine, theirs in way.quantities(replace(case, seed=case.seed + 100 * seed), left_out):
            difference = _difference(quantity, mine, theirs, str(case), way.rounding)
            before = worst.get(quantity)
            if before is None or (before.agrees, before.relative) > (difference.agrees, -difference.relative):
                worst[quantity] = difference if before is None or difference.relative > before.relative else before
    return Comparison(first.name, second.name, conventions, way.words, tuple(worst.values()), tuple(left_out))


def _exported(first: Subject, second: Subject, seed: int) -> Comparison:
    """Each with the weights that it has: nothing is carried over, so a wrong weight in the file is a difference."""
    worst: dict[str, Difference] = {}
    rounding = ROUNDING["float32"]  # a file holds its weights in float32
    for case, quantity, mine, theirs in quantities(first, second, seed):
        difference = _difference(quantity, mine, theirs, case, rounding)
        if quantity not in worst or difference.relative > worst[quantity].relative:
            worst[quantity] = difference
    conventions = tuple(_convention(s, identify(s, s.like, seed), seed) for s in (first, second))
    left_out = ("gradients, ONNX has none",)
    words = "each with its own: nothing was carried over"
    return Comparison(first.name, second.name, (conventions[0], conventions[1]), words, tuple(worst.values()), left_out)


def lines(comparison: Comparison) -> list[str]:
    """The comparison as text: verdict, both conventions, a line for each quantity."""
    verdict = "the same to rounding" if comparison.ok else "they differ" if comparison.differences else "two different cells"
    width = max((len(d.quantity) for d in comparison.differences), default=0)
    said = [
        f"{comparison.a} and {comparison.b}: {verdict}",
        f"  {comparison.a}  {comparison.conventions[0]}",
        f"  {comparison.b}  {comparison.conventions[1]}",
        f"  weights  {comparison.carried}",
    ]
    for d in comparison.differences:
        way = "back" if d.quantity == "dL/dxs" else "on"
        where = "" if d.agrees else f"   {d.case}{'' if d.step is None else f', from step {d.step} {way}'}"
        said.append(f"  {'·' if d.agrees else '✗'} {d.quantity:<{width}}  {d.relative:.1e}{where}")
    return said + [f"  not compared: {reason}" for reason in comparison.left_out]


def _one(target: object, args: Args) -> Subject:
    subjects = targets.load(target, args)
    if len(subjects) != 1:
        raise UsageError(f"compare: {target!r} names {len(subjects)} subjects ({', '.join(s.name for s in subjects)}), wanted one")
    if subjects[0].kind != "cell":
        raise UsageError(f"compare: {target!r} is a {subjects[0].kind}, wanted a cell or a layer")
    return subjects[0]


def _convention(subject: Subject, found: Identification | None, seed: int) -> str:
    return found.convention if found else f"none of the published cells: {nothing_found_reason(subject, seed)}"


def _difference(quantity: str, mine: Array, theirs: Array, case: str, rounding: float) -> Difference:
    if mine.shape != theirs.shape:
        return Difference(f"{quantity}: shapes {mine.shape} and {theirs.shape}", float("inf"), False, case)
    gap = np.abs(np.asarray(mine, np.float64) - theirs)
    scale = float(np.max(np.abs(mine), initial=0.0)) or 1.0
    relative = float(np.max(np.nan_to_num(gap, nan=np.inf), initial=0.0)) / scale
    agrees = relative <= rounding
    step = None
    if not agrees and quantity in ("outputs ys", "dL/dxs"):
        apart = np.flatnonzero(np.any(~(gap <= rounding * scale), axis=(1, 2)))
        step = int(apart[0] if quantity == "outputs ys" else apart[-1])
    return Difference(quantity, relative, agrees, case, step)
