"""The changes that make a mutant.  Stands alone: nothing but the standard library, so that `switch/` can load it by its path."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Change = Callable[[], None]  # makes it; a second time takes it back

BOUNDARY: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
NEGATED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum", "argmax": "argmin"}


@dataclass(frozen=True)
class Mutant:
    """The `index`-th change of a file.  `lines` are those of its statement, or of the head of it: a test reaches it through them."""

    file: str
    index: int
    line: int
    lines: tuple[int, int]
    kind: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}  {self.before}  ->  {self.after}"


def mutants(file: str, source: str) -> list[Mutant]:
    """Every mutant of a source, in the order of its tree."""
    found = []
    for index, (statement, node, kind, change) in enumerate(changes(ast.parse(source))):
        before = ast.unparse(node)
        change()
        after = ast.unparse(node)
        change()
        found.append(Mutant(file, index, node.lineno, _extent(statement), kind, _short(before), _short(after)))
    return found


def mutated(tree: ast.Module, index: int) -> ast.AST:
    """Make the `index`-th change in the tree; returns the node that was changed.

    Two are planted to prove that mutants are switched on: -1 fails when its file is imported or a function of it is called, -2 changes
    nothing.
    """
    if index == -1:
        line = "raise ImportError('planted')"
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
            function.body.insert(0, ast.copy_location(ast.parse(line).body[0], function.body[0]))
        tree.body.append(ast.parse(line).body[0])
        return tree.body[-1]
    if index == -2:
        tree.body.append(ast.Pass())
        return tree.body[-1]
    for k, (_, node, _, change) in enumerate(changes(tree)):
        if k == index:
            change()
            return node
    raise IndexError(f"no mutant {index}")


def changes(tree: ast.Module) -> Iterator[tuple[ast.stmt, ast.stmt | ast.expr, str, Change]]:
    """(statement, node, kind, change) of every place that can be changed.  Types, docstrings and texts are left alone."""
    for statement in _statements(tree.body):
        yield from ((statement, statement, kind, change) for kind, change in _of_statement(statement))
        for node in _expressions(statement):
            yield from ((statement, node, kind, change) for kind, change in _of_expression(node))


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom) or _is_for_types(statement):
            continue
        yield statement
        for name in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(statement, name, []))
        for handler in getattr(statement, "handlers", []):
            yield from _statements(handler.body)
        for case in getattr(statement, "cases", []):
            yield from _statements(case.body)


def _is_for_types(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"


def _expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    """The expressions of a statement itself, outermost first; not those of statements inside it, of annotations, or of texts."""
    if isinstance(statement, ast.Raise | ast.ClassDef):
        return  # messages, and bases
    pending: list[ast.AST] = []
    if isinstance(statement, ast.FunctionDef):
        pending += [*statement.args.defaults, *(d for d in statement.args.kw_defaults if d is not None)]
    else:
        skipped = ("annotation", "body", "orelse", "finalbody", "handlers", "cases", "type_params")
        pending += [value for name, value in ast.iter_fields(statement) if name not in skipped for value in _nodes(value)]
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.JoinedStr):
            continue
        if isinstance(node, ast.expr):
            yield node
        pending += ast.iter_child_nodes(node)


def _nodes(value: object) -> list[ast.AST]:
    return [node for node in (value if isinstance(value, list) else [value]) if isinstance(node, ast.AST)]


def _of_statement(node: ast.stmt) -> Iterator[tuple[str, Change]]:
    if isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
        yield "arithmetic", _setter(node, "op", ARITHMETIC[type(node.op)]())
    if isinstance(node, ast.If | ast.While) and not isinstance(node.test, ast.Compare):
        yield "condition", _setter(node, "test", ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test))
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "left out", _setter(node, "value", ast.copy_location(ast.Constant(None), node.value))


def _of_expression(node: ast.expr) -> Iterator[tuple[str, Change]]:
    if isinstance(node, ast.Compare):
        for k, op in enumerate(node.ops):
            for kind, table in (("boundary", BOUNDARY), ("comparison", NEGATED)):
                if type(op) in table:
                    yield kind, _item_setter(node.ops, k, table[type(op)]())
    elif isinstance(node, ast.BoolOp):
        yield "logic", _setter(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        yield "arithmetic", _setter(node, "op", ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "sign", _setter(node, "op", ast.UAdd())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "negation", _setter(node, "operand", ast.copy_location(ast.UnaryOp(ast.Not(), node.operand), node))
    elif isinstance(node, ast.IfExp):
        yield "branches", _swap(node, "body", "orelse")
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "constant", _setter(node, "value", not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield "constant", _setter(node, "value", node.value + 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, float):
        yield "constant", _setter(node, "value", node.value * 2 if node.value else 1.0)
    elif isinstance(node, ast.Name) and node.id in NAMES:
        yield "function", _setter(node, "id", NAMES[node.id])
    elif isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield "function", _setter(node, "attr", NAMES[node.attr])


def _setter(node: ast.AST, field: str, value: object) -> Change:
    other = [value]

    def change() -> None:
        other[0], new = getattr(node, field), other[0]
        setattr(node, field, new)

    return change


def _item_setter(items: list[ast.cmpop], k: int, value: ast.cmpop) -> Change:
    other = [value]

    def change() -> None:
        other[0], items[k] = items[k], other[0]

    return change


def _swap(node: ast.AST, one: str, other: str) -> Change:
    def change() -> None:
        first, second = getattr(node, one), getattr(node, other)
        setattr(node, one, second)
        setattr(node, other, first)

    return change


def _extent(statement: ast.stmt) -> tuple[int, int]:
    """First and last line of a statement, or of the head of a compound one."""
    body = getattr(statement, "body", None)
    last = statement.end_lineno or statement.lineno
    return statement.lineno, max(statement.lineno, body[0].lineno - 1) if isinstance(body, list) and body else last


def _short(text: str, width: int = 90) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"
