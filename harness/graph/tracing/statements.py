"""The user's own text at a place: the expression, its operands, the statement that it stands in and the name that it writes."""

from __future__ import annotations

import ast
import linecache
import re
from functools import lru_cache

from bptt.harness.graph.tracing.node import Frame

_LONGEST = 48


@lru_cache(maxsize=64)
def _tree(file: str) -> tuple[ast.AST | None, dict[tuple[int, int, int, int], ast.expr], tuple[ast.stmt, ...]]:
    text = "".join(linecache.getlines(file))
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return None, {}, ()
    expressions = {}
    statements = []
    for node in ast.walk(tree):
        if isinstance(node, ast.expr):
            expressions[node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0] = node
        elif isinstance(node, ast.stmt):
            statements.append(node)
    return tree, expressions, tuple(statements)


def expression(frame: Frame) -> ast.expr | None:
    """The expression that stands there; None where the text is not known."""
    return _tree(frame.file)[1].get((frame.line, frame.column, frame.end_line, frame.end_column))


def text_of(node: ast.AST | None) -> str | None:
    return None if node is None else " ".join(ast.unparse(node).split())


def operand(frame: Frame, k: int) -> ast.expr | None:
    """The k-th operand of the expression there."""
    node = expression(frame)
    match node:
        case ast.BinOp(left=left, right=right):
            return (left, right)[k] if k < 2 else None
        case ast.UnaryOp(operand=inner):
            return inner
        case ast.Subscript(value=value):
            return value
        case (
            ast.Call(func=ast.Attribute(value=ast.Name(id="np" | "numpy" | "torch" | "F")), args=args)
            | ast.Call(func=ast.Name(), args=args)
        ):
            first = (
                1 if args and isinstance(args[0], ast.Constant) and isinstance(args[0].value, str) else 0
            )  # np.einsum("ij,jk->ik", a, b)
            return args[first + k] if first + k < len(args) else None
        case ast.Call(func=ast.Attribute(value=ast.Name(id="self")), args=args):
            return args[k] if k < len(args) else None
        case ast.Call(func=ast.Attribute(value=value), args=args):
            return value if k == 0 else args[k - 1] if k - 1 < len(args) else None
        case ast.Attribute(value=value):
            return value
    return None


def statement(frame: Frame) -> ast.stmt | None:
    """The innermost statement around the place; of several on one line the one that has its column."""
    around = [s for s in _tree(frame.file)[2] if s.lineno <= frame.line <= (s.end_lineno or s.lineno)]
    at = (frame.line, frame.column)
    closer = [s for s in around if (s.lineno, s.col_offset) <= at < (s.end_lineno or s.lineno, s.end_col_offset or 0)]
    return min(closer if closer and frame.column >= 0 else around, key=lambda s: (s.end_lineno or s.lineno) - s.lineno, default=None)


def first_line(frame: Frame) -> int:
    """The line on which the statement starts."""
    found = statement(frame)
    return frame.line if found is None else found.lineno


def source_line(frame: Frame) -> str:
    """The text of the statement, in one line."""
    found = statement(frame)
    if found is None or isinstance(found, ast.For | ast.While | ast.If | ast.With | ast.FunctionDef):
        return linecache.getline(frame.file, frame.line).strip()
    return text_of(found) or ""


def written(frame: Frame, all_of_it: bool = True) -> str | None:
    """The name that gets the value of the expression there: "z" in z = ..., where the expression is all of the right side."""
    found = statement(frame)
    if isinstance(found, ast.Assign) and len(found.targets) == 1:
        target, value = found.targets[0], found.value
    elif isinstance(found, ast.AugAssign | ast.AnnAssign) and found.value is not None:
        target, value = found.target, found.value
    elif isinstance(found, ast.For):
        target = found.target
        if isinstance(target, ast.Tuple) and isinstance(found.iter, ast.Call) and text_of(found.iter.func) == "enumerate":
            target = target.elts[1]
        return text_of(target) if isinstance(target, ast.Name) and frame.line == found.lineno else None
    elif isinstance(found, ast.Expr):
        match found.value:
            case ast.Call(func=ast.Attribute(value=list_, attr="append"), args=[given]):
                return f"{text_of(list_)}[-1]" if not all_of_it or expression(frame) in (None, given) else None
        return None
    else:
        return None
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        for t, v in zip(target.elts, value.elts, strict=True):
            if v.lineno <= frame.line <= (v.end_lineno or 0) and v.col_offset <= frame.column <= (v.end_col_offset or 0):
                target, value = t, v
                break
    node = expression(frame)
    if all_of_it and node is not None and node is not value and not isinstance(found, ast.AugAssign):
        return None
    return None if isinstance(target, ast.Tuple) else text_of(target)


def written_part(frame: Frame, part: int) -> str | None:
    """The name that gets one of several results: "i" in f, i = np.split(...)."""
    found = statement(frame)
    if isinstance(found, ast.Assign) and len(found.targets) == 1 and isinstance(found.targets[0], ast.Tuple):
        elements = found.targets[0].elts
        return text_of(elements[part]) if part < len(elements) and not isinstance(found.value, ast.Tuple) else None
    return None


def short(node: ast.AST | None) -> str | None:
    """Its text where it is short enough to be read in a sentence."""
    text = text_of(node)
    return text if text is not None and len(text) <= _LONGEST else None


