"""A graph's operations joined to what a person differentiates in one go, and the same place of the code at every step.

An activation, however it is spelt (1 / (1 + np.exp(-a)), a helper of several lines), is one unit with one derivative f'(a).
All that one place of the code does, over the steps, is one class: a line is one place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from bptt.harness.graph.naming.split import COMPLEMENT, complemented, split_activations, unpacked
from bptt.harness.graph.tracing.node import Frame, Graph, Node, Place
from bptt.harness.graph.tracing.operations import ELEMENTWISE, like_zeros, local, pull, unbroadcast, value_of
from bptt.harness.graph.tracing.reverse import reaches_inputs
from bptt.harness.subject import Array

Pull = Callable[[Array], Array | None]
#: The place of a unit in the code and what it does there; with a slot, one of its edges.
UnitKey = tuple[Place, str, int]


@dataclass(frozen=True)
class Edge:
    """y reads p, its argument `arg`; `slot` is that of its class.

    number   among all edges of the model;   step: which time the place is passed
    """

    number: int
    y: int
    p: int
    slot: int
    key: UnitKey
    step: int = 0
    arg: int = 0


@dataclass(frozen=True)
class EdgeClass:
    """The same edge at every step, first step first."""

    key: UnitKey
    slot: int
    edges: tuple[Edge, ...]
    kind: str  # "activation", "multiply", "matmul", "einsum", "move", "add", "other"
    frame: Frame | None


@dataclass
class Model:
    """A graph with its values, seen as units and edges.

    derivative   of activations, f'(a) of the shape of y
    called       what the user's backward calls the gradients of some nodes
    """

    graph: Graph
    values: Sequence[Array]
    bases: Mapping[int, int] = field(default_factory=dict)
    derivative: Mapping[int, Array] = field(default_factory=dict)
    frames: Mapping[int, Frame | None] = field(default_factory=dict)
    edges: tuple[Edge, ...] = ()
    classes: tuple[EdgeClass, ...] = ()
    called: Mapping[int, str] = field(default_factory=dict)
    _pulls: dict[int, Pull] = field(default_factory=dict, repr=False)

    @cached_property
    def into(self) -> dict[int, list[Edge]]:
        """node -> the edges whose p it is."""
        found: dict[int, list[Edge]] = defaultdict(list)
        for edge in self.edges:
            found[edge.p].append(edge)
        return found

    @cached_property
    def outof(self) -> dict[int, list[Edge]]:
        """node -> the edges whose y it is."""
        found: dict[int, list[Edge]] = defaultdict(list)
        for edge in self.edges:
            found[edge.y].append(edge)
        return found

    @cached_property
    def leaves(self) -> dict[int, frozenset[tuple[str, str]]]:
        """node -> the inputs that its bar goes to."""
        found: dict[int, frozenset[tuple[str, str]]] = {}
        for node in self.graph.nodes:
            if node.op == "input" and node.name is not None:
                found[node.index] = frozenset({node.name})
            else:
                below = [found[e.p] for e in self.outof.get(node.index, ()) if e.p in found]
                found[node.index] = frozenset().union(*below) if below else frozenset()
        return found

    def share(self, edge: Edge, g: Array) -> Array | None:
        """dL/dp's share from this edge, for g = dL/dy."""
        if edge.number not in self._pulls:
            self._pulls[edge.number] = self._pull(edge)
        return self._pulls[edge.number](g)

    def _pull(self, edge: Edge) -> Pull:
        """g -> dL/dp's share, with all that does not depend on g computed once."""
        node, y, p = self.graph.nodes[edge.y], self.values[edge.y], self.values[edge.p]
        args = [self.values[a] for a in node.args]
        if edge.y in self.derivative or node.op in ELEMENTWISE:
            d = self.derivative[edge.y] if edge.y in self.derivative else local(node.op, edge.arg, y, args)
            if d is None:
                return lambda g: None
            if y.shape == p.shape:
                return (lambda g: g) if isinstance(d, float) and d == 1 else lambda g: np.asarray(g * d)
            return lambda g: unbroadcast(np.asarray(g * d), p.shape)
        if node.op == "matmul" and all(a.ndim == 2 for a in args):
            turned = args[1 - edge.arg].T
            return (lambda g: np.matmul(g, turned)) if edge.arg == 0 else (lambda g: np.matmul(turned, g))
        return lambda g: pull(node.op, node.settings, edge.arg, g, y, args)

    def derivative_at(self, y: int, base: Array) -> Array:
        """f' of the unit y = f(a), at another a."""
        values = list(self.values)
        values[self.bases[y]] = base
        with np.errstate(all="ignore"):
            for n in sorted(_region(self.graph, y, self.bases[y], self.bases)):
                node = self.graph.nodes[n]
                values[n] = value_of(node.op, node.settings, [values[a] for a in node.args])
        return _derivative(self.graph, values, y, self.bases[y])

    def inside(self, y: int) -> list[tuple[int, int]]:
        """The inner terms of the activation y = f(a): (operation, argument)."""
        region = sorted(_region(self.graph, y, self.bases[y], self.bases))
        inner = [(n, k) for n in region for k, a in enumerate(self.graph.nodes[n].args) if a in region or a == self.bases[y]]
        return [(n, k) for n, k in inner if ELEMENTWISE[self.graph.nodes[n].op][k] is not None]

    def derivative_but_for(self, y: int, term: int, factor: float | None) -> Array:
        """f'(a) with one of its inner terms times a factor; None: with 1 in its place."""
        inner = self.inside(y)
        return _derivative(self.graph, self.values, y, self.bases[y], (*inner[term], factor) if term < len(inner) else None)

    @cached_property
    def cut_at(self) -> frozenset[tuple[int, int]]:
        """Nodes that the user's code takes out of autograd, and when: before the node of this number."""
        return frozenset((node, before) for node, before, _ in self.graph.cuts)

    @cached_property
    def by_key(self) -> dict[tuple[UnitKey, int], EdgeClass]:
        return {(c.key, c.slot): c for c in self.classes}


