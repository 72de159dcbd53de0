"""What an operator gives: of the form of its layout, finite, the same again, whatever lies in memory how."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from bptt.harness.adapters.triton import is_interpreted, is_of_triton
from bptt.harness.call import operator as calls
from bptt.harness.call.guard import copies
from bptt.harness.call.operator import Chosen, Point
from bptt.harness.cases import Case, generator
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, NotGiven, agree, dust, finite, holds
from bptt.harness.checks.operators import plan
from bptt.harness.checks.registry import check
from bptt.harness.errors import BpttError, SubjectError
from bptt.harness.subject import Array, Arrays, Subject
from bptt.reports.records import Where

_KINDS = ("operator",)


@check("CON300", family="contract", kinds=_KINDS, cases_for=plan.small)
def outputs_states_and_gradients_have_the_form_of_the_layout(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Every array has the axes that its layout says, the final state has that of the initial one, dX has that of X; all are finite."""
    subject = context.subject
    at = plan.point(context, case)
    found = plan.out(context, at)
    for name, value in {**at.arrays, **found.outputs}.items():
        wanted = calls.shape_of(subject, name, case)
        if wanted is not None and name != calls.spoken(subject).packed and not _fits(value.shape, wanted):
            said = f"{name} has shape {value.shape}, wanted {' '.join(calls.spoken(subject).layout[name])} = {wanted}"
            yield Evidence(False, said, "CONTRACT", where=Where(tensor=name))
    for name, value in at.state.items():
        got = found.final.get(name)
        if got is None or got.shape != value.shape:
            shape = f"no {name}" if got is None else f"{name} of shape {got.shape}"
            said = f"the final state has {shape}, wanted {value.shape} as in zero_state"
            yield Evidence(False, said, "CONTRACT", where=Where(tensor=name))
    for name, value in found.arrays.items():
        yield finite(name, value, Where(tensor=name))
    if "backward" in subject.capabilities:
        v = calls.cotangents(subject, case, found)[0]
        for name, gradient in calls.backward(subject, at, v.outputs, v.final, found.tape).items():
            if gradient.shape != at.arrays[name].shape:
                said = f"dL/d{name} has shape {gradient.shape}, wanted {at.arrays[name].shape}"
                yield Evidence(False, said, "CONTRACT", where=Where(tensor=name))
            else:
                yield finite(f"dL/d{name}", gradient, Where(tensor=name))


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(w is None or s == w for s, w in zip(shape, wanted, strict=True))


