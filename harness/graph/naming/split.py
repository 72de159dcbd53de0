"""One activation over several gates at once, seen as an activation for each: part(f(a)) = f(part(a)), entry by entry.

A cell that computes s = sigmoid(x @ W + h @ U) and takes i, f, o out of s has one operation where a person thinks of three, and makes
its mistakes in one of them.  Here the parts are taken first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from bptt.harness.graph.tracing import statements
from bptt.harness.graph.tracing.node import Graph, Node
from bptt.harness.graph.tracing.operations import Gather
from bptt.harness.subject import Array

#: What marks 1 - z where the user computes it in another way.
COMPLEMENT = "complement"


def unpacked(graph: Graph) -> Graph:
    """The graph in which each of several names that one statement takes from an array knows which it is: p_i, p_f, p_o = p."""
    rows: dict[object, set[int]] = defaultdict(set)

    def key(node: Node) -> object:
        if node.op != "gather" or len(node.args) != 1 or node.settings.part >= 0 or not node.place or not node.settings.index.size:
            return None
        return (node.place, node.args) if statements.written_part(node.place[-1], 0) else None

    for node in graph.nodes:
        if (place := key(node)) is not None:
            rows[place].add(int(node.settings.index.min()))
    if not any(len(first) > 1 for first in rows.values()):
        return graph
    nodes = []
    for node in graph.nodes:
        part = -1 if (place := key(node)) is None else sorted(rows[place]).index(int(node.settings.index.min()))
        nodes.append(node if part < 0 else replace(node, part=part, settings=replace(node.settings, part=part)))
    return replace(graph, nodes=tuple(nodes))


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
    together: dict[int, set[int]] = defaultdict(set)  # a helper may give two functions of one array
    for y, base in bases.items():
        together[base].update(regions[y])
    for y, base in bases.items():
        inside = together[base]
        alone = y not in outputs and not any(r.index not in inside for n in regions[y] if n != y for r in readers[n])
        some = any(graph.values[r.index].size < graph.values[y].size for r in readers[y])
        if alone and some and all(_is_part(r) for r in readers[y]) and _same_shapes(graph, regions[y], y):
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
    return renumbered(graph, nodes, values, at)


def complemented(graph: Graph, bases: Mapping[int, int]) -> Graph:
    """The graph with an activation that is 1 minus another of the same array written so: z_bar = 1 - z, as it is differentiated."""
    groups: dict[object, list[int]] = defaultdict(list)
    for y, a in bases.items():
        node = graph.nodes[a]
        part = node.op == "gather" and len(node.args) == 1
        groups[(node.args, np.asarray(node.settings.index).tobytes()) if part else a].append(y)
    instead: dict[int, int] = {}
    for members in groups.values():
        for u, v in combinations(sorted(members), 2):
            one, other = graph.values[u], graph.values[v]
            if one.shape == other.shape and np.allclose(one + other, 1, rtol=0, atol=1e-12):
                base = graph.values[bases[u]]
                rises = float(np.sum((base - base.mean()) * (one - one.mean()))) > 0  # the gate is the one that opens
                instead |= {v: u} if rises or u in _ancestors(graph, v) else {u: v}
    if not instead:
        return graph
    nodes: list[Node] = []
    values: list[Array] = []
    at: dict[int, int] = {}
    for node in _in_order(graph, instead):
        value = graph.values[node.index]
        moved = replace(node, args=tuple(at[a] for a in node.args))
        if node.index in instead and instead[node.index] not in instead:
            nodes.append(Node(len(nodes), "constant", (), None, ()))
            values.append(np.ones((), value.dtype))
            moved = replace(moved, op="subtract", args=(len(nodes) - 1, at[instead[node.index]]), settings=COMPLEMENT)
        at[node.index] = len(nodes)
        nodes.append(replace(moved, index=len(nodes)))
        values.append(value)
    return renumbered(graph, nodes, values, at)


def _ancestors(graph: Graph, n: int) -> frozenset[int]:
    """All that a node is computed from, and itself."""
    found, pending = {n}, [n]
    while pending:
        for a in graph.nodes[pending.pop()].args:
            if a not in found:
                found.add(a)
                pending.append(a)
    return frozenset(found)


def _in_order(graph: Graph, instead: Mapping[int, int]) -> Iterator[Node]:
    """The nodes, each after what it is computed from where `instead` says from what."""
    done: set[int] = set()
    for node in graph.nodes:
        first = _ancestors(graph, instead[node.index]) if node.index in instead else frozenset[int]()
        for n in sorted((first | {node.index}) - done, key=lambda n: (n == node.index, n)):
            done.add(n)
            yield graph.nodes[n]


def renumbered(graph: Graph, nodes: Sequence[Node], values: Sequence[Array], at: Mapping[int, int]) -> Graph:
    outputs = {name: at[n] for name, n in graph.outputs.items()}
    cuts = tuple((at[n], at.get(before, len(nodes)), place) for n, before, place in graph.cuts)
    return Graph(tuple(nodes), tuple(values), outputs, graph.lost, cuts)


def _is_part(node: Node) -> bool:
    return node.op == "gather" and len(node.args) == 1 and bool(np.all(node.settings.index >= 0))


def _same_shapes(graph: Graph, region: Sequence[int], y: int) -> bool:
    """Whether every operation of the region has y's shape, and reads arrays of it or single numbers."""
    shape = graph.values[y].shape
    read = {a for n in region for a in graph.nodes[n].args}
    return all(graph.values[n].shape == shape for n in region) and all(
        graph.values[a].shape == shape or graph.values[a].size == 1 for a in read
    )
