"""Steps of optimisers: gradient descent, momentum, Nesterov's, Adam.   Formulas: refimpl/training/optimisers.py"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bptt.harness.cases import Case
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable
from bptt.harness.checks.registry import check
from bptt.harness.checks.training.parts import NAMING, held_against
from bptt.harness.subject import OPTIMISERS
from bptt.harness.training.oracle import Question
from bptt.harness.training.probes import first_step, many_steps, no_gradient, other_rates, reordered

_CASES = (Case(T=2), Case(T=7, N=1, D=4, H=3, seed=1), Case(T=100, N=1, D=2, H=3, seed=2))
#: Rounding of a hundred steps in any order of operations, in units in the last place of the largest parameter.
_UNITS = 1e3


@check("TRN300", family="training", cases=(Case(T=1), Case(T=1, N=1, D=4, H=3, seed=1)), kinds=OPTIMISERS, needs=("TRN120",))
def the_first_step_is_that_of_the_formula(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """sgd: p' = p - lr g    momentum: the same    nesterov: p - lr (1 + mu) g    adam: p - lr g / (|g| + eps)"""
    yield from held_against(context, "TRN300", first_step(case), _groups(context, "TRN300", first_step(NAMING)), _UNITS / 16)


@check("TRN310", family="training", cases=_CASES, kinds=OPTIMISERS, needs=("TRN300",))
def many_steps_are_those_of_the_formula(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """momentum: v' = mu v + g, p' = p - lr v'    nesterov: p' = p - lr (g + mu v')    adam: m, v freed of their start at zero at every t"""
    yield from held_against(context, "TRN310", many_steps(case), _groups(context, "TRN310", many_steps(NAMING)), _UNITS)


@check("TRN320", family="training", cases=(Case(T=3),), kinds=OPTIMISERS, needs=("TRN310",))
def state_is_kept_by_the_name_of_a_parameter(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """The same parameters and gradients in another order give the same numbers: an average belongs to a name and not to a place."""
    if getattr(context.subject.implementation, "container", None) != "dict":
        raise NotApplicable("it takes no names: its parameters are told apart by their places")
    yield from held_against(context, "TRN320", reordered(case), {"TRN320": reordered(replace(NAMING, T=3))}, _UNITS)


@check("TRN330", family="training", cases=(Case(T=5),), kinds=OPTIMISERS, needs=("TRN310",))
def a_new_learning_rate_holds_from_the_next_step_on(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """lr' = lr / 4 after two steps: the third is that of the formula with lr', as a rule for the learning rate needs it."""
    if not context.subject.implementation.rate_can_change:
        raise NotApplicable("it has no attribute with the learning rate that could be changed")
    yield from held_against(context, "TRN330", _rates(context, case), _groups(context, "TRN330", _rates(context, NAMING)), _UNITS)


@check("TRN340", family="training", cases=(Case(T=3),), kinds=OPTIMISERS, needs=("TRN310",))
def gradients_of_zero_leave_finite_parameters(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """g = 0 and g near 1e-300, whose square is zero, give the formula's step: nothing is divided by zero."""
    yield from held_against(context, "TRN340", no_gradient(case), _groups(context, "TRN340", no_gradient(NAMING)), _UNITS)


def _rates(context: CheckContext, case: Case) -> list[Question]:
    return other_rates(case, float(context.subject.implementation.hyper["lr"]))


def _groups(context: CheckContext, id: str, own: list[Question]) -> dict[str, list[Question]]:
    """All questions; those that nobody raises at; and the check's own."""
    usual = [*first_step(NAMING), *many_steps(NAMING)]
    if context.subject.implementation.rate_can_change:
        usual += _rates(context, NAMING)
    return {"all": [*usual, *no_gradient(NAMING)], "usual": usual, id: own}
