"""Time and rows: a sequence may be cut, the future does not matter, rows of a batch do not know of each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from bptt.harness.call import operator as calls
from bptt.harness.call.operator import Chosen, Outcome, Point
from bptt.harness.cases import Case
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, agree, dust
from bptt.harness.checks.operators import plan
from bptt.harness.checks.registry import check
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.training.oracle import Named
from bptt.reports.records import Cause, Where

_KINDS = ("operator",)
#: Longer sequences are cut at a few places: beside each end, and beside each chunk, the usual ones among them.
_ALL_CUTS, _USUAL = 12, (16, 32, 64)


def _cuts(subject: Subject, case: Case) -> Iterator[tuple[int, int]]:
    """(steps that are read first, T)"""
    T = case.T
    near = {w + k for w in calls.spoken(subject).chunks for k in (-1, 0, 1)}
    cuts = set(range(1, T)) if T <= _ALL_CUTS else {1, T // 2, T - 1, *near, *_USUAL}
    for c in sorted(cuts):
        taken = 0 < c < T and all(plan.refusal(subject, replace(case, T=part)) is None for part in (c, T - c))
        if taken:
            yield c, T


def _sequences(subject: Subject, at: Point, case: Case) -> dict[str, int]:
    """Inputs that have an axis of time, and where; raises NotApplicable where the time of one is not known."""
    said = calls.spoken(subject)
    if said.packed:
        raise NotApplicable("its sequences are packed: they are cut and shifted by its offsets")
    if subject.lengths:
        raise NotApplicable("its sequences have lengths of their own: what stands at a cut differs from row to row")
    found = {name: k for name in at.inputs if (k := calls.axis(subject, name, "T")) is not None}
    if not found:
        raise NotApplicable("no input has an axis T in the layout")
    return found


def _cut(value: Array, along: int, start: int, stop: int) -> Array:
    """A copy in the order of its indices: what a view does is the question of another check."""
    return np.array(value[_between(along, start, stop)], order="C")


def _between(along: int, start: int, stop: int) -> tuple[slice, ...]:
    return (*(slice(None),) * along, slice(start, stop))


def _part(subject: Subject, at: Point, case: Case, start: int, stop: int, state: Arrays) -> Point:
    along = _sequences(subject, at, case)
    inputs = {name: _cut(value, along[name], start, stop) if name in along else value for name, value in at.inputs.items()}
    lengths = None if at.lengths is None else np.clip(at.lengths - start, 0, stop - start)
    return replace(at, inputs=inputs, state={k: state[k] for k in at.state}, lengths=lengths)


def _halves(subject: Subject, T: int, cut: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where the part that is read first lies, and the other."""
    return ((T - cut, T), (0, T - cut)) if calls.spoken(subject).reverse else ((0, cut), (cut, T))


