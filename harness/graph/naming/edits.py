"""The mistakes that people make at an edge of the backward sweep, and the sweep with some of them in it.

At an edge y -> p the right share is dL/dp += pull(dL/dy).  An edit gives another share, at every step of its class or at some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bptt.harness.graph.naming.units import Edge, EdgeClass, Model, UnitKey
from bptt.harness.graph.tracing.operations import ELEMENTWISE, Gather, like_zeros, local, pull, unbroadcast
from bptt.harness.subject import Array

#: A value at every step: what a class's edges compute ("y") or read ("p").
Sequence_ = tuple[str, UnitKey, int]

#: A shift to the last step, whatever the step.
LAST = 10**6
#: What people multiply with in place of the right factor, from another value q.
FORMS: dict[str, Callable[[Array], Array]] = {
    "{q}": lambda q: q,
    "(1 - {q})": lambda q: 1 - q,
    "{q} * (1 - {q})": lambda q: q * (1 - q),
    "(1 - {q}**2)": lambda q: 1 - q * q,
    "{q}**2": lambda q: q * q,
    "(1 + {q}**2)": lambda q: 1 + q * q,
    "(1 - np.tanh({q})**2)": lambda q: 1 - np.tanh(q) ** 2,
    "sigmoid({q}) * (1 - sigmoid({q}))": lambda q: 0.25 * (1 - np.tanh(0.5 * q) ** 2),
    "({q} > 0)": lambda q: (q > 0) * 1.0,
    "np.tanh({q})": np.tanh,
    "1": lambda q: 1.0 + 0 * q,
    "-{q}": lambda q: -q,
    "1 / {q}": lambda q: 1 / q,
}
#: The steps at which an edit is made; "inner", beside these: where p is no input of the cell.
WHEN: dict[str, Callable[[int, int], bool]] = {
    "but the last two": lambda step, count: step < count - 2,
    "odd": lambda step, count: step % 2 == 1,
    "even": lambda step, count: step % 2 == 0,
    "all": lambda step, count: True,
    "not first": lambda step, count: step > 0,
    "first": lambda step, count: step == 0,
    "last": lambda step, count: step == count - 1,
    "not last": lambda step, count: step < count - 1,
}


@dataclass(frozen=True)
class Edit:
    """act      "times": the right share times `factor`;
               "value": multiplied by `form` of `other` in place of the right factor
               "operand": a product with `other` in place of the right operand, transposed where `transposed`
               "bar": from dL/d(other) in place of dL/dy
               "derivative": the derivative of the activation, taken at `other`
               "unsummed": not summed over the axes along which p was spread to y
               "leaf": p, an input, gets dL/d(other) as its whole gradient
               "assigned": of rows that are read twice, the last only
               "neighbour": the share of the step `shift` later
    factor   a number, or a size: "N", "1/N", "T", "1/T", "H", "1/H", "D"
    shift    take `other` at the step so many later, around the end
    when     the steps at which it is made"""

    target: tuple[UnitKey, int]
    act: str
    factor: str = "0"
    other: Sequence_ | None = None
    form: str = "{q}"
    transposed: bool = False
    shift: int = 0
    when: str = "all"
    more: tuple[tuple[UnitKey, int], ...] = ()  # further edges with the same edit


@dataclass
class Exact:
    """One cotangent's exact sweep: dL/d(node), and each edge's share."""

    model: Model
    start: Mapping[int, Array]
    bars: dict[int, Array] = field(default_factory=dict)
    shares: dict[int, Array | None] = field(default_factory=dict)


def exact_sweep(model: Model, start: Mapping[int, Array]) -> Exact:
    """The unedited sweep over units."""
    found = Exact(model, start)
    with np.errstate(all="ignore"):
        for p in range(len(model.graph.nodes) - 1, -1, -1):
            total = start.get(p)
            for edge in model.into.get(p, ()):
                g = found.bars.get(edge.y)
                share = None if g is None else model.share(edge, g)
                found.shares[edge.number] = share
                if share is not None:
                    total = share if total is None else total + share
            if total is not None:
                found.bars[p] = total
    return found


class Impossible(Exception):
    """The edit has no meaning at this edge."""


def edited_sweep(exact: Exact, edits: Sequence[Edit], sizes: Mapping[str, float]) -> dict[int, Array]:
    """dL/d(node) with the edits; only what they reach is computed again.   Raises Impossible."""
    model = exact.model
    by_edge: dict[int, tuple[Edit, EdgeClass]] = {}
    for edit in edits:
        for target in (edit.target, *edit.more):
            where = model.by_key.get(target)
            if where is None:
                raise Impossible
            for edge in where.edges:
                if applies(model, edit, edge, len(where.edges)):
                    by_edge[edge.number] = (edit, where)
    whole = {}
    for edit in edits:
        if edit.act == "leaf" and edit.other is not None:
            for edge in model.by_key[edit.target].edges:
                if model.graph.nodes[edge.p].op == "input" and edge.step == 0:
                    source = model.by_key[edit.other[1], edit.other[2]].edges[0]
                    whole[edge.p] = source.y if edit.other[0] == "y" else source.p
                    if model.values[whole[edge.p]].shape != model.values[edge.p].shape:
                        raise Impossible
    if not by_edge:
        return exact.bars
    touched = {model.edges[n].p for n in by_edge}
    bars = dict(exact.bars)
    changed: set[int] = set()
    with np.errstate(all="ignore"):
        for p in range(max(touched), -1, -1):
            edges = model.into.get(p)
            if not edges or not (p in touched or any(e.y in changed for e in edges)):
                continue
            total = exact.start.get(p)
            for edge in edges:
                g = bars.get(edge.y)
                if edge.number in by_edge:
                    share = edited_share(model, edge, g, bars, *by_edge[edge.number], sizes)
                elif edge.y in changed:
                    share = None if g is None else model.share(edge, g)
                else:
                    share = exact.shares.get(edge.number)
                if share is not None:
                    total = share if total is None else total + share
            if p in whole:
                total = bars.get(whole[p])
            changed.add(p)
            if total is None:
                bars.pop(p, None)
            else:
                bars[p] = total
    return bars


def applies(model: Model, edit: Edit, edge: Edge, count: int) -> bool:
    """Whether the edit is made at the edge's step."""
    if edit.when == "inner":
        return model.graph.nodes[edge.p].op != "input"
    return WHEN[edit.when](edge.step, count)