def with_outputs(graph: Graph) -> Graph:
    """The same graph with a node of its own for each output, so that what a loss reads is an edge like any other."""
    nodes, values, outputs = list(graph.nodes), list(graph.values), {}
    for name, node in graph.outputs.items():
        outputs[name] = len(nodes)
        label = "ys" if name[0] == "ys" else f"final {name[1]}"
        nodes.append(Node(len(nodes), "output", (node,), label, (), name=name))
        values.append(graph.values[node])
    return Graph(tuple(nodes), tuple(values), outputs, graph.lost, graph.cuts)


def by_parts(graph: Graph) -> Graph:
    """The graph with activations over several gates done gate by gate."""
    graph = unpacked(graph)
    bases, _ = _activations(graph, reaches_inputs(graph) & reaches_outputs(graph))
    graph = split_activations(graph, bases, {y: sorted(_region(graph, y, base, bases)) for y, base in bases.items()})
    bases, _ = _activations(graph, reaches_inputs(graph) & reaches_outputs(graph))
    interior = _interior(graph, bases)
    return complemented(graph, {y: a for y, a in bases.items() if y not in interior})


def model_of(graph: Graph, values: Sequence[Array]) -> Model:
    active = reaches_inputs(graph) & reaches_outputs(graph)
    bases, frames = _activations(graph, active)
    derivative = {y: _derivative(graph, values, y, base) for y, base in bases.items()}
    interior = _interior(graph, bases)
    raw: list[tuple[int, int, int]] = []
    for node in graph.nodes:
        if node.index not in active or node.op in ("input", "constant") or node.index in interior:
            continue
        if node.index in bases:
            raw.append((node.index, bases[node.index], 0))
            continue
        raw += [(node.index, a, k) for k, a in enumerate(node.args) if a in active and _differentiable(graph, node.index, k)]
    grouped: dict[tuple[UnitKey, int], list[Edge]] = defaultdict(list)
    edges = []
    rank = _ranks(graph, sorted({y for y, _, _ in raw}))
    for number, (y, p, arg) in enumerate(raw):
        node = graph.nodes[y]
        label = "activation" if y in bases else f"output {node.settings}" if node.op == "output" else node.op
        key: UnitKey = (node.place, label, rank[y] if node.part < 0 else node.part)
        slot = _slot(graph, node, arg)
        edge = Edge(number, y, p, slot, key, len(grouped[key, slot]), arg)
        grouped[key, slot].append(edge)
        edges.append(edge)
    classes = tuple(
        EdgeClass(key, slot, tuple(members), _kind(graph, members[0].y, bases), frames.get(members[0].y) or _innermost(key[0]))
        for (key, slot), members in grouped.items()
    )
    return Model(graph, values, bases, derivative, frames, tuple(edges), classes)


