"""One run of a lockstep: a model and an optimizer, and what came of holding the two loops together."""

from __future__ import annotations

from dataclasses import dataclass

from bptt.harness.lockstep.compare import Gap, Held
from bptt.harness.lockstep.models import Named
from bptt.reports.accounting import CONFORMS, DOES_NOT_CONFORM, NOTHING_CHECKED

TORCH = "torch"


@dataclass(frozen=True)
class LockstepRun:
    """One model and one optimizer.

    mine        "torch", or the name of the user's loop
    held        what came of it
    gradients   the gradient of the first step that differs most; None of a user's loop, which does not hand them out
    eps         the unit in the last place of the coarser of the two
    """

    model: Named
    optimizer: str
    learning_rate: float
    mine: str
    steps: int
    held: Held
    gradients: Gap | None
    eps: float
    duration_s: float

    @property
    def exit_code(self) -> int:
        if self.held.parting is not None:
            return DOES_NOT_CONFORM
        return CONFORMS if self.held.losses else NOTHING_CHECKED
