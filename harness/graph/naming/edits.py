"""The mistakes that people make at an edge of the backward sweep, and the sweep with some of them in it.

At an edge y -> p the right share is dL/dp += pull(dL/dy).  An edit gives another share, at every step of its class or at some of them.
"""

from __future__ import annotations

from collections import defaultdict
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
    "1": lambda q: 1.0 + 0 * q,
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
    "({q} <= 0)": lambda q: (q <= 0) * 1.0,
    "({q} * (1 - {q}))**2": lambda q: (q * (1 - q)) ** 2,
    "(1 - {q}**2)**2": lambda q: (1 - q * q) ** 2,
    "-{q}": lambda q: -q,
    "1 / {q}": lambda q: 1 / q,
}
#: The steps at which an edit is made; beside these "inner", where p is no input of the cell, "cut", where the user's code takes p out of
#: autograd, and "but the last k".
WHEN: dict[str, Callable[[int, int], bool]] = {
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
               "short": from dL/dy without what comes to it by another way
               "bar": from dL/d(other) in place of dL/dy
               "derivative": the derivative of the activation, taken at `other`
               "unsummed": not summed over the axes along which p was spread to y
               "leaf": p, an input, gets dL/d(other) as its whole gradient
               "unmoved": entries that the forward pass moves (a reversal, a transpose) are not moved back
               "mirrored": what is read from the last step to the first gets its shares from the first to the last
               "through": p's whole gradient is dL/d(other) times `form` of other, as if nothing lay between the two but one function
               "inside": the derivative of the activation with its inner term number `shift` times `factor`; "one": with 1 in its place
               "delivered": the share goes to the state `shift` steps later than p
               "skipped": the loop over the steps leaves these out, and what is carried passes them as it is
               "assigned": of rows that are read twice, the last only
               "neighbour": the share of the step `shift` later
               "to": the share goes to `other` in place of p
               "swapped": what reads y gets dL/d(other), and what reads `other` gets dL/dy
               "exchanged": the gradients of two inputs, p and `other`, stand in each other's place
               "turned": the share of the steps in the opposite order
               "only": of what is summed over steps or over the batch, the part that `form` says
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
    arg: int = -1  # which argument is the operand, where there are more than two
    axes: tuple[int, int] | None = None  # which of its axes are exchanged


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
    whole: dict[int, Reading] = {}
    extra: dict[int, list[Reading]] = defaultdict(list)
    for edit in edits:
        for target in (edit.target, *edit.more):
            where = model.by_key.get(target)
            if where is None:
                raise Impossible
            if edit.act in _BEYOND_AN_EDGE:
                _whole(exact, edit, where, by_edge, whole, extra)
                continue
            for edge in where.edges:
                if applies(model, edit, edge, len(where.edges)):
                    by_edge[edge.number] = (edit, where)
    if not by_edge and not whole:
        return exact.bars
    touched = {model.edges[n].p for n in by_edge} | whole.keys() | extra.keys()
    bars = dict(exact.bars)
    changed: set[int] = set()
    with np.errstate(all="ignore"):
        for p in range(max(touched), -1, -1):
            edges = model.into.get(p, [])
            if not (p in touched or any(e.y in changed for e in edges)):
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
            for reading in extra.get(p, ()):
                share = reading(bars)
                if share is not None:
                    total = share if total is None else total + share
            if p in whole:
                total = whole[p](bars)
            if total is not None and total.shape != model.values[p].shape:
                raise Impossible
            changed.add(p)
            if total is None:
                bars.pop(p, None)
            else:
                bars[p] = total
    return bars


#: What a gradient is made of in place of its shares, from those of later nodes.
Reading = Callable[[Mapping[int, Array]], "Array | None"]
_NOTHING = Edit((((), "", 0), 0), "times", "0")


_BEYOND_AN_EDGE = frozenset(("leaf", "through", "delivered", "mirrored", "skipped", "to", "swapped", "exchanged"))


def _whole(
    exact: Exact,
    edit: Edit,
    where: EdgeClass,
    by_edge: dict[int, tuple[Edit, EdgeClass]],
    whole: dict[int, Reading],
    extra: dict[int, list[Reading]],
) -> None:
    """Edits that are more than another share at an edge.   Raises Impossible."""
    model, count = exact.model, len(where.edges)
    if edit.act == "leaf":
        for edge in where.edges:
            if model.graph.nodes[edge.p].op == "input" and edge.step == 0:
                if edit.other is None:
                    whole[edge.p] = lambda bars: None
                    continue
                source = at_step(model, edit.other, edge, count)
                if model.values[source].shape != model.values[edge.p].shape or source <= edge.p:
                    raise Impossible
                whole[edge.p] = lambda bars, source=source: bars.get(source)  # type: ignore[misc]  # no default of a lambda has a type
    elif edit.act == "through":
        for edge in where.edges:
            y = at_step(model, edit.other, edge, count)
            q = model.values[y if not edit.transposed else edge.p]
            if y <= edge.p or q.shape != model.values[edge.p].shape or model.values[y].shape != q.shape:
                raise Impossible
            with np.errstate(all="ignore"):
                factor = FORMS[edit.form](q)
            whole[edge.p] = lambda bars, y=y, factor=factor: None if y not in bars else np.asarray(bars[y] * factor)  # type: ignore[misc]
    elif edit.act == "mirrored":
        for edge in where.edges:
            by_edge[edge.number] = (_NOTHING, where)
            p = where.edges[count - 1 - edge.step].p
            if p >= edge.y or model.values[p].shape != model.values[edge.p].shape:
                raise Impossible
            extra[p].append(lambda bars, e=edge: model.share(e, bars[e.y]) if e.y in bars else None)  # type: ignore[misc]
    elif edit.act == "to":
        for edge in where.edges:
            to = at_step(model, edit.other, edge, count)
            if to >= edge.y or to == edge.p or model.values[to].shape != model.values[edge.p].shape:
                raise Impossible
            by_edge[edge.number] = (_NOTHING, where)
            extra[to].append(lambda bars, e=edge: model.share(e, bars[e.y]) if e.y in bars else None)  # type: ignore[misc]
    elif edit.act == "swapped":
        for mine, theirs in _partners(model, edit, where).items():
            if model.values[mine].shape != model.values[theirs].shape:
                raise Impossible
            for edge in model.outof.get(mine, ()):
                if edge.p >= theirs:
                    raise Impossible
                by_edge[edge.number] = (edit, where)
    elif edit.act == "exchanged":
        one, other = where.edges[0].p, at_step(model, edit.other, where.edges[0], count)
        if one == other or model.values[one].shape != model.values[other].shape:
            raise Impossible
        for mine, theirs in ((one, other), (other, one)):
            whole[mine] = lambda bars, n=theirs: _total(exact, n, bars)  # type: ignore[misc]
    elif edit.act == "delivered":
        chain = chain_of(model, where)
        for edge in where.edges:
            by_edge[edge.number] = (_NOTHING, where)
            at = edge.step + edit.shift
            if 0 <= at < len(chain):
                if chain[at] >= edge.y or model.values[chain[at]].shape != model.values[edge.p].shape:
                    raise Impossible
                extra[chain[at]].append(lambda bars, e=edge: model.share(e, bars[e.y]) if e.y in bars else None)  # type: ignore[misc]
    else:
        _skipped(model, edit, where, by_edge, whole, extra)


def _partners(model: Model, edit: Edit, where: EdgeClass) -> dict[int, int]:
    """y -> the value whose gradient stands in the place of its own, both ways, step by step.   Raises Impossible."""
    beside = model.by_key.get(edit.other[1:]) if edit.other is not None else None
    if beside is None or len(beside.edges) != len(where.edges):
        raise Impossible
    pairs = [(a.y, b.y) for a, b in zip(where.edges, beside.edges, strict=True)]
    return dict(pairs) | {b: a for a, b in pairs}


def _total(exact: Exact, n: int, bars: Mapping[int, Array]) -> Array | None:
    total = exact.start.get(n)
    for e in exact.model.into.get(n, ()):
        share = exact.model.share(e, bars[e.y]) if e.y in bars else None
        if share is not None:
            total = share if total is None else total + share
    return total


def _skipped(
    model: Model,
    edit: Edit,
    where: EdgeClass,
    by_edge: dict[int, tuple[Edit, EdgeClass]],
    whole: dict[int, Reading],
    extra: dict[int, list[Reading]],
) -> None:
    """Steps that the loop leaves out: nothing there gives a share, and the state's gradient passes them as it is."""
    count = len(where.edges)
    left = [k for k in range(count) if holds(edit.when, k, count)]
    if not left or len(left) == count:
        raise Impossible
    chains: dict[int, tuple[int, ...]] = {}
    for c in model.classes:
        if len(c.edges) != count:
            continue
        for edge in c.edges:
            if edge.step in left:
                by_edge[edge.number] = (_NOTHING, c)
        name = model.graph.nodes[c.edges[0].p].name
        if name is not None and name[0] == "state":
            chains.setdefault(c.edges[0].p, tuple(e.p for e in c.edges))
    for start, nodes in chains.items():
        if left[0] == 0:
            after = nodes[left[-1] + 1]
            whole[start] = lambda bars, after=after: bars.get(after)  # type: ignore[misc]
        else:
            final = [n for (kind, name), n in model.graph.outputs.items() if kind == "final" and name == model.graph.nodes[start].name[1]]  # type: ignore[index]
            if final:
                extra[nodes[left[0]]].append(lambda bars, n=final[0]: bars.get(n))  # type: ignore[misc]


def chain_of(model: Model, where: EdgeClass) -> tuple[int, ...]:
    """The values of a state one after the other, where the class reads them with a delay; first those given.   Raises Impossible."""
    read = [e.p for e in where.edges]
    for c in model.classes:
        made = [e.y for e in c.edges]
        for delay in range(1, 1 + min(4, len(read) - 1)):
            if len(made) == len(read) and read[delay:] == made[: len(made) - delay]:
                return (*read[:delay], *made)
    raise Impossible


def holds(when: str, step: int, count: int) -> bool:
    """Whether the step, of so many, is among those."""
    if when.startswith("but the last "):
        return step < count - int(when.removeprefix("but the last "))
    return WHEN[when](step, count)


def applies(model: Model, edit: Edit, edge: Edge, count: int) -> bool:
    """Whether the edit is made at the edge's step."""
    if edit.when == "inner":
        return model.graph.nodes[edge.p].op != "input"
    if edit.when == "cut":
        return any(node == edge.p and before <= edge.y for node, before in model.cut_at)
    return holds(edit.when, edge.step, count)


def edited_share(
    model: Model, edge: Edge, g: Array | None, bars: Mapping[int, Array], edit: Edit, where: EdgeClass, sizes: Mapping[str, float]
) -> Array | None:
    """The share that the edit gives.   Raises Impossible."""
    if edit.act == "short" and edit.other is not None and g is not None:
        lacking = [
            model.share(e, bars[e.y])
            for e in model.into.get(summed(model, edge.y), ())
            if (e.key, e.slot) == edit.other[1:] and e.y in bars
        ]
        for share in lacking:
            g = g if share is None else g - share
        return model.share(edge, g)
    if edit.act == "bar" and edit.other is not None and edit.other[0] == "value":
        loss = bars.get(len(model.graph.nodes) - 1)  # of a network, whose only output it is
        g = model.values[at_step(model, ("y", *edit.other[1:]), edge, len(where.edges))]
        if loss is None or loss.size != 1 or g.shape != model.values[edge.y].shape:
            raise Impossible
        return model.share(edge, g * loss.reshape(()))
    if edit.act == "bar" and edit.other is not None and edit.other[0] == "share":
        beside = model.by_key[edit.other[1:]].edges
        source = beside[edge.step] if len(beside) == len(where.edges) else None
        if source is None or source.y <= edge.p or source.y not in bars:
            raise Impossible
        g = model.share(source, bars[source.y])
        if g is None or g.shape != model.values[edge.y].shape:
            raise Impossible
        return model.share(edge, g)
    if edit.act == "bar":
        other = at_step(model, edit.other, edge, len(where.edges), edit.shift)
        if other <= edge.p or other not in bars:
            raise Impossible
        g = bars[other]
        if g.shape != model.values[edge.y].shape:
            raise Impossible
        return model.share(edge, g)
    if edit.act == "swapped":
        g = bars.get(_partners(model, edit, where)[edge.y])
        return None if g is None else model.share(edge, g)
    if edit.act == "turned":
        share = None if g is None else model.share(edge, g)
        if share is None or share.ndim < 2 or len(share) != sizes["T"] or len(where.edges) > 1:
            raise Impossible
        return share[::-1]
    if edit.act == "only":
        return _portion(model, edge, g, edit.form, len(where.edges), sizes)
    if edit.act == "neighbour":
        shifted = where.edges[(edge.step + edit.shift) % len(where.edges)]
        g = bars.get(shifted.y)
        if shifted.y <= edge.p or model.values[shifted.p].shape != model.values[edge.p].shape:
            raise Impossible
        return None if g is None else model.share(shifted, g)
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
        if edit.form == "1" and node.op in ("matmul", "einsum") and g.shape == shape:
            return np.array(g)
        if edge.y not in model.derivative and node.op not in ELEMENTWISE:
            raise Impossible
        with np.errstate(all="ignore"):
            instead = model.values[at_step(model, edit.other, edge, len(where.edges), edit.shift)]
            q = FORMS[edit.form](np.multiply(instead, 1.0))  # a mask is one too
        if np.shape(g * q) != model.values[edge.y].shape:
            raise Impossible
        return unbroadcast(np.asarray(g * q), shape)
    if edit.act == "inside":
        if edge.y not in model.derivative:
            raise Impossible
        return np.asarray(g * model.derivative_but_for(edge.y, edit.shift, None if edit.factor == "one" else number(edit.factor, sizes)))
    if edit.act == "unmoved":
        if node.op != "gather" or len(node.args) != 1 or node.settings.index.size != model.values[edge.p].size:
            raise Impossible
        if g.shape == shape:
            return np.array(g)
        return g.reshape(shape)
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
        k = edit.arg if edit.arg >= 0 else 1 - edge.arg if len(args) == 2 else -1
        if edit.other is None:
            q = args[k]
        q = q.T if edit.transposed else q if edit.axes is None else np.swapaxes(q, *edit.axes)
        if k < 0 or q.shape != args[k].shape:
            raise Impossible
        args[k] = q
        return pull(node.op, node.settings, edge.arg, g, model.values[edge.y], args)
    raise Impossible


#: Of a sum over steps or over the batch: the axis, and what is taken.
PORTIONS: Mapping[str, tuple[str, slice]] = {
    "the first step": ("T", slice(0, 1)),
    "the last step": ("T", slice(-1, None)),
    "every step but the first": ("T", slice(1, None)),
    "every step but the last": ("T", slice(0, -1)),
    "the first row of the batch": ("N", slice(0, 1)),
    "the last row of the batch": ("N", slice(-1, None)),
}


def _portion(model: Model, edge: Edge, g: Array | None, form: str, count: int, sizes: Mapping[str, float]) -> Array | None:
    """The share of a part of the steps, or of the rows.   Raises Impossible."""
    axis, part = PORTIONS[form]
    if g is None:
        return None
    if axis == "T" and count == sizes["T"]:
        return model.share(edge, g) if edge.step in range(count)[part] else None
    shape = g.shape
    if count == 1 and g.ndim and shape[0] == sizes["T"] * sizes["N"]:  # all rows of all steps, one below the other
        g = g.reshape(int(sizes["T"]), int(sizes["N"]), *shape[1:])
    at = 0 if axis == "T" or count == sizes["T"] else 1
    if g.ndim <= at or g.shape[at] != sizes[axis]:
        raise Impossible
    kept = like_zeros(g.shape, g)
    chosen = (slice(None),) * at + (part,)
    kept[chosen] = g[chosen]
    return model.share(edge, kept.reshape(shape))


def summed(model: Model, y: int) -> int:
    """The sum that y is a plain term of, and of nothing else: it has the same gradient."""
    while len(above := model.into.get(y, [])) == 1:
        (edge,) = above
        op = model.graph.nodes[edge.y].op
        plain = op == "add" or (op == "subtract" and edge.arg == 0)
        if not plain or model.values[edge.y].shape != model.values[y].shape:
            break
        y = edge.y
    return y


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
    top, bottom = _product(over, sizes), _product(under or "1", sizes)
    return sign * top / bottom if bottom else float("inf")


def _product(text: str, sizes: Mapping[str, float]) -> float:
    found = 1.0
    for part in text.split("*"):
        found *= sizes[part] if part in sizes else float(part)
    return found