def _slot(graph: Graph, node: Node, slot: int) -> int:
    """Of arrays that are laid side by side (a stack of all h), those that one place has made are one argument."""
    if node.op != "gather" or len(node.args) < 2:
        return slot
    makers = [(graph.nodes[a].place, graph.nodes[a].op, graph.nodes[a].name) for a in node.args]
    return makers.index(makers[slot])


def _innermost(place: Place) -> Frame | None:
    return place[-1] if place else None


def _kind(graph: Graph, y: int, bases: Mapping[int, int]) -> str:
    if y in bases:
        return "activation"
    op = graph.nodes[y].op
    if op in ("gather", "scatter", "output"):
        return "move"
    if op in ("add", "subtract"):
        return "add"
    return op if op in ("multiply", "matmul", "einsum") else "other"


def _differentiable(graph: Graph, y: int, k: int) -> bool:
    op = graph.nodes[y].op
    return op not in ELEMENTWISE or ELEMENTWISE[op][k] is not None


def reaches_outputs(graph: Graph) -> frozenset[int]:
    """Nodes on which an output depends."""
    found = set(graph.outputs.values())
    for node in reversed(graph.nodes):
        if node.index in found:
            found.update(node.args)
    return frozenset(found)


def _ranks(graph: Graph, ys: Sequence[int]) -> dict[int, int]:
    """Which of several nodes one place makes in one pass: those of one place and operation that follow each other with nothing between."""
    rank: dict[int, int] = {}
    last: dict[tuple[Place, str], tuple[int, int]] = {}
    for position, y in enumerate(ys):
        node = graph.nodes[y]
        key = (node.place, node.op)
        before = last.get(key)
        rank[y] = before[1] + 1 if before is not None and before[0] == position - 1 and not _reads(graph, y, ys[position - 1]) else 0
        last[key] = (position, rank[y])
    return rank


def _reads(graph: Graph, y: int, other: int) -> bool:
    return other in graph.nodes[y].args


# activations


def _activations(graph: Graph, active: frozenset[int]) -> tuple[dict[int, int], dict[int, Frame | None]]:
    """y -> a for units y = f(a), entry by entry, and the place at which to speak of each."""
    helper = _helpers(graph, active)
    base: dict[int, int] = {}
    consumers = _consumers(graph)
    outputs = set(graph.outputs.values())
    for node in graph.nodes:
        if node.op not in ELEMENTWISE or node.index not in active or node.settings == COMPLEMENT:
            continue
        roots = set()
        for a in node.args:
            if a not in active:
                continue
            inside = a in base and _together(graph, helper, a, node.index) and a not in outputs
            roots.add(base[a] if inside else a)
        if len(roots) == 1 and graph.values[min(roots)].shape == graph.values[node.index].shape:
            base[node.index] = roots.pop()
    # what is used elsewhere too is no inside
    for node in reversed(graph.nodes):
        y = node.index
        if y not in base:
            continue
        region = _region(graph, y, base[y], base)
        if _read_elsewhere(region - {y}, base[y], base, consumers):  # a helper may give two functions of one array
            args = {a for a in node.args if a in active}
            if len(args) == 1 and args == {next(iter(args))} and graph.values[next(iter(args))].shape == graph.values[y].shape:
                base[y] = args.pop()
            else:
                del base[y]
    frames: dict[int, Frame | None] = {}
    for y in base:
        place = graph.nodes[y].place
        frames[y] = place[helper[y][1] - 1] if y in helper else _innermost(place)
    return base, frames


