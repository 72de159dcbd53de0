"""Parts of a training loop: what holds for all of them.  Each formula has its own module: clips, optimisers, measures."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from bptt.harness.cases import Case, generator
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, agree
from bptt.harness.checks.registry import check
from bptt.harness.subject import CLIPS, OPTIMISERS, SCHEDULES, Answer, Subject
from bptt.harness.training.oracle import Named, Question, asked, distance, hyper_of, right
from bptt.harness.training.probes import above, below, evaluations, first_step, losses, steps
from bptt.reports.records import Where

#: Known mistakes are looked for at this case, whichever one a check failed at.
NAMING = Case()
Place = tuple[str, int | None]


@check("TRN100", family="training", kinds=("part",))
def a_part_gives_what_it_should(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Arrays of the names and shapes that it was given, a mask of the shape that was asked for, or a number; all finite."""
    for question in ordinary(context.subject, case):
        wanted = {key: value.shape for key, value in _shapes(context.subject, question).items()}
        for (name, step), value in asked(context.subject, question).items():
            where, shape = Where(tensor=name, step=step), wanted[name, step]
            said = f"has shape {value.shape}, wanted {shape}" if value.shape != shape else "is not finite"
            ok = value.shape == shape and bool(np.isfinite(value).all())
            yield Evidence(ok, f"{name} {question.when} {said}", "CONTRACT", where=where)


