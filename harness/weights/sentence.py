"""A mapping in a sentence: which cell, blocks in which order, weights which way round, how many biases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from bptt.harness.weights.map import Piece, WeightMap
from bptt.harness.weights.shapes import Reading

NUMBERS = {0: "no", 1: "one", 2: "two", 3: "three", 4: "four"}


@dataclass(frozen=True)
class Extras:
    """What a cell does at run time beyond its parameters: LSTMs only."""

    forget_bias: float = 0.0
    cell_clip: float | None = None
    proj_clip: float | None = None


def sentence(mapping: WeightMap, layout: tuple[Reading, ...], extras: Extras) -> str:
    """ "an LSTM, blocks i f g o, weights as rows (4H, D), two biases, forget bias 0"."""
    name = mapping.cell.name
    if name.startswith("elman"):
        activation = {"elman": "tanh", "elman_linear": "no activation"}.get(name, name.removeprefix("elman_"))
        parts = [f"an Elman cell ({activation})"]
    elif name.startswith("gru"):
        polarity = {p.sign for p in mapping.pieces if p.reference == "W_x" and p.gate == "z"}
        parts = [
            "a GRU",
            "reset before the product" if name == "gru_reset_before" else "reset after the product",
            "z opens the new state" if polarity == {-1.0} else "z keeps the old state",
            _blocks(mapping, layout),
        ]
    else:
        parts = ["an LSTM", _blocks(mapping, layout)]
    parts += [_weights(layout), _biases(mapping)]
    if parts[0] == "an LSTM":
        bias = extras.forget_bias
        parts.append(f"forget bias {bias:g} added at run time" if bias else "forget bias 0")
        if any(piece.reference == "p" for piece in mapping.pieces):
            parts.append("peepholes (o reads the new c)")
        if any(piece.reference == "W_p" for piece in mapping.pieces):
            parts.append("output projected to P values")
        if extras.cell_clip is not None:
            parts.append(f"c clipped to {extras.cell_clip:g}")
        if extras.proj_clip is not None:
            parts.append(f"projection clipped to {extras.proj_clip:g}")
        if list(mapping.state.values()) == ["c", "h"]:
            parts.append("state (c, h)")
    return ", ".join(part for part in parts if part)


def _blocks(mapping: WeightMap, layout: tuple[Reading, ...]) -> str:
    """The order of the gates; that of x and h apart where they differ."""
    orders = {reference: _gates(p for p in mapping.pieces if p.reference == reference) for reference in ("W_x", "W_h")}
    fused = [reading for reading in layout if reading.kinds() & {"x", "h"} and len(reading.blocks) > len(reading.kinds())]
    if not fused:
        one_kernel = any(len(reading.order) > 1 for reading in layout)  # "one kernel a gate" says it all
        return "" if one_kernel else "one tensor a gate"
    words = "gates of a unit side by side, in order" if any(reading.interleaved for reading in layout) else "blocks"
    if orders["W_x"] == orders["W_h"]:
        return f"{words} {' '.join(orders['W_x'])}"
    return f"{words} {' '.join(orders['W_x'])} on x and {' '.join(orders['W_h'])} on h"


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
    """How many biases a gate has; the GRU's n counts its two (inside and outside of r) apart."""
    biases = [piece for piece in mapping.pieces if piece.reference in {"b", "b_x", "b_h"}]
    counts = Counter(piece.gate for piece in biases)
    if mapping.cell.name == "gru_reset_after" and counts["n"] == 2 and {p.reference for p in biases if p.gate == "n"} == {"b_x"}:
        return "two biases, both of n outside of the reset"
    most = max(counts.values(), default=0)
    if most == 1 and ("b_h", "n") in {(piece.reference, piece.gate) for piece in biases}:
        return "one bias, that of n multiplied by r"
    if len(set(counts.values())) <= 1 and set(counts) in (set(), set(mapping.cell.gates), {"h"}):
        return f"{NUMBERS.get(most, str(most))} bias{'es' if most > 1 else ''}"
    if set(counts) == set(mapping.cell.gates) and counts["n"] == 2 and most == 2 and sum(counts.values()) == len(counts) + 1:
        return "one bias and a second one for n on h"
    each = ", ".join(f"{NUMBERS.get(counts[gate], str(counts[gate]))} for {gate}" for gate in mapping.cell.gates)
    return f"biases: {each}"