def _consumers(graph: Graph) -> dict[int, set[int]]:
    """What reads each node, among those on which an output depends: what is kept for the backward beside it counts for nothing."""
    used = reaches_outputs(graph)
    found: dict[int, set[int]] = defaultdict(set)
    for node in graph.nodes:
        for a in node.args if node.index in used else ():
            found[a].add(node.index)
    return found


def _region(graph: Graph, y: int, base: int, bases: Mapping[int, int]) -> set[int]:
    region, pending = set(), [y]
    while pending:
        n = pending.pop()
        if n == base or n in region or n not in bases or bases[n] != base:
            continue
        region.add(n)
        pending += graph.nodes[n].args
    return region


def _read_elsewhere(nodes: set[int], base: int, bases: Mapping[int, int], consumers: Mapping[int, set[int]]) -> bool:
    """Whether something reads these nodes that is no function of the same array."""
    return any(bases.get(reader) != base for n in nodes for reader in consumers[n])


def _interior(graph: Graph, bases: Mapping[int, int]) -> frozenset[int]:
    """Nodes inside of an activation that nothing else reads."""
    consumers = _consumers(graph)
    found: set[int] = set()
    for y in sorted(bases, reverse=True):
        if y not in found:
            region = _region(graph, y, bases[y], bases)
            if not _read_elsewhere(region - {y}, bases[y], bases, consumers):
                found |= region - {y}
    return frozenset(found)


def _together(graph: Graph, helper: Mapping[int, tuple[int, int]], a: int, y: int) -> bool:
    """Whether two operations stand in one line, or in one call of a helper."""
    if a in helper and helper.get(y) == helper[a]:
        return True
    one, other = graph.nodes[a].place, graph.nodes[y].place
    if a in helper:
        one = one[: helper[a][1]]
    if y in helper:
        other = other[: helper[y][1]]
    return [(f.file, f.line) for f in one] == [(f.file, f.line) for f in other]


def _helpers(graph: Graph, active: frozenset[int]) -> dict[int, tuple[int, int]]:
    """node -> the call of a helper that it stands in, and its depth: calls that do one function of one array, entry by entry."""
    found: dict[int, tuple[int, int]] = {}
    calls: list[tuple[Place, list[int]]] = []
    open_: dict[Place, list[int]] = {}
    for node in graph.nodes:
        if node.op in ("input", "constant"):
            continue
        prefixes = [node.place[:k] for k in range(1, len(node.place))]
        open_ = {prefix: members for prefix, members in open_.items() if prefix in prefixes}
        for prefix in prefixes:
            if prefix not in open_:
                open_[prefix] = []
                calls.append((prefix, open_[prefix]))
            open_[prefix].append(node.index)
    for number, (prefix, members) in sorted(enumerate(calls), key=lambda c: -len(c[1][0])):
        live = [m for m in members if m in active and not _is_view(graph, m)]
        inside = set(live)
        outside = {a for m in live for a in graph.nodes[m].args if a in active and a not in inside}
        if live and len(outside) == 1 and all(graph.nodes[m].op in ELEMENTWISE for m in live):
            found.update(dict.fromkeys(live, (number, len(prefix))))
    return found


def _is_view(graph: Graph, node: int) -> bool:
    return graph.nodes[node].op == "gather" and len(graph.nodes[node].args) == 1


def _derivative(graph: Graph, values: Sequence[Array], y: int, base: int, changed: tuple[int, int, float | None] | None = None) -> Array:
    """f'(a), by the chain rule entry by entry within the unit.   changed: (operation, argument, what its share is multiplied with)"""
    bars: dict[int, Array] = {y: like_zeros(values[y].shape, values[y]) + 1}
    with np.errstate(all="ignore"):
        for n in range(y, base, -1):
            node = graph.nodes[n]
            if n not in bars or node.op not in ELEMENTWISE:
                continue
            args = [values[a] for a in node.args]
            for k, a in enumerate(node.args):
                d = local(node.op, k, values[n], args) if a >= base else None
                if d is not None and values[a].shape == values[y].shape:
                    if changed is not None and changed[:2] == (n, k):
                        d = 1.0 if changed[2] is None else changed[2] * d
                    share = bars[n] * d
                    bars[a] = bars[a] + share if a in bars else share
    return bars.get(base, like_zeros(values[y].shape, values[y]))