@check("TIM300", family="time", kinds=_KINDS, needs=("CON300",), cases_for=plan.cut)
def running_in_two_parts_equals_running_the_whole(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """run over the steps before a cut, then over the rest from the state that it left, gives the outputs and final state of the whole."""
    context.exempt("split")
    subject, at = context.subject, plan.point(context, case)
    _sequences(subject, at, case)
    whole = plan.out(context, at)
    for cut, T in _cuts(subject, case):
        first, second = _halves(subject, T, cut)
        before = calls.run(subject, _part(subject, at, case, *first, at.state))
        after = calls.run(subject, _part(subject, at, case, *second, before.final))
        joined = _joined(subject, {first: before.outputs, second: after.outputs})
        for name, value in {**whole.outputs, **{f"final {k}": v for k, v in whole.final.items()}}.items():
            got = joined.get(name, after.arrays.get(name, np.zeros(0)))
            yield agree(
                name,
                got=got,
                expected=value,
                tolerance=plan.tolerance(case),
                than=f"those of the whole, when the run over T={T} is cut after {cut} steps",
                where=Where(tensor=name.removeprefix("final ")),
            )


def _joined(subject: Subject, parts: dict[tuple[int, int], dict[str, Array]]) -> dict[str, Array]:
    """Sequences put together in the order of time; what has no axis of time is left out."""
    in_order = [parts[key] for key in sorted(parts)]
    found = {}
    for name in in_order[0]:
        along = calls.axis(subject, name, "T")
        if along is not None:
            found[name] = np.concatenate([part[name] for part in in_order], axis=along)
    return found


@check("TIM330", family="time", kinds=_KINDS, needs=("TIM300", "GRD310", "GRD320"), cases_for=plan.cut)
def backward_in_two_parts_equals_backward_over_the_whole(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """The gradient of the state that enters the second part, handed to the first as the cotangent of its final state, gives the gradients
    of the whole: BPTT by chunks is BPTT."""
    context.needs_backward()
    context.exempt("split")
    subject, at = context.subject, plan.point(context, case)
    along = _sequences(subject, at, case)
    if not at.state:
        raise NotApplicable("it has no state that could cross a cut")
    whole = plan.out(context, at)
    v = calls.cotangents(subject, case, whole)[0]
    expected = calls.backward(subject, at, v.outputs, v.final, whole.tape)
    eps = float(np.finfo(case.dtype).eps)
    noise = plan.rounding(at, case, lambda there: calls.backward(subject, there, v.outputs, v.final))
    for cut, T in _cuts(subject, case):
        first, second = _halves(subject, T, cut)
        one = _part(subject, at, case, *first, at.state)
        before = calls.run(subject, one)
        two = _part(subject, at, case, *second, before.final)
        of_two = calls.backward(subject, two, _slices(subject, v.outputs, *second), v.final)
        if any(name not in of_two for name in at.state):
            raise NotApplicable("its backward gives no gradient of the state, so nothing crosses a cut")
        of_one = calls.backward(subject, one, _slices(subject, v.outputs, *first), {k: of_two[k] for k in before.final})
        for name, value in expected.items():
            if name not in of_one or name not in of_two:
                continue
            got = of_one[name]
            if name in along:
                ordered = [part for _, part in sorted([(first, of_one[name]), (second, of_two[name])], key=lambda p: p[0])]
                got = np.concatenate(ordered, axis=along[name])
            elif name not in at.state:
                got = of_one[name] + of_two[name]
            compare = partial(
                _compared, f"dL/d{name}", got, value, case, f"that of the whole, when backward over T={T} is cut after {cut} steps"
            )
            yield plan.beyond(compare, dust(expected, eps), partial(noise, name))


def _compared(what: str, got: Array, expected: Array, case: Case, than: str, floor: float) -> Evidence:
    where = Where(tensor=what.removeprefix("dL/d").partition(" of ")[0])
    return agree(what, got=got, expected=expected, tolerance=plan.tolerance(case), than=than, where=where, floor=floor)


def _slices(subject: Subject, arrays: Arrays, start: int, stop: int) -> dict[str, Array]:
    found = {}
    for name, value in arrays.items():
        along = calls.axis(subject, name, "T")
        found[name] = value if along is None else _cut(value, along, start, stop)
    return found


@check("TIM310", family="time", kinds=_KINDS, needs=("CON300",), cases_for=plan.moderate)
def outputs_do_not_depend_on_later_inputs(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Other inputs from step t on, and none at all for one without a state, leave the outputs before t as they are (after t, for one that
    reads in reverse)."""
    context.exempt("causal")
    subject, at = context.subject, plan.point(context, case)
    along = _sequences(subject, at, case)
    other = calls.draw(subject, replace(case, seed=case.seed + 500))
    whole = plan.out(context, at)
    for cut, T in _cuts(subject, case):
        kept, changed = _halves(subject, T, cut)
        inputs = dict(at.inputs)
        for name, k in along.items():
            if at.inputs[name].dtype.kind in "fc":
                value = np.array(at.inputs[name])
                value[_between(k, *changed)] = other.inputs[name][_between(k, *changed)]
                inputs[name] = value
        found = calls.run(subject, replace(at, inputs=inputs))
        for name, value in whole.outputs.items():
            in_time = calls.axis(subject, name, "T")
            if in_time is not None:
                yield agree(
                    name,
                    got=_cut(found.outputs[name], in_time, *kept),
                    expected=_cut(value, in_time, *kept),
                    tolerance=1e5 * float(np.finfo(case.dtype).eps),
                    than=f"those before, though only inputs at steps {changed[0]} to {changed[1] - 1} have changed",
                    where=Where(tensor=name),
                )
        if not at.state:
            yield from _without_the_rest(subject, case, at, whole, kept)


def _without_the_rest(subject: Subject, case: Case, at: Point, whole: Outcome, kept: tuple[int, int]) -> Iterator[Evidence]:
    """The steps that are kept, alone: with a state TIM300 asks this."""
    alone = calls.run(subject, _part(subject, at, case, *kept, at.state))
    for name, value in whole.outputs.items():
        in_time = calls.axis(subject, name, "T")
        if in_time is None:
            continue
        found = agree(
            name,
            got=alone.outputs[name],
            expected=_cut(value, in_time, *kept),
            tolerance=plan.tolerance(case),
            than=f"those of the whole, T={case.T}, when only steps {kept[0]} to {kept[1] - 1} are handed in",
            where=Where(tensor=name),
        )
        yield found if found.holds else replace(found, detail=Named((_OF_ITS_LENGTH,)))


#: Nothing later is read, and yet the same steps give other outputs where the sequence ends elsewhere.
_OF_ITS_LENGTH = Cause(
    "of-its-length",
    "outputs depend on where the sequence ends: a rest is put together wrongly, of an odd length, a last chunk that is not full, or "
    "what is padded to a power of two",
    "",
    0.5,
    "carry the state into the rest; pad with what changes nothing, a = 1 and b = 0",
)


def _several_rows(subject: Subject) -> tuple[Case, ...]:
    said = calls.spoken(subject)
    return plan.accepted(subject, [Case(T=T, N=3, pick=k, seed=90 + k) for k in range(plan.picks(said)) for T in (1, 4, *said.chunks[:1])])


@check("BAT300", family="batch", kinds=_KINDS, needs=("CON300",), cases_for=_several_rows)
def rows_of_a_batch_do_not_know_of_each_other(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Each row alone gives the outputs, final states and gradients that it gives in the batch; what all rows share gets their sum."""
    context.exempt("rows")
    subject, at = context.subject, plan.point(context, case)
    if calls.spoken(subject).packed or case.N < 2:
        raise NotApplicable("it takes one row at a time")
    if all(calls.axis(subject, name, "N") is None for name in at.inputs):
        raise NotApplicable("no input has an axis N in the layout")
    whole = plan.out(context, at)
    has_backward = "backward" in subject.capabilities
    v = calls.cotangents(subject, case, whole)[0]
    eps = float(np.finfo(case.dtype).eps)
    expected = calls.backward(subject, at, v.outputs, v.final, whole.tape) if has_backward else {}
    noise = plan.rounding(at, case, lambda there: calls.backward(subject, there, v.outputs, v.final))
    shared = {name: np.zeros_like(g) for name, g in expected.items() if calls.axis(subject, name, "N") is None}
    for n in range(case.N):
        row = replace(at.with_arrays(_row(subject, at.arrays, n)), lengths=None if at.lengths is None else at.lengths[n : n + 1])
        found = calls.run(subject, row)
        yield from _same_row(subject, n, found.arrays, whole.arrays, 1e5 * eps, "")
        if has_backward:
            alone = Chosen("row", _row(subject, v.outputs, n), _row(subject, v.final, n))
            g = calls.backward(subject, row, alone.outputs, alone.final, found.tape)
            shared = {name: total + g[name] for name, total in shared.items() if name in g}
            own = {k: x for k, x in g.items() if k not in shared}
            yield from _same_row(subject, n, own, expected, plan.tolerance(case), "dL/d", noise)
    for name, total in shared.items():
        compare = partial(_compared, f"dL/d{name} of the batch", expected[name], total, case, "the sum over its rows, each run alone")
        yield plan.beyond(compare, dust(expected, eps), partial(noise, name))


def _row(subject: Subject, arrays: Arrays, n: int) -> dict[str, Array]:
    found = {}
    for name, value in arrays.items():
        along = calls.axis(subject, name, "N")
        found[name] = value if along is None else _cut(value, along, n, n + 1)
    return found


def _same_row(
    subject: Subject, n: int, got: Arrays, whole: Arrays, tolerance: float, what: str, noise: Callable[[str], float] = lambda name: 0.0
) -> Iterator[Evidence]:
    floor = dust(whole, tolerance / 1e6)
    for name, value in got.items():
        if calls.axis(subject, name, "N") is not None and name in whole:
            along = calls.axis(subject, name, "N")
            assert along is not None
            part = _cut(whole[name], along, n, n + 1)

            def compare(least: float, name: str = name, value: Array = value, part: Array = part) -> Evidence:
                return agree(
                    f"{what}{name} of row {n}",
                    got=part,
                    expected=value,
                    tolerance=tolerance,
                    than="what that row gives alone",
                    where=Where(tensor=name.removeprefix("final ")),
                    floor=least,
                )

            yield plan.beyond(compare, floor, partial(noise, name))


@check("TIM320", family="time", kinds=_KINDS, needs=("CON300",), cases_for=plan.moderate)
def single_steps_equal_the_whole(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """step after step gives the outputs and the final state of run, where it has a step."""
    subject, at = context.subject, plan.point(context, case)
    if "step" not in subject.capabilities:
        raise NotApplicable("it has no step(params, inputs_t, state)")
    along = _sequences(subject, at, case)
    whole = plan.out(context, at)
    state: dict[str, Array] = dict(at.state)
    seen: dict[str, list[Array]] = {}
    order = range(case.T)[::-1] if calls.spoken(subject).reverse else range(case.T)
    for t in order:
        inputs = {k: np.take(x, t, axis=along[k]) if k in along else x for k, x in at.inputs.items()}
        found = _stepped(subject, at, inputs, state)
        state = found.final
        for name, value in found.outputs.items():
            seen.setdefault(name, []).append(value)
    for name, values in seen.items():
        k = calls.axis(subject, name, "T")
        if k is not None:
            in_time = values[::-1] if calls.spoken(subject).reverse else values
            yield agree(
                name,
                got=np.stack(in_time, axis=k),
                expected=whole.outputs[name],
                tolerance=plan.tolerance(case),
                than="those of run, when taken step by step",
                where=Where(tensor=name),
            )
    for name, value in state.items():
        yield agree(
            f"final {name}",
            got=value,
            expected=whole.final[name],
            tolerance=plan.tolerance(case),
            than="that of run, when taken step by step",
            where=Where(tensor=name),
        )


def _stepped(subject: Subject, at: Point, inputs: Arrays, state: Arrays) -> Outcome:
    """One step, called as run is: it may return a tape as its third value."""
    stepping = replace(subject, implementation=_Stepping(subject.implementation))
    return calls.run(stepping, replace(at, inputs=dict(inputs), state=dict(state), lengths=None))


class _Stepping:
    """An operator whose run is its step."""

    def __init__(self, impl: object) -> None:
        self.run = impl.step  # type: ignore[attr-defined]  # asked for by `capabilities`
