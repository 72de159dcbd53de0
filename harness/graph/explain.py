"""The causes of a wrong gradient, from the subject's own graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bptt.harness.call.cell import Gradients
from bptt.harness.call.drawing import draw
from bptt.harness.call.network import as_cell
from bptt.harness.cases import Case, Cotangent, Data, admissible
from bptt.harness.errors import BpttError
from bptt.harness.graph import shapes
from bptt.harness.graph.naming import words
from bptt.harness.graph.naming.backward import ROUNDINGS, Backward, Mend, pool_of
from bptt.harness.graph.naming.blocks import by_blocks
from bptt.harness.graph.naming.budget import Budget
from bptt.harness.graph.naming.edits import Edit, Impossible, edited_sweep
from bptt.harness.graph.naming.mending import Known, Mended, Right, mended
from bptt.harness.graph.naming.place import called, line_of, mends_of
from bptt.harness.graph.naming.point import Point, point
from bptt.harness.graph.naming.rewriting import Rewritten, added_at_places, first_right, rewrites, together
from bptt.harness.graph.naming.search import Found, equal_at, is_read_off, one_mistake, search
from bptt.harness.graph.naming.units import by_parts
from bptt.harness.graph.tracing import operators
from bptt.harness.graph.tracing.node import Frame, Graph
from bptt.harness.graph.tracing.passes import Refused, backward_graph, forward_graph
from bptt.harness.graph.tracing.reverse import gradients
from bptt.harness.subject import Array, Subject
from bptt.reports.records import Cause

#: (a small case, a second one of other sizes), in the order in which they are tried; T is at least the first one's.
_PAIRS = (
    (Case(T=1, N=2, D=3, H=5), Case(T=4, N=3, D=4, H=6, seed=1)),
    (Case(T=3, N=2, D=3, H=5), Case(T=5, N=3, D=4, H=6, seed=1)),
)
_TWO_STEPS = Case(T=2, N=2, D=3, H=5)
#: Where none of these tells: more rows, which may meet, and more steps, of which one may read one of long before.
_MANY = (Case(T=9, N=5, D=3, H=5, seed=3), Case(T=7, N=6, D=4, H=6, seed=4))
#: Differences are good to seven digits, complex steps to fifteen.
_AGREE = 1e-5
#: How much is tried at most (see `budget`): three seconds for one mistake, mostly eight at most, some tens where there are several.
_EFFORT = 750_000
#: What a pass that is followed costs, and what its lines cost that are given other values: so many times its operations.
_PER_NODE = 40
#: Edits behind which a value may stand that the backward keeps, and keeps wrongly.
_OF_VALUES = frozenset(("derivative", "value", "operand", "bar"))
#: At most so many mistakes are peeled off, one at a time.
_MOST_MISTAKES = 3


@dataclass(frozen=True)
class Failure:
    """The failure: where it was found, and the gradients that another oracle calls exact (those that it could afford)."""

    case: Case
    data: Data
    cotangents: Sequence[Cotangent]
    exact: Sequence[Gradients]


@dataclass(frozen=True)
class Explanation:
    """causes   best first;   refusal: why there is no graph, "" where there is one"""

    causes: tuple[Cause, ...] = ()
    refusal: str = ""


def explanation(subject: Subject, known: Failure, effort: int = _EFFORT) -> Explanation:
    """What is wrong with the subject's backward, by its own graph; nothing where the graph and another oracle disagree."""
    try:
        return _disagreement(subject, known) or _explained(subject, known.case, Budget(effort))
    except BpttError as error:
        return Explanation(refusal=str(error))


def explanation_of_shapes(subject: Subject, case: Case) -> Explanation:
    """Why gradients have other shapes than what they are the gradients of."""
    try:
        cell, data = _drawn(subject, case)
        return Explanation(shapes.causes(cell, case, data, _drawn(subject, replace(case, seed=case.seed + 7919))[1]))
    except BpttError as error:
        return Explanation(refusal=str(error))


def explanation_at(subject: Subject, case: Case, effort: int = _EFFORT) -> Explanation:
    """The same with no oracle beside the graph, at `case` and smaller ones."""
    return explanation(subject, Failure(case, _drawn(subject, case)[1], (), ()), effort)


