"""Sequences of unequal lengths: as padding, and packed one behind the other with offsets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bptt.harness.call import operator as calls
from bptt.harness.call.operator import Point
from bptt.harness.cases import Case
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, agree, dust
from bptt.harness.checks.operators import plan
from bptt.harness.checks.registry import check
from bptt.harness.subject import Array, Arrays, Subject
from bptt.reports.records import Where

_KINDS = ("operator",)


def _cases(subject: Subject) -> tuple[Case, ...]:
    chunks = [Case(T=w, N=3, seed=84) for w in calls.spoken(subject).chunks[:1]]
    return plan.accepted(subject, (Case(T=6, N=3, seed=80), Case(T=17, N=2, pick=1, seed=81), Case(T=23, N=2, seed=82), *chunks))


@check("LEN300", family="lengths", kinds=_KINDS, needs=("CON300",), cases_for=_cases)
def what_stands_behind_a_sequence_does_not_matter(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Other inputs behind the end of a row leave its outputs, the final states and the gradients as they are."""
    subject = context.subject
    if not subject.lengths:
        raise NotApplicable("it takes no lengths")
    at = plan.point(context, case)
    other = calls.draw(subject, replace(case, seed=case.seed + 300))
    assert at.lengths is not None
    inputs = {name: _behind(subject, name, value, other.inputs[name], at.lengths) for name, value in at.inputs.items()}
    changed = replace(at, inputs=inputs)
    one, two = plan.out(context, at), plan.out(context, changed)
    tolerance = 1e5 * float(np.finfo(case.dtype).eps)
    for name, value in one.outputs.items():
        zero = np.zeros_like(value)
        pair = (_behind(subject, name, x, zero, at.lengths) for x in (two.outputs[name], value))
        got, expected = pair
        than = "those with other inputs behind the ends of rows"
        yield agree(name, got=got, expected=expected, tolerance=tolerance, than=than, where=Where(tensor=name))
    for name, value in one.final.items():
        than = "that with other inputs behind the ends of rows"
        yield agree(f"final {name}", got=two.final[name], expected=value, tolerance=tolerance, than=than, where=Where(tensor=name))


def _behind(subject: Subject, name: str, value: Array, other: Array, lengths: Array) -> Array:
    """`value` with `other` behind the end of each row."""
    n, t = calls.axis(subject, name, "N"), calls.axis(subject, name, "T")
    if n is None or t is None or other.shape != value.shape:
        return value
    steps, rows = np.arange(value.shape[t]), lengths.reshape([-1 if k == n else 1 for k in range(value.ndim)])
    padded = steps.reshape([-1 if k == t else 1 for k in range(value.ndim)]) >= rows
    return np.where(padded, other, value)


@check("LEN310", family="lengths", kinds=_KINDS, needs=("CON300",), cases_for=_cases)
def packed_sequences_give_what_each_gives_alone(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Each of the sequences between two offsets gives the outputs, final state and gradients that it gives when it is the only one."""
    subject = context.subject
    packed = calls.spoken(subject).packed
    if packed is None:
        raise NotApplicable("its sequences are not packed")
    at = plan.point(context, case)
    offsets = at.inputs.get(packed)
    if offsets is None or offsets.ndim != 1 or offsets.dtype.kind not in "iu":
        said = f"{packed}, which it says has the cumulative lengths, is no vector of whole numbers among its inputs"
        yield Evidence(False, said, "CONTRACT", where=Where(tensor=packed))
        return
    whole = plan.out(context, at)
    has_backward = "backward" in subject.capabilities
    v = calls.cotangents(subject, case, whole)[0]
    expected = calls.backward(subject, at, v.outputs, v.final, whole.tape) if has_backward else {}
    eps = float(np.finfo(case.dtype).eps)
    count = len(offsets) - 1
    for k in range(count):
        start, stop = int(offsets[k]), int(offsets[k + 1])
        if stop <= start:
            continue
        alone = _only(subject, at, packed, k, start, stop, count)
        found = calls.run(subject, alone)
        for name, value in found.outputs.items():
            along = calls.axis(subject, name, "T")
            if along is not None:
                got = whole.outputs[name][(*(slice(None),) * along, slice(start, stop))]
                yield _same(f"{name} of sequence {k}", name, got, value, 1e5 * eps, 0.0)
        if not has_backward:
            continue
        dys = {n: _steps(subject, n, x, start, stop) for n, x in v.outputs.items()}
        dfinal = {n: x[k : k + 1] if x.shape[:1] == (count,) and count > 1 else x for n, x in v.final.items()}
        if any(dfinal[n].shape != x.shape for n, x in found.final.items()):
            continue
        g = calls.backward(subject, alone, dys, dfinal, found.tape)
        for name in g:
            if name in at.inputs and calls.axis(subject, name, "T") is not None and name in expected:
                got = _steps(subject, name, expected[name], start, stop)
                yield _same(f"dL/d{name} of sequence {k}", name, got, g[name], plan.tolerance(case), dust(expected, eps))


def _same(what: str, name: str, got: Array, expected: Array, tolerance: float, floor: float) -> Evidence:
    than = "what that sequence gives alone"
    return agree(what, got=got, expected=expected, tolerance=tolerance, than=than, where=Where(tensor=name), floor=floor)


def _steps(subject: Subject, name: str, value: Array, start: int, stop: int) -> Array:
    along = calls.axis(subject, name, "T")
    return value if along is None else value[(*(slice(None),) * along, slice(start, stop))]


def _only(subject: Subject, at: Point, packed: str, k: int, start: int, stop: int, count: int) -> Point:
    inputs: Arrays = {n: _steps(subject, n, x, start, stop) for n, x in at.inputs.items() if n != packed}
    offsets = np.array([0, stop - start], at.inputs[packed].dtype)
    state = {n: x[k : k + 1] if x.shape[:1] == (count,) and count > 1 else x for n, x in at.state.items()}
    return replace(at, inputs={**inputs, packed: offsets}, state=state)
