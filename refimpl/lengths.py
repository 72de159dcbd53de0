"""The loop over time where each sequence of a batch has its own length: padding is never read and costs nothing.

Two layouts of the steps of a batch, with the same methods; between `pack` and `unpack` layers see nothing of padding.

    Whole     (T, N, ...)   every sequence has T steps: nothing is moved
    Packed    (1, M, ...)   the M valid steps alone, t by t; in each t the longest sequence first, so that those which go on stand
                            in front.  T=3 N=2, lengths 1 and 3:  (t=0 n=1) (t=0 n=0) (t=1 n=1) (t=2 n=1)

Derivation  the steps of a t are one step of the cell over the sequences that reach it, and the state of the others stays:

    forward     y, s[:n] = step(ax, s[:n])            for the first n sequences, those longer than t; s[n:] as it was
    backward    dax, ds[:n] = step_backward(dy, ds[:n])      from the last t to the first; ds[n:] is dfinal's still

unpack writes zeros at padding.  Packing takes entries and unpacking puts them back: each is the other's transpose, so a backward
pass packs dys as the forward pass packed xs, and unpacks dxs as it unpacked ys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bptt.refimpl import unroll
from bptt.refimpl.cells.cell import Cell, Share
from bptt.refimpl.types import Array, Params, State, Tape


@dataclass(frozen=True)
class Whole:
    """Every sequence has T steps."""

    T: int
    N: int

    def pack(self, xs: Array) -> Array:
        """xs (T, N, ...) in this layout."""
        return xs

    def unpack(self, rows: Array) -> Array:
        """Back to (T, N, ...)."""
        return rows

    def reverse(self, rows: Array) -> Array:
        """Each sequence from its last valid step to its first.  Twice is once."""
        return rows[::-1]

    def forward_projected(self, cell: Cell, params: Params, axs: Array, state: State) -> tuple[Array, dict[str, Array], list[Tape]]:
        """As unroll.forward_projected; the final state is that after each sequence's last valid step."""
        return unroll.forward_projected(cell, params, axs, state)

    def backward_projected(
        self, cell: Cell, params: Params, tapes: Sequence[Tape], dys: Array, dfinal: State
    ) -> tuple[Array, dict[str, Array], dict[str, Array]]:
        """As unroll.backward_projected: daxs, dparams, dstate0."""
        return unroll.backward_projected(cell, params, tapes, dys, dfinal)


@dataclass(frozen=True)
class Packed:
    """Each sequence has its own length; made by `layout`.

    order     (N,)   the sequences, the longest first
    counts    how many sequences reach step 0, 1, ...; none is 0
    t, n      (M,)   where each packed step is in (T, N)
    mirror    (M,)   which packed step is as far from the end of the same sequence as this one is from its start
    """

    T: int
    N: int
    order: Array
    counts: tuple[int, ...]
    t: Array
    n: Array
    mirror: Array

    def pack(self, xs: Array) -> Array:
        return xs[self.t, self.n][None]

    def unpack(self, rows: Array) -> Array:
        xs = np.zeros((self.T, self.N, *rows.shape[2:]), rows.dtype)
        xs[self.t, self.n] = rows[0]
        return xs

    def reverse(self, rows: Array) -> Array:
        return rows[:, self.mirror]

    def forward_projected(self, cell: Cell, params: Params, axs: Array, state: State) -> tuple[Array, dict[str, Array], list[Tape]]:
        state = {name: s[self.order] for name, s in state.items()}
        ys = np.empty((1, len(self.t), state["h"].shape[1]), axs.dtype)
        tapes = []
        start = 0
        for n in self.counts:
            now = slice(start, start + n)
            ys[0, now], moved, tape = cell.step(params, axs[0, now], {name: s[:n] for name, s in state.items()})
            state = {name: np.concatenate([moved[name], s[n:]]) for name, s in state.items()}
            tapes.append(tape)
            start += n
        return ys, self._unsorted(state), tapes

    def backward_projected(
        self, cell: Cell, params: Params, tapes: Sequence[Tape], dys: Array, dfinal: State
    ) -> tuple[Array, dict[str, Array], dict[str, Array]]:
        recurrent = unroll.for_transposes({name: p for name, p in params.items() if name != "W_x"})
        dstate = {name: d[self.order] for name, d in dfinal.items()}
        daxs = np.empty((1, len(self.t), params["W_x"].shape[1]), dys.dtype)
        shares: list[dict[str, Share]] = []
        start = len(self.t)
        for n, tape in zip(reversed(self.counts), reversed(tapes), strict=True):
            start -= n
            now = slice(start, start + n)
            daxs[0, now], moved, share = cell.step_backward(recurrent, tape, dys[0, now], {name: d[:n] for name, d in dstate.items()})
            dstate = {name: np.concatenate([moved[name], d[n:]]) for name, d in dstate.items()}
            shares.append(share)
        return daxs, unroll.gathered(recurrent, shares[::-1]), self._unsorted(dstate)

    def _unsorted(self, state: State) -> dict[str, Array]:
        """From the order of lengths to that of the batch."""
        place = np.argsort(self.order)
        return {name: s[place] for name, s in state.items()}


Layout = Whole | Packed


def layout(lengths: Array | None, T: int, N: int) -> Layout:
    """Whole where no lengths are given, else Packed.   lengths (N,), integers from 0 to T"""
    if lengths is None:
        return Whole(T, N)
    valid = valid_steps(lengths, T, N)
    lengths = lengths.astype(np.intp)
    order = np.argsort(-lengths, kind="stable")
    t, place = np.nonzero(valid[:, order])
    n = order[place]
    packed = np.zeros((T, N), np.intp)
    packed[t, n] = np.arange(len(t))
    counts = tuple(int(count) for count in valid.sum(axis=1) if count)
    return Packed(T, N, order, counts, t, n, packed[lengths[n] - 1 - t, n])


def valid_steps(lengths: Array, T: int, N: int) -> Array:
    """(T, N) of bool: True at the steps t < lengths[n], False at padding.

    Raises ValueError for lengths that are no integers from 0 to T, one for each of N sequences.
    """
    if lengths.shape != (N,):
        raise ValueError(f"lengths have shape {lengths.shape}, but should have {(N,)}, one for each sequence of the batch")
    if lengths.dtype.kind not in "iu":
        raise ValueError(f"lengths are {lengths.dtype}, but should be integers from 0 to T = {T}")
    wrong = (lengths < 0) | (lengths > T)
    if wrong.any():
        n = int(wrong.argmax())
        raise ValueError(f"lengths[{n}] is {lengths[n]}, but should be from 0 to T = {T}")
    return np.asarray(np.arange(T)[:, None] < lengths)
