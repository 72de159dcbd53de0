"""The user's own backward as a graph, and what it would give if one of its lines gave something else.

A line is wrong where the right values in its place mend everything.  The right values are known: the exact sweep has dL/d(node) of every
node of the forward pass, one of which is what the line should have computed.  A backward is linear in what it computes from dys, so for
a line with values v its gradients are  g(v') = g(v) + <G, v' - v>;  G by one sweep backwards over the backward.  With r, a random
combination of all gradients, every candidate v' costs one inner product, and only those that fit are tried in full.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from bptt.harness.graph.naming.point import Point
from bptt.harness.graph.naming.units import Edge, EdgeClass, UnitKey, reaches_outputs
from bptt.harness.graph.tracing import statements
from bptt.harness.graph.tracing.node import Frame, Graph, Place
from bptt.harness.graph.tracing.operations import laid_out, pull, value_of
from bptt.harness.subject import Array

#: One place of the backward, at every step: where it stands, what it does, which of several.
LineKey = tuple[Place, str, int]
#: What values a line should have: dL/d(y), dL/d(p) or the share of an edge of the forward pass, and how they lie.
Wanted = tuple[str, UnitKey, int, str]

#: Operations that a gradient seldom has of its own.
ROUNDINGS = frozenset(("maximum", "minimum", "fmax", "fmin", "where", "cast", "rint", "trunc", "floor"))
_OUTPUT: Mapping[str, str] = {"params": "dparams", "xs": "dxs", "state": "dstate"}
#: Beside the largest entry.
_SAME = 1e-8


@dataclass(frozen=True)
class Mend:
    """A line, and what in its place makes everything right.   first: when it is first wrong, in the order of the backward"""

    line: LineKey
    wanted: Wanted
    first: int
    at: int = -1  # which frame of its place: an outer one where the line is right in another call, and what is handed to it is wrong
    time: int = -1  # the how-many-th time the line is passed when it is first wrong, what it gives then, and what it should give
    given: Array | None = field(default=None, compare=False)
    right: Array | None = field(default=None, compare=False)

    @property
    def frame(self) -> Frame:
        return self.line[0][self.at]


@dataclass
class Backward:
    """graph     the user's backward
    leaves    its gradients: the node of each in `graph`, and that of the tensor in the forward pass
    scale     what its own numbers are to be multiplied with, to be those of the exact sweep
    larger    the same point seen in larger parts, for lines that compute several gates at once"""

    point: Point
    graph: Graph
    scale: float = 1.0
    network: bool = False
    larger: Point | None = None
    values: list[Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.values = list(self.graph.values)

    @cached_property
    def leaves(self) -> tuple[tuple[int, int], ...]:
        pairs = ((self.graph.outputs.get((_OUTPUT[kind], name)), node) for (kind, name), node in self.point.leaves)
        return tuple((mine, node) for mine, node in pairs if mine is not None)

    @cached_property
    def complete(self) -> bool:
        """Whether every gradient that is wrong was followed to the end."""
        return all((_OUTPUT[kind], name) in self.graph.outputs for kind, name in self.point.wrong)

    @cached_property
    def live(self) -> frozenset[int]:
        """Nodes of which a gradient depends."""
        above = {mine for mine, _ in self.leaves}
        for node in reversed(self.graph.nodes):
            if node.index in above:
                above.update(node.args)
        return frozenset(above)

    @cached_property
    def moved(self) -> frozenset[int]:
        """Nodes that depend on dys; where the loss stands inside, all of them."""
        if self.network:
            return frozenset(range(len(self.graph.nodes)))
        found: set[int] = set()
        for node in self.graph.nodes:
            if (node.name is not None and node.name[0] in ("dys", "dfinal")) or any(a in found for a in node.args):
                found.add(node.index)
        return frozenset(found)

    @cached_property
    def readers(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        for node in self.graph.nodes:
            for a in node.args:
                found[a].append(node.index)
        return found

    @cached_property
    def lines(self) -> dict[LineKey, tuple[int, ...]]:
        """Those of `every` of which a gradient depends."""
        return {key: nodes for key, nodes in self.every.items() if any(n in self.live for n in nodes)}

    @cached_property
    def every(self) -> dict[LineKey, tuple[int, ...]]:
        """The nodes of each place that depend on dys, in the order in which they were computed."""
        whole = self.point.model.graph
        loss = reaches_outputs(whole) if self.network else ()  # what the loss is made of is no part of the backward
        forward = {whole.nodes[n].place[-1] for n in loss if whole.nodes[n].place}
        found: dict[LineKey, list[int]] = defaultdict(list)
        last: dict[tuple[Place, str], tuple[int, int]] = {}
        for position, index in enumerate(sorted(self.moved)):
            node = self.graph.nodes[index]
            if node.op in ("input", "constant") or not node.place or node.place[-1] in forward or self.values[index].dtype.kind == "b":
                continue
            before = last.get((node.place, node.op))
            rank = before[1] + 1 if before is not None and before[0] == position - 1 and before[0] not in node.args else 0
            last[node.place, node.op] = (position, rank)
            found[node.place, node.op, rank].append(index)
        calls: dict[LineKey, list[int]] = defaultdict(list)
        for (place, op, rank), nodes in found.items():
            calls[place[-1:], op, rank] += nodes
        found.update({key: sorted(nodes) for key, nodes in calls.items() if key not in found})
        return {key: tuple(nodes) for key, nodes in found.items()}

    def replayed(self, instead: Mapping[int, Array]) -> dict[int, Array]:
        """The values that change where these nodes have others."""
        changed: dict[int, Array] = dict(instead)
        with np.errstate(all="ignore"):
            for index in range(min(instead), len(self.graph.nodes)):
                node = self.graph.nodes[index]
                if index in instead or not any(a in changed for a in node.args):
                    continue
                args = [changed.get(a, self.values[a]) for a in node.args]
                value = value_of(node.op, node.settings, args)
                changed[index] = laid_out(value, node.order) if node.op == "gather" else value
        return changed

    def gives(self, changed: Mapping[int, Array], right: Mapping[int, Array]) -> bool:
        """Whether every gradient is what `right` says, with these changes."""
        for mine, node in self.leaves:
            wanted = right.get(node)
            wanted = np.zeros(self.point.model.values[node].shape) if wanted is None else wanted
            got = changed.get(mine, self.values[mine])
            size = float(np.max(np.abs(wanted), initial=0.0)) + 1e-6 * self.largest
            if got.size != wanted.size or not np.all(np.abs(got.reshape(-1) - wanted.reshape(-1)) <= _SAME * size):
                return False
        return True

    @cached_property
    def largest(self) -> float:
        bars = self.point.exact[0].bars
        return max((float(np.max(np.abs(bars[n]), initial=0.0)) for _, n in self.leaves if n in bars), default=1.0)

    @cached_property
    def mix(self) -> dict[int, Array]:
        """A random combination of all gradients."""
        rng = np.random.default_rng(0)
        found: dict[int, Array] = {}
        for mine, _ in self.leaves:
            size = float(np.max(np.abs(self.values[mine]), initial=0.0)) or 1.0
            weight = np.asarray(rng.normal(size=self.values[mine].shape)) / size
            found[mine] = found[mine] + weight if mine in found else weight
        return found

    def slope(self, nodes: Sequence[int]) -> dict[int, Array]:
        """d(mix)/d(values of these nodes), all of them set at once."""
        cut = set(nodes)
        bars: dict[int, Array] = {k: np.array(v) for k, v in self.mix.items()}
        with np.errstate(all="ignore"):
            for index in range(max(bars), min(cut) - 1, -1):
                g = bars.get(index)
                node = self.graph.nodes[index]
                if g is None or index in cut or node.op in ("input", "constant"):
                    continue
                args = [self.values[a] for a in node.args]
                for k, a in enumerate(node.args):
                    if a >= min(cut) and a in self.moved:
                        share = pull(node.op, node.settings, k, g, self.values[index], args)
                        if share is not None:
                            bars[a] = bars[a] + share if a in bars else share
        return {n: bars[n] for n in cut if n in bars}

    def mended_by(self, right: Mapping[int, Array], pool: Sequence[Candidate]) -> list[Mend]:
        """Lines at which one of the pool's values makes every gradient right; the line that is wrong first comes first."""
        goal = 0.0
        if not self.complete or self.gives({}, right):
            return []
        for mine, node in self.leaves:
            wanted = right.get(node, np.zeros(self.point.model.values[node].shape))
            if wanted.size != self.values[mine].size:
                return []
            goal += float(np.sum(self.mix[mine] * (wanted.reshape(self.values[mine].shape) - self.values[mine])))
        by_size: dict[int, list[Candidate]] = defaultdict(list)
        for candidate in pool:
            for entries in {candidate.segments[0][0].size, candidate.segments[0][-1].size}:  # need not be the same at every step
                by_size[entries].append(candidate)
        found = self._handed_back(right)
        for key, nodes in self.lines.items():
            fitting = by_size.get(self.values[nodes[0]].size, ())
            slope = self.slope(nodes) if fitting else {}
            if not slope:
                continue
            for candidate in fitting:
                for ordered in candidate.orders(len(nodes)):
                    instead = self._instead(nodes, ordered)
                    if instead is None:
                        break
                    terms = [(slope[n] * (instead[n] - self.values[n])) for n in slope]
                    total, size = sum(float(np.sum(t)) for t in terms), sum(float(np.sum(np.abs(t))) for t in terms)
                    if not abs(total - goal) <= 1e-7 * (size + abs(goal)):
                        continue
                    apart = [n for n in nodes if n in self.live and not _close(instead[n], self.values[n])]
                    if len(nodes) > 1 and apart and all(any(_close(v, self.values[n]) for v in instead.values()) for n in nodes):
                        continue  # right values, which something behind takes in another order
                    if apart and self.gives(self.replayed(instead), right):
                        n, call = apart[0], self._wrong_call(key, nodes, instead)
                        found.append(Mend(key, candidate.wanted, n, call, nodes.index(n), self.values[n], instead[n]))
        return sorted(found, key=lambda m: (self._handed_in(m.first), self._is_what_it_is_called(m.first), m.first))

    def _is_what_it_is_called(self, n: int) -> bool:
        """Whether a line gives dL/d(pooled) and calls it dpooled: what is wrong is done to it later."""
        node = self.graph.nodes[n]
        name = statements.written(node.place[-1]) if node.place else None
        if name is None or not name.startswith("d"):
            return False
        model, value = self.point.model, self.values[n] * self.scale
        for index, bar in self.point.exact[0].bars.items():
            made = model.graph.nodes[index].place
            if bar.shape == value.shape and made and statements.written(made[-1]) == name[1:] and np.any(bar) and _close(bar, value):
                return True
        return False

    def _handed_in(self, n: int) -> bool:
        """Whether a node only reads what is handed in from outside, which is seldom read wrongly."""
        node = self.graph.nodes[n]
        return node.op == "gather" and all(self.graph.nodes[a].op == "input" for a in node.args)

    def _handed_back(self, right: Mapping[int, Array]) -> list[Mend]:
        """A line that does something to each of several gradients before it hands them back."""
        leaf = dict(self.leaves)
        found = []
        places: dict[tuple[Place, str], list[int]] = defaultdict(list)
        for (place, op, _), several in self.lines.items():
            places[place, op] += several
        for (place, op), nodes in places.items():
            mine = [n for n in nodes if n in leaf]
            if len(mine) < 2 or any(n in self.live and n not in leaf for n in nodes):
                continue
            bars = {n: right.get(leaf[n], np.zeros(self.point.model.values[leaf[n]].shape)) for n in mine}
            instead = {n: bars[n].reshape(self.values[n].shape) / self.scale for n in mine if bars[n].size == self.values[n].size}
            apart = [n for n in instead if not _close(instead[n], self.values[n])]
            edge = next((self.point.model.into[leaf[n]][0] for n in apart if self.point.model.into.get(leaf[n])), None)
            if edge is not None and self.gives(self.replayed(instead), right):
                found.append(Mend((place, op, 0), ("p", edge.key, edge.slot, "handed back"), apart[0]))
        return found

    def _wrong_call(self, key: LineKey, nodes: Sequence[int], instead: Mapping[int, Array]) -> int:
        """Which frame of the place is wrong: where the line is right in another call, the innermost in which the two calls differ."""
        place, op, rank = key
        for other, theirs in self.every.items():
            if other[1:] != (op, rank) or other[0] == place or other[0][-1:] != place[-1:] or len(theirs) != len(nodes):
                continue
            if all(_close(self.values[a], instead[b]) for a, b in zip(theirs, nodes, strict=True) if b in instead):
                return next(
                    (-k for k in range(1, len(place) + 1) if other[0][-k : len(other[0]) - k + 1] != place[-k : len(place) - k + 1]), -1
                )
        return -1

    def _instead(self, nodes: Sequence[int], sequence: Sequence[Array | None]) -> dict[int, Array] | None:
        found = {}
        for n, value in zip(nodes, sequence, strict=True):
            mine = self.values[n]
            if value is None:
                found[n] = mine
                continue
            if value.size != mine.size or np.squeeze(value).shape != np.squeeze(mine).shape:
                return None
            found[n] = value.reshape(mine.shape) / self.scale
        return found

    # what may be taken out

    @cached_property
    def expressions(self) -> dict[Frame, list[list[int]]]:
        """The nodes that depend on dys of each expression, pass by pass."""
        found: dict[Frame, list[list[int]]] = defaultdict(list)
        last: tuple[Place, int] | None = None
        for position, index in enumerate(sorted(self.moved)):
            place = self.graph.nodes[index].place
            if not place:
                continue
            if last == (place, position - 1):
                found[place[-1]][-1].append(index)
            else:
                found[place[-1]].append([index])
            last = (place, position)
        return found

    def needless(self, right: Mapping[int, Array], of: frozenset[str] | None = None) -> list[Frame]:
        """Expressions without which, their argument in their place, every gradient is right: a clip, a rounding, a factor too many.

        of   among these operations only
        """
        if not self.complete or self.gives({}, right):
            return []
        every = self.expressions.items()
        chosen = [f for f, passes in every if of is None or any(self.graph.nodes[n].op in of for p in passes for n in p)]
        return [frame for frame in chosen if self.right_without(frame, right)]

    def right_without(self, frame: Frame, right: Mapping[int, Array]) -> bool:
        passes = self.expressions.get(frame, [])
        counts = {len(self._entries(p)) for p in passes}
        return any(self.gives(self._without(passes, k), right) for k in range(max(counts, default=0)))

    def added(self, frame: Frame, right: Mapping[int, Array]) -> Frame | None:
        """Of a sum that is right without its other term, the expression that makes this term; None of anything else."""
        passes = self.expressions.get(frame, [])
        for k in range(max((len(self._entries(p)) for p in passes), default=0)):
            if not self.gives(self._without(passes, k), right):
                continue
            node = self.graph.nodes[passes[0][-1]]
            kept = self._entries(passes[0])[k : k + 1]
            others = [a for a in node.args if a not in kept]
            place = self.graph.nodes[others[0]].place if node.op == "add" and len(others) == 1 else ()
            if place:
                return place[-1]
        return None

    def _entries(self, nodes: Sequence[int]) -> list[int]:
        """What the nodes of one pass read from elsewhere, of the shape of what they give."""
        inside, shape = set(nodes), self.values[nodes[-1]].shape
        read = dict.fromkeys(a for n in nodes for a in self.graph.nodes[n].args)
        return [a for a in read if a not in inside and a in self.moved and self.values[a].shape == shape]

    def _without(self, passes: Sequence[Sequence[int]], k: int) -> dict[int, Array]:
        taken = {p[-1]: entries[k] for p in passes if k < len(entries := self._entries(p))}
        changed: dict[int, Array] = {}
        with np.errstate(all="ignore"):
            for index in range(min(taken, default=len(self.graph.nodes)), len(self.graph.nodes)):
                node = self.graph.nodes[index]
                if index in taken:
                    changed[index] = changed.get(taken[index], self.values[taken[index]])
                elif any(a in changed for a in node.args):
                    value = value_of(node.op, node.settings, [changed.get(a, self.values[a]) for a in node.args])
                    changed[index] = laid_out(value, node.order) if node.op == "gather" else value
        return changed

    # values of the forward pass that the backward keeps for itself

    def kept_wrong(self, right: Mapping[int, Array]) -> list[Mend]:
        """Lines that keep another value of the forward pass than the one with which every gradient is right."""
        if not self.complete or self.gives({}, right):
            return []
        model = self.point.model
        forward = {node.place[-1] for node in model.graph.nodes if node.place}
        lines: dict[LineKey, list[int]] = defaultdict(list)
        for node in self.graph.nodes:
            number = self.values[node.index].dtype.kind != "b"
            if number and node.index in self.live and node.index not in self.moved and node.place and node.place[-1] not in forward:
                lines[node.place, node.op, 0].append(node.index)
        by_size: dict[int, list[Candidate]] = defaultdict(list)
        if lines:
            for candidate in values_of(self.point):
                by_size[candidate.segments[0][0].size].append(candidate)
        found = []
        for key, nodes in lines.items():
            for candidate in by_size.get(self.values[nodes[0]].size, ()):
                for ordered in candidate.orders(len(nodes)):
                    instead = self._instead(nodes, ordered)
                    apart = [n for n in nodes if instead is not None and not _close(instead[n], self.values[n])]
                    if instead is not None and apart and self.gives(self.replayed(instead), right):
                        found.append(Mend(key, candidate.wanted, apart[0]))
        return sorted(found, key=lambda m: m.first)


