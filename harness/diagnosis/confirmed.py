"""What a pattern in the numbers suggests is said only where it holds again, in other numbers and over another length.

A cause that is no cause would be followed, and make things worse: so its own claim is tried before it is printed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from bptt.harness.cases import Case, admissible
from bptt.harness.diagnosis.narrowing import Rerun
from bptt.harness.diagnosis.wrong import WrongGradient
from bptt.harness.errors import BpttError
from bptt.reports.records import Cause

#: Longer cases are not run again: their patterns are over many steps already.
_MOST_STEPS = 20
_MORE_STEPS = 3


def confirmed(
    causes: Sequence[Cause], wrong: WrongGradient, rerun: Rerun, again: Callable[[WrongGradient], Sequence[Cause]]
) -> tuple[Cause, ...]:
    """Those of `causes` that the same tests, `again`, give at another case too; of several readings of one number, those that fit both."""
    if not causes or wrong.case.T > _MOST_STEPS:
        return tuple(causes)
    try:
        there = rerun(second_case(wrong))
    except BpttError:
        return tuple(causes)
    if not any(g.params or g.state or g.xs is not None for g in there.exact):
        return tuple(causes)  # nothing exact is known there to try it on
    found = again(there)
    kept = []
    for cause in causes:
        alike = [other for other in found if other.code == cause.code and _tensors(other) & _tensors(cause)]
        if alike and (cause.code not in _OF_LAGS or _lag(cause) in {_lag(other) for other in alike}):
            kept.append(_in_both(cause, alike))
    return tuple(kept)


def second_case(wrong: WrongGradient) -> Case:
    """The same sizes with other numbers, and more steps where there are several: a single step is another question."""
    case, most = wrong.case, wrong.subject.truncation
    T = case.T + _MORE_STEPS if case.T > 1 else 1
    return admissible(wrong.subject, replace(case, T=T if most is None else max(1, min(T, most + 1)), seed=case.seed + 1))


#: Causes that name a lag, which does not grow with the sequence.
_OF_LAGS = frozenset({"gradient-cut-at-lag"})


def _lag(cause: Cause) -> str:
    return cause.hypothesis


def _tensors(cause: Cause) -> set[str]:
    """Names of gradients in a cause; one name for all where it speaks of none."""
    return set(re.findall(r"dL/d\w+", cause.hypothesis)) or {""}


def _in_both(cause: Cause, alike: Sequence[Cause]) -> Cause:
    """Of "a mean over the batch (...) or a mean over time (...)" what is said of other sizes too."""
    said, fixes = cause.hypothesis.split(" or "), cause.fix.split(" or ")
    if len(said) == 1 or len(said) != len(fixes):
        return cause
    plain = [re.sub(r"\(.*?\)|dL/d\S+| and | are | is |,", "", part).strip() for part in said]
    there = {re.sub(r"\(.*?\)|dL/d\S+| and | are | is |,", "", part).strip() for other in alike for part in other.hypothesis.split(" or ")}
    both = [k for k, part in enumerate(plain) if part in there]
    if not both or len(both) == len(said):
        return cause
    subject = re.match(r"(.*? (?:is|are)) ", said[0])
    words = [said[k] if k == 0 or subject is None or both[0] != k else f"{subject[1]} {said[k]}" for k in both]
    return replace(cause, hypothesis=" or ".join(words), fix=" or ".join(fixes[k] for k in both))


def unknown(wrong: WrongGradient, known: int) -> Cause:
    """That nothing is known, as a sentence: what was tried and ruled out.   known: mistakes of the library that were tried"""
    if wrong.identification is None:
        tried = "it is no published cell, so that no known mistake could be tried on its weights"
    else:
        tried = f"none of {known} known mistakes of {wrong.identification.cell}, on its weights, gives its numbers"
    patterns = (
        "and they are not explained by a constant factor, zeros, a transpose, another gate's or another step's numbers, a clip, a penalty, "
        "lost precision or single entries"
    )
    return Cause("unknown", "not known why: the place and the numbers are all that can be said", f"{tried}; {patterns}", 0.0, "")