@check("TRN110", family="training", kinds=("part",), needs=("TRN100",))
def a_part_leaves_its_inputs_alone(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """What is handed in stays as it is, unless the part works in place: then only what it is there to change does, and never a gradient
    of an optimiser."""
    subject = context.subject
    for question in ordinary(subject, case):
        held, before = copy.deepcopy(question.args), copy.deepcopy(question.args)
        subject.implementation.answer(*held)
        for k, (now, then) in enumerate(zip(held, before, strict=True)):
            if isinstance(now, np.random.Generator) or (k == 0 and subject.implementation.in_place):
                continue
            changed = _changed(now, then)
            yield Evidence(changed is None, f"it changed {changed} in place {question.when}", "MUTATION", where=Where(tensor=changed))


@check("TRN120", family="training", kinds=("part",), needs=("TRN110",))
def a_part_remembers_nothing_of_another(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Asked again, with another question between, a part that is made anew gives the same answer: no state that all of them share, no
    random number but from the generator."""
    for question in ordinary(context.subject, case):
        first = asked(context.subject, question)
        for other in ordinary(context.subject, replace(case, seed=case.seed + 100)):
            asked(context.subject, other)
        again = asked(context.subject, question)
        for (name, step), value in first.items():
            yield agree(
                f"{name} {question.when}, asked again,",
                got=again[name, step],
                expected=value,
                tolerance=0.0,
                than="those of the first time: something is kept, or random numbers come from elsewhere",
                code="NONDETERMINISTIC",
                where=Where(tensor=name, step=step),
            )


@check("TRN130", family="training", kinds=(*CLIPS, *OPTIMISERS), needs=("TRN120",))
def float32_stays_float32(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Arrays in float32 come back in float32, and are right to its rounding."""
    for question in ordinary(context.subject, replace(case, dtype="float32")):
        expected = right(context.subject, question)
        for (name, step), value in asked(context.subject, question).items():
            where = Where(tensor=name, step=step)
            ok = value.dtype == np.float32
            yield Evidence(ok, f"{name} {question.when} is {value.dtype}, wanted float32 as it was given", "CONTRACT", where=where)
            close = distance(value, expected[name, step]) <= 1e-4 or not same_in_float64(context, question, (name, step))
            yield Evidence(close, f"{name} {question.when} in float32 is not what it is in float64", "PRECISION_LOSS", where=where)


def same_in_float64(context: CheckContext, question: Question, place: Place) -> bool:
    """Whether the answer is right in float64: what is wrong there too is said by another check."""
    wide = Question(question.when, tuple(_widened(arg) for arg in question.args))
    return distance(asked(context.subject, wide)[place], right(context.subject, wide)[place]) <= 1e-6


def held_against(
    context: CheckContext, id: str, questions: Sequence[Question], groups: Mapping[str, Sequence[Question]], units: float
) -> Iterator[Evidence]:
    """Answers against the formula's, and the known mistake that gives them where they differ.

    A part in another form of the same algorithm is told so by one check, and held against that form by the others.

    groups   questions by which a mistake is told, by name: the first in which one shows      units   of rounding, in the last place
    """
    subject = context.subject
    for question in questions:
        expected, got = right(subject, question), asked(subject, question)
        in_its_form: Answer | None = None
        for place in _looked_at(expected):
            found = _beside(question, place, got, expected, str(subject.like), units)
            if found.holds or found.code != "BUG":
                yield found
                continue
            cause = context.named(groups)
            if cause.form is None or cause.form.form_of == id:
                yield put_down_to(found, cause)
            else:
                in_its_form = in_its_form or cause.form.answer(hyper_of(subject), *copy.deepcopy(question.args))
                found = _beside(question, place, got, in_its_form, f"{subject.like} in the form {cause.form.name}", units)
                yield replace(found, detail=Named(()))


def _looked_at(answer: Answer) -> list[Place]:
    """Of many steps the first ones, every tenth and the last: what is wrong at one of the others is wrong at the next of these."""
    last = max((step or 0 for _, step in answer), default=0)
    return [place for place in answer if place[1] is None or place[1] <= 10 or place[1] % 10 == 0 or place[1] == last]


def _beside(question: Question, place: Place, got: Answer, expected: Answer, than: str, units: float) -> Evidence:
    (name, step), tolerance = place, units * float(np.finfo(np.float64).eps)
    where, what = Where(tensor=name, step=step), f"{name} {question.when}"
    return agree(what, got=got[place], expected=expected[place], tolerance=tolerance, than=f"those of {than}", where=where)


def put_down_to(found: Evidence, cause: Named) -> Evidence:
    """A failure with the known mistake behind it, if there is one: a convention is called one, and one that does no harm is a warning."""
    return replace(found, code=cause.code, severity=cause.severity, detail=cause)


def ordinary(subject: Subject, case: Case) -> list[Question]:
    """What nobody would stumble over: the questions for the contract."""
    if subject.like in CLIPS:
        return [below(subject, case)[0], above(subject, case)[1]]
    if subject.like in OPTIMISERS:
        return [*first_step(case)[:1], steps(case, 3)]
    if subject.like in SCHEDULES:
        return evaluations(case)[:1]
    return masks(case, 0.4) if subject.like == "dropout" else losses(case, equal=True)[:1]


def masks(case: Case, p: float) -> list[Question]:
    """One mask for each, from a generator of its own."""
    return [Question(f"with p = {p:g}", (generator(case, f"part: mask {p}"), (12, 8, 16), p))]


def _shapes(subject: Subject, question: Question) -> Answer:
    if subject.like != "dropout":
        return right(subject, question)
    return {("mask", None): np.empty(question.args[1])}


def _changed(now: object, then: object) -> str | None:
    """The name of the first array that is no longer what it was."""
    if isinstance(now, dict) and isinstance(then, dict):
        return next((name for name in then if name not in now or _differs(now[name], then[name])), None)
    if isinstance(now, list) and isinstance(then, list) and now and isinstance(now[0], dict):
        found = (_changed(a, b) for a, b in zip(now, then, strict=True))
        return next((f"gradient {name}" for name in found if name is not None), None)
    return "its input" if _differs(now, then) else None


def _differs(now: object, then: object) -> bool:
    return not np.array_equal(np.asarray(now), np.asarray(then), equal_nan=True) if now is not None else then is not None


def _widened(arg: object) -> object:
    if isinstance(arg, dict):
        return {name: _widened(value) for name, value in arg.items()}
    if isinstance(arg, list):
        return [_widened(value) for value in arg]
    return arg.astype(np.float64) if isinstance(arg, np.ndarray) else arg
