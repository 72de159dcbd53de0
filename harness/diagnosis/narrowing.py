"""Where else is the gradient right?  A mistake that shows only at certain sizes says so by being right at others.

Each answer is measured: the same subject's gradients are asked for at another case, and what is said names both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from harness.cases import Case, admissible
from harness.diagnosis.numbers import numbers_of
from harness.diagnosis.wrong import WrongGradient
from harness.errors import BpttError
from reports.records import Cause

Rerun = Callable[[Case], WrongGradient]
IsRight = Callable[[WrongGradient], bool]

#: What a small sequence's numbers suggest and a single step's disprove.
_OF_ONE_PLACE = frozenset({"single-entry", "single-row", "single-column"})
_SHAPES = "look for a product without its transpose, a reshape or a broadcast that shapes cannot tell apart where"
_SCORE = 0.6


@dataclass(frozen=True)
class Condition:
    """A property of the failing case, and cases that lack it.

    words, look   what to say, and where to look
    without       a case beside the failing one that lacks the property
    again         another case that has it, which must be wrong too; None where the property has no other case
    """

    code: str
    words: str
    look: str
    without: Case
    again: Case | None = None


def narrowed(causes: Sequence[Cause], wrong: WrongGradient, rerun: Rerun, is_right: IsRight) -> tuple[Cause, ...]:
    """`causes` with the sizes at which alone they hold; a cause of its own where there was none."""
    known = tuple(causes)
    unsaid = wrong.case.T > 1 and all(cause.code in _OF_ONE_PLACE for cause in known)
    if unsaid and (over_time := tuple(_over_time(wrong, rerun, is_right))):
        return over_time
    for condition in _conditions(wrong):
        if not _right_at(condition.without, wrong, rerun, is_right):
            continue
        if condition.again is not None and _right_at(condition.again, wrong, rerun, is_right) is not False:
            continue
        right = f"right at {condition.without}"
        if not known:
            return (Cause(condition.code, condition.words, f"wrong at {wrong.case}, {right}", _SCORE, condition.look),)
        return tuple(
            replace(
                cause,
                hypothesis=f"{condition.words}: {cause.hypothesis}",
                evidence=f"{cause.evidence}; {right}",
                fix=f"{condition.look}; {cause.fix}",
            )
            for cause in known
        )
    return known


def _conditions(wrong: WrongGradient) -> Iterator[Condition]:
    case, subject = wrong.case, wrong.subject

    def possible(code: str, words: str, look: str, without: Case, again: Case | None = None) -> Iterator[Condition]:
        if admissible(subject, without) == without and (again is None or admissible(subject, again) == again):
            yield Condition(code, words, look, without, again)

    T, N, D, H = case.T, case.N, case.D, case.H
    if N == 1:
        look = "look for squeeze(), [0], a branch on N, or a broadcast along an axis of length one"
        yield from possible("only-batch-of-one", "only for a batch of one (N = 1)", look, replace(case, N=2))
    if H == 1:
        look = "look for squeeze(), [0], or a broadcast along an axis of length one"
        yield from possible("only-one-unit", "only for a single unit (H = 1)", look, replace(case, H=2))
    if D == 1:
        look = "look for squeeze(), [0], or a broadcast along an axis of length one"
        yield from possible("only-one-input", "only for a single input (D = 1)", look, replace(case, D=2))
    more = max(N, D, H, T) + 1
    if D == H > 1:
        yield from possible("only-square", "only when D == H", f"{_SHAPES} D == H", replace(case, D=H + 1), replace(case, D=more, H=more))
    if N == H > 1:
        yield from possible(
            "only-batch-equals-hidden", "only when N == H", f"{_SHAPES} N == H", replace(case, N=H + 1), replace(case, N=more, H=more)
        )
    if N == D > 1:
        yield from possible(
            "only-batch-equals-input", "only when N == D", f"{_SHAPES} N == D", replace(case, N=D + 1), replace(case, N=more, D=more)
        )


def _over_time(wrong: WrongGradient, rerun: Rerun, is_right: IsRight) -> Iterator[Cause]:
    """What the length of the shortest sequence that is wrong says, where one step is right."""

    def right(T: int) -> bool | None:
        return _right_at(admissible(wrong.subject, replace(wrong.case, T=T)), wrong, rerun, is_right)

    if not right(1):
        return
    below, above = 1, wrong.case.T
    while above - below > 1:
        T = (below + above) // 2
        if right(T):
            below = T
        else:
            above = T
    if above == 2:
        yield _carried(wrong)
        return
    only = right(above + 1) is True
    words = f"only for sequences of {above} steps" if only else f"only for sequences longer than {below} steps"
    beyond = f"{below} and {above + 1}" if only else str(below)
    yield Cause(
        "only-some-lengths",
        words,
        f"right with {beyond} steps, wrong with {above}",
        _SCORE,
        f"look for a number of steps in the code ({below}, {above}), a buffer of fixed length, a test on t or T, or a cut of the gradient",
    )


def _carried(wrong: WrongGradient) -> Cause:
    """One step is right, two are not: the sum over the steps, or the gradient that goes from one to the one before."""
    numbers = numbers_of(wrong)
    params = wrong.data.params
    spoiled = [f"dL/d{pair.tensor}" for pair in numbers.whole]
    right = [f"dL/d{pair.tensor}" for pair in numbers.right]
    evidence = (
        f"with one step every gradient is right, with two {_are(spoiled)} wrong" if spoiled else "right with one step, wrong with two"
    )
    evidence += f"; {_are(right)} right" if spoiled and right else ""
    inputs_known = any(pair.tensor not in params for pair in (*numbers.whole, *numbers.right))
    inputs_wrong = any(pair.tensor not in params for pair in numbers.whole)
    carry = "the gradient carried from one step to the previous one is wrong or lost"
    sums = "the parameters' gradients are not added up over the steps as they should be"
    mend = "dh = dys[t] + dh_next in every step, and dh_next = da @ W_h.T at its end (dc_next the same way)"
    if inputs_known and spoiled and not inputs_wrong:
        return Cause("sum-over-steps", sums, evidence, _SCORE, "dW += ... in every step, with h_(t-1) and x_t of that step")
    if spoiled and not inputs_known and not right:
        return Cause("carry-or-sum", f"{carry}, or {sums}", evidence, _SCORE, f"{mend}; dW += ... in every step")
    return Cause("carry-wrong", carry, evidence, _SCORE, mend)


def _are(names: Sequence[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} are"


def _right_at(case: Case, wrong: WrongGradient, rerun: Rerun, is_right: IsRight) -> bool | None:
    """Whether the subject is right at `case`; None where it cannot be run there or nothing exact is known."""
    try:
        again = rerun(case)
    except BpttError:
        return None
    return is_right(again)