def _disagreement(subject: Subject, known: Failure) -> Explanation | None:
    """A refusal where the graph cannot be had at the case that failed, or gives other gradients there than the oracle."""
    cell, _ = _drawn(subject, known.case)
    graph = forward_graph(cell, known.data, _drawn(subject, replace(known.case, seed=known.case.seed + 7919))[1])
    if isinstance(graph, Refused):
        return Explanation(refusal=f"your forward pass could not be followed: {graph.words}")
    for cotangent, exact in zip(known.cotangents, known.exact, strict=False):
        ours = gradients(graph, graph.values, cotangent, known.data)
        pairs = [(name, ours.params.get(name), value) for name, value in exact.params.items()]
        pairs += [("xs", ours.xs, exact.xs)] if exact.xs is not None else []
        pairs += [(f"{name}0", ours.state.get(name), value) for name, value in exact.state.items()]
        largest = max((float(np.max(np.abs(v), initial=0.0)) for _, _, v in pairs), default=0.0)
        for name, mine, value in pairs:
            if mine is not None and not np.all(np.abs(mine - value) <= _AGREE * (np.max(np.abs(value), initial=0.0) + 1e-6 * largest)):
                return Explanation(refusal=f"the graph of your forward pass and the other oracle give different dL/d{name}")
    return None


def _explained(subject: Subject, case: Case, budget: Budget) -> Explanation:
    gates = budget.part(3)  # kept apart, for what is seen gate by gate alone
    budget = Budget(budget.left - gates.left)
    line = _one_by_one(subject, budget.part(2), _MOST_MISTAKES - 1)
    if _sure(line):
        return Explanation(line)
    if line:  # it is in one line: what else could be said of it is worth less
        budget = budget.part(3)
    points: list[tuple[Point, Point]] = []
    base: tuple[tuple[Edit, ...], ...] = ()
    for small, large in (*_PAIRS, (case, _larger(case))):
        at = _point(subject, small)
        if isinstance(at, Refused):
            return Explanation(refusal=at.words)
        if not at.wrong:
            continue
        beside = _point(subject, large)
        if isinstance(beside, Refused):
            return Explanation(refusal=beside.words)
        points.append((at, beside))
        budget.pay(_PER_NODE * len(beside.model.graph.nodes))
        if causes := _by_roundings(subject, at, beside, budget) or _by_places(subject, at, beside, budget):
            return Explanation(causes)
        if base and (single := _one(subject, at, beside, budget.part(4))):
            return Explanation(_causes(subject, at, beside, single[0].edits, budget))
        for start in (*base, ()):
            searched = search(at, beside, budget, start)
            several = bool(searched.found) and len(searched.found[0].edits) > 1
            if several and (one := _by_lines(subject, at, beside, budget, sure=True) or _by_gates(subject, at.case, beside.case, budget)):
                return Explanation(one)  # one line, or one gate, rather than several mistakes
            if searched.found and _in_every_batch(subject, (at, beside), searched.found[0].edits):
                return Explanation(_causes(subject, at, beside, searched.found[0].edits, budget))
            base = (*base, *searched.here_only) if not start else base
    many = (_point(subject, _MANY[0]), _point(subject, _MANY[1])) if budget.is_left else ()
    if many and isinstance(at := many[0], Point) and isinstance(beside := many[1], Point) and at.wrong:
        budget.pay(_PER_NODE * len(beside.model.graph.nodes))
        if found := _one(subject, at, beside, budget.part(2)):
            return Explanation(_causes(subject, at, beside, found[0].edits, budget))
        points.append((at, beside))
    for at, beside in points if gates.is_left else ():
        if causes := _by_gates(subject, at.case, beside.case, gates):
            return Explanation(causes)
    for at, beside in points[1:]:  # at the first it was asked already; at the second always: to know the line is worth it
        line = line or (_by_lines(subject, at, beside, budget) if budget.is_left or at is points[1][0] else ())
    return Explanation(line or ((words.unknown(budget.edits + gates.edits, budget.texts + gates.texts),) if points else ()))


