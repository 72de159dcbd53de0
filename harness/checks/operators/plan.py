"""At which lengths and sizes an operator is asked: where kernels break."""

from __future__ import annotations

from collections.abc import Iterable

from bptt.harness.call import operator as calls
from bptt.harness.call.operator import Outcome, Point
from bptt.harness.cases import REGIMES, Case, admissible
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import NotApplicable
from bptt.harness.errors import BpttError
from bptt.harness.subject import Operator, Subject

#: Lengths around those of chunks that everybody uses, for an operator that says nothing of its own.
_USUAL = (16, 63, 64, 65, 127, 129)
#: Longest sequence that is tried: two of the longest chunks that are found, and a tail.
_LONGEST = 300


def lengths_of(said: Operator) -> tuple[int, ...]:
    """T = w - 1, w, w + 1, 2 w, 2 w + 3 for each chunk, block or window w, and the usual ones; longest last."""
    around = [T for w in said.chunks for T in (w - 1, w, w + 1, 2 * w - 1, 2 * w, 2 * w + 3, w + w // 2)]
    return tuple(sorted({T for T in (*around, *_USUAL) if 2 < T <= _LONGEST}))


def picks(said: Operator) -> int:
    """How many choices of sizes it takes for each value of each size to be there once."""
    return max((len(values) for values in said.sizes.values()), default=1)


def small(subject: Subject) -> tuple[Case, ...]:
    """T = 1, 2, 5 at each choice of sizes, with several rows and with one."""
    said = calls.spoken(subject)
    cases = [Case(T=T, N=N, pick=k, seed=k) for k in range(picks(said)) for T, N in ((1, 2), (2, 3), (5, 2))]
    return (*cases, Case(T=6, N=1, seed=7), Case(T=3, N=4, seed=8))


def long(subject: Subject) -> tuple[Case, ...]:
    """Each length with one row at one choice of sizes and, where that is cheap, with two rows at another."""
    said = calls.spoken(subject)
    last = max(0, picks(said) - 1)
    return tuple(Case(T=T, N=2 if k % 2 else 1, pick=k % (last + 1), seed=20 + k) for k, T in enumerate(lengths_of(said)))


def one_step(subject: Subject) -> tuple[Case, ...]:
    return tuple(Case(T=1, N=2, pick=k, seed=k) for k in range(picks(calls.spoken(subject))))


def regimes(subject: Subject) -> tuple[Case, ...]:
    """The operator's own extremes; none where it has no `regimes`."""
    if not hasattr(subject.implementation, "regimes"):
        return (Case(T=5),)
    return tuple(Case(T=T, N=2, regime=name, seed=40) for name in REGIMES if name != "standard" for T in (5, 17))


def moderate(subject: Subject) -> tuple[Case, ...]:
    """A few steps at each choice of sizes, and one length beyond each chunk."""
    said = calls.spoken(subject)
    beyond = [Case(T=min(w + 3, _LONGEST), N=2, seed=60) for w in said.chunks[:3]]
    return (*(Case(T=5, N=3, pick=k, seed=50 + k) for k in range(picks(said))), *beyond)


def exempt(context: CheckContext, *names: str) -> None:
    """Raises NotApplicable where the subject says why it need not have the property."""
    for name in names:
        if (reason := calls.spoken(context.subject).exempt.get(name)) is not None:
            raise NotApplicable(f"exempt from {name!r}: {reason}")


def point(context: CheckContext, case: Case) -> Point:
    return calls.draw(context.subject, case)


def out(context: CheckContext, at: Point) -> Outcome:
    return calls.run(context.subject, at)


def runs_at(subject: Subject, cases: Iterable[Case]) -> list[Case]:
    """Those at which it can be run at all: a kernel may take multiples of its chunk only, and say so."""
    found = []
    for case in cases:
        try:
            calls.run(subject, calls.draw(subject, admissible(subject, case)))
        except BpttError:
            continue
        found.append(case)
    return found
