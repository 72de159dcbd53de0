"""Which edits of the backward sweep give all of a subject's wrong numbers.

A candidate must give every given tensor under every cotangent, at a small case and at a second one of other sizes.  Edges are tried
whose bar reaches all wrong tensors, the nearest to them first.  A share that is only too large, too small, turned or missing is found
for any factor at once, because the gradient is linear in it: yours - right = (factor - 1) share.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from bptt.harness.graph.naming.budget import Budget
from bptt.harness.graph.naming.edits import FORMS, LAST, PORTIONS, Edit, Impossible, Sequence_, number, summed
from bptt.harness.graph.naming.point import Point
from bptt.harness.graph.naming.units import EdgeClass, UnitKey
from bptt.harness.subject import Array

_FACTORS = (
    "0", "2", "-1", "1/2", "N", "1/N", "T", "1/T", "H", "1/H", "D", "1/D", "H/H-1", "N/N-1",
    "T*N", "1/T*N", "T*N*H", "1/T*N*H", "N*H", "1/N*H",
)  # fmt: skip
_TIMES_COST = {"0": 1.0, "-1": 1.15, "2": 1.2, "1/2": 1.25}
_LATE = ("inner", "not first", "not last", "last", "first", "but the last 2", "odd", "even")
#: What is tried in combinations.
_COMBINED = frozenset(("times", "value", "operand", "derivative", "transposed share", "inside", "through", "unmoved"))
#: At most so many candidates are kept for pairs.
_MOST_KEPT = 4000

Candidates = Iterator[tuple[float, Edit]]


@dataclass(frozen=True)
class Found:
    """Edits that together give the subject's numbers."""

    edits: tuple[Edit, ...]
    cost: float


@dataclass
class _Kept:
    """What was tried at the small case: the change that each edit makes under the first cotangent, and those that mend some entries.

    whole   under all cotangents: of two mistakes one behind the other, each shows alone under one of them
    """

    whole: bool = False
    edits: list[Edit] = field(default_factory=list)
    changes: list[Array] = field(default_factory=list)
    partly: list[tuple[float, Edit]] = field(default_factory=list)
    here_only: list[tuple[Edit, ...]] = field(default_factory=list)

    def best(self, most: int) -> list[Edit]:
        """Edits that mend most entries and spoil none, one of those that mend as much by doing the same."""
        first: dict[tuple[object, float], Edit] = {}
        for weight, edit in sorted(self.partly, key=lambda t: -t[0]):
            first.setdefault((edit.target, round(weight, 4)), edit)
        return list(first.values())[:most]


@dataclass(frozen=True)
class Searched:
    """found     what gives the subject's numbers at both points, simplest first
    here_only    what does so at the small one alone: there may be another mistake that it does not show"""

    found: tuple[Found, ...] = ()
    here_only: tuple[tuple[Edit, ...], ...] = ()


def search(small: Point, large: Point, budget: Budget, base: tuple[Edit, ...] = ()) -> Searched:
    """Which edits beside those of `base` give the subject's numbers.

    budget   a count and no time, so that the same seed finds the same
    """
    kept, base = _Kept(), base or _ignored(small)
    if found := _one_more(small, large, base, budget.part(3), kept):
        return Searched(found)
    here_only = kept.here_only
    if here_only and small.case.T == 1:  # something that one step does not show: it is asked of several
        return Searched((), tuple(dict.fromkeys(here_only))[:3])
    if found := _peeled(small, large, base, kept, budget.part(3)):
        return Searched(found)
    if not here_only:
        again = _Kept(whole=True)
        _one_more(small, large, base, budget.part(3), again)
        if found := _peeled(small, large, base, again, budget.part(3)):
            return Searched(found)
        here_only += again.here_only
    if not base and not here_only:
        together = _pair(small, large, kept, budget.part(4))
        if together := tuple(f for f in together if all(e.when == "all" and e.act in _COMBINED for e in f.edits)):
            return Searched(together)
    return Searched((), tuple(dict.fromkeys(here_only))[:3])


