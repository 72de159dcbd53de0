"""How a subject's parameters lie over those of a published cell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from bptt.harness.errors import ContractError
from bptt.harness.subject import Array, Arrays, Region
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.stack import REVERSE, Stack, single

Index = tuple[slice | int, ...]


@dataclass(frozen=True)
class Piece:
    """One block of a user's tensor and the block of the canonical tensor it is added to.

    canonical[reference][reference_index] += sign * user[tensor][index]     (.T first where `transposed`; a view of shape (1, k)
    or (k, 1) onto a bias block of shape (k,) is flattened).
    """

    tensor: str
    index: Index
    reference: str
    reference_index: Index
    gate: str
    transposed: bool = False
    sign: float = 1.0


@dataclass(frozen=True)
class WeightMap:
    """Affine map from a subject's parameters to canonical ones: pieces that are added up, and constants (a run-time forget bias).

    stack    what the parameters make: a cell is a stack of one layer.  Canonical tensors and states have the names that it gives
             them: W_x, h of a cell, W_x_l1_reverse, h_l0 of several layers
    shapes   the canonical tensors' shapes in words: {"W_x": "D 4H", "p": "3 H"}
    state    the subject's state name -> the canonical one ({"hidden": "h", "cell": "c"}); {} where the subject has no state
    sizes    D, H and P (the width of h) at which the indices are written
    tensors  the subject's shapes in words: {"kernel": "D+H 4H"}.  With them the map carries parameters of any other size too;
             empty: it holds at one size only
    """

    stack: Stack
    pieces: tuple[Piece, ...]
    shapes: Mapping[str, str]
    constants: Mapping[str, tuple[Index, float]] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    tensors: Mapping[str, str] = field(default_factory=dict)

    @property
    def cell(self) -> Cell:
        """The bottom layer's."""
        return self.stack.cells[0]


@dataclass(frozen=True)
class Identification:
    """Which published cell, in which convention.

    cell         a name that `like` accepts, of a stack that of its layers ("lstm", "lstm+elman" where they are not the same)
    convention   a sentence: "an LSTM, blocks i o f g, weights as rows, two biases"
    max_error    largest difference of outputs and final states to the reference with the weights carried over, relative to the
                 largest output
    mapping      how the weights were carried
    tried        number of candidates that were run
    """

    cell: str
    convention: str
    max_error: float
    mapping: WeightMap
    tried: int


def params_to_reference(mapping: WeightMap, params: Arrays) -> dict[str, Array]:
    """Canonical parameters that make the reference compute what the subject computes with `params`.

    Raises ContractError where `params` lack a tensor of the mapping or have another arrangement than it describes.
    """
    mapping = resized(mapping, params)
    dtype = np.result_type(np.float32, *{params[piece.tensor].dtype for piece in mapping.pieces})
    canonical = {name: np.zeros(shape_of(words, mapping.sizes), dtype) for name, words in mapping.shapes.items()}
    for piece in mapping.pieces:
        target = canonical[piece.reference][piece.reference_index]
        block = params[piece.tensor][piece.index]
        target += piece.sign * (block.T if piece.transposed else block).reshape(target.shape)
    for name, (index, value) in mapping.constants.items():
        canonical[name][index] += value
    return canonical


def gradients_from_reference(mapping: WeightMap, dparams: Arrays, params: Arrays) -> dict[str, Array]:
    """dL/d(user's tensor) from dL/d(canonical tensor): the transpose of the map above.  Shapes like `params`."""
    mapping = resized(mapping, params)
    dtype = np.result_type(*{value.dtype for value in dparams.values()})
    gradients = {name: np.zeros(np.shape(value), dtype) for name, value in params.items()}
    for piece in mapping.pieces:
        target = gradients[piece.tensor][piece.index]
        dblock = dparams[piece.reference][piece.reference_index]
        target += piece.sign * (dblock.reshape(target.T.shape).T if piece.transposed else dblock.reshape(target.shape))
    return gradients


def regions(mapping: WeightMap, params: Arrays | None = None) -> tuple[Region, ...]:
    """The gates' blocks in the user's tensors, for locating an error; at the sizes of `params` where given."""
    if params is not None:
        mapping = resized(mapping, params)
    bare = mapping.stack.bare
    return tuple(Region(p.tensor, _slices(p.index), p.gate, *(() if bare else place_of(p.reference))) for p in mapping.pieces)


def place_of(name: str) -> tuple[int, str]:
    """Layer and direction of a stack's tensor or state: "W_x_l1_reverse" -> (1, "reverse"), "W_x" -> (0, "forward")."""
    layer = name.removesuffix(REVERSE).rpartition("_l")[2]
    return int(layer) if layer.isdigit() else 0, "reverse" if name.endswith(REVERSE) else "forward"


def suffixes(stack: Stack) -> list[str]:
    """What the names of each layer and direction end with, the bottom layer's first."""
    return [suffix for k in range(len(stack.cells)) for suffix in stack.suffixes(k)]


def of(arrays: Mapping[str, Array], suffix: str) -> dict[str, Array]:
    """The arrays of one layer and direction, under the cell's own names."""
    return {name.removesuffix(suffix): a for name, a in arrays.items() if name.endswith(suffix)}


