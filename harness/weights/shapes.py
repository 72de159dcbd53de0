"""Reading tensor shapes: which blocks of H units a parameter can be made of.

A shape says how many blocks there are and which way they lie; it does not say which gate a block belongs to.  At sizes of unequal
primes almost every shape has one reading; where it has several (D == H, square weights) all of them are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bptt.refimpl.cells import CELLS

Kind = Literal["x", "h", "b", "p"]
Index = tuple[slice | int, ...]

#: Blocks side by side in one tensor: more gates than any known cell has would only make readings by chance.
MOST_BLOCKS = max(4, *(len(parameter.gates) for cell in CELLS.values() for parameter in cell.of_role("input", "recurrent")))


@dataclass(frozen=True)
class Block:
    """A part of a tensor that belongs to one gate.

    kind        "x" input weights (D, H)   "h" recurrent weights (P, H)   "b" a bias or peephole (H,)   "p" projection (H, P)
    transposed  it lies the other way round, (H, D): units first
    """

    tensor: str
    index: Index
    kind: Kind
    transposed: bool = False


@dataclass(frozen=True)
class Reading:
    """One way to read a tensor.

    shape   in words: "D+H 4H"
    style   "columns" (inputs first), "rows" (units first), "vector" or "projection"
    order   what the axis of inputs holds: "x", "h", "xh" or "hx", with a 1 where the bias is a row of it; "" for vectors
    """

    tensor: str
    shape: str
    blocks: tuple[Block, ...]
    style: str
    order: str = ""
    interleaved: bool = False

    def kinds(self) -> frozenset[Kind]:
        return frozenset(block.kind for block in self.blocks)


def readings(tensor: str, shape: tuple[int, ...], sizes: Mapping[str, int]) -> tuple[Reading, ...]:
    """Every way to read a tensor of this shape at these sizes D, H, P; () if there is none.

    A leading axis of up to four copies is read copy by copy: (1, 4H, D) as ONNX has it, (3, D, H) as a stack of gates.
    """
    if len(shape) == 3 and shape[0] <= MOST_BLOCKS:
        inner = [r for r in _matrix(tensor, shape[1:], sizes) if len(r.blocks) == len(r.kinds()) or shape[0] == 1]
        return tuple(_stacked(reading, shape[0]) for reading in inner)
    if len(shape) == 2:
        return (*_matrix(tensor, shape, sizes), *_vectors(tensor, shape, sizes))
    return _vectors(tensor, shape, sizes)


def _stacked(reading: Reading, copies: int) -> Reading:
    blocks = tuple(Block(b.tensor, (k, *b.index), b.kind, b.transposed) for k in range(copies) for b in reading.blocks)
    return Reading(reading.tensor, f"{copies} {reading.shape}", blocks, reading.style, reading.order, reading.interleaved)


def _matrix(tensor: str, shape: tuple[int, ...], sizes: Mapping[str, int]) -> list[Reading]:
    D, H, P = sizes["D"], sizes["H"], sizes["P"]
    h = "H" if P == H else "P"
    found = []
    for transposed in (False, True):
        inputs, units = shape[::-1] if transposed else shape
        if units % H or not 1 <= (count := units // H) <= MOST_BLOCKS:
            continue
        axes: list[tuple[str, str, list[tuple[Kind, slice]]]] = []
        if inputs == D:
            axes.append(("x", "D", [("x", slice(None))]))
        if inputs == P:
            axes.append(("h", h, [("h", slice(None))]))
        if inputs == D + P:
            axes.append(("xh", f"D+{h}", [("x", slice(0, D)), ("h", slice(D, D + P))]))
            axes.append(("hx", f"{h}+D", [("h", slice(0, P)), ("x", slice(P, P + D))]))
        if inputs == D + P + 1:  # the bias as one row more, for an input that is always 1
            last = slice(D + P, D + P + 1)
            axes.append(("1xh", f"1+D+{h}", [("x", slice(1, D + 1)), ("h", slice(D + 1, D + P + 1)), ("b", slice(0, 1))]))
            axes.append(("1hx", f"1+{h}+D", [("h", slice(1, P + 1)), ("x", slice(P + 1, D + P + 1)), ("b", slice(0, 1))]))
            axes.append(("xh1", f"D+{h}+1", [("x", slice(0, D)), ("h", slice(D, D + P)), ("b", last)]))
            axes.append(("hx1", f"{h}+D+1", [("h", slice(0, P)), ("x", slice(P, P + D)), ("b", last)]))
        for order, words, parts in axes:
            for interleaved in (False, True) if count > 1 else (False,):
                found.append(_weights(tensor, transposed, order, words, parts, count, H, interleaved))
    if P != H and shape in {(H, P), (P, H)}:
        transposed = shape == (P, H)
        block = Block(tensor, (slice(None), slice(None)), "p", transposed)
        found.append(Reading(tensor, "P H" if transposed else "H P", (block,), "projection"))
    return found


def _weights(
    tensor: str, transposed: bool, order: str, words: str, parts: list[tuple[Kind, slice]], count: int, H: int, interleaved: bool
) -> Reading:
    blocks = []
    for kind, rows in parts:
        for units in _units(count, H, interleaved):
            blocks.append(Block(tensor, (units, rows) if transposed else (rows, units), kind, transposed))
    width = _times(count)
    return Reading(
        tensor,
        f"{width} {words}" if transposed else f"{words} {width}",
        tuple(blocks),
        "rows" if transposed else "columns",
        order,
        interleaved,
    )


def _vectors(tensor: str, shape: tuple[int, ...], sizes: Mapping[str, int]) -> tuple[Reading, ...]:
    """(kH,), (1, kH), (kH, 1), (2, kH) and (k, H): biases and peepholes.  Up to 8 blocks: two biases of an LSTM end to end."""
    H = sizes["H"]
    lead: tuple[int, ...]
    trail: tuple[int, ...]
    if len(shape) == 2 and shape[1] == 1 and shape[0] % H == 0:
        lead, length, trail = (), shape[0], (0,)
    elif shape and shape[-1] % H == 0 and len(shape) <= 2:
        lead, length, trail = shape[:-1], shape[-1], ()
    else:
        return ()
    count = length // H
    copies = lead[0] if lead else 1
    if not 1 <= count * copies <= 2 * MOST_BLOCKS or copies > MOST_BLOCKS:
        return ()
    words = " ".join([*map(str, lead), _times(count), *("1" for _ in trail)])
    found = []
    for interleaved in (False, True) if 1 < count <= MOST_BLOCKS else (False,):
        blocks: list[Block] = []
        for k in range(copies):
            for units in _units(count, H, interleaved):
                blocks.append(Block(tensor, (*((k,) if lead else ()), units, *trail), "b"))
        found.append(Reading(tensor, words, tuple(blocks), "vector", "", interleaved))
    return tuple(found)


def _units(count: int, H: int, interleaved: bool) -> list[slice]:
    """The units of each gate: blocks of H side by side, or (interleaved) the gates of one unit side by side."""
    if count == 1:
        return [slice(None)]
    if interleaved:
        return [slice(k, None, count) for k in range(count)]
    return [slice(k * H, (k + 1) * H) for k in range(count)]


def _times(count: int) -> str:
    return "H" if count == 1 else f"{count}H"
