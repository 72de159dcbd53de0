"""The smallest case at which a failure still shows, and how it shows there."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from bptt.harness.call.cell import run
from bptt.harness.call.drawing import draw
from bptt.harness.call.guard import place_in_subject, said
from bptt.harness.cases import Case, admissible
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable
from bptt.harness.checks.operators.plan import refusal
from bptt.harness.checks.registry import Check
from bptt.harness.diagnosis.advice import cause_of_raising
from bptt.harness.errors import BpttError, ContractError, SubjectError
from bptt.harness.subject import Subject
from bptt.harness.training.oracle import Named
from bptt.reports.records import Cause

#: What a check's failure is worth shrinking for: at most so many smaller cases, and seconds.
_MOST_SHRINKS, _MOST_SECONDS = 40, 6.0
_NUMBER = re.compile(r"\d+(\.\d+)?(e[-+]?\d+)?")
#: Longer sequences are shortened by halving, shorter ones are tried from one step up.
_BISECTED_FROM = 5


def shrunk(context: CheckContext, c: Check, evidence: Evidence, case: Case) -> Case:
    """The smallest case found that fails with the same code at the same gate: one dimension after the other, from below."""
    tried, began = 0, time.perf_counter()

    def fails(smaller: Case) -> bool:
        try:
            if evidence.fails_at is not None:
                return evidence.fails_at(smaller)
            return any(_is_the_same(e, evidence) for e in evidence_at(context, c, smaller))
        except (NotApplicable, BpttError):
            return False

    if context.subject.operator is not None:
        return _shrunk_operator(context.subject, case, fails)
    if case.T > _BISECTED_FROM:
        case = _bisected_in_time(context, case, fails)
    for dimension in ("T", "N", "H", "D"):
        if dimension == "T" and case.T > _BISECTED_FROM:
            continue
        for size in range(1, getattr(case, dimension)):
            smaller = admissible(context.subject, _resized(case, dimension, size))
            if getattr(smaller, dimension) != size:
                continue
            if tried >= _MOST_SHRINKS or time.perf_counter() - began > _MOST_SECONDS:
                return case
            tried += 1
            if fails(smaller):
                case = smaller
                break
    return case


def _shrunk_operator(subject: Subject, case: Case, fails: Callable[[Case], bool]) -> Case:
    """The shortest sequence, from below: a kernel may be right again at the next length.  Then the smallest sizes."""
    began = time.perf_counter()
    for T in range(1, case.T):
        if time.perf_counter() - began > _MOST_SECONDS:
            break
        shorter = admissible(subject, replace(case, T=T))
        if refusal(subject, shorter) is None and fails(shorter):
            case = shorter
            break
    smaller = [replace(case, N=1)]
    for word, values in subject.operator.sizes.items() if subject.operator is not None else ():
        smaller += [replace(case, sizes=(*case.sizes, (word, value))) for value in sorted(values)]
    for each in smaller:
        changed = replace(case, N=min(case.N, each.N), sizes=tuple((dict(case.sizes) | dict(each.sizes[len(case.sizes) :])).items()))
        grown = any(dict(changed.sizes)[word] > value for word, value in case.sizes)
        if changed != case and not grown and time.perf_counter() - began < _MOST_SECONDS and fails(admissible(subject, changed)):
            case = admissible(subject, changed)
    return case


def same_failure_at(context: CheckContext, c: Check, evidence: Evidence, case: Case) -> Evidence | None:
    """The failure as it shows at the smallest case, so that the numbers shown are those that the line to paste gives.

    Which gate is the worst one may change with the sizes; None where nothing of this kind fails there.
    """
    try:
        there = [e for e in evidence_at(context, c, case) if not e.holds and e.severity == "error" and e.code == evidence.code]
    except NotApplicable:
        return None
    otherwise = there[0] if there and evidence.fails_at is not None else None
    return next((e for e in there if _is_the_same(e, evidence)), otherwise)


def _is_the_same(e: Evidence, first: Evidence) -> bool:
    """Whether a failure is that of the first case again: the same code at the same gate; of a contract the same words but for numbers.

    A contract is broken in many ways at once: what raises at one size is not the wrong shape of another.
    """
    if e.holds or e.severity != "error" or (e.code, e.where.gate) != (first.code, first.where.gate):
        return False
    return e.code != "CONTRACT" or _NUMBER.sub("0", e.headline) == _NUMBER.sub("0", first.headline)


def evidence_at(context: CheckContext, c: Check, case: Case) -> Iterator[Evidence]:
    """What a check yields at one case; code of the subject that raises is evidence against it."""
    try:
        yield from c.function(context, case)
    except SubjectError as error:
        cause = _kept_from_a_call(context.subject, case) or cause_of_raising(c.id, error.__cause__)
        yield Evidence(False, str(error), "CONTRACT", detail=Named((cause,)))
    except ContractError as error:
        yield Evidence(False, str(error), "CONTRACT")
    except (NotApplicable, BpttError):
        raise
    except Exception as error:  # code of the subject's that runs where nothing of it is called, such as a tuple with its own length
        if not (place := place_in_subject(error)):
            raise
        yield Evidence(False, f"{context.subject.name}: its code raised {said(error)} (at {place})", "CONTRACT")


def _kept_from_a_call(subject: Subject, case: Case) -> Cause | None:
    """Where its forward pass raises, and on an object that no call has been made on does not."""
    anew = getattr(subject.implementation, "anew", None)
    if subject.kind != "cell" or not callable(anew):
        return None
    for implementation, raises in ((subject.implementation, True), (anew(), False)):
        here = replace(subject, implementation=implementation)
        try:
            run(here, draw(here, case))
        except BpttError:
            if not raises:
                return None
        else:
            if raises:
                return None
    said_so = "what a call leaves on the object is read by the next one: a state that is kept, of another batch or another dtype"
    mend = "start from the state that is handed in, or from zeros in every call; a method reset_state() where it is meant to go on"
    return Cause("kept-from-a-call", said_so, "the same call on a new object does not raise", 0.9, mend)


def _bisected_in_time(context: CheckContext, case: Case, fails: Callable[[Case], bool]) -> Case:
    """The shortest failing sequence, for failures that do not go away when the sequence grows."""
    below, above = 0, case.T
    while above - below > 1:
        T = (below + above) // 2
        if fails(admissible(context.subject, replace(case, T=T))):
            above = T
        else:
            below = T
    return admissible(context.subject, replace(case, T=above))


def _resized(case: Case, dimension: str, size: int) -> Case:
    sizes = {"T": case.T, "N": case.N, "D": case.D, "H": case.H} | {dimension: size}
    return replace(case, T=sizes["T"], N=sizes["N"], D=sizes["D"], H=sizes["H"])
