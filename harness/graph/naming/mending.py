"""The wrong line as it should read, in the user's own names: small changes of its text, tried until one makes every gradient right.

Where it is known what an expression of the line should give (`Backward.mended_by`), the line is stopped at in one run of the user's own
backward, and the changed texts are evaluated there, among the values that it has: thousands of them take as long as one run.  Those that
give the right value, and the usual ones where none is known, are tried in full: the function that the line stands in is compiled again with
the line changed, and called in place of the user's own, at the two sizes at which the cause was found.  What is said has been run; what
cannot be written this way is not said.
"""

from __future__ import annotations

import ast
import gc
import linecache
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import numpy as np

from bptt import refimpl
from bptt.harness.call.cell import Gradients, backward
from bptt.harness.errors import BpttError
from bptt.harness.graph.naming.budget import Budget
from bptt.harness.graph.naming.point import Point
from bptt.harness.graph.naming.texts import Block, Change, ValueOf, changes, completed, is_pure, places_changed, products, same
from bptt.harness.graph.tracing.node import Frame
from bptt.harness.graph.tracing.passes import copied, copied_cotangent
from bptt.harness.subject import Array, Subject

#: At most so many changed texts are evaluated among the line's own values; so many are run in full where its right value is not known,
#: and of a torch module, which takes ten times as long, so many.
_MOST_EVALUATED, _MOST_RUN, _MOST_OF_TORCH = 6000, 100, 40
#: A dict with more entries than this holds no parameters.
_MOST_HELD = 60
#: Of the numbers in a file at most so many are put in the place of others.
_MOST_CONSTANTS = 20
#: Where the reference cells stand.
_REFERENCE = os.path.join(os.path.dirname(refimpl.__file__), "")


@dataclass(frozen=True)
class Right:
    """The subject at one case, and the gradients that the mended line must give: dL/d(node) in the forward graph."""

    subject: Subject
    point: Point
    bars: Mapping[int, Array]

    @property
    def price(self) -> int:
        """What a run of the user's backward costs here, beside an edge that is swept."""
        return 20 + len(self.point.model.graph.nodes) * (6 if self.subject.framework != "numpy" else 1)


@dataclass(frozen=True)
class Known:
    """What an expression gives, and what it should give, when it is reached for the `time`-th time (from 0) at the first of the cases."""

    frame: Frame
    time: int
    given: Array
    wanted: Array


@dataclass(frozen=True)
class Mended:
    """The text that should stand in the line; of it the part that is another, as it stands and as it should."""

    text: str
    before: str = ""
    after: str = ""


def mended(
    frame: Frame, places: Sequence[Right], budget: Budget, known: Sequence[Known] = (), missing: Sequence[Array] = ()
) -> Mended | None:
    """How the line should read; None where no small change of it makes everything right.

    missing   the values of a term that is missing; the line may then be one that is missing behind this one
    """
    home = home_of(frame)
    if home is None:
        return None
    spot = _Spot(home, frame, places, budget)
    return next(spot.right_ones(known, missing), None)


@dataclass(frozen=True)
class Home:
    """What holds a function (a class, a module), its name there, and its text."""

    owner: Any
    name: str
    tree: ast.FunctionDef
    file: str

    @cached_property
    def plain(self) -> Any:
        held = vars(self.owner)[self.name]
        return held.__func__ if isinstance(held, staticmethod | classmethod) else held

    @cached_property
    def key(self) -> tuple[str, str, int]:
        return key_of(getattr(self.plain, "__code__", None))

    @cached_property
    def functions(self) -> list[FunctionType]:
        """The function, and its copies with other globals, which a reading of a module makes."""
        return [f for f in gc.get_objects() if type(f) is FunctionType and key_of(f.__code__) == self.key]


def key_of(code: CodeType | None) -> tuple[str, str, int]:
    """Where the text of a function stands."""
    return ("", "", 0) if code is None else (code.co_filename, code.co_name, code.co_firstlineno)


