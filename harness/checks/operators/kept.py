"""What an operator carries from step to step, in the type that its steps are computed in."""

from __future__ import annotations

import linecache
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from bptt.harness.adapters.functions.carried import Carried, Watched, carried
from bptt.harness.call import operator as calls
from bptt.harness.call.operator import Chosen, Point
from bptt.harness.cases import Case
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, holds
from bptt.harness.checks.operators import plan
from bptt.harness.checks.operators.short import RESULT, of_type, results_and_gradients
from bptt.harness.checks.registry import check
from bptt.harness.errors import BpttError
from bptt.harness.gradient.short import quantised
from bptt.harness.subject import Array, Subject
from bptt.reports.records import Where

#: Lengths between which roundings on the way of a state grow by as many as there are steps more, but one.
_SHORT, _LONGER = 5, 9
#: Over which what is lost at each step is seen; times what rounding the result once loses, from which on it is said.
_LONG, _TIMES = 193, 3
#: Of a change at the start, what is there after nine steps: a memory of some hundred steps, into which each still writes.
_MEMORY = 0.95
_TYPES = ("bfloat16", "float16")


def _cases(subject: Subject) -> tuple[Case, ...]:
    base = max(calls.spoken(subject).multiple, 1)
    return plan.accepted(subject, (Case(T=_LONGER * base, N=2, seed=190),))


