"""Statements of the user's backward with which, changed a little, gradients are right, wherever they stand.

The backward is run once at a single step, and stopped at each of its statements, where changed texts are evaluated among the values that
stand there (`texts`).  A backward is linear in what it computes from dys: an expression that gives v' in place of v changes a gradient g
by  <dg/dv, v' - v>,  with dg/dv by one sweep backwards over the user's own backward, so that thousands of texts cost one inner product
each.  Those that make a wrong gradient right and spoil none are run, at two sizes; of two mistakes each is found by the gradients that it
alone spoils.
"""

from __future__ import annotations

import ast
import linecache
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, combinations, islice
from types import FrameType

import numpy as np

from bptt.harness.graph.naming.backward import Backward, parts_of, pool_of
from bptt.harness.graph.naming.budget import Budget
from bptt.harness.graph.naming.mending import (
    Home,
    Mended,
    Right,
    evaluated,
    home_of,
    in_place,
    is_right,
    key_of,
    names_at,
    rights,
    said_of,
    watched,
)
from bptt.harness.graph.naming.texts import (
    Block,
    Change,
    ValueOf,
    changes,
    completed,
    distinct,
    gathered,
    is_pure,
    is_zeros,
    other_axes,
    places_changed,
    products,
    same,
    slips,
)
from bptt.harness.graph.tracing.node import Frame
from bptt.harness.graph.tracing.operations import pull
from bptt.harness.subject import Array

#: At most so many texts of an expression that fit are kept, and so many are run.
_MOST_KEPT, _MOST_RUN, _MOST_WANTED = 20, 40, 3
#: Of a statement that computes no gradient so many are run.
_MOST_ASIDE = 60
#: Of an expression whose gradient is not known so many are tried.
_MOST_GUESSED = 60
#: Whether expressions are looked at that should be the gradient of something, or the others; how many texts of each are evaluated.
_STAGES = ((True, 250), (True, 900), (False, 150))


@dataclass(frozen=True)
class Rewrite:
    """A statement, and a text in its place.

    mends    what is wrong and is right with it: gradients, or gates of them, by their place in the list of all
    leaves   the gradients that are right with it
    """

    home: Home
    block: Block
    made: tuple[Change, ...]
    mends: frozenset[int]
    leaves: frozenset[int]
    cost: float

    @property
    def said(self) -> Mended:
        return said_of(self.block, self.made)

    @property
    def frame(self) -> Frame:
        """The line that changes."""
        at = self.made[0][0]
        line = self.block.first + self.block.text[:at].count("\n")
        return Frame(self.home.file, line, self.home.name)


@dataclass(frozen=True)
class Rewritten:
    """whole   the fewest statements with which, rewritten, every gradient is right at all places; () where none are known
    partly   statements with which some of them are, and no other is spoilt, those that mend most first
    aside    texts of statements that compute no gradient, which were not run
    """

    whole: tuple[Rewrite, ...] = ()
    partly: tuple[Rewrite, ...] = ()
    aside: tuple[Rewrite, ...] = ()


def rewrites(backward: Backward, places: Sequence[Right], budget: Budget) -> Rewritten:
    """What rewritten statements come to.   places: at the first of them the backward was followed"""
    watching = _Watching(backward, places[0].bars, budget)
    wrong = frozenset(watching.wrong)
    if not backward.complete or not wrong or not watching.homes:
        return Rewritten()
    alone = chain(_stated(watching.homes, wrong), islice(_kept(backward, watching.homes, wrong), _MOST_RUN))
    one_step = places[0].point.case.T == 1
    if not one_step:  # each text is run: of what stands in a loop each pass has values of its own
        alone = chain(alone, _slipped(watching.homes, wrong))
    fitting: list[Rewrite] = []
    for watching.meant, watching.most in _STAGES if places[0].point.case.T <= 2 else ():
        watching.passed.clear()
        watched(places[0].subject, places[0].point, watching.homes, watching.at_line)
        fitting = sorted(watching.found, key=lambda r: (int(r.cost), r.block.first, r.cost, sum(len(new) for _, _, new in r.made)))
        for several in islice(_sets(fitting, wrong, places[-1]), _MOST_RUN):
            with together(several) as done:
                if budget.text(places[0].price) and done and all(is_right(place) for place in places):
                    return Rewritten(tuple(sorted(several, key=lambda r: r.block.first)))
    whole, here = first_right(chain(watching.started, alone, _slipped(watching.called_again(), wrong)), places, budget)
    if whole:
        return Rewritten(whole)
    return Rewritten((), (*here, *_partly(fitting, wrong, places)), tuple(watching.aside))