def _ignored(point: Point) -> tuple[Edit, ...]:
    """Final states whose gradient is taken up nowhere: where it alone is given, everything is zero.  Certain, whatever else is wrong."""
    total = len(point.yours) // len(point.cotangents)
    found = []
    for j, v in enumerate(point.cotangents):
        yours, right = (a[j * total : (j + 1) * total] for a in (point.yours, point.right))
        name = v.name.removeprefix("final ").removesuffix(" only")
        if v.name == f"final {name} only" and np.any(np.abs(right) > point.same) and not np.any(yours):
            found += [Edit((c.key, c.slot), "times", "0") for c in point.model.classes if c.key[1] == f"output final {name}"]
    return tuple(found) if len(found) < len(point.model.graph.outputs) - 1 else ()


def one_mistake(small: Point, large: Point, budget: Budget) -> tuple[Found, ...]:
    """The single edits that give the subject's numbers."""
    return _one_more(small, large, (), budget, _Kept())


def _one_more(small: Point, large: Point, base: tuple[Edit, ...], budget: Budget, kept: _Kept) -> tuple[Found, ...]:
    """`base` with one more edit, from the simplest kinds to the others."""
    try:
        start = small.vector(base) if base else small.right
    except Impossible:
        return ()
    wrong = frozenset(n for n, at in small.parts.items() if not small.equal(start[at], small.yours[at]))
    if not wrong:
        if equal_at(large, base):
            return (Found(base, 1.0),)
        kept.here_only.append(base)
        return ()
    for classes in _screened(small, wrong, first=not base):
        if found := _by_stages(small, large, base, start, classes, budget, kept):
            return found
    return ()


def is_read_off(edit: Edit) -> bool:
    """Whether its factor is none that people write, but a number that was read off the gradients."""
    return edit.act == "times" and edit.factor not in _FACTORS


def equal_at(point: Point, edits: tuple[Edit, ...]) -> bool:
    """Whether these edits give the subject's numbers there."""
    try:
        return point.equal(point.vector(edits), point.yours)
    except Impossible:
        return False


def _by_stages(
    small: Point, large: Point, base: tuple[Edit, ...], start: Array, classes: list[EdgeClass], budget: Budget, kept: _Kept
) -> tuple[Found, ...]:
    total = len(small.yours) // len(small.cotangents)
    stages: tuple[Callable[[], Candidates], ...] = (
        lambda: (c for where in classes for c in _scaled(small, base, start, where, ("all",), kept.whole)),
        lambda: _grouped(small, classes),
        lambda: _all_of_it(small, base),
        lambda: _parameters(small, classes),
        lambda: _exchanged(small, classes),
        lambda: _cut(small, classes),
        lambda: (c for where in classes for c in _passed(small, where)),
        lambda: (c for where in classes for c in _shifted(small, where)),
        lambda: (c for where in classes if len(where.edges) > 1 for c in _scaled(small, base, start, where, _LATE, kept.whole)),
        lambda: (c for where in classes for c in _reshaped(where, small)),
        lambda: (c for where in classes for c in _through(small, where)),
        lambda: (c for where in classes for c in _replaced(small, where)),
    )
    for stage in stages:
        found: list[Found] = []
        for cost, edit in _with_siblings(small, stage()):
            if not budget.edit(len(small.model.edges) * (len(small.cotangents) if kept.whole else 1)):
                return tuple(sorted(found, key=lambda f: f.cost))
            edits = (*base, edit)
            try:
                one = small.vector(edits) if kept.whole else small.first(edits)
                _keep(small, kept, start[: len(one)], one, edit, cost)
                one = one[:total]
                if not np.all(np.abs(one - small.yours[:total]) <= small.same) or not small.equal(small.vector(edits), small.yours):
                    continue
                if not large.equal(large.vector(edits), large.yours):
                    kept.here_only.append(edits)
                else:
                    found.append(Found(edits, cost))
                    if len(found) >= 3 and cost > found[0].cost + 0.5:
                        break
            except Impossible:
                continue
        if found:
            return tuple(sorted(found, key=lambda f: f.cost))
    return ()


def _with_siblings(point: Point, candidates: Candidates) -> Candidates:
    """Each edit, and the same at all calls of the function that it stands in: a line that two calls share is one place."""
    for cost, edit in candidates:
        yield cost, edit
        if not edit.more and edit.other is None and (siblings := _siblings(point, edit.target)):
            yield cost + 0.05, replace(edit, more=siblings)


def _siblings(point: Point, target: tuple[UnitKey, int]) -> tuple[tuple[UnitKey, int], ...]:
    """The same operation of the same line, reached by other calls."""
    (place, label, _), slot = target
    if len(place) < 2:
        return ()
    return tuple(
        (c.key, c.slot)
        for c in point.model.classes
        if c.slot == slot and c.key[1] == label and c.key[0] != place and c.key[0] and c.key[0][-1] == place[-1]
    )


