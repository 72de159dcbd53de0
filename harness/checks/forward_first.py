"""What a known mistake in the forward pass does to the other checks: it is one fault, and is said once."""

from __future__ import annotations

from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.registry import Check
from bptt.harness.identify.forward_bug import backward_is_that_of_the_right_cell

#: The check that tells it: the outputs are not those of the published cell.
_TELLS = "PAR100"
#: Families that stand whatever the forward pass computes, those that it spoils, and those that it spoils where the backward is right.
_BEFORE, _SPOILT, _SPOILT_BACKWARD = ("contract", "numerics"), ("time", "batch"), ("linearity", "gradient")


def with_needs(plan: list[Check], context: CheckContext) -> list[tuple[Check, tuple[str, ...]]]:
    """Checks in the order in which they run, each with the ids of those without which it says nothing."""
    if context.forward_bug is None:
        return [(c, c.needs) for c in plan]
    spoilt: tuple[str, ...] = _SPOILT
    if forward_is_to_be_mended(context):
        spoilt += _SPOILT_BACKWARD
        plan = sorted(plan, key=lambda c: c.id != _TELLS and c.family not in _BEFORE)
    return [(c, (*c.needs, _TELLS) if c.family in spoilt else c.needs) for c in plan]


def forward_is_to_be_mended(context: CheckContext) -> bool:
    """Whether a mistake in the forward pass of what claims to be a published cell is all that is wrong: its backward is that cell's."""
    varied, subject = context.forward_bug, context.subject
    if varied is None or subject.like is None or "backward" not in subject.capabilities:
        return False
    return backward_is_that_of_the_right_cell(subject, varied)
