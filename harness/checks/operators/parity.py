"""An operator and what it claims to be: outputs, final states and every gradient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bptt.harness.adapters import operator, scans
from bptt.harness.call import operator as calls
from bptt.harness.call.operator import Outcome, Point
from bptt.harness.cases import Case
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, agree, dust, holds
from bptt.harness.checks.operators import plan
from bptt.harness.checks.registry import check
from bptt.harness.errors import BpttError, SubjectError
from bptt.harness.gradient.operators import examine_at
from bptt.harness.subject import Array, Arrays, Operator, Subject
from bptt.harness.targets import load
from bptt.reports.records import Where

_KINDS = ("operator",)


@dataclass(frozen=True)
class Counterpart:
    """What an operator is held against.   names: its own names -> theirs; turned: how the axes of its own stand in theirs"""

    subject: Subject
    names: Mapping[str, str]
    turned: Mapping[str, tuple[int, ...]]

    def theirs(self, arrays: Arrays) -> dict[str, Array]:
        return {self.names[k]: v.transpose(self.turned[k]) if k in self.turned else v for k, v in arrays.items() if k in self.names}

    def in_its_type(self, arrays: Arrays) -> dict[str, Array]:
        """In float64 where it works in that: an operator in float32 is held against more digits than it has."""
        said = self.subject.operator
        wide = self.subject.dtype == "float64" and (said is None or not said.dtypes or "float64" in said.dtypes)
        long = {"f": np.float64, "c": np.complex128}
        return {k: v.astype(long[v.dtype.kind]) if wide and v.dtype.kind in long else v for k, v in arrays.items()}

    def ours(self, arrays: Arrays, own: Arrays) -> dict[str, Array]:
        """Arrays of theirs by the names, and with the axes, of those in `own`."""
        found = {}
        for name in own:
            value = arrays.get(self.names.get(name, ""))
            if value is not None:
                found[name] = value.transpose(np.argsort(self.turned[name])) if name in self.turned else value
        return found


def counterpart(context: CheckContext) -> Counterpart:
    """Raises NotApplicable where it claims to be nothing, or the arrays of the two cannot be told to be the same."""
    subject = context.subject
    said = calls.spoken(subject)
    if said.other is not None:
        other = _other(said.other, subject.name)
    elif subject.like is not None:
        other = scans.subject(subject.like)
    else:
        raise NotApplicable("it does not say what it is like")
    names = _same_arrays(said, calls.spoken(other), other.name)
    words = _same_words(said, calls.spoken(other), names)
    turned = {}
    for name, match in names.items():
        axes, there = tuple(words.get(w, w) for w in said.layout[name]), calls.spoken(other).layout[match]
        if sorted(axes) != sorted(there):
            raise NotApplicable(f"{name} is {' '.join(said.layout[name])!r}, and {match} of {other.name} is {' '.join(there)!r}")
        if axes != there:
            turned[name] = tuple(axes.index(word) for word in there)
    return Counterpart(other, names, turned)


def _same_arrays(own: Operator, theirs: Operator, called: str) -> dict[str, str]:
    """Its own arrays -> theirs: by name, else the next one in order that has as many axes, of time and rows among them.

    Raises NotApplicable where one has no other.
    """
    by_name = {k: next((n for n in theirs.layout if n.lower() == k.lower()), None) for k in own.layout}
    names = {k: n for k, n in by_name.items() if n is not None}
    for name, axes in own.layout.items():
        if name in names:
            continue
        left = [n for n in theirs.layout if n not in names.values()]
        match = next((n for n in left if _form(theirs.layout[n]) == _form(axes)), None)
        if match is None:
            raise NotApplicable(f"{called} has no array {name!r}, it has {', '.join(theirs.layout)}")
        names[name] = match
    return names


def _form(axes: tuple[str, ...]) -> tuple[int, bool, bool]:
    return len(axes), "N" in axes, "T" in axes


def _same_words(own: Operator, theirs: Operator, names: Mapping[str, str]) -> dict[str, str]:
    """Its own words -> theirs, where the two call a size by different names: in their order in the arrays."""
    known = {w for axes in theirs.layout.values() for w in axes}
    words: dict[str, str] = {}
    for name, match in names.items():
        mine = [w for w in own.layout[name] if w not in ("N", "T") and w not in known]
        there = [w for w in theirs.layout[match] if w not in ("N", "T") and w not in own.layout[name]]
        for a, b in zip(mine, there, strict=False):
            words.setdefault(a, b)
    return words


def _other(named: object, of: str) -> Subject:
    """The operator that is named by a target string, or is there as a class or an object."""
    if isinstance(named, str):
        return load(named)[0]
    impl = named() if isinstance(named, type) else named
    return operator.subject(impl, f"what {of} is like", type(impl).__name__)


def _cases(subject: Subject) -> tuple[Case, ...]:
    return (*plan.moderate(subject), *plan.long(subject)[-1:])


@check("PAR300", family="parity", kinds=_KINDS, needs=("CON300",), cases_for=_cases)
def outputs_final_states_and_gradients_are_those_of_what_it_is_like(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """The same arrays in give the same arrays out; where gradients differ, exact derivatives of each say which of the two is wrong."""
    other = counterpart(context)
    subject, at = context.subject, plan.point(context, case)
    if any(v.dtype.kind not in "fc" for v in at.arrays.values()) or at.lengths is not None:
        raise NotApplicable("it has arrays of whole numbers, of which the other knows nothing")
    params, inputs, state = (other.in_its_type(other.theirs(arrays)) for arrays in (at.params, at.inputs, at.state))
    there = Point(params, inputs, state)
    own = plan.out(context, at)
    try:
        theirs = calls.run(other.subject, there)
    except SubjectError as error:
        raise NotApplicable(f"what it is like cannot be run: {error}") from error
    eps = float(np.finfo(case.dtype).eps)
    scale = _scale_of_queries(other, own, theirs, calls.sizes_of(subject, case))
    theirs = replace(theirs, outputs={k: v * np.asarray(scale, v.dtype) for k, v in theirs.outputs.items()})
    expected = {**other.ours(theirs.outputs, own.outputs), **{f"final {k}": v for k, v in other.ours(theirs.final, own.final).items()}}
    for name, value in expected.items():
        yield agree(
            name,
            got=own.arrays[name],
            expected=value,
            tolerance=plan.tolerance(case),
            than=f"those of {other.subject.name}",
            where=Where(tensor=name.removeprefix("final ")),
        )
    if "backward" not in subject.capabilities or "backward" not in other.subject.capabilities:
        return
    for v in calls.cotangents(subject, case, own):
        mine = calls.backward(subject, at, v.outputs, v.final, own.tape)
        dys = {k: x * np.asarray(scale, x.dtype) for k, x in other.in_its_type(other.theirs(v.outputs)).items()}
        try:
            found = calls.backward(other.subject, there, dys, other.in_its_type(other.theirs(v.final)), theirs.tape)
        except SubjectError as error:
            yield holds(the_other_has_no_gradient=str(error))
            return
        wanted = other.ours(found, mine)
        floor = dust(wanted, eps)
        for name, value in wanted.items():
            evidence = agree(
                f"dL/d{name} with the cotangent on {v.name}",
                got=mine[name],
                expected=value,
                tolerance=plan.tolerance(case),
                than=f"that of {other.subject.name}",
                where=Where(tensor=name),
                floor=floor,
            )
            if evidence.holds or not _right(subject, case, at):
                yield evidence
            else:
                yield holds(the_other_is_wrong=f"{name}: the exact derivative of its own forward pass is this operator's gradient")


def _scale_of_queries(other: Counterpart, own: Outcome, theirs: Outcome, sizes: Mapping[str, int]) -> float:
    """1, or 1 / sqrt(K) where outputs are those of a published recurrence times that: queries are often scaled so, and papers differ."""
    scale = float(sizes.get("K", 1)) ** -0.5
    if other.subject.framework != "reference" or not own.outputs or scale == 1:
        return 1.0
    pairs = [(own.outputs[k], v) for k, v in other.ours(theirs.outputs, own.outputs).items()]
    return scale if all(a.shape == b.shape and np.allclose(a, scale * b, rtol=1e-5, atol=1e-7) for a, b in pairs) else 1.0


def _right(subject: Subject, case: Case, at: Point) -> bool:
    """Whether its gradients are the exact derivatives of its forward pass."""
    try:
        return not examine_at(subject, case, at, 2).wrong
    except BpttError:
        return False