class _Spot:
    """A statement of the user's, and texts in its place."""

    def __init__(self, home: Home, frame: Frame, places: Sequence[Right], budget: Budget) -> None:
        self.home, self.file, self.places, self.budget = home, frame.file, places, budget
        self.statement = _statement(home.tree, frame.line)
        lines = linecache.getlines(frame.file)
        last = frame.line if self.statement is None else self.statement.end_lineno or frame.line
        first = frame.line if self.statement is None else self.statement.lineno
        self.block = Block("".join(lines[first - 1 : last]), first)
        self.most = _MOST_OF_TORCH if places[0].subject.framework == "torch" else _MOST_RUN

    def right_ones(self, known: Sequence[Known], missing: Sequence[Array]) -> Iterator[Mended]:
        if not self.block.text.isascii():
            return
        tried = {self.block.text}
        for text, said in self._texts(known, missing):
            if text not in tried:
                tried.add(text)
                if len(tried) > self.most or not self.budget.text(self.places[0].price):
                    return
                if self._is_right(text):
                    yield said

    def _texts(self, known: Sequence[Known], missing: Sequence[Array]) -> Iterator[tuple[str, Mended]]:
        """Texts of the statement, the likeliest first, and what is said of each."""
        for one in known:
            if (root := self._root(one.frame)) is not None:
                yield from ((self.block.with_(made), said_of(self.block, made)) for made in self._fitting(root, one))
        text = self.block.text
        for a, b in ((" = ", " += "), (" += ", " = "), (" += ", " -= "), (" -= ", " += ")):
            if text.count(a) == 1 and "==" not in text and isinstance(self.statement, ast.Assign | ast.AugAssign):
                at = text.index(a)
                yield self._changed(((at, at + len(a), b),))
        target = getattr(self.statement, "target", None) or next(iter(getattr(self.statement, "targets", ())), None)
        yield from (self._changed((made,)) for made in places_changed(self.block, target)) if target is not None else ()
        value = getattr(self.statement, "value", None)
        if not isinstance(value, ast.expr) or not is_pure(value):
            return
        found: list[tuple[Change, ...]] = []

        def visit(value_of: ValueOf, names: Sequence[str]) -> None:
            nonlocal found
            found = [] if known else [made for _, made in islice(changes(self.block, value, names, value_of), self.most)]
            found += self._behind(value_of, names, missing)

        self._at_work(0, visit)
        yield from (self._changed(made) for made in found)

    def _changed(self, made: tuple[Change, ...]) -> tuple[str, Mended]:
        return self.block.with_(made), said_of(self.block, made)

    def _root(self, frame: Frame) -> ast.expr | None:
        here = (frame.line, frame.column, frame.end_line, frame.end_column)
        return next(
            (
                n
                for n in ast.walk(self.statement or ast.Module([], []))
                if isinstance(n, ast.expr) and (n.lineno, n.col_offset, n.end_lineno, n.end_col_offset) == here
            ),
            None,
        )

    def _fitting(self, root: ast.expr, known: Known) -> list[tuple[Change, ...]]:
        """Changes of the expression with which it gives what it should, where it is first wrong."""
        found: list[tuple[Change, ...]] = []
        start, end = self.block.span(root)

        def visit(value_of: ValueOf, names: Sequence[str]) -> None:
            if not is_pure(root) or not same(value_of(self.block.of(root)), known.given):
                return
            found.extend(made for _, made in completed(self.block, root, names, value_of, (known.wanted,)))
            for _, made in islice(changes(self.block, root, names, value_of), _MOST_EVALUATED):
                text = self.block.with_(made)
                part = text[start : end + len(text) - len(self.block.text)]
                if not self.budget.text():
                    return
                if same(value_of(part), known.wanted):
                    found.append(made)
                    if len(found) > 20:
                        return

        self._at_work(known.time, visit)
        return found

    def _behind(self, value_of: ValueOf, names: Sequence[str], missing: Sequence[Array]) -> list[tuple[Change, ...]]:
        """The line with one more behind it, which adds the term that is missing to a gradient; before what this line writes is there."""
        if not isinstance(self.statement, ast.Assign):
            return []
        indent, at = " " * self.statement.col_offset, len(self.block.text.rstrip("\n"))
        targets = dict.fromkeys(ast.unparse(s.target) for s in ast.walk(self.home.tree) if isinstance(s, ast.AugAssign))
        shapes = {target: v.shape for target in targets if (v := value_of(target)) is not None}
        there = [(name, value_of(name)) for name in names]
        there.append((ast.unparse(self.statement.targets[0]), value_of(ast.unparse(self.statement.value))))
        known = {name: v for name, v in there if v is not None and v.size}
        return [
            ((at, at, f"\n{indent}{target} += {text}"),)
            for one in missing
            for text in products(known, one)
            for target, shape in shapes.items()
            if shape == one.shape
        ]

    # running

    def _is_right(self, text: str) -> bool:
        with in_place(self.home, [(self.block, text)]) as changed:
            return changed and all(is_right(place) for place in self.places)

    def _at_work(self, time: int, visit: Callable[[ValueOf, Sequence[str]], None]) -> None:
        """Run the user's backward, and stop when the statement is reached for the `time`-th time: `visit` is given what texts are there."""
        lines = range(self.block.first, self.block.first + len(self.block.text.splitlines()))
        inside, left = False, time

        def stop(frame: FrameType) -> None:
            nonlocal inside, left
            if frame.f_lineno in lines and not inside:
                if left == 0:
                    visit(evaluated(frame.f_globals, frame.f_locals), names_at(self.home, frame.f_locals))
                    raise Seen
                left -= 1
            inside = frame.f_lineno in lines

        watched(self.places[0].subject, self.places[0].point, (self.home,), stop)