def _by_gates(subject: Subject, small: Case, large: Case, budget: Budget) -> tuple[Cause, ...]:
    """A mistake in one of several gates that one product computes."""

    def gate_by_gate(graph: Graph) -> Graph:
        return by_blocks(by_parts(graph))

    at, beside = _point(subject, small, gate_by_gate), _point(subject, large, gate_by_gate)
    if isinstance(at, Refused) or isinstance(beside, Refused):
        return ()
    found = one_mistake(at, beside, budget.part(3))
    found = found if found and _in_every_batch(subject, (at, beside), found[0].edits, gate_by_gate) else ()
    whole = _point(subject, small) if found else None
    return _causes(subject, at, beside, found[0].edits, budget, whole if isinstance(whole, Point) else None) if found else ()


def _by_roundings(subject: Subject, at: Point, beside: Point, budget: Budget) -> tuple[Cause, ...]:
    """A clip, a mask or a rounding of the backward without which every gradient is right at both points."""
    here = _backward(subject, at)
    found = here.needless(at.exact[0].bars, ROUNDINGS) if here is not None else []
    there = _backward(subject, beside) if found else None
    if there is None:
        return ()
    right = [frame for frame in found if there.right_without(frame, beside.exact[0].bars)]
    return (_with_its_line(subject, (at, beside), right[0], words.needless(right[0]), budget),) if right else ()


def _by_places(subject: Subject, at: Point, beside: Point, budget: Budget) -> tuple[Cause, ...]:
    """A sum over places, of which one comes twice in a batch: where none does, as at most small sizes, nothing is wrong."""
    backward = _backward(subject, at)
    several = list(added_at_places(backward)) if backward is not None else []
    whole, _ = first_right(several, _places(subject, at, beside), budget.part(4)) if several else ((), ())
    if not whole:
        return ()
    cause = words.rewritten(whole[0].frame, whole[0].said)
    said = f"{cause.hypothesis.partition(': ')[0]}: of an index that comes twice in the brackets += adds one share alone"
    return (replace(cause, hypothesis=said),)


def _by_lines(subject: Subject, at: Point, beside: Point, budget: Budget, sure: bool = False) -> tuple[Cause, ...]:
    """A line of the backward with which, mended, every gradient is right at both points, whatever the mistake in it is.

    sure   only where it is known what is wrong there: other mistakes may lie before a line that mends them all
    """
    here, there = _backward(subject, at), _backward(subject, beside)
    if here is None or there is None:
        return ()
    budget.pay(_PER_NODE * len(here.graph.nodes))
    right, right_there = at.exact[0].bars, beside.exact[0].bars
    for frame in here.needless(right):
        if there.right_without(frame, right_there):
            term = here.added(frame, right)
            cause = words.needless(frame) if term is None else words.added(term, frame)
            return (_with_its_line(subject, (at, beside), term or frame, cause, budget),)
    lines = () if sure else here.mended_by(right, pool_of(at, right))
    for mends, kept in ((lines, False), (here.kept_wrong(right), True)):
        if mends:
            again = there.kept_wrong(right_there) if kept else there.mended_by(right_there, pool_of(beside, right_there))
            also = {(m.frame, m.wanted) for m in again}
            for mend in mends:
                if (mend.frame, mend.wanted) in also:
                    cause = words.located(at, mend.frame, mend.wanted[:3], kept)
                    return (_with_its_line(subject, (at, beside), mend.frame, cause, budget, _known(mends, mend.frame)),)
    return ()


def _places(subject: Subject, at: Point, beside: Point) -> list[Right]:
    return [Right(_drawn(subject, p.case)[0], p, p.exact[0].bars) for p in (at, beside)]


def _by_texts(subject: Subject, at: Point, beside: Point, found: Rewritten, budget: Budget) -> tuple[Cause, ...]:
    """Statements of the backward with which, changed a little, every gradient is right at both points."""
    causes = []
    for one in found.whole:
        with together([r for r in found.whole if r is not one]):
            alone, also = _point(subject, at.case), _point(subject, beside.case)
            if isinstance(alone, Refused) or isinstance(also, Refused):
                return ()
            single = one_mistake(alone, also, budget.part(6))
            edit = single[0].edits[0] if single else None
            backward = _backward(subject, alone) if edit is not None else None
            names = called(backward, (edit,), edit) if edit is not None and backward is not None else {}
        named = replace(alone, model=replace(alone.model, called=names))
        how = one.said
        causes.append(words.rewritten(one.frame, how) if edit is None else _cause(named, edit, one.frame, len(found.whole), how))
    return tuple(causes)


