"""The line of the user's backward that computes the wrong value: found by its numbers, in the backward's own trace."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bptt.harness.graph.naming.edits import Edit, Impossible, applies, edited_share, edited_sweep
from bptt.harness.graph.naming.point import Point
from bptt.harness.graph.naming.units import Edge
from bptt.harness.graph.tracing.node import Frame, Graph, Node
from bptt.harness.subject import Array


def wrong_line(point: Point, edits: Sequence[Edit], edit: Edit, backward: Graph, scale: float = 1.0) -> Frame | None:
    """Where the backward first computes what `edit` gives: the share itself, or the sum that lacks it.   None where no value tells.

    scale   what the backward's own numbers are to be multiplied with

    What goes into right gradients too is not where it is: a right value can be the wrong one elsewhere.
    """
    where = point.model.by_key[edit.target]
    try:
        bars = edited_sweep(point.exact[0], edits, point.sizes)
    except Impossible:
        return None
    if edit.act == "times" and edit.factor == "0":
        for node, place in point.model.graph.cuts:
            if any(edge.p == node for edge in where.edges):
                return place[-1]
    wrong = {_OUTPUT[kind] + (name,) for kind, name in point.wrong}
    flows = _flows(backward)
    spare: Frame | None = None
    for edge in reversed(where.edges):
        if not applies(point.model, edit, edge, len(where.edges)):
            continue
        for wanted in _wanted(point, edge, edit, bars):
            equal = [_placed(backward, n) for n in _equal(backward, wanted / scale)]
            equal = [n for n in equal if n.place]
            own = [n for n in equal if flows[n.index] and flows[n.index] <= wrong] or [n for n in equal if flows[n.index] & wrong]
            if own and (flows[own[0].index] <= wrong or wanted is not None):
                if flows[own[0].index] <= wrong:
                    return own[0].place[-1]
                spare = spare or own[0].place[-1]
            elif equal:
                spare = spare or equal[0].place[-1]
    return spare


_OUTPUT: dict[str, tuple[str]] = {"params": ("dparams",), "xs": ("dxs",), "state": ("dstate",)}


def _flows(graph: Graph) -> list[frozenset[tuple[str, str]]]:
    """node -> the gradients that it goes into."""
    found: list[set[tuple[str, str]]] = [set() for _ in graph.nodes]
    for name, node in graph.outputs.items():
        found[node].add(name)
    for one in reversed(graph.nodes):
        for a in one.args:
            found[a] |= found[one.index]
    return [frozenset(f) for f in found]


def _wanted(point: Point, edge: Edge, edit: Edit, bars: dict[int, Array]) -> list[Array]:
    """The wrong share, and the wrong sum that it goes into; nothing that is zero or a single number."""
    where = point.model.by_key[edit.target]
    try:
        share = edited_share(point.model, edge, bars.get(edge.y), bars, edit, where, point.sizes)
    except Impossible:
        share = None
    found = [value for value in (share, bars.get(edge.p)) if value is not None and np.any(value)]
    return [np.asarray(value) for value in found]


def _placed(graph: Graph, node: Node) -> Node:
    """The node, or, where the user's code has not computed it (an argument), the first operation that reads it."""
    return node if node.place else next((n for n in graph.nodes if n.place and node.index in n.args), node)


def _equal(graph: Graph, wanted: Array) -> list[Node]:
    """Nodes with these numbers, as they are or transposed, in the order in which they were computed."""
    size = float(np.max(np.abs(wanted)))
    squeezed = [np.squeeze(form) for form in ((wanted, wanted.T) if wanted.ndim == 2 else (wanted,))]
    found = []
    for node in graph.nodes:
        value = graph.values[node.index]
        if node.op == "constant" or value.size != wanted.size:
            continue
        plain = np.squeeze(value)
        if any(plain.shape == form.shape and np.all(np.abs(plain - form) <= 1e-9 * size) for form in squeezed):
            found.append(node)
    return found
