"""At which lengths and sizes an operator is asked: where kernels break."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np

from bptt.harness.adapters.triton import is_of_triton
from bptt.harness.call import operator as calls
from bptt.harness.call.guard import first_line
from bptt.harness.call.operator import Outcome, Point
from bptt.harness.cases import REGIMES, Case, admissible, generator
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence
from bptt.harness.errors import BpttError, SubjectError
from bptt.harness.subject import Array, Arrays, Operator, Subject

#: Lengths around those of chunks that everybody uses, for an operator that says nothing of its own.
_USUAL = (16, 63, 64, 65, 127, 129)
#: Several chunks of 16 and 32, one of 64, and a tail.
_CUT = 67
#: Longest sequence that is tried: two of the longest chunks that are found, and a tail; two chunks where the shortest one is longer.
_LONGEST = 300


def lengths_of(said: Operator) -> tuple[int, ...]:
    """T = w - 1, w, w + 1, 2 w, 2 w + 3 for each chunk, block or window w, and the usual ones; longest last."""
    around = [T for w in said.chunks for T in (w - 1, w, w + 1, 2 * w - 1, 2 * w, 2 * w + 3, w + w // 2)]
    longest = max(_LONGEST, 2 * min(said.chunks, default=0))
    return tuple(sorted({T for T in (*around, *_USUAL) if 2 < T <= longest}))


def picks(said: Operator) -> int:
    """How many choices of sizes it takes for each value of each size to be there once."""
    return max((len(values) for values in said.sizes.values()), default=1)


def small(subject: Subject) -> tuple[Case, ...]:
    """T = 1, 2, 5 at each choice of sizes, with several rows and with one."""
    said = calls.spoken(subject)
    cases = [Case(T=T, N=N, pick=k, seed=k) for k in range(picks(said)) for T, N in ((1, 2), (2, 3), (5, 2))]
    chunks = [Case(T=w, N=2, seed=9) for w in said.chunks[:1]]  # the only length of some
    return accepted(subject, (*cases, Case(T=6, N=1, seed=7), Case(T=3, N=4, seed=8), *chunks))


def several(subject: Subject) -> tuple[Case, ...]:
    """The same, one step last: where the first case is all that is asked it is one in which steps depend on each other."""
    return tuple(sorted(small(subject), key=lambda case: case.T < 3))


def long(subject: Subject) -> tuple[Case, ...]:
    """Each length with one row at one choice of sizes and, where that is cheap, with two rows at another."""
    said = calls.spoken(subject)
    last = max(0, picks(said) - 1)
    every = [Case(T=T, N=2 if k % 2 else 1, pick=k % (last + 1), seed=20 + k) for k, T in enumerate(lengths_of(said))]
    return accepted(subject, every)


def one_step(subject: Subject) -> tuple[Case, ...]:
    said = calls.spoken(subject)
    shortest = [Case(T=T, N=2, pick=k, seed=k) for T in (1, *said.chunks) for k in range(picks(said))]
    return accepted(subject, shortest)[: picks(said)]


def regimes(subject: Subject) -> tuple[Case, ...]:
    """The operator's own extremes; none where it has no `regimes`."""
    if not hasattr(subject.implementation, "regimes"):
        return (Case(T=5),)
    lengths = (5, 17, *calls.spoken(subject).chunks[:1])
    return accepted(subject, [Case(T=T, N=2, regime=name, seed=40) for name in REGIMES if name != "standard" for T in lengths])


def moderate(subject: Subject) -> tuple[Case, ...]:
    """A few steps at each choice of sizes, and one length beyond each chunk."""
    said = calls.spoken(subject)
    beyond = [Case(T=min(w + 3, _LONGEST), N=2, seed=60) for w in said.chunks[:3]]
    two = [Case(T=2 * w, N=2, seed=61) for w in said.chunks[:1] if w > 1]
    return accepted(subject, (*(Case(T=5, N=3, pick=k, seed=50 + k) for k in range(picks(said))), *beyond, *two))


def cut(subject: Subject) -> tuple[Case, ...]:
    """The same, and a length with several of the chunks that everybody uses."""
    every = moderate(subject)
    long = Case(T=_CUT, N=1, seed=62)
    return every if any(case.T >= _CUT for case in every) or refusal(subject, long) is not None else (*every, long)


