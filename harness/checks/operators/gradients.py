"""Gradients of operators, held against exact derivatives of the forward pass.   L = <dys, ys> + <dfinal, final>."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bptt.harness.adapters.triton import is_interpreted
from bptt.harness.call import operator as calls
from bptt.harness.cases import Case
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, agree, dust
from bptt.harness.checks.operators import plan
from bptt.harness.checks.operators.causes import said_by_numbers
from bptt.harness.checks.registry import check
from bptt.harness.errors import BpttError
from bptt.harness.gradient.certificate import MISS_PER_DRAW, Examination
from bptt.harness.gradient.derivatives.complex_step import CANNOT_TAKE_COMPLEX
from bptt.harness.gradient.derivatives.distance import relative_distance
from bptt.harness.gradient.operators import Screen, examine_operator, own_name, place, screen
from bptt.harness.gradient.screen import MISS_PER_LOOK
from bptt.harness.gradient.sensitivity import smallest_error_found
from bptt.harness.subject import Subject
from bptt.harness.training.oracle import Named
from bptt.reports.records import Where

_KINDS = ("operator",)
#: Directions a block: the full number at one step, fewer where there are many cases; and of all arrays at once.
_FEWER, _LOOKS = 3, 3
#: Steps up to which nobody takes chunks.
_SHORT = 6


@check("GRD300", family="gradient", kinds=_KINDS, needs=("CON300",), cases_for=plan.one_step)
def one_step_gradients_of_every_array_match_the_exact_derivative(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """<u, dL/dX> = d/de L(X + e u) at T = 1, for every parameter, input and state, head by head, under every choice of cotangents."""
    yield screened(context, case, context.draws, _LOOKS)


@check("GRD310", family="gradient", kinds=_KINDS, needs=("GRD300",), cases_for=plan.several)
def gradients_of_every_array_match_over_several_steps(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """As GRD300 over a few steps, with one row and with several, at every choice of sizes."""
    yield screened(context, case, _FEWER)


@check("GRD320", family="gradient", kinds=_KINDS, needs=("GRD310",), level="standard", cases_for=plan.long)
def gradients_match_at_every_length_where_kernels_break(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """As GRD300 at w - 1, w, w + 1, 2 w + 3 for each chunk, block or window w, and at 63, 64, 65, 127, 129."""
    yield screened(context, case, _FEWER)


@check("GRD330", family="gradient", kinds=_KINDS, needs=("GRD310",), level="standard", cases_for=plan.regimes)
def gradients_match_at_the_operators_own_extremes(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """As GRD300 with inputs at the operator's own extremes, where it has `regimes`."""
    if not hasattr(context.subject.implementation, "regimes"):
        raise NotApplicable("it has no regimes(rng, params, T, N, sizes, name)")
    yield certified(context, case, _FEWER)


def _narrow(subject: Subject) -> tuple[Case, ...]:
    chunks = [Case(T=w, dtype="float32", seed=72) for w in calls.spoken(subject).chunks[:1]]
    return plan.accepted(subject, (Case(T=3, dtype="float32", seed=70), Case(T=17, dtype="float32", seed=71), *chunks))


