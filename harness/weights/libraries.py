"""Whose arrangement of weights it is: the blocks of several gates side by side in one tensor, in whose order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import lru_cache

from bptt.harness.weights.convention_map import mapping as map_of
from bptt.harness.weights.conventions import CONVENTIONS, same_but_for_options
from bptt.harness.weights.map import Index, Piece, WeightMap, of_layer, suffixes
from bptt.refimpl.cells.cell import Cell

#: What a tensor has side by side, and the gates in their order: "x" or "h" (weights), "b" (a bias), "p" (diagonal weights), "xh", "hx" (one
#: kernel on both); "x unit by unit" where it is the gates of a unit that do.  Of a gate whose two biases act apart, one of them inside of a
#: product, that one has a *.
Order = tuple[str, str]

_NAMES = {"torch": "torch", "keras": "Keras", "flax": "Flax", "equinox": "Equinox", "haiku": "Haiku", "tf1": "TensorFlow 1", "onnx": "ONNX"}


def libraries(mapping: WeightMap) -> tuple[str, ...] | None:
    """The libraries that lay the gates' blocks out so; () where none does; None where no tensor has several gates."""
    found: tuple[str, ...] | None = None
    for suffix in suffixes(mapping.stack):
        layer = mapping if mapping.stack.bare else of_layer(mapping, suffix)
        if orders := _orders(layer):
            here = tuple(
                library for library, cell, theirs in _published() if same_but_for_options(cell, layer.cell) and _within(orders, theirs)
            )
            found = here if found is None else tuple(library for library in found if library in here)
    return None if found is None else tuple(dict.fromkeys(found))


def _within(orders: Counter[Order], theirs: Counter[Order]) -> bool:
    """Whether a library has these orders; those of one kernel on [x, h] may be the order of its separate weights."""
    apart = {gates for _, gates in theirs}
    return all((kind in ("xh", "hx") and gates in apart) or theirs[kind, gates] >= n for (kind, gates), n in orders.items())


@lru_cache(maxsize=1)
def _published() -> tuple[tuple[str, Cell, Counter[Order]], ...]:
    maps = ((name, map_of(convention, set(convention.tensors))) for name, convention in CONVENTIONS.items())
    return tuple((_library(name), found.cell, _orders(found)) for name, found in maps)


def _library(convention: str) -> str:
    first, _, rest = convention.partition(".")
    return _NAMES.get(first, first) if rest else "the reference"


def _orders(mapping: WeightMap) -> Counter[Order]:
    """The order of the blocks in each tensor that has several."""
    rows: dict[tuple[str, object], list[tuple[int, int, Piece]]] = defaultdict(list)
    for piece in mapping.pieces:
        role = mapping.cell.parameter(piece.reference).role
        if role in ("input", "recurrent", "bias", "diagonal"):
            row, unit, fan = _place(piece)
            group = (piece.tensor, row if role == "bias" else None)
            rows[group].append((unit if role != "diagonal" else unit + 10**6 * row, fan, piece))
    return Counter(order for placed in rows.values() for order in _orders_of(mapping, placed))


def _orders_of(mapping: WeightMap, placed: list[tuple[int, int, Piece]]) -> Iterator[Order]:
    by_role: dict[str, list[tuple[int, int, Piece]]] = defaultdict(list)
    for one in placed:
        by_role[mapping.cell.parameter(one[2].reference).role].append(one)
    ordered = {role: sorted(several, key=lambda one: one[:2]) for role, several in by_role.items()}
    gates = {role: "".join(_gate(mapping, piece) for _, _, piece in several) for role, several in ordered.items()}
    if "input" in gates and "recurrent" in gates:
        first = min(fan for _, fan, _ in ordered["input"]) < min(fan for _, fan, _ in ordered["recurrent"])
        kernel = "xh" if first else "hx"
        if len(ordered["input"]) > 1:
            yield kernel, gates["input"] if gates["input"] == gates["recurrent"] else f"{gates['input']} {gates['recurrent']}"
        return
    for role, order in gates.items():
        if len(ordered[role]) > 1:
            strided = any(isinstance(i, slice) and i.step is not None for _, _, piece in ordered[role] for i in piece.index)
            kind = {"input": "x", "recurrent": "h", "bias": "b", "diagonal": "p"}[role]
            yield f"{kind} unit by unit" if strided else kind, order


def _gate(mapping: WeightMap, piece: Piece) -> str:
    parameter = mapping.cell.parameter(piece.reference)
    inside = parameter.role == "bias" and piece.gate in mapping.cell.apart and bool(parameter.said)
    return piece.gate + "*" * inside


def _place(piece: Piece) -> tuple[int, int, int]:
    """Which row of leading copies, where along the axis of units, where along that of inputs."""
    leading = next((i for i in piece.index if isinstance(i, int)), 0)
    slices = [_start(i) for i in piece.index if isinstance(i, slice)]
    if len(slices) < 2:
        return leading, slices[0] if slices else 0, 0
    units, fan = slices[-2:] if piece.transposed else slices[-2:][::-1]
    return leading, units + 10**6 * leading, fan


def _start(index: slice | int | Index) -> int:
    return index.start or 0 if isinstance(index, slice) else 0