def _keep(point: Point, kept: _Kept, start: Array, one: Array, edit: Edit, cost: float) -> None:
    if not np.all(np.isfinite(one)):
        return
    yours = point.yours[: len(one)]
    now, before = (np.abs(v - yours) <= point.same for v in (one, start))
    if not np.any(before & ~now) and np.any(mended := now & ~before):
        weight = sum(float(np.mean(mended[at[at < len(one)]])) for at in point.parts.values() if at.size)
        reached = frozenset().union(*(point.model.leaves.get(e.p, frozenset()) for e in point.model.by_key[edit.target].edges))
        kept.partly.append((weight - 0.001 * (edit.when != "all") - 0.0001 * len(reached) - 1e-6 * cost, edit))
    if edit.when == "all" and edit.act in _COMBINED and len(kept.edits) < _MOST_KEPT:  # two odd ones together can say too much
        kept.edits.append(edit)
        kept.changes.append(one - start)


def _screened(point: Point, wrong: frozenset[tuple[str, str]], first: bool) -> Iterator[list[EdgeClass]]:
    """Classes whose edges reach the wrong tensors and no others; those that reach some of them and no others; with `first`, any."""
    exact, more, inside, part = [], [], [], []
    given = frozenset(point.parts)
    for where in point.model.classes:
        reached = frozenset().union(*(point.model.leaves.get(e.p, frozenset()) for e in where.edges)) & given
        called_too = [point.model.by_key[t] for t in _siblings(point, (where.key, where.slot))]
        all_calls = reached.union(*(point.model.leaves.get(e.p, frozenset()) & given for c in called_too for e in c.edges))
        if wrong in (reached, all_calls):
            exact.append(where)
        elif wrong <= reached:
            more.append((len(reached), where))
        elif reached and reached <= wrong:
            inside.append((-len(reached), where))
        elif reached & wrong:
            part.append((-len(reached & wrong), len(reached - wrong), where))
    yield exact
    if first:
        yield [where for _, where in sorted(more, key=lambda f: f[0])]
    yield [where for _, where in sorted(inside, key=lambda f: f[0])]
    if first:
        yield [where for *_, where in sorted(part, key=lambda f: f[:2])]


def _scaled(point: Point, base: tuple[Edit, ...], start: Array, where: EdgeClass, whens: tuple[str, ...], whole: bool) -> Candidates:
    """The right share times a factor, at all steps or at some.   whole: under all cotangents"""
    target = (where.key, where.slot)
    count = len(start) if whole else len(start) // len(point.cotangents)
    delta = (point.yours - start)[:count]
    right = np.abs(delta) <= point.same
    for when in whens:
        extra = 0.0 if when == "all" else 0.3
        dropped = Edit(target, "times", "0", when=when)
        try:
            share = start[:count] - (point.vector if whole else point.first)((*base, dropped))
        except Impossible:
            continue
        size = float(share @ share)
        if size == 0:
            continue
        yield 1.0 + extra, dropped
        factor = 1 + float(share @ delta) / size
        if np.all(np.abs(delta - (factor - 1) * share) <= point.same * max(1.0, abs(factor))):
            for name in _FACTORS[1:]:
                if abs(number(name, point.sizes) - factor) <= 1e-7 * max(1.0, abs(factor)):
                    yield _TIMES_COST.get(name, 1.3) + extra, Edit(target, "times", name, when=when)
            yield 1.9 + extra, Edit(target, "times", repr(round(factor, 12)), when=when)
        elif len(where.edges) > 1 and when in ("all", "inner"):
            for name in _FACTORS[1:]:
                yield _TIMES_COST.get(name, 1.3) + extra, Edit(target, "times", name, when=when)
        elif not np.any(right & (np.abs(share) > point.same)):
            for name in _FACTORS[1:]:
                if np.any(~right & (np.abs(delta - (number(name, point.sizes) - 1) * share) <= point.same)):
                    yield _TIMES_COST.get(name, 1.3) + extra, Edit(target, "times", name, when=when)