@check("GRD340", family="gradient", kinds=_KINDS, needs=("GRD310",), level="standard", cases_for=_narrow)
def gradients_match_in_single_precision(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """As GRD300 in float32, where it says that it works in that and in float64; and they are those of float64 for the same numbers."""
    if case.dtype != "float32" or context.subject.dtype == "float32":
        raise NotApplicable("it does not say that it works in float32 too (dtypes)")
    found = certified(context, case, _FEWER)
    yield found
    if found.holds:
        yield from _the_same_in_float64(context, case)


def _the_same_in_float64(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """What goes away in float64 counts as rounding above; a mistake made for float32 alone would too, but is larger than rounding is.

    How much float32 loses is measured at the same numbers: on the forward pass, whose products may have eleven bits only, as
    accelerators make of float32, and on the gradient itself, by moving every number by a unit in the last place.
    """
    subject, at = context.subject, plan.point(context, case)
    out, wide = plan.out(context, at), plan.out(context, calls.in_dtype(at, "float64"))
    v = calls.cotangents(subject, case, out)[0]
    in_float64 = [{k: calls.cast(x, "float64") for k, x in arrays.items()} for arrays in (v.outputs, v.final)]
    given, expected = calls.backward(subject, at, v.outputs, v.final), calls.backward(subject, calls.in_dtype(at, "float64"), *in_float64)
    noise = plan.rounding(at, case, lambda there: calls.backward(subject, there, v.outputs, v.final))
    eps = float(np.finfo(np.float32).eps)
    lost = max([eps, *(relative_distance(out.arrays[k], x) for k, x in wide.arrays.items() if x.dtype.kind in "fc")])
    for name, value in expected.items():
        if name in given:
            yield agree(
                f"dL/d{name} for float32 arrays",
                got=given[name],
                expected=value,
                tolerance=plan.ROUNDINGS * lost,
                than="for float64 arrays of the same numbers: another way is taken for float32",
                where=Where(tensor=name),
                floor=max(dust(expected, eps), noise(name)),
            )


def screened(context: CheckContext, case: Case, draws: int, looks: int = 1) -> Evidence:
    """All arrays at once; where that disagrees, or in short numbers, each apart.

    A kernel in an interpreter takes a second a pass, and head by head, twice, five hundred of them: each of its arrays is asked once as a
    whole, and what disagrees there is asked head by head.
    """
    context.needs_backward()
    if case.dtype != "float64" and is_interpreted(context.subject):
        whole = examine_operator(context.subject, case, 1, heads_apart=False)
        return certified(context, case, draws) if whole.wrong or whole.undecided else _evidence(context, case, whole)
    if case.dtype != "float64":
        return certified(context, case, draws)
    found = _look(context, case, min(looks, context.draws))
    if not found.agrees:
        return certified(context, case, draws)
    miss = (MISS_PER_LOOK if found.oracle.exact else MISS_PER_DRAW) ** found.draws
    metrics: dict[str, object] = {"max_relative_error": found.relative, "miss_probability": miss}
    if found.oracle.why:
        metrics["oracle_because"] = found.oracle.why
    return Evidence(True, metrics=metrics, oracle=found.oracle.name, sensitivity=found.sensitivity, total=found.cotangents)


def _look(context: CheckContext, case: Case, looks: int) -> Screen:
    """By the kind of derivative that was chosen at the first case, or what is chosen at this one where that cannot be had."""
    known = context.chosen[0] if context.chosen and case.T <= _SHORT else None  # a long sequence may take another way through the code
    try:
        found = screen(context.subject, case, looks, known)
    except CANNOT_TAKE_COMPLEX:
        return screen(context.subject, case, looks)
    if not context.chosen:
        context.chosen.append(found.oracle)
    return found


def certified(context: CheckContext, case: Case, draws: int) -> Evidence:
    context.needs_backward()
    return _evidence(context, case, examine_operator(context.subject, case, min(draws, context.draws)))


def _evidence(context: CheckContext, case: Case, e: Examination) -> Evidence:
    metrics: dict[str, object] = {
        "max_relative_error": max((j.relative for j in e.judged if j.verdict in ("agrees", "rounding")), default=0.0),
        "miss_probability": e.miss_probability,
    }
    if e.oracle.why:
        metrics["oracle_because"] = e.oracle.why
    if all(j.verdict == "not given" for j in e.judged):
        raise NotApplicable("its backward gives no gradient")
    if e.wrong:
        return _failure(context, case, e, metrics)
    if e.undecided:
        worst = max(e.undecided, key=lambda j: float(np.nan_to_num(j.relative, nan=0.0)))
        return Evidence(
            False,
            f"dL/d{worst.block.tensor} differs from the {e.oracle.name} by {worst.relative:.1e}, "
            "and no second oracle can tell which is right",
            "INCONCLUSIVE",
            "warning",
            where=Where(tensor=own_name(worst.block.tensor)),
            observed=worst.yours,
            expected=worst.exact,
            relative_error=worst.relative,
            oracle=e.oracle.name,
            metrics=metrics,
        )
    return Evidence(True, metrics=metrics, oracle=e.oracle.name, sensitivity=smallest_error_found(e), total=len(e.judged))


def _failure(context: CheckContext, case: Case, e: Examination, metrics: dict[str, object]) -> Evidence:
    found = place(context.subject, e)
    along = calls.axis(context.subject, own_name(found.tensor), "T")
    step = found.index[along] if along is not None and along < len(found.index) else None
    finite = np.isfinite(found.observed)
    relative = abs(found.observed - found.expected) / (abs(found.expected) or abs(found.observed) or 1.0)
    short = finite and relative < 1e-2 and _kept_short(e, found.tensor)
    return Evidence(
        False,
        f"dL/d{found.tensor}{found.words} is {short or 'wrong' if finite else 'not finite'}",
        "PRECISION_LOSS" if short else "BUG",
        where=Where(tensor=own_name(found.tensor), index=found.index, step=step),
        observed=found.observed,
        expected=found.expected,
        relative_error=relative,
        bad=found.bad,
        total=found.total,
        oracle=e.oracle.name,
        metrics=metrics | {"scope": found.scope, "wrong_tensors": list(found.tensors)},
        detail=Named(causes) if not short and (causes := said_by_numbers(context.subject, e)) else None,
        fails_at=lambda smaller: _is_wrong_at(context, smaller),
    )


def _kept_short(e: Examination, tensor: str) -> str:
    """'kept in half precision' where every entry of a gradient of longer numbers is one of these; "" else."""
    g = e.gradients[0].params[tensor]
    for dtype, words in ((np.float16, "kept in half precision"), (np.float32, "kept in single precision")):
        with np.errstate(all="ignore"):
            if np.finfo(g.dtype).eps < np.finfo(dtype).eps and g.size > 1 and np.array_equal(g.astype(dtype).astype(g.dtype), g):
                return words
    return ""


def _is_wrong_at(context: CheckContext, case: Case) -> bool:
    """Whether a gradient is wrong at another case, from one direction a block."""
    try:
        if case.dtype == "float64" and screen(context.subject, case, 2).agrees:
            return False
        return bool(examine_operator(context.subject, case, 1).wrong)
    except BpttError:
        return False