def _one_by_one(subject: Subject, budget: Budget, more: int) -> tuple[Cause, ...]:
    """What is wrong where each mistake shows in a line's text, or is the only one; else the line that is wrong, where it is one.

    more   so many may be peeled off beside it
    """
    for small, large in _PAIRS:
        at = _point(subject, small)
        if isinstance(at, Refused) or not at.wrong:
            continue
        beside = _point(subject, large)
        if isinstance(beside, Refused) or _by_roundings(subject, at, beside, budget):
            return ()
        backward, places = _backward(subject, at), _places(subject, at, beside)
        two = _point(subject, _TWO_STEPS) if small.T > 1 else at
        if isinstance(two, Point) and two is not at and two.wrong:  # of two steps only the last hands anything back
            backward, places = _backward(subject, two), [*_places(subject, two, at), places[1]]
        texts = Rewritten() if backward is None else rewrites(backward, places, budget.part(2))
        if len(texts.whole) > 1 and (scaled := _scaled_alike(at, beside, budget.part(6))):
            return _causes(subject, at, beside, (scaled,), budget)  # one factor, rather than several lines
        if causes := _by_texts(subject, at, beside, texts, budget):
            return causes
        single = _one(subject, at, beside, budget.part(3))
        causes = _causes(subject, at, beside, single[0].edits, budget) if single else ()
        if causes and (causes[0].mended or single[0].edits[0].act not in _OF_VALUES):
            return causes
        whole, _ = first_right(texts.aside, places, budget.part(2))
        if causes := _by_texts(subject, at, beside, Rewritten(whole), budget) or causes:
            return causes
        line = _by_lines(subject, at, beside, budget)
        if _sure(line):
            return line
        for one in texts.partly[:more]:
            with together([one]):
                rest = _one_by_one(subject, budget, more - 1)
            if _sure(rest):
                return tuple(sorted((words.rewritten(one.frame, one.said), *rest), key=lambda c: c.source.line if c.source else 0))
        return line
    return ()


def _one(subject: Subject, at: Point, beside: Point, budget: Budget) -> tuple[Found, ...]:
    """The single edits that give the subject's numbers, in every batch."""
    found = one_mistake(at, beside, budget)
    return found if not found or _in_every_batch(subject, (at, beside), found[0].edits) else ()


def _in_every_batch(
    subject: Subject, points: tuple[Point, ...], edits: tuple[Edit, ...], seen: Callable[[Graph], Graph] = by_parts
) -> bool:
    """Whether a factor that was read off the numbers is the same in another batch of these sizes.

    A share of the entries, as of those that a mask leaves, may be the same in two batches, and is another one in a third.
    """
    if not any(map(is_read_off, edits)):
        return True
    thirds = (_point(subject, replace(p.case, seed=p.case.seed + 2), seen) for p in points)
    return all(isinstance(p, Refused) or not p.wrong or equal_at(p, edits) for p in thirds)


def _scaled_alike(at: Point, beside: Point, budget: Budget) -> Edit | None:
    """The one factor that every parameter's gradient has too many."""
    single = one_mistake(at, beside, budget)
    edits = single[0].edits if single else ()
    return edits[0] if len(edits) == 1 and edits[0].act == "times" and words.is_parameter(at, edits[0]) else None


def _sure(causes: tuple[Cause, ...]) -> bool:
    return bool(causes) and all(cause.score == 1 for cause in causes)


def _backward(subject: Subject, at: Point, larger: Point | None = None) -> Backward | None:
    traced = backward_graph(_drawn(subject, at.case)[0], at.data, at.cotangents[0])
    if isinstance(traced, Refused):
        return None
    network = subject.kind == "network"
    return Backward(at, traced, float(at.cotangents[0].dys.reshape(-1)[0]) if network else 1.0, network, larger)


def _larger(case: Case) -> Case:
    """A second case of other sizes in the same regime: what holds at one size only is no cause."""
    return replace(case, T=case.T + 2, N=case.N + 1, D=case.D + 1, H=case.H + 1, seed=case.seed + 1)


def _point(subject: Subject, case: Case, seen: Callable[[Graph], Graph] = by_parts) -> Point | Refused:
    case = admissible(subject, case)
    cell, data = _drawn(subject, case)
    return point(cell, case, data, _drawn(subject, replace(case, seed=case.seed + 7919))[1], seen)