def _grouped(point: Point, classes: list[EdgeClass]) -> Candidates:
    """One value's gradient with only one of its terms, or without all that comes from later steps; outputs of another step."""
    groups: dict[object, list[EdgeClass]] = defaultdict(list)
    nodes = point.model.graph.nodes
    for where in classes:
        makers = {(nodes[e.p].place, nodes[e.p].op) for e in where.edges if nodes[e.p].op != "input"}
        if len(makers) == 1:
            groups[makers.pop()].append(where)
        if where.kind == "move" and len(where.edges) > 1:
            for shift in (1, -1):
                yield 1.6, Edit((where.key, where.slot), "neighbour", shift=shift)
    for members in groups.values():
        if len(members) < 2:
            continue
        targets = [(w.key, w.slot) for w in members]
        whens = ("inner", "all", "not last", "but the last 2", "odd", "even") if max(len(w.edges) for w in members) > 1 else ("all",)
        for k in range(len(members)):
            rest = [t for j, t in enumerate(targets) if j != k]
            for when in whens:
                yield 1.4 + 0.1 * (when != "inner"), Edit(rest[0], "times", "0", when=when, more=tuple(rest[1:]))


def _all_of_it(point: Point, base: tuple[Edit, ...]) -> Candidates:
    """Everything that comes from outside, and so every gradient, times a factor."""
    targets = [(w.key, w.slot) for w in point.model.classes if w.key[1].startswith("output")]
    if len(targets) > 1 and not base:
        for name in _FACTORS[1:]:
            yield 1.1, Edit(targets[0], "times", name, more=tuple(targets[1:]))


def _parameters(point: Point, classes: list[EdgeClass]) -> Candidates:
    """Every parameter's gradient, and no other, times a factor; that of a part of the steps, or of the batch; the same of one alone."""
    model = point.model
    given = set(point.parts)
    leaves = [c for c in model.classes if all(_name(point, e.p)[0] == "params" for e in c.edges)]
    leaves = [c for c in leaves if any(_name(point, e.p) in given for e in c.edges)]
    targets = [(c.key, c.slot) for c in leaves]
    if len(targets) > 1:
        for name in _FACTORS:
            yield 1.15, Edit(targets[0], "times", name, more=tuple(targets[1:]))
        for form in PORTIONS:
            yield 1.2, Edit(targets[0], "only", form=form, more=tuple(targets[1:]))
    for where in classes:
        if any(_name(point, e.p)[0] in ("params", "xs") for e in where.edges):
            for form, (axis, _) in PORTIONS.items():
                if axis == "N" or len(where.edges) == 1:
                    yield 1.35, Edit((where.key, where.slot), "only", form=form)


def _name(point: Point, node: int) -> tuple[str, str]:
    return point.model.graph.nodes[node].name or ("", "")


def _exchanged(point: Point, classes: list[EdgeClass]) -> Candidates:
    """Two gradients in each other's place: of values that one statement computes, of two initial states."""
    model = point.model
    groups: dict[object, list[EdgeClass]] = defaultdict(list)
    for where in model.classes:
        (place, label, _), node = where.key, model.graph.nodes[where.edges[0].y]
        if where.slot == 0 and place and node.op != "output":
            groups[place[-1].file, place[-1].line, label, model.values[node.index].shape, len(where.edges)].append(where)
    for members in groups.values():
        for one, other in combinations(members[:6], 2):
            yield 1.5, Edit((one.key, one.slot), "swapped", other=("y", other.key, other.slot))
    starts = [c for c in classes if _name(point, c.edges[0].p)[0] == "state"]
    for one, other in combinations(starts[:6], 2):
        if one.edges[0].p != other.edges[0].p:
            yield 1.5, Edit((one.key, one.slot), "exchanged", other=("p", other.key, other.slot))


def _brothers(point: Point, where: EdgeClass) -> tuple[tuple[UnitKey, int], ...]:
    """The same function of other parts of the same array, in the same statement: the other gates."""
    nodes = point.model.graph.nodes

    def source(c: EdgeClass) -> object:
        first = nodes[c.edges[0].p]
        return (first.args, first.op) if first.op == "gather" else first.place

    place = where.key[0]
    return tuple(
        (c.key, c.slot)
        for c in point.model.classes
        if c is not where
        and c.kind == where.kind
        and len(c.edges) == len(where.edges)
        and c.key[0][:-1] == place[:-1]
        and (c.key[0][-1:] and c.key[0][-1].line) == (place[-1:] and place[-1].line)
        and source(c) == source(where)
    )


