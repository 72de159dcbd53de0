"""The library of mistakes that people make, and what it takes to find one of them by its numbers.

It has two uses: the harness is scored on it, and what is wrong is named with it.

mistake      what a known mistake is: one type for all
cells/       stacks/   network      the mistakes themselves (those in parts of a training loop: harness/training/mistakes/)
plant        the reference with a mistake in it      subjects   the same as a subject to test the harness on
tolerances   how near is near                        match      which candidates give the numbers that came back
say          a match in words                        public     public reports, and the mistakes that they are
"""

from __future__ import annotations

from functools import lru_cache

from bptt.harness.known import network
from bptt.harness.known.cells import elman, gru, loop, lstm, lstm_peephole
from bptt.harness.known.cells import forward as forward_passes
from bptt.harness.known.cells.equations import edits_of_step
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.stacks import backward, dropout, forward, lengths
from bptt.harness.words import did_you_mean
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.stack import Stack

#: Of the backward pass of cells, all but the truncations, of which there are as many as there are steps.  Likelier ones first.
BACKWARD: tuple[KnownMistake, ...] = (*elman.BUGS, *lstm.BUGS, *lstm_peephole.BUGS, *gru.BUGS, *loop.BUGS)
#: Of the forward pass of cells: mistakes, and conventions that look like one.
FORWARD: tuple[KnownMistake, ...] = forward_passes.BUGS
#: Of stacks, in the backward pass first.
STACKS: tuple[KnownMistake, ...] = (*backward.BUGS, *dropout.BUGS, *lengths.BUGS, *forward.BUGS)
#: Of networks with their loss inside, all but the windows of truncation.
NETWORKS: tuple[KnownMistake, ...] = network.BUGS


@lru_cache(maxsize=256)
def of_cell(cell: str, T: int = 1) -> tuple[KnownMistake, ...]:
    """Of the backward pass of this cell, with the truncations that show in T steps."""
    return tuple(mistake for mistake in (*BACKWARD, *loop.truncations(T)) if mistake.fits(cell))


@lru_cache(maxsize=64)
def forward_of_cell(cell: str) -> tuple[KnownMistake, ...]:
    """Of the forward pass of this cell."""
    return tuple(mistake for mistake in FORWARD if mistake.fits(cell))


@lru_cache(maxsize=256)
def of_stack(stack: Stack, with_lengths: bool = False, with_masks: bool = False) -> tuple[KnownMistake, ...]:
    """Of the backward pass, those that can show in this stack."""
    return tuple(mistake for mistake in STACKS if mistake.kind == "backward" and mistake.shows_in(stack, with_lengths, with_masks))


def edits_of_forward(cell: Cell) -> tuple[KnownMistake, ...]:
    """Of the forward pass of this cell, what nobody has listed: each single edit of one of its equations that is none of those."""
    listed = {edit.after for mistake in forward_of_cell(cell.name) for edit in mistake.edits}
    return tuple(mistake for mistake in edits_of_step(cell) if mistake.edits[0].after not in listed)


def cells_of(known: KnownMistake) -> tuple[str, ...]:
    """The published cells in which it is proven to show."""
    return known.applies_to or loop.SHOWN_IN


def mistake(cell: str, name: str, T: int = 52) -> KnownMistake:
    """The one of this name in this cell, backward or forward.  Raises LookupError, with the nearest name."""
    return _named(name, (*forward_of_cell(cell), *of_cell(cell, T)), f"no mistake of {cell}")


def mistake_of_stacks(name: str) -> KnownMistake:
    """Raises LookupError, with the nearest name."""
    return _named(name, STACKS, "no mistake of stacks")


def _named(name: str, among: tuple[KnownMistake, ...], what: str) -> KnownMistake:
    known = {found.name: found for found in among}
    if name not in known:
        raise LookupError(f"{what} is called {name!r}{did_you_mean(name, known)}")
    return known[name]