def edited_share(
    model: Model, edge: Edge, g: Array | None, bars: Mapping[int, Array], edit: Edit, where: EdgeClass, sizes: Mapping[str, float]
) -> Array | None:
    """The share that the edit gives.   Raises Impossible."""
    if edit.act == "bar":
        other = at_step(model, edit.other, edge, len(where.edges), edit.shift)
        if other <= edge.p or other not in bars:
            raise Impossible
        g = bars[other]
        if g.shape != model.values[edge.y].shape:
            raise Impossible
        return model.share(edge, g)
    if edit.act == "leaf":
        return None if g is None else model.share(edge, g)
    if edit.act == "neighbour":
        beside = where.edges[(edge.step + edit.shift) % len(where.edges)]
        g = bars.get(beside.y)
        if beside.y <= edge.p or model.values[beside.p].shape != model.values[edge.p].shape:
            raise Impossible
        return None if g is None else model.share(beside, g)
    if g is None:
        return None
    if edit.act == "times":
        factor = number(edit.factor, sizes)
        if factor == 0:
            return None
        share = model.share(edge, g)
        return None if share is None else share * factor
    shape = model.values[edge.p].shape
    node = model.graph.nodes[edge.y]
    if edit.act == "value":
        if edge.y not in model.derivative and node.op not in ELEMENTWISE:
            raise Impossible
        q = FORMS[edit.form](model.values[at_step(model, edit.other, edge, len(where.edges), edit.shift)])
        if np.shape(g * q) != model.values[edge.y].shape:
            raise Impossible
        return unbroadcast(np.asarray(g * q), shape)
    if edit.act == "derivative":
        at = model.values[at_step(model, edit.other, edge, len(where.edges), edit.shift)]
        if edge.y not in model.derivative or at.shape != model.values[edge.p].shape:
            raise Impossible
        return np.asarray(g * model.derivative_at(edge.y, at))
    if edit.act == "unsummed":
        args = [model.values[a] for a in node.args]
        spread = local(node.op, edge.arg, model.values[edge.y], args) if node.op in ELEMENTWISE else None
        if spread is None or shape == model.values[edge.y].shape or model.graph.nodes[edge.p].op != "reduce":
            raise Impossible
        return np.asarray(g * spread)
    if edit.act == "assigned":
        if not isinstance(node.settings, Gather) or len(node.args) != 1 or np.unique(node.settings.index).size == node.settings.index.size:
            raise Impossible
        kept = like_zeros((int(np.prod(shape)),), g)
        kept[node.settings.index] = g
        return kept.reshape(shape)
    if edit.act == "transposed share":
        share = model.share(edge, g)
        if share is None or share.ndim != 2 or share.shape[0] != share.shape[1]:
            raise Impossible
        return share.T
    if edit.act == "operand":
        q = model.values[at_step(model, edit.other, edge, len(where.edges), edit.shift)]
        args = [model.values[a] for a in node.args]
        k = 1 - edge.arg if len(args) == 2 else -1
        if edit.other is None:
            q = args[k]
        q = q.T if edit.transposed else q
        if k < 0 or q.shape != args[k].shape:
            raise Impossible
        args[k] = q
        return pull(node.op, node.settings, edge.arg, g, model.values[edge.y], args)
    raise Impossible


def at_step(model: Model, sequence: Sequence_ | None, edge: Edge, count: int, shift: int = 0) -> int:
    """The node of a sequence at the edge's step.   Raises Impossible where the two do not go in step."""
    if sequence is None:
        return edge.y
    what, key, slot = sequence
    where = model.by_key.get((key, slot))
    if where is None:
        raise Impossible
    if len(where.edges) == count:
        one = where.edges[-1] if shift == LAST else where.edges[(edge.step + shift) % count]
        return one.y if what == "y" else one.p
    nodes = {e.y if what == "y" else e.p for e in where.edges}
    if len(nodes) == 1:
        return nodes.pop()
    raise Impossible


def number(factor: str, sizes: Mapping[str, float]) -> float:
    """The value of a factor: "1/N", "T", "-1", "0.01"."""
    sign, text = (-1.0, factor[1:]) if factor.startswith("-") else (1.0, factor)
    over, _, under = text.partition("/")
    top = sizes[over] if over in sizes else float(over)
    bottom = sizes[under] if under in sizes else float(under or 1)
    return sign * top / bottom if bottom else float("inf")


def zeros_for(model: Model, node: int) -> Array:
    return like_zeros(model.values[node].shape, model.values[node])
