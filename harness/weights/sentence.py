"""A mapping in a sentence: which cell, blocks in which order, weights which way round, how many biases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from bptt.harness.weights.map import Piece, WeightMap
from bptt.harness.weights.shapes import Reading
from bptt.refimpl.cells.cell import Role

NUMBERS = {0: "no", 1: "one", 2: "two", 3: "three", 4: "four"}


@dataclass(frozen=True)
class Extras:
    """What a cell does at run time beyond its parameters."""

    forget_bias: float = 0.0
    cell_clip: float | None = None
    proj_clip: float | None = None


def sentence(mapping: WeightMap, layout: tuple[Reading, ...], extras: Extras) -> str:
    """ "an LSTM, blocks i f g o, weights as rows (4H, D), two biases, forget bias 0"."""
    cell = mapping.cell
    negated = {piece.gate for piece in mapping.pieces if piece.sign < 0}
    used = {piece.reference for piece in mapping.pieces}
    parts = [cell.kind or cell.name, *cell.traits]
    parts += [complement.other if complement.gate in negated else complement.said for complement in cell.complements]
    parts += [_blocks(mapping, layout) if len(cell.gates) > 1 else "", _weights(layout), _biases(mapping)]
    if cell.forget is not None:
        parts.append(f"forget bias {extras.forget_bias:g} added at run time" if extras.forget_bias else "forget bias 0")
    parts += [parameter.said for parameter in cell.of_role("diagonal", "projection") if parameter.name in used]
    if extras.cell_clip is not None:
        parts.append(f"c clipped to {extras.cell_clip:g}")
    if extras.proj_clip is not None:
        parts.append(f"projection clipped to {extras.proj_clip:g}")
    if list(mapping.state.values()) == ["c", "h"]:
        parts.append("state (c, h)")
    return ", ".join(part for part in parts if part)


def _blocks(mapping: WeightMap, layout: tuple[Reading, ...]) -> str:
    """The order of the gates; that of x and h apart where they differ."""
    of_x, of_h = (_gates(p for p in mapping.pieces if p.reference in _named(mapping, role)) for role in ("input", "recurrent"))
    fused = [reading for reading in layout if reading.kinds() & {"x", "h"} and len(reading.blocks) > len(reading.kinds())]
    if not fused:
        one_kernel = any(len(reading.order) > 1 for reading in layout)  # "one kernel a gate" says it all
        return "" if one_kernel else "one tensor a gate"
    words = "gates of a unit side by side, in order" if any(reading.interleaved for reading in layout) else "blocks"
    return f"{words} {' '.join(of_x)}" if of_h in ([], of_x) else f"{words} {' '.join(of_x)} on x and {' '.join(of_h)} on h"


def _named(mapping: WeightMap, role: Role) -> set[str]:
    return {parameter.name for parameter in mapping.cell.of_role(role)}


def _gates(pieces: Iterable[Piece]) -> list[str]:
    return [piece.gate for piece in pieces]


def _weights(layout: tuple[Reading, ...]) -> str:
    matrices = [reading for reading in layout if reading.order]
    orders = {reading.order for reading in matrices}
    shapes = dict.fromkeys(f"({', '.join(reading.shape.split())})" for reading in matrices)
    if any(len(order) > 1 for order in orders):
        which = " or ".join(f"[{', '.join(order)}]" for order in sorted(orders))
        count = {1: "one kernel", 2: "two kernels"}.get(len(matrices), "one kernel a gate")
        return f"{count} on {which} {' '.join(shapes)}"
    styles = {reading.style for reading in matrices}
    if len(styles) == 1:
        return f"weights as {styles.pop()} {next(iter(shapes))}"
    by_order = {reading.order: reading.style for reading in matrices}
    return f"input weights as {by_order['x']}, recurrent weights as {by_order['h']}"


def _biases(mapping: WeightMap) -> str:
    """How many biases a gate has; a gate of which two act apart, one of them inside of a product, has the two told apart."""
    cell = mapping.cell
    biases = [piece for piece in mapping.pieces if piece.reference in _named(mapping, "bias")]
    counts = Counter(piece.gate for piece in biases)
    most, gates = max(counts.values(), default=0), set(cell.gates)
    for gate in cell.apart:
        inside = [p.said for p in cell.of_role("bias") if p.said and (p.name, gate) in {(piece.reference, piece.gate) for piece in biases}]
        if counts[gate] == 2 and not inside:
            return f"two biases, both of {gate} outside of the reset"
        if most == 1 and inside:
            return f"one bias, that of {gate} {inside[0]}"
        if set(counts) == gates and counts[gate] == most == 2 and sum(counts.values()) == len(counts) + 1:
            return f"one bias and a second one for {gate} on h"
    if len(set(counts.values())) <= 1 and (not counts or set(counts) == gates):
        return f"{NUMBERS.get(most, str(most))} bias{'es' if most > 1 else ''}"
    each = ", ".join(f"{NUMBERS.get(counts[gate], str(counts[gate]))} for {gate}" for gate in dict.fromkeys([*cell.gates, *counts]))
    return f"biases: {each}"
