"""A published convention as a `WeightMap`: which block of which tensor is which block of the canonical cell."""

from __future__ import annotations

from bptt.harness.errors import UsageError
from bptt.harness.weights.conventions import Convention, Tensor, same_but_for_options
from bptt.harness.weights.map import Index, Piece, WeightMap
from bptt.refimpl.cells import CELLS
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.stack import single

#: The sizes at which the indices are written; a mapping carries them to any other.
_SIZES = {"D": 3, "H": 5, "P": 2}


def mapping(of: Convention, names: frozenset[str] | set[str]) -> WeightMap:
    """How the tensors of `names` lie over the canonical cell, at any sizes.

    Raises UsageError where one is missing that the convention always has, or one is there that it never has.
    """
    missing = [name for name, tensor in of.tensors.items() if tensor.needed and name not in names]
    unknown = sorted(name for name in names if name not in of.tensors)
    if missing or unknown:
        said = f"{'lack' if missing else 'have'} {', '.join(missing or unknown)}"
        raise UsageError(f"weights of {of.name} {said}, wanted {_wanted(of)}; got {', '.join(sorted(names))}")
    tensors = {name: tensor for name, tensor in of.tensors.items() if name in names}
    projected = any(tensor.holds == "W_p" for tensor in tensors.values())
    words = {name: _projected(tensor, projected) for name, tensor in tensors.items()}
    cell = _cell(of, {tensor.holds for tensor in tensors.values()})
    shapes = {parameter.name: parameter.shape(projected) for parameter in cell.parameters}
    pieces = tuple(piece for name, tensor in tensors.items() for piece in _pieces(name, tensor, words[name], cell, of.negated))
    constants: dict[str, tuple[Index, float]] = {}
    if of.forget_bias and cell.forget is not None:
        bias = next(parameter for parameter in cell.of_role("bias") if cell.forget in parameter.gates)
        constants[bias.name] = bias.place(cell.forget, _SIZES["H"]), of.forget_bias
    sizes = {k: v for k, v in _SIZES.items() if k != "P" or projected}
    return WeightMap(single(cell), pieces, shapes, constants, {}, sizes, words)


def _wanted(of: Convention) -> str:
    return ", ".join(name if tensor.needed else f"[{name}]" for name, tensor in of.tensors.items())


def _projected(tensor: Tensor, projected: bool) -> str:
    """The shape in words; the axis of h counts P where the output is projected."""
    if not projected or tensor.holds not in ("h", "xh"):
        return tensor.shape
    return " ".join({"H": "P", "D+H": "D+P"}.get(axis, axis) for axis in tensor.shape.split())


def _cell(of: Convention, holds: set[str]) -> Cell:
    """The canonical cell that the tensors make."""
    clips = {name: of.options.get(name) or None for name in ("cell_clip", "proj_clip")}
    if clips["proj_clip"] and "W_p" not in holds:
        raise UsageError(f"{of.name}: proj_clip without a projection: weights have no projection/kernel")
    named = CELLS[of.cell]
    alike = [cell for cell in CELLS.values() if same_but_for_options(named, cell)]
    optional = {p.name for cell in alike for p in cell.of_role("diagonal", "projection")} & holds
    for cell in (named, *alike):
        own = {p.name for p in cell.of_role("diagonal", "projection")}
        if cell.options is None and own == optional and not any(clips.values()):
            return cell
    return next(cell.options for cell in alike if cell.options is not None)(frozenset(optional), clips["cell_clip"], clips["proj_clip"])


def _pieces(name: str, tensor: Tensor, words: str, cell: Cell, negated: str) -> list[Piece]:
    if tensor.holds == "W_p":
        whole = (slice(None), slice(None))
        return [Piece(name, whole, "W_p", whole, "", tensor.rows)]
    axes = words.split()
    copies = int(axes.pop(0)) if axes[0].isdigit() else 0
    kinds, rows = tensor.holds.split("+"), tensor.blocks.split()
    found = []
    for row, order in enumerate(rows):
        kind = kinds[min(row, len(kinds) - 1)]
        front: Index = () if not copies else (row if copies == len(rows) else 0,)
        first = 0 if copies in (0, len(rows)) else row * len(order)
        for place, gate in enumerate(order, start=first):
            for part in ("x", "h") if kind == "xh" else (kind,):
                index = (*front, *_index(part, kind, axes, place, tensor.rows))
                sign = -1.0 if gate in negated else 1.0
                found.append(Piece(name, index, *_canonical_place(part, gate, cell), gate, tensor.rows and len(axes) == 2, sign))
    return found


def _index(part: str, kind: str, axes: list[str], place: int, rows: bool) -> Index:
    """Where the block `place` along the axis of units lies; of a kernel on [x, h], the rows of `part`."""
    H, D = _SIZES["H"], _SIZES["D"]
    of_units = axes[0] if rows or len(axes) == 1 else axes[1]
    units = slice(None) if of_units == "H" else slice(place * H, (place + 1) * H)
    if len(axes) == 1:
        return (units,)
    width = _SIZES[axes[1 if rows else 0][-1]]
    inputs = slice(None) if kind != "xh" else slice(0, D) if part == "x" else slice(D, D + width)
    return (units, inputs) if rows else (inputs, units)


def _canonical_place(part: str, gate: str, cell: Cell) -> tuple[str, Index]:
    parameter = cell.parameter(f"W_{part}" if part in ("x", "h") else part)
    return parameter.name, parameter.place(gate, _SIZES["H"])
