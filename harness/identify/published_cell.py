"""Which published cell, or stack of them, an unknown implementation is, and in which convention: from its outputs alone.

The search settles one question at a time, because it may choose the parameters that the subject is run with:

    1. shapes say which blocks a tensor can be made of          (influence.py)
    2. everything at zero, states small and very large          the forget bias that is added at run time, clips
    3. recurrent weights and biases at zero                     the gates of the input weights, the activation, which way z points
    4. biases at zero                                           the gates of the recurrent weights, where the reset gate applies
    5. one bias at a time                                       its gate, or the peephole that it is
    6. everything random, three seeds, saturated, other sizes   a candidate that differs anywhere is not accepted

Several layers, or both directions, are taken apart first (stacks.py).

A name is given only if all outputs and final states agree to rounding in step 6; otherwise the answer is None, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bptt.harness.identify.arrangements import first_that_fits
from bptt.harness.identify.influence import layouts
from bptt.harness.identify.probing import OutOfReach, Unidentified, open_probe
from bptt.harness.identify.search import Search
from bptt.harness.identify.stacks import identify_stack
from bptt.harness.identify.units import number_of_states
from bptt.harness.subject import Subject
from bptt.harness.weights.map import Identification
from bptt.refimpl import CELLS


def identify(subject: Subject, like: str | None = None, seed: int = 0) -> Identification | None:
    """The published cell that the subject computes, whatever it claims to be; None where it computes none of them.

    `like` only chooses the name where two fit: every LSTM is also an lstm_tf1 with its options off.  Raises ContractError or
    SubjectError where the subject cannot be run.
    """
    found = identify_layers(subject, like, seed)
    return found if found is None or found.mapping.stack.bare else None


def identify_layers(subject: Subject, like: str | None = None, seed: int = 0) -> Identification | None:
    """As `identify`, stacks of cells and both directions too: their mapping's `stack` has them."""
    return searched(subject, like, seed).identification


def nothing_found_reason(subject: Subject, seed: int = 0) -> str:
    """Why `identify` gives None, in a sentence; "" where it does not."""
    outcome = searched(subject, None, seed)
    if outcome.identification is not None and not outcome.identification.mapping.stack.bare:
        return f"it is no single cell but has several layers or both directions: {outcome.identification.convention}"
    return outcome.reason


def closest(subject: Subject, like: str, seed: int = 0) -> Identification | None:
    """The nearest arrangement of the cell `like`, with its max_error: how far the subject is from what it claims to be.

    None where the subject's parameters and states cannot be laid over that cell at all (another number of gates or states).
    """
    best: Identification | None = None
    try:
        probe = open_probe(subject, np.random.default_rng([seed, 1]))
        for layout in layouts(probe, interleaved=False):
            try:
                found = Search(probe, layout, exact=False).run([CELLS[like]], seed)
            except Unidentified:
                continue
            if best is None or found.max_error < best.max_error:
                best = found
    except Unidentified:
        return None
    return best


@dataclass(frozen=True)
class Outcome:
    """What a search came to.   reason: why there is no identification, "" where there is one
    refuted   it was searched for to the end: False where nothing could be compared, as of an arrangement that the search does not know
    """

    identification: Identification | None
    reason: str
    refuted: bool = False


def searched(subject: Subject, like: str | None = None, seed: int = 0) -> Outcome:
    """A single cell, where it can be one; else a stack of them."""
    try:
        states = _states(subject)
        several = subject.bidirectional or states > 2
        if not several:
            try:
                return Outcome(first_that_fits(open_probe(subject, np.random.default_rng([seed, 1])), like, seed), "")
            except Unidentified:
                if states < 2:
                    raise
                try:
                    return Outcome(identify_stack(subject, like, seed), "")
                except Unidentified:
                    pass
                raise
        return Outcome(identify_stack(subject, like, seed), "")
    except Unidentified as unknown:
        return Outcome(None, str(unknown), not isinstance(unknown, OutOfReach))


def _states(subject: Subject) -> int:
    """How many states it has: a single cell has two at most."""
    if subject.kind != "cell":
        raise Unidentified(f"it is no cell that can be run alone: {subject.kind}")
    return number_of_states(subject)