def _cut(point: Point, classes: list[EdgeClass]) -> Candidates:
    """What the user's code takes out of autograd."""
    cut = [w for w in classes if any(n == e.p and before <= e.y for e in w.edges for n, before in point.model.cut_at)]
    if not cut:
        return
    inner = [w for w in cut if w.kind != "move"]
    for group in (inner, cut, *([w] for w in cut)):
        if group:
            targets = [(w.key, w.slot) for w in group]
            yield 1.2, Edit(targets[0], "times", "0", when="cut", more=tuple(targets[1:]))


def _passed(point: Point, where: EdgeClass) -> Candidates:
    """Steps that the loop leaves out, an initial state that gets nothing, a share that goes to the state of another step."""
    model, first = point.model, where.edges[0]
    name = model.graph.nodes[first.p].name
    target, count = (where.key, where.slot), len(where.edges)
    if name is not None and name[0] == "state":
        yield 1.2, Edit(target, "leaf")
    if count == 1 and model.values[first.p].ndim == 3:
        yield 1.4, Edit(target, "turned")
    read = [model.graph.nodes[e.p] for e in where.edges]
    if count > 1 and all(node.op == "gather" for node in read) and len({node.args for node in read}) == 1:
        yield 1.4, Edit(target, "mirrored")
    if name is not None and name[0] == "state" and count > 1:
        for when in ("first", "last", *(f"but the last {k}" for k in range(1, min(count, 7)))):
            yield 1.5, Edit(target, "skipped", when=when)
        for shift in (1, -1):
            yield 1.7, Edit(target, "delivered", shift=shift)
    seen = {first.p}
    for other in model.classes:
        q = other.edges[0].p
        carried = _name(point, q)[0] == "state" and len(other.edges) == count and q not in seen
        if carried and model.values[q].shape == model.values[first.p].shape:
            seen.add(q)
            yield 1.8, Edit(target, "to", other=("p", other.key, other.slot))


def _through(point: Point, where: EdgeClass) -> Candidates:
    """Several operations differentiated as if they were one function, entry by entry: a softmax like a sigmoid."""
    model, first = point.model, where.edges[0]
    shape = model.values[first.p].shape
    if model.graph.nodes[first.p].op in ("input", "constant"):
        return
    for y in _dominators(point, first.p):
        at = model.outof.get(y, ())
        if not at or model.values[y].shape != shape:
            continue
        other = next((("y", (c.key), c.slot) for c in model.classes if len(c.edges) == len(where.edges) and c.edges[0].y == y), None)
        if other is not None:
            for form in FORMS:
                yield 1.9, Edit((where.key, where.slot), "through", other=other, form=form)


def _dominators(point: Point, p: int, most: int = 6) -> list[int]:
    """The values through which all of p's ways to the loss lead, nearest first, where entries of p are mixed on the way."""
    model = point.model
    found: list[int] = []
    front = {e.y for e in model.into.get(p, ())}
    steps, mixed = 0, False
    while front and len(found) < most and steps < 60:
        steps += 1
        if len(front) == 1:
            (y,) = front
            if mixed and y not in found:
                found.append(y)
            above = {e.y for e in model.into.get(y, ())}
        else:
            y = min(front)
            above = {e.y for e in model.into.get(y, ())}
            if not above:
                return found
        mixed = mixed or model.graph.nodes[y].op in ("reduce", "matmul", "einsum")
        front = (front - {y}) | above
    return found