@check("NUM320", family="gradient", kinds=("operator",), needs=("NUM300",), level="standard", cases_for=_cases)
def what_is_carried_keeps_the_digits_of_its_steps(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """A state, and the gradient that goes back, are not shortened at each step where everything else is computed with more digits.

    Two things must come together: every way from step to step leads through a rounding to the short type, of a number with more digits
    or of a sum of such (carried.py); and results lose several times what rounding them once loses, where memory is long.
    """
    subject = context.subject
    impl = subject.implementation
    if not hasattr(impl, "in_type") or not hasattr(impl, "watched") or case.dtype != "float64":
        raise NotApplicable("it is no function over tensors that runs in float64 too")
    refused = []
    for dtype in _TYPES:
        try:
            lost = shortened_at_each_step(subject, case, dtype)
        except BpttError as error:
            refused.append(f"{dtype}: {error}")
            continue
        yield holds() if lost is None else lost
        if lost is not None:
            return
    if len(refused) == len(_TYPES):
        raise NotApplicable("; ".join(refused))


def shortened_at_each_step(subject: Subject, case: Case, dtype: str) -> Evidence | None:
    """Raises SubjectError where it does not run in that type, or where its operations depend on its values."""
    regime = _long_memory(subject, case)
    base = case.T // _LONGER
    short = replace(subject, implementation=subject.implementation.in_type(dtype))
    for backwards in (False, True):
        few, more = (_way(short, _at(subject, replace(case, T=T * base), regime), case, dtype, backwards) for T in (_SHORT, _LONGER))
        if more.most - few.most < _LONGER - _SHORT - 1 or not more.kept_short_alone:
            continue
        long = replace(case, T=max(_LONG // base, _LONGER) * base)
        if plan.refusal(subject, long) is not None:
            long = case
        of_this_way = [each for each in _losses(subject, short, long, regime, dtype) if each[0].startswith(RESULT) != backwards]
        worst = max(of_this_way, key=lambda each: each[1] / each[2], default=None)
        if worst is None or worst[1] <= _TIMES * worst[2]:
            continue
        name, lost, once = worst
        which = "the gradient that goes back" if backwards else "the state"
        what = f"dL/d{name}" if backwards else name.removeprefix(RESULT)
        return Evidence(
            False,
            f"{which} is rounded to {dtype} at every step{_line(more)}, all else is computed with more digits: "
            f"{what} is off by {lost:.2g} at T={long.T}, where rounding it once makes {once:.1g}",
            "PRECISION_LOSS",
            where=Where(tensor=name.removeprefix(RESULT).removeprefix("final ")),
            relative_error=lost,
            noise=once,
        )
    return None


def _line(found: Carried) -> str:
    lines = Counter(r.at for r in found.roundings if r.at is not None)
    if not lines:
        return ""
    at = lines.most_common(1)[0][0]
    text = linecache.getline(*at).strip()
    return f" (line {at[1]}: {text})" if text else f" (line {at[1]})"


def _way(short: Subject, at: Point, case: Case, dtype: str, backwards: bool) -> Carried:
    """What is carried, by two runs that differ where it starts: in initial states, or first inputs; backwards in the last cotangent."""
    at = of_type(at, dtype)
    v = _quantised(calls.cotangents(short, case, calls.run(short, at))[0], dtype)
    seen = []
    for there, dv in ((at, v), (at, _ended(short, v, dtype)) if backwards else (_started(short, at, dtype), v)):
        forward, back = Watched(), Watched()
        with forward:
            tape = calls.run(short, there).tape
        if backwards:
            with back:
                calls.backward(short, there, dv.outputs, dv.final, tape)
        seen.append(back if backwards else forward)
    return carried(*seen)


def _started(subject: Subject, at: Point, dtype: str) -> Point:
    """Other initial states; without any, other inputs at the first step."""
    states = {k: _other(x, dtype) for k, x in at.state.items() if x.dtype.kind == "f"}
    if states:
        return at.with_arrays(states)
    first = -1 if calls.spoken(subject).reverse else 0
    return at.with_arrays({k: _at_step(subject, k, x, first, dtype) for k, x in at.inputs.items() if x.dtype.kind == "f"})


def _ended(subject: Subject, v: Chosen, dtype: str) -> Chosen:
    """Other cotangents of the final states; without any, of the last outputs."""
    if any(x.size for x in v.final.values()):
        return Chosen(v.name, v.outputs, {k: _other(x, dtype) for k, x in v.final.items()})
    last = 0 if calls.spoken(subject).reverse else -1
    return Chosen(v.name, {k: _at_step(subject, k, x, last, dtype) for k, x in v.outputs.items()}, v.final)


def _other(value: Array, dtype: str) -> Array:
    return quantised(2.5 * value + 1, dtype)


def _at_step(subject: Subject, name: str, value: Array, t: int, dtype: str) -> Array:
    along, moved = calls.axis(subject, name, "T"), np.array(value)
    if along is not None:
        here: tuple[slice | int, ...] = (*[slice(None)] * along, t)
        moved[here] = _other(value[here], dtype)
    return moved


def _quantised(v: Chosen, dtype: str) -> Chosen:
    return Chosen(v.name, {k: quantised(x, dtype) for k, x in v.outputs.items()}, {k: quantised(x, dtype) for k, x in v.final.items()})


def _at(subject: Subject, case: Case, regime: _Regime) -> Point:
    at = calls.draw(subject, case)
    return at if regime is None else at.with_arrays({regime[0]: _MOVES[regime[1]](at.inputs[regime[0]])})


#: An input, and how it is moved; None for what the operator draws.
_Regime = tuple[str, int] | None
_MOVES: tuple[Callable[[Array], Array], ...] = (
    lambda x: x + 4,
    lambda x: x - 4,
    lambda x: x + 7,
    lambda x: x - 7,
    lambda x: x / 16,
    lambda x: 1 - (1 - x) / 16,
)


def _long_memory(subject: Subject, case: Case) -> _Regime:
    """Inputs under which most of what a sequence starts with is there at its end, and nothing grows."""
    best: tuple[float, _Regime] = (np.inf, None)
    inputs = [k for k, x in calls.draw(subject, case).inputs.items() if x.dtype.kind == "f" and calls.axis(subject, k, "T") is not None]
    for regime in (None, *((k, move) for k in inputs for move in range(len(_MOVES)))):
        try:
            kept = _memory(subject, _at(subject, case, regime))
        except BpttError:
            continue
        if kept <= 1.01 and abs(kept - _MEMORY) < best[0]:
            best = (abs(kept - _MEMORY), regime)
    return best[1]


def _memory(subject: Subject, at: Point) -> float:
    """The share of a small change at the start that the final states, or the last outputs, still have."""
    start = {k: x for k, x in (at.state or at.inputs).items() if x.dtype.kind == "f"}
    with np.errstate(all="ignore"):
        ends = [calls.run(subject, at.with_arrays({k: x + step for k, x in start.items()})) for step in (0.0, 1e-3)]
        finals = [{**e.final} or e.outputs for e in ends]
        apart = max((float(np.median(np.abs(finals[1][k] - x))) for k, x in finals[0].items() if x.size), default=np.nan)
    return apart / 1e-3 if at.state and np.isfinite(apart) else 1.0 if np.isfinite(apart) and not at.state else np.inf


def _losses(subject: Subject, short: Subject, case: Case, regime: _Regime, dtype: str) -> list[tuple[str, float, float]]:
    """(array, what it is off by, what rounding it once makes), both of its size.  Cotangents have one sign: what is lost adds up."""
    at = of_type(_at(subject, case, regime), dtype)
    v = calls.cotangents(subject, case, calls.run(subject, at))[0]
    v = _quantised(Chosen(v.name, *({k: np.abs(x) for k, x in arrays.items()} for arrays in (v.outputs, v.final))), dtype)
    here, right = results_and_gradients(short, at, v), results_and_gradients(subject, at, v)
    found = []
    for name, exact in right.items():
        size = float(np.linalg.norm(exact))
        if name in here and exact.dtype.kind == "f" and 0 < size < np.inf:
            lost, once = (float(np.linalg.norm(x - exact)) / size for x in (here[name], quantised(exact, dtype)))
            found.append((name, lost, once))
    return [each for each in found if np.isfinite(each[1]) and each[2] > 0]
