"""The wrong line as it should read, in the user's own names: small changes of its text, tried until one makes every gradient right.

The function that the line stands in is compiled again with the line changed, and called in place of the user's own, at the two sizes at
which the cause was found.  What is said has been run; what cannot be written this way is not said.
"""

from __future__ import annotations

import ast
import linecache
import sys
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from types import ModuleType
from typing import Any

import numpy as np

from bptt.harness.call.cell import backward
from bptt.harness.errors import BpttError
from bptt.harness.graph.naming.point import Point
from bptt.harness.graph.tracing.node import Frame
from bptt.harness.subject import Array, Subject

#: At most so many texts of a line are run; of a torch module, which takes ten times as long, so many.
_MOST, _MOST_OF_TORCH = 600, 60
_FACTORS = ("{q} * (1 - {q})", "(1 - {q})", "(1 - {q} ** 2)", "{q} ** 2", "2 * {q}", "0.5 * {q}", "-{q}", "np.tanh({q})", "np.cos({q})")


@dataclass(frozen=True)
class Right:
    """The subject at one case, and the gradients that the mended line must give: dL/d(node) in the forward graph."""

    subject: Subject
    point: Point
    bars: Mapping[int, Array]


def mended(frame: Frame, places: Sequence[Right], factors: Sequence[str] = ()) -> str:
    """The text that should stand in the line; "" where none is found.

    factors   what a term that is missing is a product of; the line may then be one that is missing behind this one
    """
    most = _MOST_OF_TORCH if places[0].subject.framework == "torch" else _MOST
    home = _home(frame)
    if home is None:
        return ""
    owner, function, tree = home
    for text in chain(islice(_texts(frame, tree, factors), most), islice(_behind(frame, tree, factors), most)):
        with _in_place(owner, function, tree, frame, text) as changed:
            if changed and all(_right(place) for place in places):
                return text.splitlines()[-1].strip()
    return ""


def _right(place: Right) -> bool:
    point = place.point
    try:
        with np.errstate(all="ignore"):
            given = backward(place.subject, point.data, point.cotangents[0])
    except BpttError:
        return False
    for (kind, name), node in point.leaves:
        wanted = place.bars.get(node, np.zeros(point.model.values[node].shape))
        got = given.xs if kind == "xs" else (given.params if kind == "params" else given.state).get(name)
        size = float(np.max(np.abs(wanted), initial=0.0))
        if got is None or got.shape != wanted.shape or not np.all(np.abs(got - wanted) <= 1e-8 * size + 1e-12):
            return False
    return True


# where the line stands


def _home(frame: Frame) -> tuple[Any, str, ast.FunctionDef] | None:
    """What holds the function (a class, a module), its name there, and its text."""
    module = next((m for m in list(sys.modules.values()) if isinstance(m, ModuleType) and getattr(m, "__file__", None) == frame.file), None)
    try:
        tree = ast.parse("".join(linecache.getlines(frame.file)))
    except (SyntaxError, ValueError):
        return None
    if module is None:
        return None
    for owner, body in [(module, tree.body), *((getattr(module, c.name, None), c.body) for c in tree.body if isinstance(c, ast.ClassDef))]:
        for f in body:
            if isinstance(f, ast.FunctionDef) and f.lineno <= frame.line <= (f.end_lineno or 0):
                return (owner, f.name, f) if owner is not None and f.name in vars(owner) else None
    return None


@contextmanager
def _in_place(owner: Any, name: str, tree: ast.FunctionDef, frame: Frame, text: str) -> Iterator[bool]:
    """The function with this line in place of its own, while this is open."""
    lines = linecache.getlines(frame.file)
    first = min([tree.lineno, *(d.lineno for d in tree.decorator_list)])
    body = [*lines[first - 1 : frame.line - 1], text + "\n", *lines[frame.line : tree.end_lineno]]
    before = vars(owner)[name]
    plain = before.__func__ if isinstance(before, staticmethod | classmethod) else before
    space: dict[str, Any] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile(textwrap.dedent("".join(body)), frame.file, "exec")
        exec(code, getattr(plain, "__globals__", {}), space)
    except Exception:  # a text that is no Python, or a decorator of the user's that will not run again
        yield False
        return
    setattr(owner, name, space[name])
    try:
        yield True
    finally:
        setattr(owner, name, before)


# what may stand there


def _texts(frame: Frame, function: ast.FunctionDef, factors: Sequence[str]) -> Iterator[str]:
    """Texts of the line, the likeliest first, each once."""
    line = linecache.getline(frame.file, frame.line).rstrip("\n")
    if not line.isascii() or line.lstrip().startswith("while"):
        return
    seen = {line}
    for text in _changes(line, frame, function, factors):
        if text not in seen:
            seen.add(text)
            yield text