def _reshaped(where: EdgeClass, point: Point) -> Candidates:
    """The usual slips at the edge itself: the derivative's formula, a transpose."""
    target: tuple[UnitKey, int] = (where.key, where.slot)
    if where.kind in ("activation", "multiply", "other"):
        yield 1.1, Edit(target, "value", form="1")
        own: Sequence_ = ("p", where.key, where.slot)
        for form in FORMS:
            if form != "1":
                yield 1.5, Edit(target, "value", form=form)
                yield 1.6, Edit(target, "value", other=own, form=form)
    if where.kind == "activation":
        yield 1.6, Edit(target, "derivative", other=("y", where.key, where.slot))
        if brothers := _brothers(point, where):
            yield 1.55, Edit(target, "derivative", more=brothers)
            for form in FORMS:
                yield 1.45, Edit(target, "value", form=form, more=brothers)
        terms = point.model.inside(where.edges[0].y)
        for term in range(len(terms) if len(terms) > 1 else 0):
            for factor in ("0", "-1", "2", "1/2", "one", "1/3", "3"):
                yield 1.7, Edit(target, "inside", factor, shift=term)
    elif point.model.values[where.edges[0].p].shape != point.model.values[where.edges[0].y].shape:
        yield 1.5, Edit(target, "unsummed")
    if where.kind in ("matmul", "einsum"):
        yield 1.35, Edit(target, "value", form="1")
        yield 1.4, Edit(target, "operand", transposed=True)
        if brothers := _brothers(point, where):
            yield 1.45, Edit(target, "operand", transposed=True, more=brothers)
    if where.kind == "einsum":
        args = point.model.graph.nodes[where.edges[0].y].args
        for k, a in enumerate(args):
            shape = point.model.values[a].shape
            if k != where.edges[0].arg and (len(args) > 2 or len(shape) > 2):
                for axes in combinations(range(len(shape)), 2):
                    if shape[axes[0]] == shape[axes[1]]:
                        yield 1.5, Edit(target, "operand", arg=k, axes=axes)
    if where.kind == "move":
        yield 1.3, Edit(target, "assigned")
        yield 1.4, Edit(target, "unmoved")
    shape = point.model.values[where.edges[0].p].shape
    if len(shape) == 2 and shape[0] == shape[1]:
        yield 1.45, Edit(target, "transposed share")


def _shifted(point: Point, where: EdgeClass) -> Candidates:
    """The right operand, of the step before or after: of this edge, or of all that are multiplied with it."""
    model, edge = point.model, where.edges[0]
    args = model.graph.nodes[edge.y].args
    if len(where.edges) < 2 or where.kind not in ("matmul", "einsum", "multiply") or len(args) != 2:
        return
    partner: Sequence_ = ("p", where.key, 1 - edge.arg)
    if partner[1:] not in model.by_key:
        return
    also = _readers(point, where, 1 - edge.arg)
    for shift in (-1, 1):
        for more in (also, ()) if also else ((),):
            yield 1.7, Edit((where.key, where.slot), "operand", other=partner, shift=shift, more=more)


def _replaced(point: Point, where: EdgeClass) -> Candidates:
    """Another factor, another operand, another dL/dy."""
    target = (where.key, where.slot)
    model, edge = point.model, where.edges[0]
    shape = model.values[edge.y].shape
    pool = sequences(point)
    node = model.graph.nodes[edge.y]
    if where.kind in ("matmul", "einsum", "multiply") and len(node.args) == 2:
        k = 1 - edge.arg
        wanted = model.values[node.args[k]].shape
        also = _readers(point, where, k)
        for other in pool:
            found = model.values[_first(point, other)].shape
            if found == wanted:
                for more in ((), also) if also else ((),):
                    yield 2.0, Edit(target, "operand", other=other, more=more)
                if len(where.edges) > 1:
                    yield 2.1, Edit(target, "operand", other=other, shift=LAST)
            if len(found) == 2 and found[::-1] == wanted and where.kind != "multiply":
                yield 2.2, Edit(target, "operand", other=other, transposed=True)
    if where.kind == "activation":
        for other in pool:
            if model.values[_first(point, other)].shape == shape:
                yield 1.95, Edit(target, "derivative", other=other)
    first = model.graph.nodes[edge.p]
    if first.op == "input" and first.name is not None and first.name[0] == "state":
        for other in pool:
            if other[0] == "y" and model.values[_first(point, other)].shape == model.values[edge.p].shape:
                yield 1.9, Edit(target, "leaf", other=other)
    if where.kind in ("activation", "multiply", "other"):
        for other in pool:
            if model.values[_first(point, other)].shape == shape:
                for form in ("{q}", "(1 - {q})", "{q} * (1 - {q})", "(1 - {q}**2)", "np.tanh({q})"):
                    if form != "{q}" or where.kind != "multiply":
                        yield 2.05, Edit(target, "value", other=other, form=form)
    for other in _beside(point, where):
        yield 1.9, Edit(target, "short", other=other)
    if point.model.values[point.model.graph.nodes[-1].index].size == 1:
        for other in pool:
            if other[0] == "y" and model.values[_first(point, other)].shape == shape:
                yield 2.25, Edit(target, "bar", other=("value", *other[1:]))
    for other in _handed_in(point, where):
        yield 2.2, Edit(target, "bar", other=other)
    for other in pool:
        if other[0] == "y" and model.values[_first(point, other)].shape == shape and other[1] != where.key:
            yield 2.3, Edit(target, "bar", other=other)