def _drawn(subject: Subject, case: Case) -> tuple[Subject, Data]:
    """The subject as a cell at `case`, and what it is run on there."""
    if subject.kind == "operator":
        return operators.as_cell(subject, case)
    cell = as_cell(subject, case) if subject.kind == "network" else subject
    return cell, draw(cell, case)


def _causes(
    subject: Subject, at: Point, beside: Point, edits: tuple[Edit, ...], budget: Budget, larger: Point | None = None
) -> tuple[Cause, ...]:
    backward = _backward(subject, at, larger)
    edits = _needed(at, beside, edits)
    found = []
    for edit in edits:
        line = None if backward is None else line_of(backward, edits, edit)
        if line is None and subject.framework != "numpy":  # most have a forward pass alone, and the line is one of it
            line = at.model.by_key[edit.target].frame
        missing = _missing(at, edits, edit) if edit.act == "times" and edit.factor == "0" else ()
        others = tuple(e for e in edits if e is not edit)
        mends = [] if backward is None else mends_of(backward, others)
        lines = dict.fromkeys((line, *(m.frame for m in mends if m.at == -1))) if line is not None else {}
        readable = (
            (one, _mended(subject, (at, beside), one, budget, others, missing, _known(mends, one))) for one in lines if one is not None
        )
        line, how = next(((one, text) for one, text in readable if text is not None), (line, None))
        names = called(backward, edits, edit) if backward is not None else {}
        found.append(_cause(replace(at, model=replace(at.model, called=names)), edit, line, len(edits), how))
    return tuple(found)


def _cause(at: Point, edit: Edit, line: Frame | None, of: int, how: Mended | None) -> Cause:
    """The cause in words.   of: how many mistakes there are;   how: what should stand in the line"""
    names = words.joined([f"dL/d{words._input_name(n)}" for n in at.wrong])
    reproduces = "" if of == 1 else f"one of {of} mistakes; together, "
    reproduces += f"with this change the derivative of your own forward pass gives your {names}"
    reproduces += f" under {len(at.cotangents)} cotangents, and at a second size"
    return words.cause(at, edit, line, 1.0, reproduces, how)


def _with_its_line(
    subject: Subject, points: Sequence[Point], line: Frame, cause: Cause, budget: Budget, known: tuple[Known, ...] = ()
) -> Cause:
    """The cause with the line as it should read, where a small change of its text makes everything right."""
    how = _mended(subject, points, line, budget, (), (), known)
    return cause if how is None else words.with_its_mend(cause, line, how)


def _mended(
    subject: Subject,
    points: Sequence[Point],
    line: Frame,
    budget: Budget,
    others: tuple[Edit, ...],
    missing: tuple[Array, ...],
    known: tuple[Known, ...],
) -> Mended | None:
    try:
        places = [
            Right(_drawn(subject, p.case)[0], p, edited_sweep(p.exact[0], others, p.sizes) if others else p.exact[0].bars) for p in points
        ]
    except Impossible:
        return None
    return mended(line, places, budget, known, missing)


def _needed(at: Point, beside: Point, edits: tuple[Edit, ...]) -> tuple[Edit, ...]:
    """The edits but for those without which the others do as well."""
    for edit in edits:
        rest = tuple(e for e in edits if e is not edit)
        try:
            if rest and all(p.equal(p.vector(rest), p.yours) for p in (at, beside)):
                return _needed(at, beside, rest)
        except Impossible:
            continue
    return edits


def _missing(at: Point, edits: tuple[Edit, ...], edit: Edit) -> tuple[Array, ...]:
    """The shares that an edge does not give, step by step, the last first."""
    try:
        bars = edited_sweep(at.exact[0], edits, at.sizes)
    except Impossible:
        return ()
    shares = (at.model.share(e, bars[e.y]) for e in reversed(at.model.by_key[edit.target].edges) if e.y in bars)
    return tuple(s for s in shares if s is not None)


def _known(mends: Sequence[Mend], line: Frame) -> tuple[Known, ...]:
    """What expressions of a line should give."""
    here = (m for m in mends if m.frame.line == line.line and m.frame.file == line.file and m.at == -1)
    return tuple(Known(m.frame, m.time, m.given, m.right) for m in here if m.given is not None and m.right is not None)
