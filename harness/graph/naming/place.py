"""The line of the user's backward in which a mistake is made."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import numpy as np

from bptt.harness.graph.naming.backward import Backward, Mend, parts_of, pool_of
from bptt.harness.graph.naming.edits import Edit, Impossible, applies, at_step, edited_share, edited_sweep
from bptt.harness.graph.tracing import statements
from bptt.harness.graph.tracing.node import Frame, Place
from bptt.harness.subject import Array


def line_of(backward: Backward, edits: Sequence[Edit], edit: Edit) -> Frame | None:
    """Where one of the edits is made; None where no line tells.   The others stay, and the right values there mend the rest."""
    point = backward.point
    if edit.act == "skipped":
        return _loop(backward)
    if edit.act == "times" and edit.more and edit.target[0][1].startswith("output"):
        frames = _frames(backward)
        called = statements.call_of(frames[0], "backward") if frames else None
        return _mended_frame(backward, edits, edit) or called or _handed_back(backward)
    if edit.act == "assigned":
        edge = point.model.by_key[edit.target].edges[-1]
        return _where_written(backward, point.model.values[edge.y].size, point.model.values[edge.p].size)
    if edit.act == "exchanged":
        return _handed_back(backward)
    if edit.act == "leaf" and edit.other is None:
        return _return(backward)
    if edit.act in ("delivered", "neighbour"):
        return _where_computed(backward, edits, edit)
    if edit.when == "cut" or (edit.act == "times" and edit.factor == "0"):
        where = point.model.by_key[edit.target]
        for node, _, place in point.model.graph.cuts:
            if any(edge.p == node for edge in where.edges):
                return place[-1]
    mend = _mend(backward, edits, edit)
    if edit.act == "leaf":
        name = point.model.graph.nodes[point.model.by_key[edit.target].edges[0].p].name
        taken = backward.graph.taken.get(("dstate", name[1])) if name is not None else None
        if taken:
            return taken[-1]
        made = backward.graph.outputs.get(("dstate", name[1])) if name is not None else None
        place = backward.graph.nodes[made].place if made is not None else ()
        return (statements.handed_over(place[-1]) if place else None) or (mend.frame if mend is not None else None)
    if mend is None and edit.act == "bar":
        return _where_computed(backward, edits, edit) or _handed_over_instead(backward, edits, edit)
    if mend is None and edit.act == "times" and edit.target[0][1].startswith("output"):
        return _where_computed(backward, edits, edit) or _handed_in(backward)
    if mend is None:
        plain = _plainly(backward) if edit.act == "value" and edit.form == "1" else None
        if len(edit.more) > 1 and edit.act in ("times", "only"):
            plain = _handed_back(backward)
        return plain or _where_computed(backward, edits, edit)
    if edit.act == "value" and edit.form == "1" and (later := _handed_over(backward, edit, mend) or statements.renamed_for(mend.frame)):
        return later
    if edit.act == "times" and edit.factor == "0" and edit.target[0][1].startswith("output final"):
        return statements.start_of(mend.frame) or mend.frame
    missing = edit.act == "times" and edit.factor == "0" and edit.when == "all" and not statements.names(mend.frame)
    frames = [m.frame for m in mends_of(backward, [e for e in edits if e is not edit])] if missing else []
    sum_ = next((frame for frame in frames if statements.is_added_to(frame)), None)
    if sum_ is not None:
        forward = point.model.by_key[edit.target].frame
        once = forward is not None and statements.loop_around(forward) is None
        return _behind(backward, edits, edit) or (statements.end_of_loop(sum_) if once else None) or sum_
    return mend.frame


def _mended_frame(backward: Backward, edits: Sequence[Edit], edit: Edit) -> Frame | None:
    found = _mend(backward, edits, edit)
    return None if found is None else found.frame


def _mend(backward: Backward, edits: Sequence[Edit], edit: Edit) -> Mend | None:
    return next(iter(mends_of(backward, [e for e in edits if e is not edit])), None)


def mends_of(backward: Backward, others: Sequence[Edit]) -> list[Mend]:
    """The lines of the backward at which the right values mend all but the other mistakes; the one that is wrong first comes first."""
    point = backward.point
    try:
        bars = edited_sweep(point.exact[0], others, point.sizes) if others else point.exact[0].bars
    except Impossible:
        return []
    pool = pool_of(point, bars)
    if backward.larger is not None and not others:
        pool += pool_of(backward.larger, backward.larger.exact[0].bars)
    return backward.mended_by(bars, pool + parts_of(point, bars))


def _behind(backward: Backward, edits: Sequence[Edit], edit: Edit) -> Frame | None:
    """Of a sum of several statements that lacks one: behind the line that computes what the missing one takes."""
    try:
        bars = edited_sweep(backward.point.exact[0], edits, backward.point.sizes)
    except Impossible:
        return None
    model = backward.point.model
    y = model.by_key[edit.target].edges[-1].y
    while model.graph.nodes[y].op == "gather" and len(above := model.into.get(y, [])) == 1:
        (edge,) = above
        y = edge.y  # nobody computes dL/d(W.T)
    return None if y not in bars else _first_with(backward, bars[y])


def called(backward: Backward, edits: Sequence[Edit], edit: Edit) -> dict[int, str]:
    """What the user calls the gradients at an edge: the names of what has their numbers."""
    point = backward.point
    try:
        bars = edited_sweep(point.exact[0], edits, point.sizes)
    except Impossible:
        return {}
    edge, found = point.model.by_key[edit.target].edges[-1], dict[int, str]()
    for n in (edge.y, edge.p):
        if n in bars and np.any(bars[n]) and point.model.graph.nodes[n].op != "input":
            alike = (node for node in backward.graph.nodes if node.place and node.index in backward.moved)
            names = (statements.written(node.place[-1]) for node in alike if _equal(backward.values[node.index] * backward.scale, bars[n]))
            name = next((name for name in names if name), "")
            if name and name not in found.values():  # what goes on as it is has the same numbers under two names
                found[n] = name
    return found


def _where_computed(backward: Backward, edits: Sequence[Edit], edit: Edit) -> Frame | None:
    """The line that computes the wrong share, or a share that goes to the wrong place."""
    point = backward.point
    where = point.model.by_key[edit.target]
    try:
        bars = edited_sweep(point.exact[0], edits, point.sizes)
        if edit.act in ("delivered", "neighbour"):
            edge = where.edges[-1]
            share = None if edge.y not in bars else point.model.share(edge, bars[edge.y])
            return None if share is None else _first_with(backward, share)
        for edge in reversed(where.edges):
            if applies(point.model, edit, edge, len(where.edges)):
                share = edited_share(point.model, edge, bars.get(edge.y), bars, edit, where, point.sizes)
                if share is not None and np.size(share) > 1 and (line := _first_with(backward, share)):
                    return line
    except Impossible:
        return None
    return None


def _where_written(backward: Backward, rows: int, size: int) -> Frame | None:
    """The line that writes so many entries of a gradient of this size."""
    for node in backward.graph.nodes:
        written = node.op == "scatter" and node.place and not node.settings.add and node.index in backward.moved
        if written and backward.values[node.index].size == size and node.settings.index.size == rows:
            return node.place[-1]
    return None


def _handed_over(backward: Backward, edit: Edit, mend: Mend) -> Frame | None:
    """The statement that hands on, as it is, what the mended line computes rightly: the derivative is missing there."""
    model, edge = backward.point.model, backward.point.model.by_key[edit.target].edges[-1]
    wanted = backward.point.exact[0].bars.get(edge.y)
    last = backward.values[backward.lines[mend.line][-1]]
    if wanted is None or np.size(last) != model.values[edge.y].size or not _equal(last * backward.scale, wanted):
        return None
    return statements.handed_over(mend.frame)


def _first_with(backward: Backward, wanted: Array) -> Frame | None:
    """The first line that computes these numbers, or, where they are handed in, that reads them."""
    if not np.any(wanted):
        return None
    for node in backward.graph.nodes:
        value = backward.values[node.index]
        if node.index in backward.moved and value.size == wanted.size and _equal(value * backward.scale, wanted):
            if node.place:
                return node.place[-1]
            return next((n.place[-1] for n in backward.graph.nodes if n.place and node.index in n.args), None)
    return None


def _equal(a: Array, b: Array) -> bool:
    a, b = np.squeeze(a), np.squeeze(b)
    return a.shape == b.shape and bool(np.all(np.abs(a - b) <= 1e-9 * np.max(np.abs(b), initial=0.0)))


def _frames(backward: Backward) -> list[Frame]:
    """The user's lines that compute gradients, in order."""
    return [node.place[-1] for node in backward.graph.nodes if node.place and node.index in backward.moved]