def said_of(block: Block, made: tuple[Change, ...]) -> Mended:
    """The lines that change, as they should read."""
    before, after = block.text.splitlines(), block.with_(made).splitlines()
    other = [b for a, b in zip(before, after, strict=False) if a != b] if len(before) == len(after) else after[-1:]
    text = "\n".join(line.strip() for line in other)
    if len(made) > 1:
        return Mended(text)
    start, end, new = made[0]
    return Mended(text, " ".join(block.text[start:end].split()), new)


#: The texts that stand in the place of others, by the function: what is put there further in comes beside them.
_HELD: dict[tuple[str, int], dict[int, tuple[Block, str]]] = {}


@contextmanager
def in_place(home: Home, texts: Sequence[tuple[Block, str]]) -> Iterator[bool]:
    """The function with these texts in place of statements of it, while this is open."""
    lines, tree = linecache.getlines(home.file), home.tree
    first = min([tree.lineno, *(d.lineno for d in tree.decorator_list)])
    key = home.file, tree.lineno
    outer = _HELD.get(key, {})
    held = outer | {block.first: (block, text) for block, text in texts}
    head = "if True:\n" if tree.col_offset else "\n"  # lines and columns stay what they are
    body, at = ["\n" * (first - 2) + head if first > 1 else ""], first - 1
    for block, text in sorted(held.values(), key=lambda t: t[0].first):
        body += [*lines[at : block.first - 1], text.rstrip("\n") + "\n"]
        at = block.first - 1 + len(block.text.splitlines())
    body += lines[at : tree.end_lineno]
    space: dict[str, Any] = {}
    before = [(function, function.__code__) for function in home.functions]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile("".join(body), home.file, "exec")
        exec(code, getattr(home.plain, "__globals__", {}), space)
        made = space[home.name]
        new = (made.__func__ if isinstance(made, staticmethod | classmethod) else made).__code__
        for function, _ in before:
            function.__code__ = new
    except Exception:  # a text that is no Python, a decorator of the user's that hides the function or will not run again, or a closure
        yield False
        return
    _HELD[key] = held
    try:
        yield True
    finally:
        _HELD[key] = outer
        for function, own in before:
            function.__code__ = own


def watched(subject: Subject, point: Point, homes: Sequence[Home], at_line: Callable[[FrameType], None]) -> None:
    """Run the user's backward; `at_line` is called before each line of these functions, and may end the run by raising Seen."""
    faults = list[Exception]()
    keys, before = {home.key for home in homes}, sys.gettrace()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if key_of(frame.f_code) not in keys:
            return None
        if event == "line":
            try:
                at_line(frame)
            except Exception as fault:
                faults.append(fault)
                raise
        return trace

    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sys.settrace(trace)
            _run(subject, point)
    except BpttError:
        if faults and not isinstance(faults[0], Seen):
            raise faults[0] from None
    finally:
        sys.settrace(before)


def _run(subject: Subject, point: Point) -> Gradients:
    """Its backward over arrays of its own: a text that is tried may add into what another one copies first."""
    return backward(subject, copied(point.data), copied_cotangent(point.cotangents[0]))


class Seen(Exception):
    """All has been seen; the run need not go on."""


def evaluated(globals_: Mapping[str, Any], locals_: Mapping[str, Any]) -> ValueOf:
    known: dict[str, Array | None] = {}
    names = {**globals_, **locals_}

    def value_of(text: str) -> Array | None:
        if text not in known:
            try:
                known[text] = as_array(eval(text, names))
            except Exception:  # a text that means nothing here
                known[text] = None
        return known[text]

    return value_of


