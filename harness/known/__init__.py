"""The library of mistakes that people make in a recurrent cell, backward and forward.

It has two uses: the harness is scored on it, and what is wrong is named with it.
"""

from __future__ import annotations

from functools import lru_cache

from bptt.harness.known import elman, forward, gru, loop, lstm, lstm_peephole
from bptt.harness.known.plant import Bug
from bptt.harness.words import did_you_mean

__all__ = ["BUGS", "FORWARD_BUGS", "Bug", "bug", "bugs_of", "forward_bugs_of"]

#: All bugs of the backward pass but the truncations, of which there are as many as there are steps.  Likelier ones first within a cell.
BUGS: tuple[Bug, ...] = (*elman.BUGS, *lstm.BUGS, *lstm_peephole.BUGS, *gru.BUGS, *loop.BUGS)

#: Differences in the forward pass: mistakes, and conventions that look like one.
FORWARD_BUGS: tuple[Bug, ...] = forward.BUGS


@lru_cache(maxsize=32)
def forward_bugs_of(cell: str) -> tuple[Bug, ...]:
    """The forward differences that fit the reference cell of this name."""
    return tuple(bug for bug in FORWARD_BUGS if cell in bug.cells)


@lru_cache(maxsize=256)
def bugs_of(cell: str, T: int = 1) -> tuple[Bug, ...]:
    """The bugs that fit the reference cell of this name, with the truncations that show in T steps."""
    return tuple(bug for bug in (*BUGS, *loop.truncations(T)) if cell in bug.cells)


def bug(cell: str, name: str, T: int = 52) -> Bug:
    """The bug of this name in this cell.  Raises LookupError, with the nearest name."""
    known = {found.name: found for found in bugs_of(cell, T)}
    if name not in known:
        raise LookupError(f"no bug of {cell} is called {name!r}{did_you_mean(name, known)}")
    return known[name]