def start_of(frame: Frame) -> Frame | None:
    """Where a name that the statement there reads starts from zeros, before any loop; None where it starts from something else."""
    found = statement(frame)
    if found is None:
        return None
    names = {n.id for n in ast.walk(found) if isinstance(n, ast.Name)}
    functions = [
        f
        for f in ast.walk(_tree(frame.file)[0] or ast.Module([], []))
        if isinstance(f, ast.FunctionDef) and f.lineno <= frame.line <= (f.end_lineno or 0)
    ]
    for assigned in max(functions, key=lambda f: f.lineno).body if functions else ():
        if isinstance(assigned, ast.Assign) and assigned.lineno < frame.line:
            written_names = {n.id for target in assigned.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
            text = text_of(assigned.value) or ""
            if written_names & names and ("zeros" in text or isinstance(assigned.value, ast.Constant) or "0" in text.split(", ")):
                return Frame(frame.file, assigned.lineno, frame.function)
    return None


def _around(frame: Frame) -> list[ast.stmt]:
    """The statements around the place, the outermost first."""
    found = [s for s in _tree(frame.file)[2] if s.lineno <= frame.line <= (s.end_lineno or s.lineno)]
    return sorted(found, key=lambda s: s.lineno - (s.end_lineno or s.lineno))


def _function(frame: Frame) -> ast.FunctionDef | None:
    return next((s for s in reversed(_around(frame)) if isinstance(s, ast.FunctionDef)), None)


def filled_for(frame: Frame) -> tuple[str, int] | None:
    """A gradient that a statement reads and that another of its function fills place by place, ``dhs[n, k] = ...``: its name, that line."""
    function, own = _function(frame), statement(frame)
    if function is None or own is None:
        return None
    read = {n.id for n in ast.walk(own) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    for s in ast.walk(function):
        match s:
            case ast.Assign([ast.Name(name)], ast.Name(other)) if name in read:
                read.add(other)
    for one in (s for s in ast.walk(function) if isinstance(s, ast.Assign | ast.AugAssign) and s is not own):
        for target in one.targets if isinstance(one, ast.Assign) else [one.target]:
            match target:
                case ast.Subscript(ast.Name(name)) if name in read and re.match(r"_?(d|g|grad|delta)_?[a-zA-Z]", name):
                    return name, one.lineno
    return None


def loop_around(frame: Frame) -> Frame | None:
    """The head of the innermost loop around the place."""
    loop = next((s for s in reversed(_around(frame)) if isinstance(s, ast.For | ast.While)), None)
    return None if loop is None else Frame(frame.file, loop.lineno, frame.function)


def return_of(frame: Frame) -> Frame | None:
    """The last return of the function that the place is in."""
    function = _function(frame)
    returns = [s for s in ast.walk(function) if isinstance(s, ast.Return)] if function is not None else []
    return Frame(frame.file, max(s.lineno for s in returns), frame.function) if returns else None


def call_of(frame: Frame, method: str) -> Frame | None:
    """The last call of a method of this name in the function there."""
    function = _function(frame)
    calls = [
        n.lineno
        for n in ast.walk(function or ast.Module([], []))
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr == method
    ]
    return Frame(frame.file, max(calls), frame.function) if calls else None


def renamed(frame: Frame) -> Frame | None:
    """The first statement of the function there that gives one name the value of another as it is."""
    function = _function(frame)
    for s in ast.walk(function) if function is not None else ():
        if isinstance(s, ast.Assign) and isinstance(s.value, ast.Name) and isinstance(s.targets[0], ast.Name):
            return Frame(frame.file, s.lineno, frame.function)
    return None


def renamed_for(frame: Frame) -> Frame | None:
    """The last statement before the place that gives a name which is read there the value of another one as it is."""
    function, here = _function(frame), statement(frame)
    if function is None or here is None:
        return None
    read = {n.id for n in ast.walk(here) if isinstance(n, ast.Name)}
    found = [
        s.lineno
        for s in ast.walk(function)
        if isinstance(s, ast.Assign) and isinstance(s.value, ast.Name) and s.lineno < here.lineno and text_of(s.targets[0]) in read
    ]
    return Frame(frame.file, max(found), frame.function) if found else None


def is_added_to(frame: Frame) -> bool:
    """Whether the statement there adds to what was there before."""
    match statement(frame):
        case ast.AugAssign() | ast.Expr(value=ast.Call(func=ast.Attribute(attr="at" | "add_" | "index_add_" | "scatter_add_"))):
            return True
    return False


def names(frame: Frame) -> bool:
    """Whether the statement there gives a name a value of its own."""
    match statement(frame):
        case ast.Assign(targets=[ast.Name()]):
            return True
    return False


def end_of_loop(frame: Frame) -> Frame | None:
    """The last line of the outermost loop of the function that the place is in; None where it is in none."""
    function = _function(frame)
    inside = [s for s in _around(frame) if isinstance(s, ast.For | ast.While) and function is not None and s.lineno >= function.lineno]
    return Frame(frame.file, inside[0].end_lineno or inside[0].lineno, frame.function) if inside else None


def handed_over(frame: Frame) -> Frame | None:
    """The first later statement of the function that hands on, as it is, what the statement there writes: x = name, {"x": name}."""
    function, name = _function(frame), written(frame)
    if function is None or name is None:
        return None
    for s in sorted((s for s in ast.walk(function) if isinstance(s, ast.Assign | ast.Return)), key=lambda s: s.lineno):
        if s.lineno <= frame.line or s.value is None:
            continue
        plain = [s.value, *(v for n in ast.walk(s.value) if isinstance(n, ast.Dict) for v in n.values)]
        plain += [v for n in ast.walk(s.value) if isinstance(n, ast.Tuple | ast.List) for v in n.elts]
        plain += [k.value for n in ast.walk(s.value) if isinstance(n, ast.Call) for k in n.keywords]
        if any(text_of(v) == name for v in plain):
            return Frame(frame.file, s.lineno, frame.function)
    return None
