"""Clipping of gradients: by the norm of all of them together, and entry by entry.   Formulas: refimpl/training/clipping.py"""

from __future__ import annotations

from collections.abc import Iterator

from bptt.harness.cases import Case
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence
from bptt.harness.checks.registry import check
from bptt.harness.checks.training.parts import NAMING, held_against
from bptt.harness.subject import CLIPS
from bptt.harness.training.oracle import Question
from bptt.harness.training.probes import above, below, none_at_all

_CASES = (Case(T=1), Case(T=1, N=1, D=4, H=3, seed=1), Case(T=1, N=3, D=16, H=32, seed=2))
#: Rounding of a norm of up to ten thousand numbers, in any order, in units in the last place.
_UNITS = 256.0


@check("TRN200", family="training", cases=_CASES, kinds=CLIPS, needs=("TRN120",))
def gradients_below_the_threshold_stay_as_they_are(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """g' = g where ||g|| < theta (elementwise: where every |g_i| < theta)."""
    yield from held_against(
        context, "TRN200", below(context.subject, case), _groups(context, "TRN200", below(context.subject, NAMING)), 4.0
    )


@check("TRN210", family="training", cases=_CASES, kinds=CLIPS, needs=("TRN200",))
def gradients_above_the_threshold_are_clipped_as_the_formula_says(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """g' = g theta / ||g||, with ||g|| over all tensors together    torch's: g theta / (||g|| + 1e-6)
    elementwise: g_i' = theta where g_i > theta, -theta where g_i < -theta, g_i elsewhere
    """
    yield from held_against(
        context, "TRN210", above(context.subject, case), _groups(context, "TRN210", above(context.subject, NAMING)), _UNITS
    )


@check("TRN220", family="training", cases=_CASES[:1], kinds=CLIPS, needs=("TRN200",))
def gradients_of_zero_stay_zero(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """g' = g for g = 0, where a norm is nothing to divide by, and for g near 1e-300, whose squares are zero."""
    yield from held_against(context, "TRN220", none_at_all(case), _groups(context, "TRN220", none_at_all(NAMING)), 4.0)


def _groups(context: CheckContext, id: str, own: list[Question]) -> dict[str, list[Question]]:
    """All questions; those that nobody raises at; and the check's own."""
    usual = [*below(context.subject, NAMING), *above(context.subject, NAMING)]
    return {"all": [*usual, *none_at_all(NAMING)], "usual": usual, id: own} if id != "TRN220" else {id: own}
