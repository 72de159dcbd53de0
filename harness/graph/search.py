"""Which edits of the backward sweep give all of a subject's wrong numbers.

A candidate must give every given tensor under every cotangent, at a small case and at a second one of other sizes.  Edges are tried
whose bar reaches all wrong tensors, the nearest to them first.  A share that is only too large, too small, turned or missing is found
for any factor at once, because the gradient is linear in it: yours - right = (factor - 1) share.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bptt.harness.graph.edits import FORMS, Edit, Impossible, Sequence_
from bptt.harness.graph.point import Point
from bptt.harness.graph.units import EdgeClass
from bptt.harness.subject import Array

_FACTORS = ("0", "2", "-1", "1/2", "N", "1/N", "T", "1/T", "H", "1/H", "D", "1/D")
_TIMES_COST = {"0": 1.0, "-1": 1.15, "2": 1.2, "1/2": 1.25}
_LATE = ("not first", "not last", "last", "first")


@dataclass(frozen=True)
class Found:
    """Edits that together give the subject's numbers; the simplest first among several `Found`."""

    edits: tuple[Edit, ...]
    cost: float


def search(small: Point, large: Point, seconds: float) -> tuple[Found, ...]:
    """What gives the subject's numbers at both points, simplest first; () where nothing does."""
    until = time.perf_counter() + seconds
    found = _single(small, large, (), until)
    if found:
        return found
    return _peeled(small, large, until)


def _single(small: Point, large: Point, base: tuple[Edit, ...], until: float) -> tuple[Found, ...]:
    found: list[Found] = []
    for cost, edit in _matching(small, base, until):
        edits = (*base, edit)
        try:
            if large.equal(large.vector(edits), large.yours):
                found.append(Found(edits, cost))
        except Impossible:
            continue
    return tuple(sorted(found, key=lambda f: f.cost))


def _matching(
    point: Point, base: tuple[Edit, ...], until: float, partly: list[tuple[int, Edit]] | None = None
) -> Iterator[tuple[float, Edit]]:
    """Edits that give the numbers at this point on top of `base`.   partly: gets those that mend some tensors and spoil none"""
    start = point.vector(base) if base else point.right
    wrong = frozenset(n for n, at in point.parts.items() if not point.equal(start[at], point.yours[at]))
    delta = point.yours - start
    total = len(point.yours) // len(point.cotangents)
    best = 9.0
    for where in _screened(point, wrong, partly is not None):
        for cost, edit in (*_scaled(point, base, start, delta, where), *_replaced(point, where)):
            if time.perf_counter() > until or cost > best + 1:
                break
            try:
                one = point.first((*base, edit))
                if not np.all(np.abs(one - point.yours[:total]) <= point.same):
                    if partly is not None:
                        _note(point, start, one, edit, partly)
                    continue
                if point.equal(point.vector((*base, edit)), point.yours):
                    best = min(best, cost)
                    yield cost, edit
            except Impossible:
                continue


def _note(point: Point, start: Array, one: Array, edit: Edit, partly: list[tuple[int, Edit]]) -> None:
    mended, total = 0, len(one)
    for at in point.parts.values():
        k = at[at < total]
        now = point.equal(one[k], point.yours[k])
        before = point.equal(start[k], point.yours[k])
        if before and not now:
            return
        mended += now and not before
    if mended:
        partly.append((mended, edit))


def _screened(point: Point, wrong: frozenset[tuple[str, str]], some: bool) -> list[EdgeClass]:
    """Classes whose edges reach all wrong tensors (or some), those that reach least besides first."""
    found = []
    given = frozenset(point.parts)
    for where in point.model.classes:
        reached = frozenset().union(*(point.model.leaves.get(e.p, frozenset()) for e in where.edges)) & given
        if wrong and (reached & wrong if some else wrong <= reached):
            found.append((len(reached - wrong), len(reached), where))
    return [where for *_, where in sorted(found, key=lambda f: f[:2])]