def _beside(point: Point, where: EdgeClass) -> Iterator[Sequence_]:
    """The other ways by which dL/dy gets its shares."""
    model = point.model
    above = [{(e.key, e.slot) for e in model.into.get(summed(model, edge.y), ())} for edge in where.edges]
    some = set.union(*above) if above else set()
    if max(map(len, above), default=0) > 1:
        yield from (("share", key, slot) for key, slot in sorted(some, key=str))


def _handed_in(point: Point, where: EdgeClass) -> Iterator[Sequence_]:
    """What the cotangents alone give to the values at every step."""
    model, edge = point.model, where.edges[0]
    for c in model.classes:
        if c.kind == "move" and len(c.edges) == len(where.edges) and model.values[c.edges[0].p].shape == model.values[edge.y].shape:
            yield "share", c.key, c.slot


def _readers(point: Point, where: EdgeClass, k: int) -> tuple[tuple[UnitKey, int], ...]:
    """The other edges whose share is multiplied with the same value, at every step."""
    model = point.model

    def partners(c: EdgeClass) -> tuple[int, ...]:
        return tuple(args[1 - e.arg] if len(args := model.graph.nodes[e.y].args) == 2 else -1 for e in c.edges)

    mine = partners(where)
    return tuple(
        (c.key, c.slot)
        for c in model.classes
        if c is not where and c.kind in ("matmul", "einsum", "multiply") and partners(c) == mine and -1 not in mine
    )


def sequences(point: Point) -> list[Sequence_]:
    """The values at every step that can be taken for another, each once."""
    seen: set[tuple[int, ...]] = set()
    found: list[Sequence_] = []
    for where in point.model.classes:
        for what in ("y", "p"):
            nodes = tuple(e.y if what == "y" else e.p for e in where.edges)
            if nodes not in seen and not where.key[1].startswith("output"):
                seen.add(nodes)
                found.append((what, where.key, where.slot))
    return found


def _first(point: Point, sequence: Sequence_) -> int:
    edge = point.model.by_key[sequence[1], sequence[2]].edges[0]
    return edge.y if sequence[0] == "y" else edge.p


def _pair(small: Point, large: Point, kept: _Kept, budget: Budget) -> tuple[Found, ...]:
    """Two edits whose changes add up to what is wrong: each is asked for the one that is missing, by a random projection."""
    if len(kept.edits) < 2:
        return ()
    total = len(small.yours) // len(small.cotangents)
    delta = small.yours[:total] - small.right[:total]
    changes = np.stack(kept.changes)
    nonzero = np.flatnonzero(np.max(np.abs(changes), axis=1) > small.same)
    changes = changes[nonzero]
    line = np.random.default_rng(0).normal(size=total)
    at = changes @ line
    order = np.argsort(at)
    wanted = float(delta @ line) - at
    slack = 1e-7 * (1 + np.abs(wanted))
    low, high = np.searchsorted(at[order], wanted - slack), np.searchsorted(at[order], wanted + slack)
    found = []
    for i in np.flatnonzero(high > low):
        for j in order[low[i] : high[i]]:
            if j <= i or not budget.edit(len(small.model.edges)) or not np.all(np.abs(changes[i] + changes[j] - delta) <= 4 * small.same):
                continue
            edits = (kept.edits[nonzero[i]], kept.edits[nonzero[j]])
            try:
                if small.equal(small.vector(edits), small.yours) and large.equal(large.vector(edits), large.yours):
                    found.append(Found(edits, 3.0))
            except Impossible:
                continue
        if len(found) > 4:
            break
    return tuple(found)


def _peeled(
    small: Point, large: Point, base: tuple[Edit, ...], kept: _Kept, budget: Budget, depth: int = 3, breadth: int = 4
) -> tuple[Found, ...]:
    """Two mistakes or more: one that mends some entries and spoils none, then what is left, as if that one were mended."""
    for edit in kept.best(breadth):
        if not budget.is_left:
            return ()
        edits, again = (*base, edit), _Kept(whole=kept.whole)
        if found := _one_more(small, large, edits, budget, again):
            return tuple(replace(f, cost=f.cost + 2) for f in found)
        kept.here_only += again.here_only
        if depth > 1 and (found := _peeled(small, large, edits, again, budget, depth - 1, max(1, breadth // 2))):
            return found
        kept.here_only += again.here_only
    return ()