@check("CON310", family="contract", kinds=_KINDS, needs=("CON300",), cases_for=plan.moderate)
def arrays_handed_in_stay_as_they_are(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """run and backward change no parameter, input, state or cotangent in place."""
    subject, at = context.subject, plan.point(context, case)
    before = copies(at.arrays)
    found = plan.out(context, at)
    yield from _unchanged("run", before, at.arrays)
    if "backward" in subject.capabilities:
        v = calls.cotangents(subject, case, found)[0]
        handed = {**at.arrays, **{f"d{k}": x for k, x in v.outputs.items()}, **{f"d(final {k})": x for k, x in v.final.items()}}
        before = copies(handed)
        calls.backward(subject, at, v.outputs, v.final, found.tape)
        yield from _unchanged("backward", before, handed)


def _unchanged(method: str, before: Arrays, after: Arrays) -> Iterator[Evidence]:
    for name, value in before.items():
        same = np.array_equal(value, after[name], equal_nan=value.dtype.kind in "fc")
        yield Evidence(same, f"{method} changed {name} in place", "MUTATION", where=Where(tensor=name))


@check("CON320", family="contract", kinds=_KINDS, needs=("CON300",), cases_for=plan.moderate)
def equal_calls_give_equal_bits(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """The same call again, with another one between, gives the same outputs, states and gradients to the last bit."""
    subject = context.subject
    if not calls.spoken(subject).deterministic:
        raise NotApplicable("it says that it is not deterministic")
    at = plan.point(context, case)
    between = plan.point(context, replace(case, seed=case.seed + 100))
    first, dfirst = _both(subject, case, at)
    _both(subject, case, between)
    again, dagain = _both(subject, case, at)
    yield from _kept_by_the_caller(subject, case, at, between)
    for name, value in {**first, **{f"dL/d{k}": g for k, g in dfirst.items()}}.items():
        got = {**again, **{f"dL/d{k}": g for k, g in dagain.items()}}.get(name, np.zeros(0))
        same = got.shape == value.shape and np.array_equal(got, value, equal_nan=value.dtype.kind in "fc")
        if same:
            yield holds()
        else:
            yield agree(
                f"{name} of a second call",
                got=got,
                expected=value,
                tolerance=0.0,
                than="that of the first: something is kept between calls",
                code="NONDETERMINISTIC",
                where=Where(tensor=name.removeprefix("dL/d").removeprefix("final ")),
            )


def _kept_by_the_caller(subject: Subject, case: Case, at: Point, between: Point) -> Iterator[Evidence]:
    """What a call gave stays as it is when the next one runs, and so does what run left for backward."""
    found = calls.run(subject, at)
    v = calls.cotangents(subject, case, found)[0]
    if changed := calls.changed_by_a_later_call(subject, at, between, v.outputs, v.final):
        said = f"what one call gave is written over by the next: {', '.join(changed)}"
        yield Evidence(False, said, "MUTATION", "warning", Where(tensor=changed[0].removeprefix("dL/d").removeprefix("final ")))
    if found.tape is None or "backward" not in subject.capabilities:
        return
    once, twice = (calls.backward(subject, at, v.outputs, v.final, found.tape) for _ in range(2))
    for name in (k for k in once if not np.array_equal(once[k], twice.get(k, np.zeros(0)), equal_nan=once[k].dtype.kind in "fc")):
        said = f"dL/d{name} is another one when backward is called again on what the same run has left: backward changes it"
        yield Evidence(False, said, "MUTATION", "warning", Where(tensor=name))
        return


def _both(subject: Subject, case: Case, at: Point) -> tuple[dict[str, Array], dict[str, Array]]:
    found = calls.run(subject, at)
    if "backward" not in subject.capabilities:
        return found.arrays, {}
    v = calls.cotangents(subject, case, found)[0]
    return found.arrays, calls.backward(subject, at, v.outputs, v.final, found.tape)


def _expanded(value: Array) -> Array:
    """One number everywhere, each stride zero: what the gradient of a sum is."""
    return np.broadcast_to(np.asarray(value.reshape(-1)[0]), value.shape)


def _along_time_only(value: Array) -> Array:
    """The first entry of each leading axis, expanded over the last axis."""
    return np.broadcast_to(value[..., :1], value.shape)


def _strided(value: Array) -> Array:
    """Every second entry of a longer array."""
    if not value.ndim:
        return value
    wide = np.full((*value.shape[:-1], 2 * value.shape[-1]), 7.7, value.dtype)
    wide[..., ::2] = value
    return wide[..., ::2]


def _transposed(value: Array) -> Array:
    """The same numbers with the first axis fastest in memory."""
    return np.array(value, order="F")  # np.asfortranarray gives what has no axes one


def _swapped(value: Array) -> Array:
    """The same numbers as a view that exchanges its two leading axes."""
    return np.ascontiguousarray(value.swapaxes(0, 1)).swapaxes(0, 1) if value.ndim > 1 else value


def _reversed(value: Array) -> Array:
    """The same numbers with negative strides."""
    return np.ascontiguousarray(value[..., ::-1])[..., ::-1] if value.ndim else value


def _copied(value: Array) -> Array:
    """In the order of its indices: np.array alone would keep the order of memory."""
    return np.array(value, order="C")


def _read_only(value: Array) -> Array:
    kept = np.array(value)
    kept.flags.writeable = False
    return kept


_LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "expanded with stride 0": _expanded,
    "expanded over the last axis": _along_time_only,
    "every second entry of a longer array": _strided,
    "transposed": _transposed,
    "a view with its leading axes exchanged": _swapped,
    "with negative strides": _reversed,
    "read-only": _read_only,
}
#: Those that are met daily, for a kernel that takes a second a pass: the gradient of a sum, a slice, a transpose.
_DAILY = ("expanded with stride 0", "every second entry of a longer array", "a view with its leading axes exchanged")


def _layouts(subject: Subject) -> dict[str, Callable[[Array], Array]]:
    return {words: lay for words, lay in _LAYOUTS.items() if words in _DAILY or not is_interpreted(subject)}


#: Words by which code refuses a layout.
_REFUSAL = ("stride", "contiguous", "read-only", "readonly", "layout", "order", "writeable")


@check("CON330", family="contract", kinds=_KINDS, needs=("CON320",), cases_for=plan.moderate)
def gradients_do_not_depend_on_how_arrays_lie_in_memory(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Cotangents and inputs that are expanded, strided, transposed or read-only give what their copies give.

    Code that raises or asserts that it takes no such layout has said so, and is no mistake.
    """
    context.needs_backward()
    subject, at = context.subject, plan.point(context, case)
    found = plan.out(context, at)
    v = calls.cotangents(subject, case, found)[0]
    refused = []
    for words, lay in _layouts(subject).items():
        for what in ("cotangents", "inputs"):
            if what == "inputs" and words.startswith("expanded"):
                continue
            try:
                pairs = _with_layout(subject, at, v, lay, what)
            except SubjectError as error:
                if any(w in _said_of_layout(error) for w in _REFUSAL):
                    refused.append(f"{what} {words}")
                    continue
                raise
            floor = dust({name: expected for name, (_, expected) in pairs.items()}, float(np.finfo(case.dtype).eps))
            for name, (got, expected) in pairs.items():
                found_so = agree(
                    f"dL/d{name} with {what} {words}",
                    got=got,
                    expected=expected,
                    tolerance=1e5 * float(np.finfo(case.dtype).eps),
                    than="those with the same numbers in a copy",
                    where=Where(tensor=name),
                    floor=floor,
                )
                # where a copy gives finite numbers, the layout is what makes them others
                yield replace(found_so, detail=None) if np.all(np.isfinite(expected)) else found_so
    yield holds(**({"refused": ", ".join(refused)} if refused else {}))


def _said_of_layout(error: SubjectError) -> str:
    """What code says that refuses a layout: its own words, those of a library, or those of a compiled extension."""
    cause = error.__cause__
    words = None if is_of_triton(cause) else plan.on_purpose(error)
    if words is None and isinstance(cause, ValueError):
        words = str(cause)
    if words is None and isinstance(cause, RuntimeError) and re.search(r"(must|should|expected|has|have) .*contiguous", str(cause)):
        words = str(cause)
    return (words or "").lower()


def _with_layout(subject: Subject, at: Point, v: Chosen, lay: Callable[[Array], Array], what: str) -> dict[str, tuple[Array, Array]]:
    """Gradients with arrays laid out so, and with copies of these arrays."""
    if what == "inputs":
        laid_at = at.with_arrays({k: lay(x) if x.dtype.kind in "fc" and x.size else x for k, x in at.arrays.items()})
        laid, plain, plain_at = v, v, at
    else:
        laid = replace(v, outputs=_each(lay, v.outputs), final=_each(lay, v.final))
        plain = replace(v, outputs=_each(_copied, laid.outputs), final=_each(_copied, laid.final))
        laid_at = plain_at = at
    got = calls.backward(subject, laid_at, laid.outputs, laid.final)
    expected = calls.backward(subject, plain_at, plain.outputs, plain.final)
    return {name: (got.get(name, np.zeros(0)), g) for name, g in expected.items()}


def _each(f: Callable[[Array], Array], arrays: Arrays) -> dict[str, Array]:
    return {name: f(value) if value.size else value for name, value in arrays.items()}


@check("CON340", family="contract", kinds=_KINDS, needs=("CON320",), cases_for=plan.moderate)
def nothing_for_a_state_is_zeros(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """None for an initial state, or for the cotangent of a final one, gives what zeros give, where it takes None."""
    subject = context.subject
    optional = calls.spoken(subject).optional
    at = plan.point(context, case)
    states = [name for name in optional if name in at.state]
    dstates = [name.removeprefix("d") for name in optional if name.startswith("d") and name.removeprefix("d") in at.state]
    if not states and not dstates:
        raise NotApplicable("it does not say that it takes None for a state or for the cotangent of one")
    zeros = at.with_arrays({name: np.zeros_like(at.state[name]) for name in states})
    nothing = _first_that_runs(subject, at, states)
    expected = plan.out(context, zeros)
    tolerance = 1e4 * float(np.finfo(case.dtype).eps)
    if states:
        for name, value in plan.out(context, nothing).arrays.items():
            yield agree(
                name,
                got=value,
                expected=expected.arrays[name],
                tolerance=tolerance,
                than="those from zeros, with None",
                where=Where(tensor=name),
            )
    if "backward" not in subject.capabilities:
        return
    v = calls.cotangents(subject, case, expected)[0]
    without = v.final | {name: np.zeros_like(v.final[name]) for name in dstates}
    none: dict[str, Array] = v.final | dict.fromkeys(dstates)  # type: ignore[assignment]  # None is what is asked
    tried = [("the initial state", nothing, zeros, v.final, v.final)] if states else []
    tried += [("the cotangent of the final state", at, at, none, without)] if dstates else []
    tried += [("both", nothing, zeros, none, without)] if states and dstates else []
    for words, with_none, with_zeros, dnone, dzeros in tried:
        wanted = calls.backward(subject, with_zeros, v.outputs, dzeros)
        got = calls.backward(subject, with_none, v.outputs, dnone)
        floor = dust(wanted, float(np.finfo(case.dtype).eps))
        for name, g in wanted.items():
            if name in states and name not in got:
                continue  # there is nothing that it could be the gradient of
            yield agree(
                f"dL/d{name} with None for {words}",
                got=got.get(name, np.zeros(0)),
                expected=g,
                tolerance=tolerance,
                than="those with zeros",
                where=Where(tensor=name),
                floor=floor,
            )


def _first_that_runs(subject: Subject, at: Point, states: list[str]) -> Point:
    """None in the place of the states, by name, or with the names left out; the first of these where neither runs."""
    rest = {name: value for name, value in at.state.items() if name not in states}
    forms: list[Any] = [rest | dict.fromkeys(states), rest]
    forms = [replace(at, state=form) for form in forms]
    for form in forms:
        try:
            calls.run(subject, form)
        except BpttError:
            continue
        return form  # type: ignore[no-any-return]  # a Point with None in it
    return forms[0]  # type: ignore[no-any-return]  # as above


@check("CON350", family="contract", kinds=_KINDS, needs=("CON300",), cases_for=plan.one_step)
def the_gradient_of_every_array_is_given(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """backward gives dX for every X of numbers; what is left out is said, never called right, and wrong where autograd leaves it out."""
    context.needs_backward()
    subject, at = context.subject, plan.point(context, case)
    found = plan.out(context, at)
    v = calls.cotangents(subject, case, found)[0]
    given = calls.backward(subject, at, v.outputs, v.final, found.tape)
    constant = calls.spoken(subject).exempt
    missing = [k for k, x in at.arrays.items() if x.dtype.kind in "fc" and x.size and k not in given and f"gradient of {k}" not in constant]
    if subject.framework == "torch":  # to autograd no gradient means one of zero
        for name in missing:
            moved = plan.out(context, at.with_arrays({name: at.arrays[name] * 1.1 + np.asarray(0.01, at.arrays[name].dtype)}))
            felt = [k for k, x in found.arrays.items() if not np.allclose(moved.arrays[k], x, rtol=1e-6, atol=0)]
            said = f"autograd gives no dL/d{name}, though {' and '.join(felt)} depend on it: it is disconnected"
            yield Evidence(not felt, said, where=Where(tensor=name))
        missing = []
    if missing:
        raise NotGiven(missing, [k for k in missing if k in at.params])
    yield holds()


@check("LIN300", family="linearity", kinds=_KINDS, needs=("CON300",), cases_for=plan.moderate)
def backward_is_linear_in_every_cotangent(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """backward(a u + b v) = a backward(u) + b backward(v), and the parts for outputs and for each final state add up to the whole."""
    context.needs_backward()
    context.exempt("linear")
    subject, at = context.subject, plan.point(context, case)
    found = plan.out(context, at)
    rng = generator(case, "linearity")
    scale = (subject.dys_scale or 1.0) / 4
    u, v = (Chosen(n, calls.ones_like(found.outputs, rng, scale), calls.ones_like(found.final, rng, scale)) for n in "uv")

    def back(dout: Arrays, dfinal: Arrays) -> dict[str, Array]:
        return calls.backward(subject, at, dout, dfinal)

    def mixed(a: float, x: Arrays, b: float, y: Arrays) -> dict[str, Array]:
        return {k: np.asarray(a * x[k] + b * y[k], x[k].dtype) if x[k].dtype.kind in "fc" else x[k] for k in x}

    gu, gv = back(u.outputs, u.final), back(v.outputs, v.final)
    together = back(mixed(2.0, u.outputs, -0.5, v.outputs), mixed(2.0, u.final, -0.5, v.final))
    noise = plan.rounding(at, case, lambda there: calls.backward(subject, there, u.outputs, u.final))
    yield from _sums("two cotangents", together, mixed(2.0, gu, -0.5, gv), case, noise)
    no_out, no_final = calls.zeros_like(u.outputs), calls.zeros_like(u.final)
    parts = [back(u.outputs, no_final), *(back(no_out, no_final | {name: u.final[name]}) for name in u.final)]
    yield from _sums("its parts", gu, {name: np.sum([p[name] for p in parts if name in p], axis=0) for name in gu}, case, noise)
    for name, g in back(no_out, no_final).items():
        yield agree(
            f"dL/d{name} of a loss that is zero", got=g, expected=np.zeros_like(g), tolerance=0.0, than="zero", where=Where(tensor=name)
        )


def _sums(what: str, got: Arrays, expected: Arrays, case: Case, noise: Callable[[str], float]) -> Iterator[Evidence]:
    floor = dust(expected, float(np.finfo(case.dtype).eps))
    for name, value in expected.items():

        def compare(least: float, name: str = name, value: Array = value) -> Evidence:
            return agree(
                f"dL/d{name} of the sum of {what}",
                got=got[name],
                expected=value,
                tolerance=plan.tolerance(case),
                than="the sum of the gradients of each",
                where=Where(tensor=name),
                floor=least,
            )

        yield plan.beyond(compare, floor, partial(noise, name))