def of_layer(mapping: WeightMap, suffix: str) -> WeightMap:
    """One layer of a stack in one direction, by the suffix of its names, as a single cell; at the sizes of `mapping` alone."""
    pieces = tuple(
        replace(piece, reference=piece.reference.removesuffix(suffix)) for piece in mapping.pieces if piece.reference.endswith(suffix)
    )
    state = {mine: theirs.removesuffix(suffix) for mine, theirs in mapping.state.items() if theirs.endswith(suffix)}
    shapes = {name.removesuffix(suffix): words for name, words in mapping.shapes.items() if name.endswith(suffix)}
    constants = {name.removesuffix(suffix): value for name, value in mapping.constants.items() if name.endswith(suffix)}
    cell = mapping.stack.cells[place_of(suffix)[0]]
    return replace(mapping, stack=single(cell), pieces=pieces, shapes=shapes, constants=constants, state=state, tensors={})


def _slices(index: Index) -> tuple[slice, ...]:
    return tuple(i if isinstance(i, slice) else slice(i, i + 1) for i in index)


# ------------------------------------------------------------------------------------------------ shapes in words, other sizes


def terms(axis: str) -> list[tuple[int, str]]:
    """The terms of one axis: "D+4H" -> [(1, "D"), (4, "H")], "3" -> [(3, "")]."""
    return [(int(count or 1), symbol) for count, symbol in (_term(term) for term in axis.split("+"))]


def _term(term: str) -> tuple[str, str]:
    match = re.fullmatch(r"(\d*)([A-Z]?)", term)
    if not match:
        raise ValueError(f"axis term {term!r}, wanted a number, a letter or both, such as 4H")
    return match[1], match[2]


def shape_of(words: str, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The shape that `words` names at these sizes: "D+H 4H" -> (12, 20) for D=7, H=5."""
    return tuple(_bounds(axis, sizes)[-1] for axis in words.split())


def resized(mapping: WeightMap, params: Arrays) -> WeightMap:
    """The same mapping with its indices written for the sizes of `params`.  Raises ContractError where there is none."""
    if not mapping.tensors:
        return mapping
    sizes = _sizes_of(mapping, params)
    if sizes == mapping.sizes:
        return mapping

    def moved(index: Index, words: str) -> Index:
        return tuple(_moved(i, axis, mapping.sizes, sizes) for i, axis in zip(index, words.split(), strict=False))

    pieces = tuple(
        replace(
            piece,
            index=moved(piece.index, mapping.tensors[piece.tensor]),
            reference_index=moved(piece.reference_index, mapping.shapes[piece.reference]),
        )
        for piece in mapping.pieces
    )
    constants = {name: (moved(index, mapping.shapes[name]), value) for name, (index, value) in mapping.constants.items()}
    return replace(mapping, pieces=pieces, constants=constants, sizes=sizes)


def _sizes_of(mapping: WeightMap, params: Arrays) -> dict[str, int]:
    """D, H, P from the lengths of all axes: linear equations, more of them than unknowns."""
    symbols = list(mapping.sizes)
    rows: list[list[int]] = []
    lengths: list[int] = []
    for name, words in mapping.tensors.items():
        if name not in params:
            raise ContractError(f"parameter {name!r} is missing, wanted {', '.join(mapping.tensors)} (got {', '.join(params)})")
        axes, shape = words.split(), np.shape(params[name])
        if len(axes) != len(shape):
            raise ContractError(f"parameter {name!r} has shape {shape}, wanted ({', '.join(axes)})")
        for axis, length in zip(axes, shape, strict=True):
            coefficients, fixed = dict.fromkeys(symbols, 0), 0
            for count, symbol in terms(axis):
                if symbol:
                    coefficients[symbol] += count
                else:
                    fixed += count
            if any(coefficients.values()):
                rows.append([coefficients[symbol] for symbol in symbols])
                lengths.append(length - fixed)
    solution = np.linalg.lstsq(np.array(rows, float), np.array(lengths, float), rcond=None)[0]
    sizes = {symbol: round(float(value)) for symbol, value in zip(symbols, solution, strict=True)}
    for name, words in mapping.tensors.items():
        if shape_of(words, sizes) != np.shape(params[name]):
            wanted = ", ".join(words.split())
            raise ContractError(f"parameter {name!r} has shape {np.shape(params[name])}, wanted ({wanted}) like the rest")
    return sizes


def _bounds(axis: str, sizes: Mapping[str, int]) -> list[int]:
    """Where the blocks of an axis begin and end: "D+2H" at D=7, H=5 -> [0, 7, 12, 17]."""
    bounds = [0]
    for count, symbol in terms(axis):
        width = sizes[symbol] if symbol else 1
        bounds += [bounds[-1] + width * (k + 1) for k in range(count)]
    return bounds


def _moved(index: slice | int, axis: str, old: Mapping[str, int], new: Mapping[str, int]) -> slice | int:
    if isinstance(index, int) or index.step is not None or index == slice(None):
        return index
    move = dict(zip(_bounds(axis, old), _bounds(axis, new), strict=True))
    return slice(move[index.start or 0], move[index.stop])