def accepted(subject: Subject, cases: Sequence[Case]) -> tuple[Case, ...]:
    """Those that the subject does not refuse; where it refuses every one all of them, at multiples that it takes, so that it is seen."""
    kept = tuple(case for case in cases if refusal(subject, case) is None)
    multiple = max(calls.spoken(subject).multiple, 1)
    return kept or tuple(replace(case, T=-(-case.T // multiple) * multiple) for case in cases)


def refusal(subject: Subject, case: Case) -> str | None:
    """What its own code says where it raises or asserts on purpose that it does not take these sizes; None where it takes them."""
    return _refusal(_Itself(subject), case)


@dataclass(frozen=True, eq=False)
class _Itself:
    """A subject that equals itself alone, so that what is known of it is asked once."""

    subject: Subject

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and other.subject is self.subject

    def __hash__(self) -> int:
        return id(self.subject)


@lru_cache(maxsize=256)
def _refusal(itself: _Itself, case: Case) -> str | None:
    subject = itself.subject
    if (multiple := calls.spoken(subject).multiple) > 1 and case.T % multiple:
        return f"T={case.T}: it takes multiples of {multiple} alone"
    try:
        calls.run(subject, calls.draw(subject, admissible(subject, case)))
    except SubjectError as error:
        words = on_purpose(error)
        return None if words is None else f"T={case.T}: {words}"
    except BpttError:
        return None
    return None


def on_purpose(error: SubjectError) -> str | None:
    """What the subject's code says where it raises or asserts by itself that it does not take what it was handed; None for a fault.

    Of an assertion without a message it is the line.  Triton's own word for sizes that a kernel cannot be compiled or launched for is one.
    """
    cause = error.__cause__
    if cause is not None and is_of_triton(cause):
        return first_line(cause)
    of_axes = type(cause).__module__.partition(".")[0] == "einops"  # its own error, for axes that do not divide
    if (
        cause is None
        or cause.__traceback__ is None
        or not (of_axes or isinstance(cause, ValueError | NotImplementedError | AssertionError))
    ):
        return None
    line = (traceback.extract_tb(cause.__traceback__)[-1].line or "").strip()
    if not line.startswith(("raise ", "assert ")):
        return None
    return first_line(cause) if str(cause) else line


def tolerance(case: Case) -> float:
    """How far two ways to the same numbers may be apart, of the largest of them: some 2e-10 in float64, 2e-3 in float32."""
    return (2e4 if case.dtype == "float32" else 1e6) * float(np.finfo(case.dtype).eps)


#: As everywhere, what is a hundred times the measured rounding is none.
ROUNDINGS = 100


def rounding(at: Point, case: Case, ask: Callable[[Point], Arrays]) -> Callable[[str], float]:
    """How far `ask` of a point moves, by name, when every number does by a unit in the last place, a hundred times; 0 where two equal calls
    differ, for that is no rounding.   It is asked for where two ways disagree, and is found once."""

    @cache
    def moved() -> dict[str, float]:
        rng = generator(case, "units in the last place")
        here, again = ask(at), ask(at)
        if any(not np.array_equal(here[name], again[name]) for name in here):
            return dict.fromkeys(here, 0.0)
        there = [ask(at.with_arrays({k: nudged(x, rng) for k, x in at.arrays.items() if x.dtype.kind in "fc"})) for _ in range(3)]
        return {name: ROUNDINGS * max(float(np.max(np.abs(t[name] - g), initial=0.0)) for t in there) for name, g in here.items()}

    return lambda name: moved().get(name, 0.0)


def nudged(value: Array, rng: np.random.Generator) -> Array:
    """Every number moved by a unit in the last place, up or down or not at all."""
    return np.asarray(value * (1 + float(np.finfo(value.dtype).eps) * rng.choice([-1.0, 0.0, 1.0], size=value.shape)), value.dtype)


def beyond(compare: Callable[[float], Evidence], floor: float, noise: Callable[[], float]) -> Evidence:
    """`compare` with a difference that counts as rounding; what disagrees is asked how much rounding makes of it."""
    found = compare(floor)
    return found if found.holds else compare(max(floor, noise()))


def point(context: CheckContext, case: Case) -> Point:
    return calls.draw(context.subject, case)


def out(context: CheckContext, at: Point) -> Outcome:
    return calls.run(context.subject, at)
