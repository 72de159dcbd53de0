"""What a part of a training loop is asked, the right answers, and which known mistake gives the answers that it gives instead."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bptt.harness.errors import BpttError
from bptt.harness.subject import CLIPS, OPTIMISERS, SCHEDULES, Array, Arrays, Subject
from bptt.refimpl.training import (
    SGD,
    Adam,
    DivideOnPlateau,
    HalveOnRise,
    Momentum,
    Nesterov,
    Score,
    clip_by_global_norm,
    clip_by_global_norm_torch,
    clip_elementwise,
)
from bptt.refimpl.training.optimisers import Optimiser
from bptt.refimpl.training.schedules import Schedule
from bptt.reports.records import Cause, Code, Severity

Answer = dict[tuple[str, int | None], Array]
Hyper = Mapping[str, float]
_CLIPPING = dict(zip(CLIPS, (clip_by_global_norm, clip_by_global_norm_torch, clip_elementwise), strict=True))


@dataclass(frozen=True)
class Question:
    """words   when it is asked, for a headline: "far above the threshold"      args   what `answer` takes (harness/subject.py)"""

    words: str
    args: tuple[Any, ...]


@dataclass(frozen=True)
class Variant:
    """A known difference to a published part, as a function that gives the answers of a part that has it.

    answer      (hyperparameters, *what is asked) -> answers
    sentence    what is different, in a person's words          fix   one line to write instead
    published   where the same thing is meant, as a convention; "" for a plain mistake
    form_of     it is the same algorithm in another form: no error, but said, by the check of this id
    """

    name: str
    answer: Callable[..., Answer]
    sentence: str
    fix: str
    published: str = ""
    form_of: str = ""


@dataclass(frozen=True)
class Named:
    """What a wrong answer is put down to: the causes of a finding.   form: the same algorithm in another form, where it is that"""

    causes: tuple[Cause, ...]
    code: Code = "BUG"
    severity: Severity = "error"
    form: Variant | None = None


def asked(subject: Subject, question: Question) -> Answer:
    """Its answer; it gets copies.  Raises SubjectError or ContractError."""
    found: Answer = subject.implementation.answer(*copy.deepcopy(question.args))
    return found


def hyper_of(subject: Subject) -> Hyper:
    return dict(getattr(subject.implementation, "hyper", {}))


def right(subject: Subject, question: Question) -> Answer:
    """What the published formula answers, computed in float64."""
    like, hyper, args = str(subject.like), hyper_of(subject), copy.deepcopy(question.args)
    if like in CLIPS:
        return clipped(_CLIPPING[like](_wide(args[0]), args[1])[0])
    if like in OPTIMISERS:
        return trained(_optimiser(like, hyper), hyper, *args)
    if like in SCHEDULES:
        return rated(HalveOnRise if like == "halve_on_rise" else DivideOnPlateau, *args)
    losses, counts = (np.asarray(a, np.float64) for a in args)
    return number(Score(float((losses * counts).sum()), int(counts.sum())).perplexity)


def clipped(grads: Arrays) -> Answer:
    return {(name, None): g for name, g in grads.items()}


def number(value: float) -> Answer:
    return {("perplexity", None): np.asarray(value, np.float64)}


def trained(optimiser: Optimiser, hyper: Hyper, params: Arrays, gradients: Sequence[Arrays], rates: Sequence[float] | None) -> Answer:
    params, found = _wide(params), Answer()
    slots = optimiser.start(params)
    for t, grads in enumerate(gradients):
        params, slots = optimiser.step(params, _wide(grads), slots, hyper["lr"] if rates is None else rates[t])
        found |= {(name, t + 1): p for name, p in params.items()}
    return found


def rated(schedule: Callable[[float], Schedule], losses: Sequence[float], lr: float) -> Answer:
    rule, found = schedule(lr), Answer()
    rate = rule.start()
    for t, loss in enumerate(losses, 1):
        rate = rule.after(rate, loss)
        found["lr", t] = np.asarray(rate.lr)
    return found


def named(subject: Subject, variants: Iterable[Variant], questions: Sequence[Question], tolerance: float) -> Named | None:
    """The variants that give its answers to every one of the questions; None where all are right, or one cannot be asked.

    Those that are the same algorithm in another form are named alone, where one fits.  Where none fits, nothing is claimed.
    """
    try:
        answers = [asked(subject, question) for question in questions]
    except BpttError:
        return None
    if all(_agree(answer, right(subject, question), tolerance) for question, answer in zip(questions, answers, strict=True)):
        return None
    fits = [(v, error) for v in variants if (error := _distance(subject, v, questions, answers)) <= tolerance]
    fits = [(v, error) for v, error in fits if v.form_of] or fits
    return causes(fits, len(questions)) if fits else None


def causes(fits: Sequence[tuple[Variant, float]], questions: int) -> Named:
    """What variants say that fit, each with its distance."""
    names = [v.name for v, _ in fits]
    found = tuple(
        Cause(
            v.name,
            v.sentence + (f" ({v.published})" if v.published else ""),
            f"gives your numbers to {max(error, 1e-16):.0e} in all of {questions} questions"
            + (f", as {', '.join(name for name in names if name != v.name)} would" if len(fits) > 1 else ""),
            1.0,
            v.fix,
        )
        for v, error in fits
    )
    first = fits[0][0]
    if first.form_of:
        return Named(found, "CONVENTION", "warning", first)
    return Named(found, "CONVENTION" if all(v.published for v, _ in fits) else "BUG")


def _distance(subject: Subject, variant: Variant, questions: Sequence[Question], answers: Sequence[Answer]) -> float:
    """Largest relative distance of any array between the variant's answers and the subject's; inf where names or shapes differ."""
    worst, hyper = 0.0, hyper_of(subject)
    for question, answer in zip(questions, answers, strict=True):
        theirs = variant.answer(hyper, *copy.deepcopy(question.args))
        if theirs.keys() != answer.keys():
            return float("inf")
        for key, value in answer.items():
            worst = max(worst, distance(value, theirs[key]))
            if not worst < 1e-3:
                return float("inf")
    return worst


def _agree(answer: Answer, expected: Answer, tolerance: float) -> bool:
    return answer.keys() == expected.keys() and all(distance(value, expected[key]) <= tolerance for key, value in answer.items())


def distance(a: Array, b: Array) -> float:
    """Largest difference over the largest entry; what is not finite must be the same in both."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        return float("inf")
    if not (finite := np.isfinite(a) & np.isfinite(b)).all():
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return float("inf")
        a, b = a[finite], b[finite]
    size = float(np.maximum(np.abs(a), np.abs(b)).max(initial=0.0))
    return float(np.abs(a - b).max(initial=0.0)) / size if size > 0 else 0.0


def _optimiser(like: str, hyper: Hyper) -> Optimiser:
    if like == "adam":
        return Adam(hyper["beta1"], hyper["beta2"], hyper.get("eps", 1e-8))
    return SGD() if like == "sgd" else (Momentum if like == "momentum" else Nesterov)(hyper["momentum"])


def _wide(arrays: Arrays) -> dict[str, Array]:
    return {name: value.astype(np.float64) for name, value in arrays.items()}
