"""Which published cell an unknown implementation is, and in which convention: from its outputs alone.

The search settles one question at a time, because it may choose the parameters that the subject is run with:

    1. shapes say which blocks a tensor can be made of          (layouts.py, influence.py)
    2. everything at zero, states small and very large          the forget bias that is added at run time, clips
    3. recurrent weights and biases at zero                     the gates of the input weights, the activation, which way z points
    4. biases at zero                                           the gates of the recurrent weights, where the reset gate applies
    5. one bias at a time                                       its gate, or the peephole that it is
    6. everything random, three seeds, saturated, other sizes   a candidate that differs anywhere is not accepted

A name is given only if all outputs and final states agree to rounding in step 6; otherwise the answer is None, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from harness.diagnosis.influence import layouts
from harness.diagnosis.mapping import Identification
from harness.diagnosis.probing import Unidentified, open_probe
from harness.diagnosis.search import Failed, Search
from harness.subject import Subject


def identify(subject: Subject, like: str | None = None, seed: int = 0) -> Identification | None:
    """The published cell that the subject computes, whatever it claims to be; None where it computes none of them.

    `like` only chooses the name where two fit: every LSTM is also an lstm_tf1 with its options off.  Raises ContractError or
    SubjectError where the subject cannot be run.
    """
    return _search(subject, like, seed).identification


def nothing_found_reason(subject: Subject, seed: int = 0) -> str:
    """Why `identify` gives None, in a sentence; "" where it does not."""
    return _search(subject, None, seed).reason


def closest(subject: Subject, like: str, seed: int = 0) -> Identification | None:
    """The nearest arrangement of the cell `like`, with its max_error: how far the subject is from what it claims to be.

    None where the subject's parameters and states cannot be laid over that cell at all (another number of gates or states).
    """
    best: Identification | None = None
    try:
        probe = open_probe(subject, np.random.default_rng([seed, 1]))
        for layout in layouts(probe, interleaved=False):
            try:
                found = Search(probe, layout, like, exact=False).run(seed)
            except Unidentified:
                continue
            if best is None or found.max_error < best.max_error:
                best = found
    except Unidentified:
        return None
    return best


@dataclass(frozen=True)
class _Outcome:
    identification: Identification | None
    reason: str


def _search(subject: Subject, like: str | None, seed: int) -> _Outcome:
    deepest = Failed(-1, "")
    tried = 0
    try:
        probe = open_probe(subject, np.random.default_rng([seed, 1]))
        for interleaved in (False, True):
            for layout in layouts(probe, interleaved):
                if interleaved and not any(reading.interleaved for reading in layout):
                    continue
                search = Search(probe, layout, like, exact=True)
                try:
                    found = search.run(seed)
                    return _Outcome(replace(found, tried=found.tried + tried), "")
                except Failed as failure:
                    tried += search.tried
                    deepest = max(deepest, failure, key=lambda f: f.depth)
    except Unidentified as unknown:
        return _Outcome(None, str(deepest if deepest.depth >= 0 else unknown))
    return _Outcome(None, str(deepest))
