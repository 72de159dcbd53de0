"""The line of the user's backward that computes the wrong value: found by its numbers, in the backward's own trace."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bptt.harness.graph.edits import WHEN, Edit, Impossible, edited_share, edited_sweep
from bptt.harness.graph.node import Frame, Graph, Node
from bptt.harness.graph.point import Point
from bptt.harness.graph.units import Edge
from bptt.harness.subject import Array


def wrong_line(point: Point, edits: Sequence[Edit], edit: Edit, backward: Graph) -> Frame | None:
    """Where the backward first computes what `edit` gives: the share itself, or the sum that lacks it.   None where no value tells."""
    where = point.model.by_key[edit.target]
    try:
        bars = edited_sweep(point.exact[0], edits, point.sizes)
    except Impossible:
        return None
    for edge in reversed(where.edges):
        if not WHEN[edit.when](edge.step, len(where.edges)):
            continue
        for wanted in _wanted(point, edge, edit, bars):
            if (node := _first_equal(backward, wanted)) is not None:
                return node.place[-1] if node.place else None
    return None


def _wanted(point: Point, edge: Edge, edit: Edit, bars: dict[int, Array]) -> list[Array]:
    """The wrong share, and the wrong sum that it goes into; nothing that is zero or a single number."""
    where = point.model.by_key[edit.target]
    try:
        share = edited_share(point.model, edge, bars.get(edge.y), bars, edit, where, point.sizes)
    except Impossible:
        share = None
    found = [value for value in (share, bars.get(edge.p)) if value is not None and value.size > 1 and np.any(value)]
    return [np.asarray(value) for value in found]


def _first_equal(graph: Graph, wanted: Array) -> Node | None:
    size = float(np.max(np.abs(wanted)))
    forms = (wanted, wanted.T) if wanted.ndim == 2 else (wanted,)
    squeezed = [np.squeeze(form) for form in forms]
    for node in graph.nodes:
        value = graph.values[node.index]
        if node.op in ("input", "constant") or value.size != wanted.size or not node.place:
            continue
        plain = np.squeeze(value)
        if any(plain.shape == form.shape and np.all(np.abs(plain - form) <= 1e-9 * size) for form in squeezed):
            return node
    return None
