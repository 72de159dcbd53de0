"""Which line of a person's backward is wrong, where that is known: a certain cause says what to write, and one line writes it.

Names are compared without case and underscores: dW_h is written by dW_h, dwh, self.dW_h.  Zeros that a gradient starts from are no
writing.  What is not known is None: no line is better than an innocent one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from bptt.reports.records import Cause, Source

_BACKWARD = re.compile(r"backward|backprop|bptt|grad|loss|step", re.I)
_CONTAINER = re.compile(r"grad|^d|delta|param", re.I)
#: A mend that is a statement: dc += ..., dxs[t] = ...
_STATEMENT = re.compile(r"(\w+)(\[\W?\w+\W?\])? ([+]?)= ([^,;:]+)")
_STARTS = frozenset({"zeros", "zeros_like", "empty", "empty_like", "full", "full_like"})


@dataclass(frozen=True)
class Written:
    """What a line writes.   name: without case and underscores    keyed: a key of a dict    again: a loop writes over it at every pass"""

    name: str
    keyed: bool
    line: int
    value: ast.expr
    again: bool = False


def line_of(source: tuple[str, int], causes: Sequence[Cause] = ()) -> int | None:
    """The one line that writes the left side of a certain cause's mend, and not what the mend says; None where there is not just one.

    source  file and line of the subject's backward or class
    """
    match = _mend(causes)
    if match is None:
        return None
    name, adds = _plain(match[1]), bool(match[3])
    written = [w for f in _functions(source) for w in _assignments(f) if name in (w.name, f"d{w.name}" if w.keyed else "")]
    lines = {w.line for w in written if not _says(w.value, match[4]) or (adds and w.again)}
    return lines.pop() if len(lines) == 1 == len({w.line for w in written}) else None


def if_never_read(source: tuple[str, int], causes: tuple[Cause, ...]) -> tuple[Cause, ...]:
    """The causes; where what a certain one would write is written in one line and read by none, it says so in the place of its mend."""
    match = _mend(causes)
    if match is None:
        return causes
    for function in _functions(source):
        names = [node for node in ast.walk(function) if isinstance(node, ast.Name) and _plain(node.id) == _plain(match[1])]
        lines = {w.line for w in _assignments(function) if w.name == _plain(match[1]) and not w.keyed}
        if names and len(lines) == 1 and not any(isinstance(node.ctx, ast.Load) for node in names):
            line, name = lines.pop(), names[0].id
            fix = f"{name} of line {line} is read by no line: add it to the gradient that each step starts from"
            return tuple(replace(c, fix=fix, source=Source(source[0], line)) if c.score == 1.0 else c for c in causes)
    return causes


def with_the_line_of(named: tuple[Cause, ...], graph: Sequence[Cause]) -> tuple[Cause, ...]:
    """A known mistake with the line and the mend, in the user's own names, of the one edit of the graph that gives the same numbers."""
    certain = [cause for cause in graph if cause.score == 1.0]
    if len(certain) != 1 or certain[0].source is None or sum(cause.score == 1.0 for cause in named) != 1:
        return named
    (edit,) = certain
    return (
        *(replace(c, fix=edit.mended or c.fix, source=edit.source, mended=edit.mended) if c.score == 1.0 else c for c in named),
        edit,
    )


def _mend(causes: Sequence[Cause]) -> re.Match[str] | None:
    """What a certain cause says to write."""
    return _STATEMENT.match(next((cause.fix for cause in causes if cause.score == 1.0), ""))


def _says(value: ast.expr, text: str) -> bool:
    """Whether an expression is what the text says, but for names."""
    return _plain(ast.unparse(value)) == _plain(text)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


@lru_cache(maxsize=64)
def _functions(source: tuple[str, int]) -> tuple[ast.FunctionDef, ...]:
    """The function that `source` points at, or those of the class there that look like a backward; () where there is no text."""
    try:
        tree = ast.parse(Path(source[0]).read_text(encoding="utf-8-sig"))
    except (OSError, SyntaxError, UnicodeDecodeError, ValueError):
        return ()
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        if not first <= source[1] <= node.lineno:
            continue
        if isinstance(node, ast.FunctionDef):
            return (node,)
        return tuple(f for f in node.body if isinstance(f, ast.FunctionDef) and _BACKWARD.search(f.name))
    return ()


def _assignments(function: ast.FunctionDef) -> Iterator[Written]:
    """All that the function writes, in the order of its lines."""
    found: list[Written] = []
    loops = [node for node in ast.walk(function) if isinstance(node, ast.For | ast.While)]
    inside = {id(node) for loop in loops for node in ast.walk(loop)}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                found += (replace(w, again=id(node) in inside) for w in _targets(target, node.value, node.lineno))
        elif isinstance(node, ast.AugAssign):
            found += _targets(node.target, node.value, node.lineno)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str) and not isinstance(value, ast.Name):
                    found.append(Written(_plain(key.value), True, value.lineno, value))
    yield from sorted((w for w in found if not _is_start(w.value)), key=lambda w: w.line)


def _targets(target: ast.expr, value: ast.expr, line: int) -> list[Written]:
    match target:
        case ast.Tuple(elts) | ast.List(elts):
            values = value.elts if isinstance(value, ast.Tuple) and len(value.elts) == len(elts) else [value] * len(elts)
            return [found for t, v in zip(elts, values, strict=True) for found in _targets(t, v, line)]
        case ast.Name(id=name) | ast.Attribute(attr=name):
            if isinstance(target, ast.Attribute) and name == "grad" and isinstance(target.value, ast.Attribute | ast.Name):
                return [replace(w, name=w.name + "grad") for w in _targets(target.value, value, line)]
            return [Written(_plain(name), False, line, value)]
        case ast.Subscript(value=inner, slice=ast.Constant(value=str(key))):
            holder = inner.id if isinstance(inner, ast.Name) else inner.attr if isinstance(inner, ast.Attribute) else ""
            return [Written(_plain(key), bool(_CONTAINER.search(holder)), line, value)]
        case ast.Subscript(value=inner) | ast.Starred(value=inner):
            return _targets(inner, value, line)
    return []


def _is_start(value: ast.expr) -> bool:
    """Whether it is only what a sum starts from: zeros, np.zeros_like(W), 0."""
    if isinstance(value, ast.Constant):
        return True
    if isinstance(value, ast.Call):
        name = value.func.attr if isinstance(value.func, ast.Attribute) else value.func.id if isinstance(value.func, ast.Name) else ""
        return name in _STARTS
    return isinstance(value, ast.GeneratorExp | ast.ListComp | ast.DictComp) and _is_start(
        value.value if isinstance(value, ast.DictComp) else value.elt
    )