def _scaled(point: Point, base: tuple[Edit, ...], start: Array, delta: Array, where: EdgeClass) -> Iterator[tuple[float, Edit]]:
    """The right share times a factor, at all steps or at some."""
    target = (where.key, where.slot)
    whens = ("all", *_LATE) if len(where.edges) > 1 else ("all",)
    for when in whens:
        extra = 0.0 if when == "all" else 0.3
        dropped = Edit(target, "times", "0", when=when)
        try:
            share = start - point.vector((*base, dropped))
        except Impossible:
            continue
        size = float(share @ share)
        if size == 0:
            continue
        factor = 1 + float(share @ delta) / size
        linear = bool(np.all(np.abs(delta - (factor - 1) * share) <= point.same * max(1.0, abs(factor))))
        if linear:
            names = [f for f in _FACTORS if abs(_value(point, f) - factor) <= 1e-7 * max(1.0, abs(factor))]
            for name in names:
                yield _TIMES_COST.get(name, 1.3) + extra, Edit(target, "times", name, when=when)
            yield 1.9 + extra, Edit(target, "times", repr(round(factor, 12)), when=when)
        elif len(where.edges) > 1:
            for name in _FACTORS:
                yield _TIMES_COST.get(name, 1.3) + extra, Edit(target, "times", name, when=when)
        else:
            yield 1.0 + extra, dropped


def _value(point: Point, factor: str) -> float:
    from bptt.harness.graph.edits import number

    return number(factor, point.sizes)


def _replaced(point: Point, where: EdgeClass) -> Iterator[tuple[float, Edit]]:
    """Another factor, another operand, another dL/dy."""
    target = (where.key, where.slot)
    model, edge = point.model, where.edges[0]
    shape = model.values[edge.y].shape
    pool = sequences(point)
    if where.kind in ("activation", "multiply", "other"):
        for form in FORMS:
            if form != "1" or where.kind != "activation":
                yield 1.5, Edit(target, "value", other=None, form=form)
        yield 1.1, Edit(target, "value", other=None, form="1")
        own: Sequence_ = ("p", where.key, where.slot)
        for form in FORMS:
            yield 1.6, Edit(target, "value", other=own, form=form)
        for other in pool:
            if model.values[_first(point, other)].shape == shape:
                for form in ("{q}", "(1 - {q})", "{q} * (1 - {q})", "(1 - {q}**2)"):
                    yield 2.0 + 0.1 * (form != "{q}"), Edit(target, "value", other=other, form=form)
    if where.kind in ("matmul", "einsum"):
        node = model.graph.nodes[edge.y]
        if len(node.args) == 2:
            wanted = model.values[node.args[1 - where.slot]].shape
            yield 1.4, Edit(target, "operand", transposed=True)
            for other in pool:
                found = model.values[_first(point, other)].shape
                if found == wanted:
                    yield 2.0, Edit(target, "operand", other=other)
                if len(found) == 2 and found[::-1] == wanted:
                    yield 2.2, Edit(target, "operand", other=other, transposed=True)
    if len(model.values[edge.p].shape) == 2 and len(set(model.values[edge.p].shape)) == 1:
        yield 1.45, Edit(target, "transposed share")
    for other in pool:
        if other[0] == "y" and model.values[_first(point, other)].shape == shape and other[1] != where.key:
            yield 2.3, Edit(target, "bar", other=other)


def sequences(point: Point) -> list[Sequence_]:
    """The values at every step that can be taken for another, each once."""
    seen: set[tuple[int, ...]] = set()
    found: list[Sequence_] = []
    for where in point.model.classes:
        for what in ("y", "p"):
            nodes = tuple(e.y if what == "y" else e.p for e in where.edges)
            if nodes not in seen:
                seen.add(nodes)
                found.append((what, where.key, where.slot))
    return found


def _first(point: Point, sequence: Sequence_) -> int:
    edge = point.model.by_key[sequence[1], sequence[2]].edges[0]
    return edge.y if sequence[0] == "y" else edge.p


def _peeled(small: Point, large: Point, until: float) -> tuple[Found, ...]:
    """Two mistakes or three: one that mends some tensors and spoils none, then what is left."""
    base: tuple[Edit, ...] = ()
    tried: list[tuple[int, Edit]] = []
    for _ in _matching(small, base, until, tried):
        pass
    tried.sort(key=lambda t: -t[0])
    for _, edit in tried[:12]:
        if time.perf_counter() > until:
            return ()
        if found := _single(small, large, (edit,), until):
            return tuple(replace(f, cost=f.cost + 2) for f in found)
    return ()


def same_edits(a: Sequence[Edit], b: Sequence[Edit]) -> bool:
    return set(a) == set(b)