def added_at_places(backward: Backward) -> Iterator[Rewrite]:
    """Each statement that adds at places of which one may come twice, as one that adds at each of them."""
    homes = {(home.file, home.tree.lineno): home for node in backward.graph.nodes for frame in node.place or () if (home := home_of(frame))}
    wrong = frozenset(range(len(backward.leaves)))
    for home in homes.values():
        for statement in ast.walk(home.tree):
            if isinstance(statement, ast.AugAssign):
                block = Block("".join(linecache.getlines(home.file)[statement.lineno - 1 : statement.end_lineno]), statement.lineno)
                if block.text.isascii():
                    yield from (Rewrite(home, block, (one,), wrong, frozenset(), 1.0) for one in gathered(block, statement))


def first_right(several: Iterable[Rewrite], places: Sequence[Right], budget: Budget) -> tuple[tuple[Rewrite, ...], tuple[Rewrite, ...]]:
    """The first that alone makes every gradient right at all places; and those before it that do so at the first place alone."""
    here: list[Rewrite] = []
    for one in several:
        if not budget.text(places[0].price):
            break
        with together([one]) as done:
            right = done and is_right(places[0])
            if right and all(is_right(place) for place in places[1:]):
                return (one,), tuple(here)
        here += [one] if right else []
    return (), tuple(here)


def _partly(found: Sequence[Rewrite], wrong: frozenset[int], places: Sequence[Right]) -> Iterator[Rewrite]:
    """One of each statement."""
    seen = set[tuple[str, int]]()
    for r in sorted(found, key=lambda r: -len(r.mends)):
        if (r.home.file, r.block.first) not in seen and all(
            _mends_there(r, place) for place in (places[:1] if r.mends == wrong else places)
        ):
            seen.add((r.home.file, r.block.first))
            yield r