def as_array(value: Any) -> Array | None:
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    if isinstance(value, np.ndarray | np.generic | float | int) and not isinstance(value, bool):
        made = np.array(value)
        return made if made.dtype.kind in "fiu" else None
    return None


def is_right(place: Right) -> bool:
    return all(rights(place))


def rights(place: Right) -> list[bool]:
    """Which gradients are right, in the order of the point's tensors."""
    point = place.point
    try:
        with np.errstate(all="ignore"):
            given = _run(place.subject, point)
    except BpttError:
        return [False]
    found = []
    for (kind, name), node in point.leaves:
        wanted = place.bars.get(node, np.zeros(point.model.values[node].shape))
        got = given.xs if kind == "xs" else (given.params if kind == "params" else given.state).get(name)
        size = float(np.max(np.abs(wanted), initial=0.0))
        found.append(got is not None and got.shape == wanted.shape and bool(np.all(np.abs(got - wanted) <= 1e-8 * size + 1e-12)))
    return found


# where the line stands


def home_of(frame: Frame) -> Home | None:
    if frame.file.startswith(_REFERENCE):  # what runs there with a mistake in it is no function of that module
        return None
    module = next((m for m in list(sys.modules.values()) if isinstance(m, ModuleType) and getattr(m, "__file__", None) == frame.file), None)
    tree = _parsed(frame.file)
    if module is None or tree is None:
        return None
    for owner, body in [(module, tree.body), *((getattr(module, c.name, None), c.body) for c in tree.body if isinstance(c, ast.ClassDef))]:
        for f in body:
            if isinstance(f, ast.FunctionDef) and f.lineno <= frame.line <= (f.end_lineno or 0):
                return Home(owner, f.name, f, frame.file) if owner is not None and f.name in vars(owner) else None
    return None


@lru_cache(maxsize=8)
def _parsed(file: str) -> ast.Module | None:
    try:
        return ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return None


def _statement(function: ast.FunctionDef, line: int) -> ast.stmt | None:
    """The statement there, where it has no others in it."""
    around = [s for s in ast.walk(function) if isinstance(s, ast.stmt) and s.lineno <= line <= (s.end_lineno or 0)]
    found = min(around, key=lambda s: (s.end_lineno or 0) - s.lineno, default=None)
    return None if found is None or hasattr(found, "body") else found


def names_at(home: Home, locals_: Mapping[str, Any]) -> tuple[str, ...]:
    """What there is to speak of: the function's names, attributes and parts of arrays, and all that its objects and dicts hold."""
    found = dict.fromkeys(_names_of(home.tree))
    text = "".join(linecache.getlines(home.file)[home.tree.lineno - 1 : home.tree.end_lineno])
    for name, value in sorted(locals_.items(), key=lambda held: -text.count(f"{held[0]}[")):  # of two names of one dict the usual one
        held = (
            {f"{name}.{a}": v for a, v in vars(value).items()} if hasattr(value, "__dict__") and not isinstance(value, ModuleType) else {}
        )
        found |= dict.fromkeys(text for text, v in held.items() if isinstance(v, np.ndarray))
        for text, v in {name: value, **held}.items():
            if isinstance(v, dict) and len(v) <= _MOST_HELD:
                found |= dict.fromkeys(f"{text}[{key!r}]" for key in v if isinstance(key, str))
    found |= dict.fromkeys(_constants_of(home.file))
    double = "".join(linecache.getlines(home.file)).count('["') > 0
    return tuple(dict.fromkeys(text.replace("'", '"') if double else text for text in found))


@lru_cache(maxsize=8)
def _constants_of(file: str) -> tuple[str, ...]:
    """The numbers with a point that the file's functions compute with."""
    tree = _parsed(file)
    found = dict.fromkeys(
        repr(n.value) for n in ast.walk(tree or ast.Module([], [])) if isinstance(n, ast.Constant) and type(n.value) is float
    )
    return tuple(found)[:_MOST_CONSTANTS]


@lru_cache(maxsize=8)
def _names_of(function: ast.FunctionDef) -> tuple[str, ...]:
    called = {id(c.func) for c in ast.walk(function) if isinstance(c, ast.Call)}
    found = []
    for n in ast.walk(function):
        name = isinstance(n, ast.Name | ast.Attribute) and id(n) not in called
        part = isinstance(n, ast.Subscript) and isinstance(n.value, ast.Name | ast.Attribute) and not isinstance(n.slice, ast.Slice)
        if name or part:
            found.append(ast.unparse(n))
    return tuple(found)
