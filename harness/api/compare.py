"""`bptt.compare`: two implementations, weights carried from one to the other, outputs, states and gradients side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bptt.harness import targets
from bptt.harness.api.exported import has_own_weights, quantities
from bptt.harness.call.cell import backward, run
from bptt.harness.call.drawing import draw, zero_state
from bptt.harness.cases import Case, Cotangent, Data, admissible, cotangents
from bptt.harness.errors import UsageError
from bptt.harness.identify.published_cell import identify_layers as identify
from bptt.harness.identify.published_cell import nothing_found_reason
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.weights.map import Identification
from bptt.harness.weights.transfer import Carried, carry, refuse_other_cell

Args = Mapping[str, object] | None

CASES = (
    Case(),
    Case(T=1, N=1, seed=1),
    Case(T=12, N=3, D=5, H=4, seed=2),
    Case(regime="saturated", seed=3),
    Case(regime="closed", T=8, seed=4),
)
#: Largest difference, relative to the largest value of the tensor, that rounding explains after some saturated steps.
ROUNDING = {"float64": 1e-9, "float32": 1e-4}


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
    way = _Way(first, second, *found)
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


@dataclass(frozen=True)
class _Way:
    """How numbers get from the first subject to the second and back."""

    a: Subject
    b: Subject
    found_a: Identification | None
    found_b: Identification | None

    @property
    def rounding(self) -> float:
        return ROUNDING["float32" if "float32" in (self.a.dtype, self.b.dtype) else "float64"]

    @property
    def words(self) -> str:
        if self.found_a and self.found_b:
            return f"carried through {self.found_a.mapping.cell.name}"
        return "carried by name: names and shapes are the same"

    def carried(self, params: Arrays, case: Case) -> Carried:
        theirs = draw(self.b, case).params
        if self.found_a and self.found_b:
            return carry(params, self.found_a.mapping, self.found_b.mapping, (self.a.name, self.b.name))
        if {k: v.shape for k, v in theirs.items()} != {k: np.shape(v) for k, v in params.items()}:
            unknown = " and ".join(s.name for s, f in ((self.a, self.found_a), (self.b, self.found_b)) if f is None)
            raise UsageError(
                f"compare: {unknown} {'are' if ' and ' in unknown else 'is'} none of the published cells that we know, and the parameters "
                f"differ in name or shape ({_shapes(params)} against {_shapes(theirs)}), so no weights can be carried"
            )
        return Carried({k: np.array(v) for k, v in params.items()}, lambda gradients: dict(gradients))

    def state_names(self, state_a: Arrays, state_b: Arrays) -> dict[str, str]:
        """The second's name of each state of the first, where both have it."""
        if self.found_a and self.found_b:
            back = {canonical: name for name, canonical in self.found_b.mapping.state.items()}
            return {name: back[canonical] for name, canonical in self.found_a.mapping.state.items() if canonical in back}
        return {name: name for name in state_a if name in state_b}

    def quantities(self, case: Case, left_out: dict[str, None]) -> Iterator[tuple[str, Array, Array]]:
        """Each quantity of both at one case, as arrays of the same shape."""
        case = admissible(self.b, admissible(self.a, case))
        if case != admissible(self.a, case):
            raise UsageError(f"compare: {self.a.name} and {self.b.name} take no common size, got {case}")
        data = draw(self.a, replace(case, dtype=self.a.dtype))
        there = self.carried(data.params, case)
        start = zero_state(self.b, there.params, case.N)
        names = self.state_names(data.state, start)
        state_a = {k: v if k in names else np.zeros_like(v) for k, v in data.state.items()}
        state_b = start | {theirs: data.state[mine].astype(self.b.dtype) for mine, theirs in names.items()}
        params_b = {k: v.astype(self.b.dtype) if v.dtype.kind == "f" else v for k, v in there.params.items()}
        at_a = Data(data.params, data.xs, state_a)
        at_b = Data(params_b, data.xs.astype(self.b.dtype), state_b)
        ys_a, final_a = run(self.a, at_a)
        ys_b, final_b = run(self.b, at_b)
        if ys_a.shape != ys_b.shape:
            raise UsageError(f"compare: {self.a.name} gives outputs {ys_a.shape} and {self.b.name} {ys_b.shape} at {case}")
        yield "outputs ys", ys_a, ys_b
        for mine, theirs in names.items():
            if mine in final_a and theirs in final_b:
                yield f"final state {mine}", final_a[mine], final_b[theirs]
        without = [s.name for s in (self.a, self.b) if "backward" not in s.capabilities]
        if without:
            left_out[f"gradients, {' and '.join(without)} has no backward"] = None
            return
        v = cotangents(self.a, case, ys_a, {k: x for k, x in final_a.items() if k in names})[0]
        yield from self._gradients(at_a, at_b, v, names, there.pull_back, left_out)

    def _gradients(
        self,
        at_a: Data,
        at_b: Data,
        v: Cotangent,
        names: Mapping[str, str],
        pull_back: Callable[[Arrays], dict[str, Array]],
        left_out: dict[str, None],
    ) -> Iterator[tuple[str, Array, Array]]:
        to_b = Cotangent(v.name, v.dys.astype(self.b.dtype), {names[k]: d.astype(self.b.dtype) for k, d in v.dfinal.items()})
        g_a, g_b = backward(self.a, at_a, v), backward(self.b, at_b, to_b)
        if set(at_b.params) <= set(g_b.params):
            back = pull_back(g_b.params)
            for name in at_a.params:
                if name in g_a.params:
                    yield f"dL/d{name}", g_a.params[name], back[name]
                else:
                    left_out[f"dL/d{name}, {self.a.name} does not give it"] = None
        else:
            left_out[f"gradients of parameters, {self.b.name} gives only {', '.join(g_b.params) or 'none'}"] = None
        if g_a.xs is not None and g_b.xs is not None:
            yield "dL/dxs", g_a.xs, g_b.xs
        else:
            left_out["dL/dxs, not given by both"] = None
        for mine, theirs in names.items():
            if mine in g_a.state and theirs in g_b.state:
                yield f"dL/d(initial {mine})", g_a.state[mine], g_b.state[theirs]


def _one(target: object, args: Args) -> Subject:
    subjects = targets.load(target, args)
    if len(subjects) != 1:
        raise UsageError(f"compare: {target!r} names {len(subjects)} subjects ({', '.join(s.name for s in subjects)}), wanted one")
    if subjects[0].kind != "cell":
        raise UsageError(f"compare: {target!r} is a {subjects[0].kind}, wanted a cell or a layer")
    return subjects[0]


def _convention(subject: Subject, found: Identification | None, seed: int) -> str:
    return found.convention if found else f"none of the published cells: {nothing_found_reason(subject, seed)}"


def _shapes(params: Arrays) -> str:
    return ", ".join(f"{name} {np.shape(value)}" for name, value in params.items())


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
