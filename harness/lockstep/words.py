"""A lockstep as lines of text: one a model and optimizer, and what parts first."""

from __future__ import annotations

from collections.abc import Iterable

from bptt.harness.lockstep.compare import BLIND, LOSS, MARGIN, Parting, largest
from bptt.harness.lockstep.runs import TORCH, LockstepRun

#: The loss that is shown at the end is the mean of so many steps, or of the last quarter.
LAST = 10
TOLERANCE = (
    f"tolerance: {MARGIN:g} times what rounding makes of the NumPy loop, measured beside it: a unit in the last place added at every step, "
    "to each weight and to each sum of gradients"
)


def lines(runs: Iterable[LockstepRun]) -> list[str]:
    """Every run, and what the tolerance is."""
    return [*(line for one in runs for line in run_lines(one)), TOLERANCE]


def run_lines(one: LockstepRun) -> list[str]:
    held, head = one.held, f"{one.model.name:<16}  {one.optimizer:<8}"
    if held.parting is not None:
        return [f"{head}  {parting_text(held.parting, one.mine)}", *(f"  {line}" for line in parting_details(held.parting))]
    judged = len(held.losses)
    if not judged:
        return [f"{head}  not judged: {_blind(one)}"]
    gaps = [largest(held.loss_gaps), largest(held.gaps), *([one.gradients] if one.gradients else [])]
    names = "losses equal to", "parameters to", "first gradients to"
    equal = ", ".join(f"{name} {gap.relative:.0e}" for name, gap in zip(names, gaps, strict=False))
    tolerance = f"tolerance there {', '.join(f'{gap.tolerance:.0e}' for gap in gaps)}"
    until = f"   not judged from there on: {_blind(one)}" if held.blind else ""
    return [f"{head}  {judged} steps  {equal}   {tolerance}   loss {fall_text(one)}{until}"]


def parting_text(parting: Parting, mine: str) -> str:
    """ "parts at step 3: W_h_l0 gate f [2, 41] is 0.1 in torch, 0.2 in NumPy (5.0e-01 apart, tolerance 2e-13)" """
    name = f"dL/d{parting.tensor}" if parting.gradient else parting.tensor
    gates = f" gate{'s' if len(parting.gates) > 1 else ''} {' '.join(parting.gates)}" if parting.gates else ""
    index = f" {list(parting.index)}" if parting.tensor != LOSS else ""
    apart = f"{parting.gap.relative:.1e} apart, tolerance {parting.gap.tolerance:.0e}"
    return f"parts at step {parting.step}: {name}{gates}{index} is {parting.mine!r} in {mine}, {parting.reference!r} in NumPy ({apart})"


def parting_details(parting: Parting) -> list[str]:
    """What it says on its cause, and what parts with it."""
    others = f"also {', '.join(parting.others)}" if parting.others else ""
    said = "; ".join(part for part in (parting.words, others) if part)
    return [said] if said else []


def fall_text(one: LockstepRun) -> str:
    """ "4.17 -> 2.71" """
    losses = one.held.reference
    last = losses[-max(1, min(LAST, len(losses) // 4)) :]
    return f"{losses[0]:.2f} -> {sum(last) / len(last):.2f}"


def _blind(one: LockstepRun) -> str:
    advice = "" if one.mine == TORCH or one.eps < 1e-12 else "; in float64 it could be"
    return f"at step {one.held.blind} rounding alone may part two runs by {BLIND:g}{advice}"
