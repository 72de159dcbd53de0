"""Weights carried from one convention into another, block by block.

Both conventions say of each of their blocks which canonical block it is added to (`WeightMap`).  Where a canonical block is made of as many
of the one as of the other, each is copied to its partner, so that nothing is lost to rounding; where not, their sum goes into the first
and zeros into the rest.  A run-time constant (a forget bias) is added or taken off.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bptt.harness.errors import UsageError
from bptt.harness.subject import Array, Arrays
from bptt.harness.weights.conventions import same_but_for_options
from bptt.harness.weights.map import Piece, WeightMap, place_of, resized, shape_of
from bptt.refimpl.cells import CELLS

Key = tuple[str, str]
_OF_LAYER = re.compile(r"(.+?)(_l\d+(?:_reverse)?)")


@dataclass(frozen=True)
class Carried:
    """`params` in the target's convention, and the way back for gradients.

    pull_back   dL/d(target's parameters) -> dL/d(source's parameters), both dicts of arrays: the transpose of the way there
    """

    params: dict[str, Array]
    pull_back: Callable[[Arrays], dict[str, Array]]


def carry(params: Arrays, source: WeightMap, target: WeightMap, names: tuple[str, str] = ("the source", "the target")) -> Carried:
    """`params` of `source`'s convention in `target`'s.

    Raises UsageError where that would lose something: another cell, a block that the target has no place for and that is not
    zero, a projection that only one of them has.  Raises ContractError where `params` are not as `source` describes them.
    """
    source = resized(source, params)
    refuse_other_cell(source, target, names)
    target = _at_sizes(target, source)
    pairs = list(_pairs(params, source, target, names))
    dtype = np.result_type(*{np.asarray(params[piece.tensor]).dtype for piece in source.pieces})
    carried = {tensor: np.zeros(shape_of(words, target.sizes), dtype) for tensor, words in target.tensors.items()}
    for pair in pairs:
        for (whence, to), offset in zip(pair.copies, pair.offsets, strict=True):
            block = np.asarray(sum(_read(params, piece) for piece in whence) + offset, dtype)  # the offset alone where there is no source
            add_block(carried, to, block)

    def pull_back(gradients: Arrays) -> dict[str, Array]:
        back = {name: np.zeros_like(np.asarray(value)) for name, value in params.items()}
        for pair in pairs:
            for whence, to in pair.copies:
                for piece in whence:
                    add_block(back, piece, _read(gradients, to))
        return back

    return Carried(carried, pull_back)


def refuse_other_cell(source: WeightMap, target: WeightMap, names: tuple[str, str]) -> None:
    """Raise UsageError where no weights make the target's cell compute what the source's does."""
    if not (source.stack.bare and target.stack.bare):
        one, other = _layers(source), _layers(target)
        if one != other:
            raise UsageError(f"{names[0]} is {one} and {names[1]} is {other}; no weights of the one make it the other")
        return
    a, b = source.cell.name, target.cell.name
    if same_but_for_options(source.cell, target.cell):
        return
    why = ""
    if source.cell.kind == target.cell.kind:
        why = f": one has the {', '.join(source.cell.traits)}, the other the {', '.join(target.cell.traits)}"
    raise UsageError(f"{names[0]} computes {a} and {names[1]} computes {b}; no weights of the one make it the other{why}")


def _layers(mapping: WeightMap) -> str:
    """The layers in words, as far as two stacks must have them in common."""
    cells, both = mapping.stack.cells, mapping.stack.bidirectional
    kinds = [next(other.name for other in CELLS.values() if same_but_for_options(other, cell)) for cell in cells]
    return f"{len(cells)} layer{'s' * (len(cells) > 1)} ({', '.join(kinds)}) in {'both directions' if both else 'one direction'}"


@dataclass(frozen=True)
class _Pair:
    """Pieces that are summed, the piece that receives them, and the constant that is added on the way."""

    copies: tuple[tuple[tuple[Piece, ...], Piece], ...]
    offsets: tuple[float, ...]


def _pairs(params: Arrays, source: WeightMap, target: WeightMap, names: tuple[str, str]) -> Iterator[_Pair]:
    ours, theirs = _by_block(source), _by_block(target)
    for key, pieces in ours.items():
        if key not in theirs:
            _refuse_unless_zero(params, key, pieces, names)
    for key, places in theirs.items():
        offset = _constant(source, key) - _constant(target, key)
        if key not in ours and _layer(key[0])[0] == "W_p":
            raise UsageError(f"{names[1]} has a projection and {names[0]} has none: there are no weights to put there")
        pieces = ours.get(key, [])
        copies: tuple[tuple[tuple[Piece, ...], Piece], ...]
        if len(pieces) == len(places):
            copies = tuple(((piece,), place) for piece, place in zip(pieces, places, strict=True))
        else:
            copies = ((tuple(pieces), places[0]),)
        yield _Pair(copies, (offset, *[0.0] * (len(copies) - 1)))
    for key, (_, value) in ((k, c) for k, c in _constants(source).items() if k not in theirs):
        raise UsageError(f"{names[0]} adds {value:g} to the bias of {key[1]} at run time and {names[1]} has no bias for it")


def _refuse_unless_zero(params: Arrays, key: Key, pieces: list[Piece], names: tuple[str, str]) -> None:
    what = {"p": "peephole", "W_p": "projection"}.get(_layer(key[0])[0], "bias" if key[0].startswith("b") else "weight")
    largest = max(float(np.max(np.abs(_read(params, piece)), initial=0.0)) for piece in pieces)
    if what == "projection" or largest > 0:
        tensor = ", ".join(dict.fromkeys(piece.tensor for piece in pieces))
        gate = f" of gate {key[1]} on h" if _layer(key[0])[0] == "b_h" else f" of gate {key[1]}" if what != "projection" else ""
        size = "" if what == "projection" else f" (up to {largest:.3g})"
        raise UsageError(f"{names[0]} has a {what}{gate} in {tensor}{size}, and {names[1]} has no place for it")


def _by_block(mapping: WeightMap) -> dict[Key, list[Piece]]:
    found: dict[Key, list[Piece]] = {}
    for piece in mapping.pieces:
        found.setdefault(_key(mapping, piece), []).append(piece)
    return found


def _key(mapping: WeightMap, piece: Piece) -> Key:
    base, layer = _layer(piece.reference)
    cell = mapping.stack.cells[place_of(piece.reference)[0]]
    biases = [parameter.name for parameter in cell.of_role("bias") if piece.gate in parameter.gates]
    if base in biases and piece.gate not in cell.apart:  # those of one gate are only added up
        return f"{biases[0]}{layer}", piece.gate
    return piece.reference, piece.gate


def _layer(name: str) -> tuple[str, str]:
    """A canonical name without its layer, and that: "W_x_l1_reverse" -> ("W_x", "_l1_reverse")."""
    match = _OF_LAYER.fullmatch(name)
    return (match[1], match[2]) if match else (name, "")


def _constants(mapping: WeightMap) -> dict[Key, tuple[Piece | None, float]]:
    """The run-time constants by the block that they are added to: only a forget bias is known."""
    return {(name, mapping.cell.forget or ""): (None, value) for name, (_, value) in mapping.constants.items() if value}


def _constant(mapping: WeightMap, key: Key) -> float:
    return _constants(mapping).get(key, (None, 0.0))[1]


def _at_sizes(target: WeightMap, source: WeightMap) -> WeightMap:
    """`target` with its indices written at the sizes of `source`."""
    sizes = {symbol: source.sizes.get(symbol, source.sizes["H"]) for symbol in target.sizes}
    empty = {name: np.empty(shape_of(words, sizes), bool) for name, words in target.tensors.items()}
    return resized(target, empty)


def _read(params: Arrays, piece: Piece) -> Array:
    """The block as the canonical tensor has it: inputs in rows, or one axis."""
    block = np.asarray(params[piece.tensor])[piece.index]
    block = block.T if piece.transposed else block
    block = block.reshape(-1) if 1 in block.shape and piece.reference.startswith(("b", "p")) else block
    return -block if piece.sign < 0 else block


def add_block(params: dict[str, Array], piece: Piece, block: Array) -> None:
    """Add a canonical block to its place."""
    target = params[piece.tensor][piece.index]
    value = -block if piece.sign < 0 else block
    if value.ndim:
        value = value.reshape(target.T.shape).T if piece.transposed else value.reshape(target.shape)
    target += value