def _behind(frame: Frame, function: ast.FunctionDef, factors: Sequence[str]) -> Iterator[str]:
    """The line with one more behind it, which adds to a gradient what this one computes, times something."""
    line = linecache.getline(frame.file, frame.line).rstrip("\n")
    at = next((s for s in ast.walk(function) if isinstance(s, ast.Assign) and s.lineno == s.end_lineno == frame.line), None)
    if at is None:
        return
    indent = line[: at.col_offset]
    targets = dict.fromkeys(ast.unparse(s.target) for s in ast.walk(function) if isinstance(s, ast.AugAssign))
    for a in factors:
        for b in dict.fromkeys(_names(function)):
            for target in targets:
                for form in ("{b}.T @ {a}", "{a}.T @ {b}", "{a} @ {b}.T", "{a} * {b}", "{a}[:, :, None] * {b}[:, None, :]"):
                    yield f"{line}\n{indent}{target} += {form.format(a=a, b=b)}"


def _changes(line: str, frame: Frame, function: ast.FunctionDef, factors: Sequence[str]) -> Iterator[str]:
    nodes = [n for n in ast.walk(function) if isinstance(n, ast.expr) and n.lineno == n.end_lineno == frame.line]
    nodes.sort(key=lambda n: (n.col_offset, -(n.end_col_offset or 0)))
    loads = [n for n in nodes if isinstance(getattr(n, "ctx", ast.Load()), ast.Load)]

    def with_(n: ast.expr, text: str) -> str:
        return line[: n.col_offset] + text + line[n.end_col_offset :]

    def of(n: ast.expr) -> str:
        return line[n.col_offset : n.end_col_offset]

    atoms = [n for n in loads if isinstance(n, ast.Name | ast.Subscript | ast.Attribute) and not _is_function(n, function)]
    for n in loads:
        if isinstance(n, ast.Attribute) and n.attr == "T":
            yield with_(n, of(n.value))
        if isinstance(n, ast.Attribute) and n.attr == "mean":
            yield with_(n, f"{of(n.value)}.sum")
        if isinstance(n, ast.Call) and n.args and len(n.args) + len(n.keywords) > 1:
            yield with_(n, of(n.args[0]))
        if isinstance(n, ast.BinOp):
            yield from (with_(n, of(side)) for side in (n.left, n.right))
            between = line[n.left.end_col_offset : n.right.col_offset]
            for a, b in ((" - ", " + "), (" + ", " - "), ("-", "+"), ("+", "-")):
                if a in between:
                    yield line[: n.left.end_col_offset] + between.replace(a, b) + line[n.right.col_offset :]
        if isinstance(n, ast.UnaryOp) and isinstance(n.op, ast.USub):
            yield with_(n, of(n.operand))
    for n in atoms:
        yield with_(n, f"{of(n)}.T")
        yield with_(n, f"-{of(n)}")
    if " = " in line and "==" not in line:
        yield line.replace(" = ", " += ", 1)
    if " += " in line:
        yield line.replace(" += ", " = ", 1)
    pool = list(dict.fromkeys(_names(function)))
    assigned = (s for s in ast.walk(function) if isinstance(s, ast.Assign | ast.AugAssign) and s.lineno == s.end_lineno == frame.line)
    statement = next(assigned, None)
    for name in factors:
        if statement is None:
            break
        for other in pool:
            for form in ("{a} * {b}", "{a} @ {b}.T", "{b}.T @ {a}"):
                yield with_(statement.value, f"{of(statement.value)} + {form.format(a=name, b=other)}")
    for n in atoms:
        yield from (with_(n, name) for name in pool)
    for n in (n for n in loads if isinstance(n, ast.Name | ast.Subscript | ast.BinOp)):
        yield from (with_(n, f"({form.format(q=of(n) if not isinstance(n, ast.BinOp) else f'({of(n)})')})") for form in _FACTORS)
    if statement is not None:
        right = of(statement.value)
        whole = right if isinstance(statement.value, ast.Name | ast.Call | ast.Subscript) else f"({right})"
        for name in pool:
            yield with_(statement.value, f"{right} + {name}")
            for form in ("{q}", "(1 - {q})", "{q} * (1 - {q})", "(1 - {q} ** 2)", "{q}.T"):
                yield with_(statement.value, f"{whole} * {form.format(q=name)}")


def _is_function(n: ast.expr, function: ast.FunctionDef) -> bool:
    called, inner = _called_and_inner(function)
    return id(n) in called or (id(n) in inner and isinstance(n, ast.Name))


@lru_cache(maxsize=8)
def _called_and_inner(function: ast.FunctionDef) -> tuple[frozenset[int], frozenset[int]]:
    """Ids of the nodes that are called, and of those of which an attribute or an entry is taken."""
    called = frozenset(id(c.func) for c in ast.walk(function) if isinstance(c, ast.Call))
    inner = frozenset(id(a.value) for a in ast.walk(function) if isinstance(a, ast.Attribute | ast.Subscript))
    return called, inner


@lru_cache(maxsize=8)
def _names(function: ast.FunctionDef) -> tuple[str, ...]:
    """What the function speaks of: its names, and parts of arrays."""
    found = []
    for n in ast.walk(function):
        if isinstance(n, ast.Name) and not _is_function(n, function):
            found.append(n.id)
        elif isinstance(n, ast.Subscript) and isinstance(n.value, ast.Name | ast.Attribute) and not isinstance(n.slice, ast.Slice):
            found.append(ast.unparse(n))
    return tuple(found)
