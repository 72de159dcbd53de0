"""What a part of a training loop is asked, the right answers, and which known mistake gives the answers that it gives instead."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bptt.harness.errors import BpttError
from bptt.harness.known.match import Match, Numbers, apart, match
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.say import counted, evidence
from bptt.harness.known.tolerances import PART
from bptt.harness.subject import CLIPS, OPTIMISERS, SCHEDULES, Answer, Array, Arrays, Subject
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

Hyper = Mapping[str, float]
_CLIPPING = dict(zip(CLIPS, (clip_by_global_norm, clip_by_global_norm_torch, clip_elementwise), strict=True))


@dataclass(frozen=True)
class Question:
    """when   for a headline: "far above the threshold"      args   what `answer` takes (harness/subject.py)"""

    when: str
    args: tuple[Any, ...]


@dataclass(frozen=True)
class Named:
    """What a wrong answer is put down to: the causes of a finding.   form: the same algorithm in another form, where it is that"""

    causes: tuple[Cause, ...]
    code: Code = "BUG"
    severity: Severity = "error"
    form: KnownMistake | None = None


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


def named(subject: Subject, mistakes: Iterable[KnownMistake], questions: Sequence[Question]) -> Named | None:
    """The mistakes that give its answers to every one of the questions; None where all are right, or one cannot be asked.

    Those that are the same algorithm in another form are named alone, where one fits.  Where none fits, nothing is claimed.
    """
    try:
        answers = [asked(subject, question) for question in questions]
    except BpttError:
        return None
    hyper = hyper_of(subject)

    def replay(mistake: KnownMistake, j: int) -> Answer:
        return mistake.answer(hyper, *copy.deepcopy(questions[j].args))

    far = apart(answers, (right(subject, question) for question in questions), PART, _distances)
    found = match(answers, mistakes, replay, far, _distances)
    found = tuple(one for one in found if one.candidate.form_of) or found
    return causes(found, list(dict.fromkeys(name for name, _ in far.wrong)), len(questions)) if found else None


def causes(found: Sequence[Match[KnownMistake]], wrong: Sequence[str], questions: int) -> Named:
    """What mistakes say that fit.   wrong: the names of what is answered wrongly"""
    said = []
    for one in found:
        mistake, others = one.candidate, [other.candidate.sentence for other in found if other is not one]
        why = evidence("the published formula with this mistake", wrong, one.error, f"in {counted(questions, 'question')}", others)
        sentence = mistake.sentence + (f" ({mistake.published})" if mistake.published else "")
        said.append(Cause(mistake.name, sentence, why, 1.0, mistake.fix))
    first = found[0].candidate
    if first.form_of:
        return Named(tuple(said), "CONVENTION", "warning", first)
    return Named(tuple(said), "CONVENTION" if all(one.candidate.published for one in found) else "BUG")


def _distances(made: Numbers, yours: Numbers) -> Iterator[tuple[Hashable, float]]:
    """Of every array; names that differ are as far apart as can be."""
    if made.keys() != yours.keys():
        yield next(iter({*made, *yours} - ({*made} & {*yours}))), float("inf")
        return
    for key, value in yours.items():
        yield key, distance(value, made[key])


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
