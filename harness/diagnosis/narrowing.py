"""Where else is the gradient right?  A mistake that shows only at certain sizes says so by being right at others.

Each answer is measured: the same subject's gradients are asked for at another case, and what is said names both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from bptt.harness.cases import Case, admissible
from bptt.harness.diagnosis.patterns.numbers import numbers_of
from bptt.harness.diagnosis.wrong import WrongGradient
from bptt.harness.errors import BpttError
from bptt.reports.records import Cause

Rerun = Callable[[Case], WrongGradient]
IsRight = Callable[[WrongGradient], bool]

#: What a small sequence's numbers suggest and a single step's disprove.
_OF_ONE_PLACE = frozenset({"single-entry", "single-row", "single-column"})
_SHAPES = "look for a product without its transpose, a reshape or a broadcast that shapes cannot tell apart where"
_BOUNDS = "look for a clip or clamp, an eps, a test on the numbers, or a derivative taken where a gate is saturated"
_LENGTHS = "look for a buffer of fixed length, a test on t or T, a cut of the gradient, or a number of steps in the code"
#: Regimes in words that fit behind "only".
_REGIMES = {
    "small": "with small weights",
    "saturated": "with large weights, which saturate gates",
    "open": "with open gates (biases shifted by +3)",
    "closed": "with closed gates (biases shifted by -2)",
    "initial": "with parameters as init draws them",
    "large": "with large inputs and states",
    "zeros": "where inputs or states are exactly zero",
    "unbiased": "where biases are exactly zero",
}
#: The shortest wrong sequence is looked for so long; how long it may take depends on the subject.
_MOST_SECONDS = 6.0
#: In longer sequences than this, other sizes and regimes are not looked at: they are slow, and shorter ones tell sizes apart.
_MOST_STEPS = 20
_SCORE = 0.6


@dataclass(frozen=True)
class Condition:
    """A property of the failing case, and cases that lack it.

    words, look   what to say, and where to look
    without       a case beside the failing one that lacks the property
    again         another case that has it, which must be wrong too; None for the same sizes with other values
    """

    code: str
    words: str
    look: str
    without: Case
    again: Case | None = None


def narrowed(causes: Sequence[Cause], wrong: WrongGradient, rerun: Rerun, is_right: IsRight, shortest: int = 0) -> tuple[Cause, ...]:
    """`causes` with the sizes at which alone they hold; a cause of its own where there was none.

    shortest   steps of a sequence that is known to be wrong, with other sizes or values perhaps: no length above it is a condition
    """
    known, case = tuple(causes), wrong.case
    if case.T > 1 and all(cause.code in _OF_ONE_PLACE for cause in known):
        if case.regime != "standard" and case.T <= _MOST_STEPS and _right_at(replace(case, regime="standard"), wrong, rerun, is_right):
            return (_of_regime(wrong),)
        if over_time := tuple(_over_time(wrong, rerun, is_right, shortest)):
            return over_time
    if case.T > _MOST_STEPS:
        return known
    for condition in _conditions(wrong):
        if not _right_at(condition.without, wrong, rerun, is_right):
            continue
        again = condition.again or _other_values(case)
        if _right_at(again, wrong, rerun, is_right) is not False:
            continue
        right = f"right at {condition.without}"
        if not known:
            return (Cause(condition.code, condition.words, f"wrong at {case}, {right}", _SCORE, condition.look),)
        return tuple(
            replace(
                cause,
                hypothesis=f"{condition.words}: {cause.hypothesis}",
                evidence=f"{cause.evidence}; {right}",
                fix=f"{condition.look}; {cause.fix}",
            )
            for cause in known
        )
    if not known and _right_at(_other_values(case), wrong, rerun, is_right):
        return (_of_values(wrong),)
    return known


def _other_values(case: Case) -> Case:
    """The same sizes with other numbers: what is right there is not a matter of sizes."""
    return replace(case, seed=case.seed + 1)


def _of_regime(wrong: WrongGradient) -> Cause:
    regime = wrong.case.regime
    return Cause(
        "only-in-regime",
        f"only {_REGIMES.get(regime, regime)}",
        f"wrong in the regime {regime}, right with the same sizes in the standard one",
        _SCORE,
        _BOUNDS,
    )


def _of_values(wrong: WrongGradient) -> Cause:
    evidence = f"wrong at {wrong.case} with seed {wrong.case.seed}, right with seed {wrong.case.seed + 1}"
    return Cause("only-some-values", "only for some values of the same sizes", evidence, _SCORE, _BOUNDS)


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


def _over_time(wrong: WrongGradient, rerun: Rerun, is_right: IsRight, shortest: int = 0) -> Iterator[Cause]:
    """What the length of the shortest sequence that is wrong says, where one step is right; nothing where other values say otherwise."""

    def right(T: int, case: Case = wrong.case) -> bool | None:
        return _right_at(replace(case, T=T), wrong, rerun, is_right)

    if not right(1):
        return
    below, above = 1, wrong.case.T
    began = time.perf_counter()
    while above - below > 1:
        if time.perf_counter() - began > _MOST_SECONDS:
            words = f"only for sequences longer than some number of steps from {below} to {above - 1}"
            yield Cause("only-some-lengths", words, f"right with {below} step{'s' * (below > 1)}, wrong with {above}", _SCORE, _LENGTHS)
            return
        T = (below + above) // 2
        if right(T):
            below = T
        else:
            above = T
    if above == 2:
        yield _carried(wrong)
        return
    if 0 < shortest <= below:
        return
    if right(above, _other_values(wrong.case)) is not False or not right(below, _other_values(wrong.case)):
        return
    only = right(above + 1) is True
    words = f"only for sequences of {above} steps" if only else f"only for sequences longer than {below} steps"
    beyond = f"{below} and {above + 1}" if only else str(below)
    yield Cause(
        "only-some-lengths",
        words,
        f"right with {beyond} steps, wrong with {above}",
        _SCORE,
        f"{_LENGTHS} ({below}, {above})",
    )


def _carried(wrong: WrongGradient) -> Cause:
    """One step is right, two are not: the sum over the steps, or the gradient that goes from one to the one before."""
    numbers = numbers_of(wrong)
    others = {"xs", *(f"{state}0" for state in wrong.data.state)}
    spoiled = [f"dL/d{pair.tensor}" for pair in numbers.whole]
    right = [f"dL/d{pair.tensor}" for pair in numbers.right]
    evidence = (
        f"with one step every gradient is right, with two {_are(spoiled)} wrong" if spoiled else "right with one step, wrong with two"
    )
    evidence += f"; {_are(right)} right" if spoiled and right else ""
    inputs_known = any(pair.tensor in others for pair in (*numbers.whole, *numbers.right))
    inputs_wrong = any(pair.tensor in others for pair in numbers.whole)
    if spoiled == ["dL/dxs"] and right:
        said = "dL/dxs is put together wrongly: what is carried from step to step is right, since every other gradient is"
        return Cause("assembly-of-dxs", said, evidence, _SCORE, "give each step its own, in the order of the inputs")
    carry = "the gradient carried from one step to the previous one is wrong or lost"
    sums = "the parameters' gradients are not added up over the steps as they should be"
    mend = "start every step from the sum of its own output's gradient and of what the step after hands back, of every state"
    if inputs_known and spoiled and not inputs_wrong:
        return Cause("sum-over-steps", sums, evidence, _SCORE, "add up over the steps, with h_(t-1) and x_t of each step")
    if spoiled and not inputs_known and not right:
        return Cause("carry-or-sum", f"{carry}, or {sums}", evidence, _SCORE, f"{mend}; add up over the steps")
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