def _close(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(np.all(np.abs(a - b) <= _SAME * (np.max(np.abs(a), initial=0.0) + np.max(np.abs(b), initial=0.0))))


@dataclass(frozen=True)
class Candidate:
    """Values of a line, first step first; a segment for each call of the function that it stands in."""

    wanted: Wanted
    segments: tuple[tuple[Array, ...], ...]

    def orders(self, count: int) -> Iterator[Sequence[Array | None]]:
        """In the orders in which `count` passes of a line can compute them: most backwards run from the last step to the first."""
        length = sum(map(len, self.segments))
        if length == count:
            back = [v for s in self.segments for v in s[::-1]]
            yield back
            if count > 1:
                yield [v for s in self.segments for v in s]
            if len(self.segments) > 1:
                yield [v for s in self.segments[::-1] for v in s[::-1]]
        elif len(self.segments) == 1 and length == count + 1:
            yield self.segments[0][:0:-1]
            yield self.segments[0][-2::-1]
        elif len(self.segments) == 1 and length == count - 1 and length:
            yield (*self.segments[0][::-1], None)  # what the last pass computes goes nowhere


def pool_of(point: Point, bars: Mapping[int, Array]) -> list[Candidate]:
    """What a line of a backward can be meant to compute: dL/d(node) and shares of edges at every step, laid in the usual ways."""
    model = point.model
    found: list[Candidate] = []
    seen: set[tuple[Any, ...]] = set()

    def bar(node: int) -> Array:
        return bars.get(node, np.zeros(model.values[node].shape))

    def share(e: Edge) -> Array:
        g = bars.get(e.y)
        s = None if g is None else model.share(e, g)
        return np.zeros(model.values[e.p].shape) if s is None else s

    def add(what: str, where: EdgeClass, values: Sequence[Array], identity: tuple[Any, ...]) -> None:
        if identity in seen or not values:
            return
        seen.add(identity)
        key = where.key, where.slot
        found.append(Candidate((what, *key, ""), (tuple(values),)))
        if len(values) > 1 and all(v.shape == values[0].shape for v in values):
            found.append(Candidate((what, *key, "stacked"), ((np.stack(values),),)))
            for n in (0, -1):
                if (identity, n) not in seen:
                    seen.add((identity, n))
                    found.append(Candidate((what, *key, "last" if n else "first"), ((values[n],),)))

    calls: dict[object, list[EdgeClass]] = defaultdict(list)
    for where in model.classes:
        for what in ("y", "p"):
            nodes = tuple(dict.fromkeys(e.y if what == "y" else e.p for e in where.edges))
            add(what, where, [bar(n) for n in nodes], ("bar", nodes))
        add("share", where, [share(e) for e in where.edges], ("share", where.edges[0].number))
        calls[where.key[0][-1:], where.key[1:], where.slot].append(where)
    for together in calls.values():
        if len(together) > 1:
            key = together[0].key, together[0].slot
            for what in ("y", "p", "share"):
                values = [[share(e) if what == "share" else bar(e.y if what == "y" else e.p) for e in w.edges] for w in together]
                found.append(Candidate((what, *key, "calls"), tuple(map(tuple, values))))
    found += _by_step(point, share)
    return found


def parts_of(point: Point, bars: Mapping[int, Array]) -> list[Candidate]:
    """How far a sum of several statements has come."""

    def share(e: Edge) -> Array:
        g = bars.get(e.y)
        s = None if g is None else point.model.share(e, g)
        return np.zeros(point.model.values[e.p].shape) if s is None else s

    return list(_partial(point, share))


def values_of(point: Point) -> list[Candidate]:
    """The values of the forward pass at every step."""
    model = point.model
    found: list[Candidate] = []
    seen: set[tuple[int, ...]] = set()
    for where in model.classes:
        for what in ("y", "p"):
            nodes = tuple(dict.fromkeys(e.y if what == "y" else e.p for e in where.edges))
            values = [model.values[n] for n in nodes]
            if nodes in seen or any(v.shape != values[0].shape or v.dtype.kind == "b" for v in values):
                continue
            seen.add(nodes)
            found.append(Candidate((what, where.key, where.slot, ""), (tuple(values),)))
            if len(values) > 1:
                found.append(Candidate((what, where.key, where.slot, "stacked"), ((np.stack(values),),)))
    return found


def _by_step(point: Point, share: Callable[[Edge], Array]) -> Iterator[Candidate]:
    """What is read at every step gets a share at every step: these, of all its edges together, and their sums from the last step on."""
    model = point.model
    for p, edges in model.into.items():
        steps = max(e.step for e in edges) + 1
        if steps < 2:
            continue
        parts = [np.zeros(model.values[p].shape) for _ in range(steps)]
        for e in edges:
            parts[e.step] = parts[e.step] + share(e)
        key = edges[0].key, edges[0].slot
        yield Candidate(("share", *key, "by step"), (tuple(parts),))
        yield Candidate(("share", *key, "added up"), (tuple(np.cumsum(np.stack(parts[::-1]), axis=0))[::-1],))


#: Of more terms than this the sums of some are not tried.
_MOST_TERMS = 4


def _partial(point: Point, share: Callable[[Edge], Array]) -> Iterator[Candidate]:
    """Sums of some of the terms of dL/d(p), which is how far a sum of several statements has come."""
    model = point.model
    seen = set()
    for where in model.classes:
        nodes = tuple(dict.fromkeys(e.p for e in where.edges))
        terms = sorted({(e.key, e.slot) for n in nodes for e in model.into[n]}, key=str)
        if nodes in seen or not 2 < len(terms) <= _MOST_TERMS:
            continue
        seen.add(nodes)
        for count in range(2, len(terms)):
            for some in combinations(terms, count):
                values = [sum((share(e) for e in model.into[n] if (e.key, e.slot) in some), np.zeros(model.values[n].shape)) for n in nodes]
                yield Candidate(("p", where.key, where.slot, "in part"), (tuple(values),))