def _stated(homes: Sequence[Home], wrong: frozenset[int]) -> Iterator[Rewrite]:
    """What is written over in place of added to, or the reverse; a loop over a step more or less; a sum over another axis;
    None handed back."""
    for home in homes:
        own = dict.fromkeys(n.id for n in ast.walk(home.tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
        for statement in ast.walk(home.tree):
            if isinstance(statement, ast.Return) and isinstance(statement.value, ast.Tuple):
                back = Block("".join(linecache.getlines(home.file)[statement.lineno - 1 : statement.end_lineno]), statement.lineno)
                none = [n for n in statement.value.elts if isinstance(n, ast.Constant) and n.value is None and back.text.isascii()]
                given = {n.id for n in statement.value.elts if isinstance(n, ast.Name)}
                yield from (
                    Rewrite(home, back, ((*back.span(n), name),), wrong, frozenset(), 1.0)
                    for n in none
                    for name in own
                    if name not in given
                )
            if isinstance(statement, ast.For) and statement.iter.end_lineno == statement.lineno:
                head = Block(linecache.getline(home.file, statement.lineno), statement.lineno)
                made = places_changed(head, ast.Subscript(ast.Name("steps"), statement.iter)) if head.text.isascii() else ()
                yield from (Rewrite(home, head, (one,), wrong, frozenset(), 1.0) for one in islice(made, _MOST_KEPT))
            if isinstance(statement, ast.Assign | ast.AugAssign):
                whole = Block("".join(linecache.getlines(home.file)[statement.lineno - 1 : statement.end_lineno]), statement.lineno)
                axes = other_axes(whole, statement.value) if whole.text.isascii() else ()
                yield from (Rewrite(home, whole, (one,), wrong, frozenset(), 1.0) for one in axes)
            simple = isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Subscript | ast.Attribute)
            if isinstance(statement, ast.Assign | ast.AugAssign) and (simple or isinstance(statement, ast.AugAssign)):
                block = Block("".join(linecache.getlines(home.file)[statement.lineno - 1 : statement.end_lineno]), statement.lineno)
                before, after = (" = ", " += ") if simple else (" += ", " = ")
                if (at := block.text.find(before)) > 0 and block.text.isascii():
                    yield Rewrite(home, block, ((at, at + len(before), after),), wrong, frozenset(), 1.0)


def _slipped(homes: Sequence[Home], wrong: frozenset[int]) -> Iterator[Rewrite]:
    """Each statement with what is left out, doubled or turned in it, or of the step before or after."""
    for home in homes:
        inside = (n for s in ast.walk(home.tree) if isinstance(s, ast.Subscript) for n in ast.walk(s.slice))
        steps = dict.fromkeys(n.id for n in inside if isinstance(n, ast.Name))
        for statement in ast.walk(home.tree):
            value = getattr(statement, "value", None)
            if not isinstance(statement, ast.Assign | ast.AugAssign | ast.Return | ast.Expr) or not isinstance(value, ast.expr):
                continue
            block = Block("".join(linecache.getlines(home.file)[statement.lineno - 1 : statement.end_lineno]), statement.lineno)
            if block.text.isascii():
                nodes = [n for n in ast.walk(statement) if isinstance(n, ast.expr)]
                called = {id(c.func) for c in nodes if isinstance(c, ast.Call)}
                places = {id(inside) for n in nodes if isinstance(n, ast.Subscript) for inside in ast.walk(n.slice)}
                nodes = [n for n in nodes if isinstance(getattr(n, "ctx", None), ast.Load) or not hasattr(n, "ctx")]
                yield from (Rewrite(home, block, (one,), wrong, frozenset(), 1.0) for one in slips(block, nodes, called, places))
                fixed = [n for n in nodes if id(n) in places and isinstance(n.operand if isinstance(n, ast.UnaryOp) else n, ast.Constant)]
                for n in fixed:  # of one step in place of each
                    yield from (Rewrite(home, block, ((*block.span(n), step),), wrong, frozenset(), 1.0) for step in steps)


def _kept(backward: Backward, homes: Sequence[Home], wrong: frozenset[int]) -> Iterator[Rewrite]:
    """Of what the forward pass keeps for the backward, or the backward takes out of it, another name in the place of one."""
    frames = dict.fromkeys(node.place[-1] for node in backward.point.model.graph.nodes if node.place)
    forward = {(home.file, home.tree.lineno): home for frame in frames if (home := home_of(frame)) is not None}
    for home in {**forward, **{(home.file, home.tree.lineno): home for home in homes}}.values():
        own = [n.id for n in ast.walk(home.tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        own = list(dict.fromkeys((*own, *(a.arg for a in home.tree.args.args))))
        for statement in ast.walk(home.tree):
            if not isinstance(statement, ast.Assign | ast.Expr | ast.Return) or statement.value is None:
                continue
            several = [n.elts for n in ast.walk(statement.value) if isinstance(n, ast.Tuple)]
            several += [n.args for n in ast.walk(statement.value) if isinstance(n, ast.Call)]
            kept = next((e for e in several if len(e) > 2 and sum(isinstance(n, ast.Name) for n in e) > 1), ())
            block = Block("".join(linecache.getlines(home.file)[statement.lineno - 1 : statement.end_lineno]), statement.lineno)
            held = {n.id for n in kept if isinstance(n, ast.Name)}
            for n in kept:
                for name in (name for name in own if isinstance(n, ast.Name) and name not in held):
                    yield Rewrite(home, block, ((*block.span(n), name),), wrong, frozenset(), 1.0)


@contextmanager
def together(several: Sequence[Rewrite]) -> Iterator[bool]:
    """The user's functions with all of these texts in them, while this is open."""
    by_home: dict[tuple[str, int], list[Rewrite]] = defaultdict(list)
    for r in several:
        by_home[r.home.file, r.home.tree.lineno].append(r)
    with ExitStack() as stack:
        texts = ((rs[0].home, [(r.block, r.block.with_(r.made)) for r in rs]) for rs in by_home.values())
        done = [stack.enter_context(in_place(home, of_it)) for home, of_it in texts]
        yield all(done)


def _sets(found: Sequence[Rewrite], wrong: frozenset[int], elsewhere: Right) -> Iterator[tuple[Rewrite, ...]]:
    """One that mends all; two that do so together, then three, each of which mends what the others do not, there too."""
    yield from ((r,) for r in found if r.mends == wrong)
    alike: dict[tuple[str, int, frozenset[int]], list[Rewrite]] = defaultdict(list)
    for r in found:
        if r.mends != wrong:
            alike[r.home.file, r.block.first, r.mends].append(r)
    for several in chain(combinations(alike.items(), 2), combinations(alike.items(), 3)):
        mends = [key[2] for key, _ in several]
        if sum(map(len, mends)) == len(wrong) == len(frozenset().union(*mends)) and len({key[:2] for key, _ in several}) == len(several):
            yield tuple(next((r for r in rs if _mends_there(r, elsewhere)), rs[0]) for _, rs in several)


def _mends_there(one: Rewrite, place: Right) -> bool:
    with together([one]) as done:
        right = rights(place) if done else []
    return len(right) == len(place.point.leaves) and all(right[k] for k in one.leaves)


class _Watching:
    """What is known of the user's backward, and the texts that fit as it is run.

    meant, most   see _STAGES
    """

    meant, most = _STAGES[0]

    def __init__(self, backward: Backward, right: Mapping[int, Array], budget: Budget) -> None:
        self.budget = budget
        self.backward, self.found, self.passed, self.seen = (
            backward,
            list[Rewrite](),
            set[tuple[object, int]](),
            set[tuple[str, int, str]](),
        )
        values, H = backward.values, int(backward.point.case.H)
        self.missing: list[Array | None] = []
        self.same: list[float] = []
        self.lines: list[Array] = []
        self.slopes: list[dict[int, Array]] = []
        self.whole: list[int] = []
        rng, wanted = np.random.default_rng(1), [right.get(n, np.zeros(backward.point.model.values[n].shape)) for _, n in backward.leaves]
        largest = max((float(np.max(np.abs(w), initial=0.0)) for w in wanted), default=1.0)
        for k, ((mine, _), w) in enumerate(zip(backward.leaves, wanted, strict=True)):
            whole = w.reshape(values[mine].shape) - values[mine] if w.size == values[mine].size else None
            for part in _gates(values[mine].shape, H):
                line = np.zeros(values[mine].shape)
                line[part] = rng.normal(size=line[part].shape)
                self.lines.append(line)
                self.missing.append(None if whole is None else whole[part])
                self.same.append(1e-8 * (float(np.max(np.abs(w), initial=0.0)) + 1e-6 * largest))
                self.slopes.append(_slopes(backward, mine, line))
                self.whole.append(k)
        self.wrong = [k for k, m in enumerate(self.missing) if m is not None and np.max(np.abs(m), initial=0.0) > self.same[k]]
        kept = [
            w.reshape(values[mine].shape) - values[mine] if w.size == values[mine].size else None
            for (mine, _), w in zip(backward.leaves, wanted, strict=True)
        ]
        self.lacking = [None if k is None else k / backward.scale for k in kept]
        self.goal = [0.0 if kept[k] is None else float(np.sum(line * kept[k])) for line, k in zip(self.lines, self.whole, strict=True)]
        self.goals, self.spoilt = np.array(self.goal), np.array(self.same)
        self.is_right = ~np.isin(np.arange(len(self.goal)), self.wrong)
        self.at_node: dict[int, Array] = {}
        self.right_values: dict[tuple[int, ...], list[Array]] = defaultdict(list)
        self.finished: dict[tuple[int, ...], list[Array]] = defaultdict(list)
        sums = parts_of(backward.point, right) if backward.point.case.T > 1 else []  # what is carried lacks what the step itself adds
        for candidate, value in ((c, v) for c in (*pool_of(backward.point, right), *sums) for v in c.segments[0]):
            if np.any(value):
                turned = (value.T,) if value.ndim == 2 and min(value.shape) > 1 else ()  # who works with columns has it so
                for one in (value, *turned):
                    self.right_values[np.squeeze(one).shape].append(one)
                    if candidate.wanted[0] != "share" and candidate.wanted[3] != "in part":
                        self.finished[np.squeeze(one).shape].append(one)
        self.rows: dict[tuple[bool, tuple[int, ...]], Array] = {}
        self.by_span: dict[tuple[int, int, int, int], list[int]] = defaultdict(list)
        self.homes: tuple[Home, ...] = ()
        homes: dict[tuple[str, int], Home] = {}
        for (place, _, _), nodes in backward.every.items():
            for frame in place:  # of a call its last operation
                if (home := home_of(frame)) is not None:
                    homes.setdefault((home.file, home.tree.lineno), home)
                    self.by_span[frame.line, frame.column, frame.end_line, frame.end_column] += nodes
        self.homes = tuple(homes.values())
        self.aside: list[Rewrite] = []
        self.started: list[Rewrite] = []
        self.seen_aside = set[tuple[str, int]]()
        self.forward = {(n.place[-1].file, n.place[-1].line) for n in backward.point.model.graph.nodes if n.place}
        self.again = set[tuple[object, int]]()
        self.by_key = {home.key: home for home in self.homes}

    def at_line(self, frame: FrameType) -> None:
        home = self.by_key[key_of(frame.f_code)]
        if (home.key, frame.f_lineno) in self.passed:
            self.again.add((home.key, frame.f_lineno))
            return
        self.passed.add((home.key, frame.f_lineno))
        statement = _statement_at(home.tree, frame.f_lineno)
        if statement is None:
            return
        lines = linecache.getlines(home.file)[statement.lineno - 1 : statement.end_lineno]
        block = Block("".join(lines), statement.lineno)
        if not block.text.isascii():
            return
        value_of, names = evaluated(frame.f_globals, frame.f_locals), names_at(home, frame.f_locals)
        roots = list(self._roots(statement))
        for root, nodes, sign in roots:
            self._try(home, block, root, nodes, sign, value_of, names)
        if not roots and isinstance(statement, ast.Assign) and (home.file, frame.f_lineno) not in self.forward:
            if (home.file, block.first) not in self.seen_aside:
                self._aside(home, block, statement.value, value_of, names)
                self._started(home, block, statement.value, value_of, names)
            self.seen_aside.add((home.file, block.first))

    def called_again(self) -> list[Home]:
        """The functions that one step goes through more than once: a change of their text is one of each of these calls."""
        return [
            home
            for home in self.homes
            if any((home.key, line) in self.again for line in range(home.tree.lineno, home.tree.end_lineno or 0))
        ]

    def _started(self, home: Home, block: Block, root: ast.expr, value_of: ValueOf, names: Sequence[str]) -> None:
        """A sum that starts from zeros, and should from something: the gradient of a penalty."""
        for n in root.elts if isinstance(root, ast.Tuple) else (root,):
            given = value_of(block.of(n)) if is_zeros(n) else None
            wanted = [m for m in self.lacking if given is not None and m is not None and m.shape == given.shape and np.any(m)]
            values = distinct({name: v for name in names if wanted and (v := value_of(name)) is not None and v.size})
            for missing in wanted:
                for text in islice(products(values, missing), _MOST_KEPT):
                    self.started.append(Rewrite(home, block, ((*block.span(n), text),), frozenset(self.wrong), frozenset(), 1.0))

    def _aside(self, home: Home, block: Block, root: ast.expr, value_of: ValueOf, names: Sequence[str]) -> None:
        """Changes of what is no gradient itself, and goes into one: a slope, an old state."""
        given = value_of(block.of(root)) if is_pure(root) else None
        if given is None or given.size < 2:
            return
        start, end = block.span(root)
        fitting = []
        for cost, made in islice(changes(block, root, names, value_of), self.most):
            text = block.with_(made)
            if not self.budget.text():
                break
            value = value_of(text[start : end + len(text) - len(block.text)])
            if value is not None and value.shape == given.shape and np.all(np.isfinite(value)) and not same(value, given):
                fitting.append(Rewrite(home, block, made, frozenset(self.wrong), frozenset(), cost))
        self.aside += fitting[:_MOST_ASIDE]

    def _roots(self, statement: ast.stmt) -> Iterator[tuple[ast.expr, list[int], float]]:
        """Expressions of a statement, the nodes that they make or that read them, and with which sign."""
        value = getattr(statement, "value", None)
        if not isinstance(value, ast.expr):
            return
        if isinstance(statement, ast.AugAssign) and isinstance(statement.op, ast.Add | ast.Sub):
            nodes = self._nodes(statement)
            if nodes:
                yield value, nodes, -1.0 if isinstance(statement.op, ast.Sub) else 1.0
                return
        pending = [value]
        while pending:
            one = pending.pop(0)
            nodes = self._nodes(one)
            as_it_is = isinstance(one, ast.Name | ast.Attribute | ast.Subscript) and one is value and isinstance(statement, ast.Assign)
            if nodes or as_it_is:  # what hands on another array, or looks at it from another side, has no node of its own
                yield one, nodes, 1.0
            if not nodes:
                pending += [n for n in ast.iter_child_nodes(one) if isinstance(n, ast.expr)]

    def _nodes(self, n: ast.expr | ast.stmt) -> list[int]:
        found = sorted(set(self.by_span.get((n.lineno, n.col_offset, n.end_lineno or 0, n.end_col_offset or 0), ())))
        passes = int(self.backward.point.case.T)
        first = len(found) // passes if len(found) % passes == 0 else len(found)
        return found[first - 1 : first] if found else []

    def _try(
        self, home: Home, block: Block, root: ast.expr, nodes: Sequence[int], sign: float, value_of: ValueOf, names: Sequence[str]
    ) -> None:
        slopes = self._slopes_at(nodes[-1]) if nodes else None
        pure = is_pure(root)
        given = value_of(block.of(root)) if pure else self.backward.values[nodes[-1]] if nodes else None
        if given is None or (slopes is not None and not np.any(slopes[self.wrong])):
            return
        whole = self.backward.values[nodes[-1]].shape if nodes else given.shape
        alike = [v / self.backward.scale for v in (*self._alike(given), np.zeros(given.shape))]
        wanted = [v for v in alike if slopes is None or self._mends(slopes, self._change(sign, v, given, whole))]
        if bool(wanted) != self.meant:
            return
        start, end = block.span(root)
        kept = dict.fromkeys((True, False), 0)
        done = not isinstance(root, ast.Name) and self._is_right(given, finished=True) and not self._handed_in(given)
        if not pure and slopes is not None:
            for one in wanted[:_MOST_WANTED] if self.budget.text() else ():
                mends = self._mends(slopes, self._change(sign, one, given, whole))
                several = islice(completed(block, root, names, value_of, (one.reshape(given.shape),), given), _MOST_KEPT)
                self.found += (Rewrite(home, block, made, mends, self._leaves(mends), cost + 2 * done) for cost, made in several)
            return
        more = completed(block, root, names, value_of, wanted[: _MOST_WANTED if nodes else _MOST_GUESSED])
        small = islice(changes(block, root, names, value_of), self.most)
        for is_more, (cost, made) in chain(((True, m) for m in more), ((False, s) for s in small)):
            text = block.with_(made)
            if kept[is_more] >= _MOST_KEPT or (home.file, block.first, text) in self.seen:
                continue
            self.seen.add((home.file, block.first, text))
            if not self.budget.text():
                return
            value = value_of(text[start : end + len(text) - len(block.text)])
            if value is None or value.shape != given.shape or not np.all(np.isfinite(value)) or same(value, given):
                continue
            if slopes is not None:
                mends = self._mends(slopes, self._change(sign, value, given, whole))
            else:
                mends = frozenset(self.wrong if np.any(value) and self._is_right(value) else ())
            if mends:
                meant = self._is_right(value) or not np.any(value)
                self.found.append(Rewrite(home, block, made, mends, self._leaves(mends), cost + 2 * done + (not meant)))
                kept[is_more] += 1

    def _leaves(self, mends: frozenset[int]) -> frozenset[int]:
        """The gradients of which nothing is wrong any more."""
        left = {self.whole[k] for k in self.wrong if k not in mends}
        return frozenset(self.whole[k] for k in mends) - left

    def _is_right(self, given: Array, finished: bool = False) -> bool:
        """Whether it is the right gradient of something, or a share of one.   finished: no share, to which another may be missing"""
        shape = np.squeeze(given).shape
        if (finished, shape) not in self.rows:
            alike = self.finished.get(shape, ()) if finished else self._alike(given)
            self.rows[finished, shape] = np.array([v.reshape(-1) for v in alike]).reshape(-1, given.size)
        rows, mine = self.rows[finished, shape], given.reshape(-1) * self.backward.scale
        return bool(np.any(np.all(np.abs(rows - mine) <= 1e-7 * np.max(np.abs(rows), axis=1, keepdims=True, initial=0.0), axis=1)))

    def _handed_in(self, given: Array) -> bool:
        """Whether it is only what is handed in from outside: there something may well be missing beside it."""
        v = self.backward.point.cotangents[0]
        given = np.squeeze(given)
        return any(
            a.shape == given.shape and same(given, a) for one in (*v.dys, *v.dfinal.values()) for a in (np.squeeze(one), np.squeeze(one).T)
        )

    def _alike(self, given: Array) -> Sequence[Array]:
        return self.right_values.get(np.squeeze(given).shape, ())

    @staticmethod
    def _change(sign: float, value: Array, given: Array, whole: tuple[int, ...]) -> Array | None:
        """What it comes to where the expression gives another value; None where that has another shape."""
        change = sign * (value.reshape(given.shape) - given)
        try:
            return np.broadcast_to(change, whole) if change.size != np.prod(whole, dtype=int) else change.reshape(whole)
        except ValueError:
            return None

    def _slopes_at(self, node: int) -> Array:
        """d <line, gradient> / d(node) for each line, one below the other."""
        if node not in self.at_node:
            none = np.zeros(self.backward.values[node].shape)
            self.at_node[node] = np.stack([s.get(node, none) for s in self.slopes])
        return self.at_node[node]

    def _mends(self, slopes: Array, change: Array | None) -> frozenset[int]:
        """The wrong gradients that a change makes right, if it spoils none."""
        if change is None:
            return frozenset()
        terms = (slopes * change).reshape(len(slopes), -1)
        moved, size = terms.sum(axis=1), np.abs(terms).sum(axis=1)
        if np.any(self.is_right & (np.abs(moved) > 1e-7 * size + self.spoilt)):
            return frozenset()
        mends = ~self.is_right & (np.abs(moved - self.goals) <= 1e-7 * (size + np.abs(self.goals)))
        return frozenset(int(k) for k in np.flatnonzero(mends))


def _gates(shape: tuple[int, ...], H: int) -> list[tuple[slice, ...]]:
    """The parts of a gradient of several gates, side by side or one below the other; else all of it."""
    for axis in range(len(shape) - 1, -1, -1):
        if H > 1 and shape[axis] % H == 0 and 2 <= shape[axis] // H <= 6:
            return [(slice(None),) * axis + (slice(j, j + H),) for j in range(0, shape[axis], H)]
    return [(slice(None),) * len(shape)]


def _slopes(backward: Backward, leaf: int, line: Array) -> dict[int, Array]:
    """d <line, leaf> / d(node) for every node of the user's backward that depends on dys."""
    bars: dict[int, Array] = {leaf: np.array(line)}
    with np.errstate(all="ignore"):
        for index in range(leaf, -1, -1):
            g, node = bars.get(index), backward.graph.nodes[index]
            if g is None or node.op in ("input", "constant"):
                continue
            args = [backward.values[a] for a in node.args]
            for k, a in enumerate(node.args):
                if a in backward.moved and (share := pull(node.op, node.settings, k, g, backward.values[index], args)) is not None:
                    bars[a] = bars[a] + share if a in bars else share
    return bars


def _statement_at(function: ast.FunctionDef, line: int) -> ast.stmt | None:
    """The statement that begins there, where it has no others in it."""
    return next((s for s in ast.walk(function) if isinstance(s, ast.stmt) and s.lineno == line and not hasattr(s, "body")), None)
