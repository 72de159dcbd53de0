"""The values of a graph again, from other inputs: in float64, longdouble, or object arrays of numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bptt.harness.graph.tracing.node import Graph
from bptt.harness.graph.tracing.operations import laid_out, value_of
from bptt.harness.subject import Array


def replay(graph: Graph, inputs: Mapping[tuple[str, str], Array]) -> tuple[Array, ...]:
    """The value of each node; inputs that are not given keep what they were.   Layouts are kept, so float64 gives the same bits."""
    values: list[Array] = []
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            if node.op == "input":
                assert node.name is not None
                values.append(inputs.get(node.name, graph.values[node.index]))
            elif node.op == "constant":
                values.append(graph.values[node.index])
            else:
                value = value_of(node.op, node.settings, [values[a] for a in node.args])
                values.append(laid_out(value, node.order) if node.op == "gather" else value)
    return tuple(values)
