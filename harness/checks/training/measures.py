"""What is measured and drawn around training: perplexity, dropout masks, rules for the learning rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bptt.harness.cases import Case, generator
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable
from bptt.harness.checks.registry import check
from bptt.harness.checks.training.parts import NAMING, held_against, masks, put_down_to
from bptt.harness.subject import SCHEDULES
from bptt.harness.training.masks import Look, look, named_by_look
from bptt.harness.training.oracle import Question, asked
from bptt.harness.training.probes import evaluations, losses
from bptt.reports.records import Where

_P = (0.2, 0.6)


@check("TRN400", family="training", kinds=("perplexity",), needs=("TRN120",))
def perplexity_is_the_exponential_of_the_mean_loss(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """perplexity = exp(mean loss in nats), where all batches have the same number of symbols; 1 where every loss is zero."""
    yield from held_against(context, "TRN400", losses(case, equal=True), _losses(context), 64.0)


@check("TRN410", family="training", kinds=("perplexity",), needs=("TRN400",))
def a_short_batch_counts_less(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """perplexity = exp(sum of loss_b n_b / sum of n_b), n_b the number of symbols of batch b."""
    if context.subject.implementation.form != "losses and counts":
        raise NotApplicable("it is told nothing of the numbers of symbols: f(losses)")
    yield from held_against(context, "TRN410", losses(case, equal=False), _losses(context), 64.0)


@check("TRN500", family="training", kinds=("dropout",), needs=("TRN120",))
def a_mask_drops_with_probability_p_and_keeps_the_mean(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """A mask is 0 with probability p and 1/(1-p) elsewhere, so that its mean is 1; with p = 0 it is 1 everywhere."""
    for p in (*_P, 0.0):
        (question,) = masks(case, p)
        mask = asked(context.subject, question)["mask", None]
        for found in _of_values(look(mask), p, question):
            yield found if found.holds else _explained(context, found)


@check("TRN510", family="training", kinds=("dropout",), needs=("TRN500",))
def a_mask_is_drawn_anew_for_every_entry(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """A mask differs from step to step, from row to row, from unit to unit, and from the one drawn before it from the same generator."""
    (question,) = masks(case, 0.4)
    mask = asked(context.subject, question)["mask", None]
    for axis, name in enumerate(("step", "row", "unit")):
        found = Evidence(axis not in look(mask).same, f"the mask is the same at every {name}", where=Where(tensor="mask"))
        yield found if found.holds else _explained(context, found)
    rng = generator(case, "part: two masks")
    one, other = (context.subject.implementation.answer(rng, mask.shape, 0.4)["mask", None] for _ in range(2))
    differs = not np.array_equal(one, other)
    yield Evidence(differs, "a second mask from the same generator is the first one again", where=Where(tensor="mask"))


@check("TRN600", family="training", cases=(Case(T=8), Case(T=20, seed=1)), kinds=SCHEDULES, needs=("TRN120",))
def the_learning_rate_follows_its_rule(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """halve_on_rise: lr / 2 where loss_t > loss_(t-1)    divide_on_plateau: lr / 4 where loss_t is not below the best so far"""
    yield from held_against(context, "TRN600", evaluations(case), {"TRN600": evaluations(replace(NAMING, T=8))}, 16.0)


def _losses(context: CheckContext) -> dict[str, list[Question]]:
    equal = losses(NAMING, equal=True)
    weighted = context.subject.implementation.form == "losses and counts"
    return {"all": [*equal, *losses(NAMING, equal=False)], "TRN400": equal} if weighted else {"TRN400": equal}


def _of_values(seen: Look, p: float, question: Question) -> Iterator[Evidence]:
    wanted, where = 1 / (1 - p), Where(tensor="mask")
    values = all(value == 0 or abs(value - wanted) <= 1e-6 * wanted for value in seen.values)
    words = f"the mask {question.when} has the values {seen.words}, wanted {f'0 and {wanted:.4g}' if p else '1'}"
    yield Evidence(values, words, where=where, observed=seen.values[-1], expected=wanted)
    noise = 6 * float(np.sqrt(p * (1 - p) / seen.independent))
    yield Evidence(
        abs(seen.zeros - p) <= noise,
        f"the mask {question.when} has {seen.zeros:.1%} zeros",
        where=where,
        observed=seen.zeros,
        expected=p,
        noise=noise,
    )


def _explained(context: CheckContext, found: Evidence) -> Evidence:
    questions = [question for p in _P for question in masks(NAMING, p)]
    return put_down_to(found, named_by_look(context.subject, context.variants, questions))
