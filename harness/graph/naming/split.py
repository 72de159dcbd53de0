"""One activation over several gates at once, seen as an activation for each: part(f(a)) = f(part(a)), entry by entry.

A cell that computes s = sigmoid(x @ W + h @ U) and takes i, f, o out of s has one operation where a person thinks of three, and makes
its mistakes in one of them.  Here the parts are taken first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bptt.harness.graph.tracing.node import Graph, Node
from bptt.harness.graph.tracing.operations import Gather
from bptt.harness.subject import Array


def split_activations(graph: Graph, bases: Mapping[int, int], regions: Mapping[int, Sequence[int]]) -> Graph:
    """The graph with each activation of which only parts are read done part by part.   regions: the operations of each, in order"""
    readers: dict[int, list[Node]] = defaultdict(list)
    outputs = set(graph.outputs.values())
    used = set(outputs)
    for node in reversed(graph.nodes):  # what is written beside it, and read by nothing, does not count
        if node.index in used:
            used.update(node.args)
            for a in node.args:
                readers[a].append(node)
    parts: dict[int, int] = {}
    for y in bases:
        inside = set(regions[y])
        alone = y not in outputs and not any(r.index not in inside for n in regions[y] if n != y for r in readers[n])
        if alone and len(readers[y]) > 1 and all(_is_part(r) for r in readers[y]) and _same_shapes(graph, regions[y], y):
            parts.update({r.index: y for r in readers[y]})
    if not parts:
        return graph
    nodes: list[Node] = []
    values: list[Array] = []
    at: dict[int, int] = {}

    def put(node: Node, value: Array) -> int:
        nodes.append(replace(node, index=len(nodes)))
        values.append(value)
        return len(nodes) - 1

    for node in graph.nodes:
        if node.index not in parts:
            at[node.index] = put(replace(node, args=tuple(at[a] for a in node.args)), graph.values[node.index])
            continue
        y = parts[node.index]
        taken: dict[int, int] = {}

        def part_of(n: int, node: Node = node, taken: dict[int, int] = taken, shape: tuple[int, ...] = graph.values[y].shape) -> int:
            if n not in taken:
                whole = graph.values[n]
                if whole.shape != shape:
                    return at[n]
                settings = Gather(node.settings.index)
                place = node.place
                taken[n] = put(Node(0, "gather", (at[n],), settings, place, node.order), whole.reshape(-1)[node.settings.index])
            return taken[n]

        for n in regions[y]:
            old = graph.nodes[n]
            args = tuple(part_of(a) for a in old.args)
            value = graph.values[n]
            value = value.reshape(-1)[node.settings.index] if value.shape == graph.values[y].shape else value
            taken[n] = put(replace(old, args=args, place=node.place, part=node.settings.part), value)
        at[node.index] = taken[y]
    outputs_at = {name: at[n] for name, n in graph.outputs.items()}
    return Graph(
        tuple(nodes),
        tuple(values),
        outputs_at,
        graph.lost,
        tuple((at[n], at.get(before, len(nodes)), place) for n, before, place in graph.cuts),
    )


def _is_part(node: Node) -> bool:
    return node.op == "gather" and len(node.args) == 1 and bool(np.all(node.settings.index >= 0))


def _same_shapes(graph: Graph, region: Sequence[int], y: int) -> bool:
    """Whether every operation of the region has y's shape, and reads arrays of it or single numbers."""
    shape = graph.values[y].shape
    read = {a for n in region for a in graph.nodes[n].args}
    return all(graph.values[n].shape == shape for n in region) and all(
        graph.values[a].shape == shape or graph.values[a].size == 1 for a in read
    )
