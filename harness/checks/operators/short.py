"""Operators in the short types that they run in: bfloat16, float16, float32."""

from __future__ import annotations

import linecache
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bptt.harness.adapters.functions.carried import Watched
from bptt.harness.call import operator as calls
from bptt.harness.call.operator import Chosen, Point
from bptt.harness.cases import Case, generator
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable
from bptt.harness.checks.operators import plan
from bptt.harness.checks.registry import check
from bptt.harness.errors import BpttError, SubjectError
from bptt.harness.gradient.operators import parts_axis
from bptt.harness.gradient.short import DRAWS, UNIT, Judged, judged, nudged, quantised
from bptt.harness.subject import Array, Arrays, Subject
from bptt.reports.records import Where

_TYPES = ("bfloat16", "float16", "float32")


def _cases(subject: Subject) -> tuple[Case, ...]:
    return plan.accepted(subject, (Case(T=5, N=3, seed=170), Case(T=17, N=2, pick=1, seed=171)))


@check("NUM300", family="gradient", kinds=("operator",), needs=("GRD310",), level="standard", cases_for=_cases)
def gradients_in_short_types_are_off_by_rounding_alone(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Results and gradients in bfloat16, float16 and float32 against those in float64; what rounding can do is measured."""
    subject = context.subject
    impl = subject.implementation
    if not hasattr(impl, "in_type") or not hasattr(impl, "rounded_to"):
        raise NotApplicable("its operations cannot be rounded one by one: it is no function over tensors")
    if case.dtype != "float64":
        raise NotApplicable("it does not run in float64, against which shorter types are held")
    refused = []
    for dtype in _TYPES:
        try:
            found = _measured(subject, case, dtype, "rounding")
            worst = _confirmed(subject, case, dtype, found)
        except SubjectError as error:
            refused.append(f"{dtype}: {error}")
            continue
        if worst is not None:
            yield _failure(worst, dtype)
            continue
        yield Evidence(
            True,
            relative_error=max((abs(j.along) for j in found), default=0.0),
            total=len(found),
            metrics={f"sensitivity_in_{dtype}": max((j.forgiven for j in found), default=None)},
        )
    if len(refused) == len(_TYPES):
        raise NotApplicable("; ".join(refused))


def wrong_in(subject: Subject, case: Case, dtype: str) -> Judged | None:
    """What is called wrong at one case.  Raises SubjectError where it does not run in that type."""
    return _confirmed(subject, case, dtype, _measured(subject, case, dtype, "rounding"))


def _confirmed(subject: Subject, case: Case, dtype: str, found: list[Judged]) -> Judged | None:
    """The worst that is wrong, at other numbers again: twelve spreads come by chance once in many, never twice in the same place."""
    worst = max((j for j in found if j.wrong), key=lambda j: j.error / j.forgiven if np.isfinite(j.error) else np.inf, default=None)
    if worst is None:
        return None
    again = _measured(subject, replace(case, seed=case.seed + 5000), dtype, "rounding again")
    return next((j for j in again if j.wrong and (j.tensor, j.part) == (worst.tensor, worst.part)), None)


def _long(subject: Subject) -> tuple[Case, ...]:
    return plan.accepted(subject, (Case(T=193, N=2, seed=180),))


@check("NUM310", family="gradient", kinds=("operator",), needs=("NUM300",), level="standard", cases_for=_long)
def sums_over_time_keep_the_digits_of_their_inputs(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Gradients without an axis of time are sums over it: in bfloat16 they lose no more than a few times what their inputs have lost.

    Cotangents have one sign, so that the sums grow: what is kept short loses terms below a unit of the sum so far.
    """
    subject = context.subject
    impl = subject.implementation
    if not hasattr(impl, "in_type") or case.dtype != "float64":
        raise NotApplicable("it is no function over tensors that runs in float64 too")
    dtype = _TYPES[0]
    at = of_type(calls.draw(subject, case), dtype)
    sums = [k for k, x in at.arrays.items() if x.dtype.kind == "f" and calls.axis(subject, k, "T") is None and k not in at.state]
    if not sums:
        raise NotApplicable("no array is shared by all steps")
    v = calls.cotangents(subject, case, calls.run(subject, at))[0]
    v = Chosen(v.name, *({k: quantised(np.abs(x), dtype) for k, x in arrays.items()} for arrays in (v.outputs, v.final)))
    try:
        here = results_and_gradients(replace(subject, implementation=impl.in_type(dtype)), at, v)
    except SubjectError as error:
        raise NotApplicable(f"{dtype}: {error}") from error
    right, rng = results_and_gradients(subject, at, v), generator(case, "units")
    moved = [results_and_gradients(subject, _nudged(at, dtype, rng), v) for _ in range(3)]
    shared = [k for k in sums if k in here and k in right]
    if not shared:
        raise NotApplicable("its backward gives no gradient of an array that is shared by all steps")
    for name in shared:
        size = float(np.linalg.norm(right[name])) or 1.0
        lost = float(np.linalg.norm(here[name] - right[name])) / size
        inputs = max(float(np.linalg.norm(m[name] - right[name])) / size for m in moved)
        fine = lost <= _LOST * max(inputs, UNIT[dtype])
        own = "" if fine else _summed_short(subject, case, dtype)
        said = (
            f"dL/d{name}, a sum over T, is off by {lost:.1%} in {dtype} at T={case.T}, where moving its inputs by a unit makes "
            f"{inputs:.2%}: it is kept in {dtype}{own}, and terms smaller than a unit of the sum so far are lost"
            if np.isfinite(lost)
            else f"dL/d{name} is not finite in {dtype} at T={case.T}, where it is in float64"
        )
        yield Evidence(
            fine, said, "PRECISION_LOSS", "error" if fine or own else "warning", where=Where(tensor=name), relative_error=lost, noise=inputs
        )


def _summed_short(subject: Subject, case: Case, dtype: str) -> str:
    """The line of its own backward that adds, step by step, terms computed with more digits to a short sum; "" where there is none.

    Where autograd adds up what each step gives, or everything is computed in the short type, that is how the function was written.
    """
    short = replace(subject, implementation=subject.implementation.in_type(dtype))
    counts, base = [], max(calls.spoken(subject).multiple, 1)
    for T in (5 * base, 9 * base):
        at = of_type(calls.draw(subject, replace(case, T=T)), dtype)
        v = calls.cotangents(short, case, calls.run(short, at))[0]
        tape = calls.run(short, at).tape
        with Watched() as back:
            calls.backward(short, at, v.outputs, v.final, tape)
        counts.append(Counter(r.at for s in back.seen if (r := s.rounding) is not None and r.at is not None and r.sums_longer))
    line = next((at for at, many in counts[1].most_common() if many - counts[0][at] >= 9 - 5 - 1), None)
    return "" if line is None else f" though its terms are not (line {line[1]}: {linecache.getline(*line).strip()})"


#: Times what the inputs have lost, from which on a sum is said to lose digits of its own.
_LOST = 5


def _failure(worst: Judged, dtype: str) -> Evidence:
    part = f", {worst.part}" if worst.part else ""
    what = f"dL/d{worst.tensor}" if not worst.tensor.startswith(RESULT) else worst.tensor.removeprefix(RESULT)
    size = "is not finite" if not np.isfinite(worst.error) else f"is off by {worst.error:.2g}"
    return Evidence(
        False,
        f"{what}{part} in {dtype} {size}, where rounding every operation to {dtype} makes {worst.forgiven:.2g} at most",
        where=Where(tensor=worst.tensor.removeprefix(RESULT)),
        relative_error=worst.error,
        noise=worst.forgiven,
        metrics={"along_the_gradient": worst.along, "dtype": dtype},
    )


RESULT = "result "


def _measured(subject: Subject, case: Case, dtype: str, purpose: str) -> list[Judged]:
    """Raises SubjectError where it does not run in that type."""
    impl = subject.implementation
    short, rounding = (replace(subject, implementation=i) for i in (impl.in_type(dtype), impl.rounded_to(dtype)))
    at = of_type(calls.draw(subject, case), dtype)
    v = calls.cotangents(subject, case, calls.run(subject, at))[0]
    v = Chosen(v.name, {k: quantised(x, dtype) for k, x in v.outputs.items()}, {k: quantised(x, dtype) for k, x in v.final.items()})
    here, right = results_and_gradients(short, at, v), results_and_gradients(subject, at, v)
    rng = generator(case, f"{purpose} {dtype}")
    draws: list[tuple[Arrays, Arrays]] = []
    for _ in range(DRAWS):
        moved = of_type(_nudged(at, dtype, rng), dtype)
        draws.append((results_and_gradients(rounding, moved, v), results_and_gradients(subject, moved, v)))

    def parts(name: str, g: Array) -> Iterator[tuple[str, tuple[slice, ...]]]:
        return _parts(subject, name, g)

    return judged(right, here, draws, dtype, parts)


def _nudged(at: Point, dtype: str, rng: np.random.Generator) -> Point:
    return at.with_arrays({k: nudged(x, dtype, rng) for k, x in at.arrays.items() if x.dtype.kind == "f"})


def of_type(at: Point, dtype: str) -> Point:
    return at.with_arrays({k: quantised(x, dtype) for k, x in at.arrays.items() if x.dtype.kind == "f"})


def results_and_gradients(subject: Subject, at: Point, v: Chosen) -> dict[str, Array]:
    """Results and gradients by name."""
    try:
        out = calls.run(subject, at)
        found = calls.backward(subject, at, v.outputs, v.final, out.tape)
    except SubjectError:
        raise
    except BpttError as error:
        raise SubjectError(str(error)) from error
    return {**{RESULT + k: x for k, x in out.arrays.items()}, **found}


def _parts(subject: Subject, name: str, g: Array) -> Iterator[tuple[str, tuple[slice, ...]]]:
    """The whole, head by head, and equal parts of the last axis: gates lie there."""
    full = (slice(None),) * g.ndim
    yield "", full
    if (where := parts_axis(subject, name.removeprefix(RESULT), g)) is not None:
        along, word = where
        for k in range(g.shape[along]):
            yield f"{word} {k}", (*full[:along], slice(k, k + 1), *full[along + 1 :])
    last = g.shape[-1] if g.ndim else 0
    for count in (4, 3, 2):
        if last % count == 0 and last > count:
            width = last // count
            for k in range(count):
                yield f"part {k + 1} of {count} of its last axis", (*full[:-1], slice(k * width, (k + 1) * width))
            return
