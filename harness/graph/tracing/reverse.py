"""Reverse mode over a graph: the exact gradient, in NumPy alone and in any number system, independent of the user's backward.

For every node y = f(a, b, ...), from the last to the first: dL/da += f's vector-Jacobian product of dL/dy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import Cotangent, Data
from bptt.harness.graph.tracing.node import Graph
from bptt.harness.graph.tracing.operations import like_zeros, pull
from bptt.harness.subject import Array


def cotangents_of(graph: Graph, cotangent: Cotangent) -> dict[int, Array]:
    """dL/d(output node), of those that the loss reads."""
    found: dict[int, Array] = {}
    for (kind, name), node in graph.outputs.items():
        d = cotangent.dys if kind == "ys" else cotangent.dfinal.get(name)
        if d is not None:
            found[node] = found[node] + d if node in found else d
    return found


def sweep(graph: Graph, values: Sequence[Array], bars: Mapping[int, Array]) -> dict[int, Array]:
    """dL/d(node) for every node on a way from an input to the loss."""
    needed = reaches_inputs(graph)
    found: dict[int, Array] = dict(bars)
    with np.errstate(all="ignore"):
        for node in reversed(graph.nodes):
            g = found.get(node.index)
            if g is None or node.op in ("input", "constant"):
                continue
            args = [values[a] for a in node.args]
            for k, a in enumerate(node.args):
                if a not in needed:
                    continue
                share = pull(node.op, node.settings, k, g, values[node.index], args)
                if share is not None:
                    found[a] = found[a] + share if a in found else share
    return found


def reaches_inputs(graph: Graph) -> frozenset[int]:
    """Nodes whose value depends on an input."""
    found: set[int] = set()
    for node in graph.nodes:
        if node.op == "input" or any(a in found for a in node.args):
            found.add(node.index)
    return frozenset(found)


def gradients(graph: Graph, values: Sequence[Array], cotangent: Cotangent, data: Data) -> Gradients:
    """dL/d(params, xs, state) with L = <dys, ys> + <dfinal, final>; zeros where no way leads."""
    return gathered(graph, sweep(graph, values, cotangents_of(graph, cotangent)), values, data)


def gathered(graph: Graph, bars: Mapping[int, Array], values: Sequence[Array], data: Data) -> Gradients:
    """The bars of the inputs under their names."""
    by_name = {node.name: node.index for node in graph.nodes if node.op == "input"}

    def of(kind: str, name: str) -> Array | None:
        index = by_name.get((kind, name))
        if index is None:
            return None
        return bars[index] if index in bars else like_zeros(values[index].shape, values[index])

    params = {name: g for name in data.params if (g := of("params", name)) is not None}
    state = {name: g for name in data.state if (g := of("state", name)) is not None}
    return Gradients(params, of("xs", ""), state)