def _handed_over_instead(backward: Backward, edits: Sequence[Edit], edit: Edit) -> Frame | None:
    """The return that hands on one gradient where another is wanted: the last of the function that computes the one that is handed on."""
    try:
        bars = edited_sweep(backward.point.exact[0], edits, backward.point.sizes)
        other = at_step(backward.point.model, edit.other, backward.point.model.by_key[edit.target].edges[-1], 1)
    except Impossible:
        return None
    line = _first_with(backward, bars[other]) if other in bars else None
    return statements.return_of(line) if line is not None else None


def _handed_back(backward: Backward) -> Frame | None:
    """Where wrong gradients are made ready: the first of the lines of one function that do it, or what calls all those that do."""
    nodes, leaf = backward.graph.nodes, dict(backward.leaves)
    wrong = {backward.point.model.graph.nodes[n].index for name, n in backward.point.leaves if name in backward.point.wrong}
    places = [_but_comprehensions(nodes[mine].place) for mine, node in leaf.items() if node in wrong and nodes[mine].place]
    if not places:
        return None
    if len({(place[:-1], place[-1].file, place[-1].function) for place in places}) == 1:
        return min((place[-1] for place in places), key=lambda frame: frame.line)
    shared = [frames[0] for frames in takewhile(lambda frames: len(set(frames)) == 1, zip(*places, strict=False))]
    return shared[-1] if shared else None


def _but_comprehensions(place: Place) -> Place:
    """A place without the frame that a comprehension has of its own."""
    return place[:-1] if len(place) > 1 and place[-1].function.startswith("<") else place


def _handed_in(backward: Backward) -> Frame | None:
    """The last line that reads what is handed in from outside: what is not read would be read beside it."""
    nodes = backward.graph.nodes
    given = {node.index for node in nodes if node.name is not None and node.name[0] in ("dys", "dfinal")}
    return next((n.place[-1] for n in reversed(nodes) if n.place and any(a in given for a in n.args)), None)


def _loop(backward: Backward) -> Frame | None:
    return next((loop for frame in _frames(backward) if (loop := statements.loop_around(frame)) is not None), None)


def _plainly(backward: Backward) -> Frame | None:
    """Where one name is given the value of another as it is: what should be done on the way is missing there."""
    frames = _frames(backward)
    return statements.renamed(frames[0]) if frames else None


def _return(backward: Backward) -> Frame | None:
    frames = _frames(backward)
    return statements.return_of(frames[-1]) if frames else None
