"""Each single slip of the pen in equations: what somebody may have written in their place.

Both sides of a difference exchanged, a sum for a difference, a factor or a term left out, another function, another name of the same kind.
"""

from __future__ import annotations

import ast
import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from bptt.harness.adapters.equations.read import FUNCTIONS, INPUT, Equations, equations
from bptt.harness.errors import UsageError

_OTHER_FUNCTION = {"sigmoid": ("tanh",), "tanh": ("sigmoid", "relu"), "relu": ("tanh",), "exp": ("softplus",), "softplus": ("exp", "relu")}


@dataclass(frozen=True)
class Edit:
    """line   its number;   before, now   as it is and as it would be;   said   all equations with it"""

    line: int
    before: str
    now: str
    said: Equations


def edited(said: Equations) -> Iterator[Edit]:
    """Those that are still equations."""
    for k, line in enumerate(said.lines):
        known = [INPUT, *said.states, *(name for before in said.lines[:k] for name in before.names)]
        slips = [_line(line.names, value) for value in _slips(line.value, dict.fromkeys(known), said.params)]
        for shown in (*slips, *(_line(names, line.value) for names in _exchanged(line.names))):
            lines = [shown if each is line else _line(each.names, each.value) for each in said.lines]
            try:
                yield Edit(line.line, _line(line.names, line.value), shown, equations("\n".join(lines), said.where))
            except UsageError:  # nothing is carried on any more, or nothing read
                continue


def _line(names: tuple[str, ...], value: ast.expr) -> str:
    return f"{', '.join(names)} = {ast.unparse(_Bracketed().visit(copy.deepcopy(value)))}"


class _Bracketed(ast.NodeTransformer):
    """(r * h) @ U, which Python may write without its brackets."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.BinOp:
        self.generic_visit(node)
        if isinstance(node.op, ast.MatMult) and isinstance(node.left, ast.BinOp) and not isinstance(node.left.op, ast.MatMult):
            node.left = ast.Name(f"({ast.unparse(node.left)})")
        return node


def _exchanged(names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for a, b in itertools.combinations(range(len(names)), 2):
        yield tuple(names[{a: b, b: a}.get(k, k)] for k in range(len(names)))


def _slips(value: ast.expr, known: dict[str, None], params: tuple[str, ...]) -> Iterator[ast.expr]:
    nodes = list(ast.walk(value))
    read = [name for name in dict.fromkeys(n.id for n in nodes if isinstance(n, ast.Name)) if name not in FUNCTIONS]
    for name in read:  # wherever it stands
        if name not in params:
            yield _renamed(value, {name: ast.BinOp(ast.Constant(1), ast.Sub(), ast.Name(name))})
    for a, b in itertools.combinations(read, 2):
        yield _renamed(value, {a: ast.Name(b), b: ast.Name(a)})
    for k, node in enumerate(nodes):
        for other in _instead(node, known, params):
            whole = copy.deepcopy(value)
            place = list(ast.walk(whole))[k]
            yield _put(whole, place, other)


def _instead(node: ast.AST, known: dict[str, None], params: tuple[str, ...]) -> Iterator[ast.expr]:
    """What may stand in the place of one node."""
    if isinstance(node, ast.BinOp):
        left, right = node.left, node.right
        if isinstance(node.op, ast.Sub):
            yield ast.BinOp(right, ast.Sub(), left)
            yield ast.BinOp(left, ast.Add(), right)
        elif isinstance(node.op, ast.Add):
            yield ast.BinOp(left, ast.Sub(), right)
        elif isinstance(node.op, ast.Div):
            yield ast.BinOp(left, ast.Mult(), right)
        if not isinstance(node.op, ast.MatMult | ast.Pow):
            yield left
            yield right
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        yield from (ast.Call(ast.Name(other), node.args, []) for other in _OTHER_FUNCTION.get(node.func.id, ()))
        if node.func.id in _OTHER_FUNCTION:
            yield node.args[0]
    elif isinstance(node, ast.Name) and node.id not in FUNCTIONS:
        yield from (ast.Name(name) for name in (params if node.id in params else known) if name != node.id)
        if node.id not in params:
            yield ast.BinOp(ast.Constant(1), ast.Sub(), ast.Name(node.id))


def _renamed(value: ast.expr, names: dict[str, ast.expr]) -> ast.expr:
    class Rename(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return names.get(node.id, node)

        def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
            whole = self.generic_visit(node)  # 1 - (1 - z) is z
            twice = [ast.unparse(node.right).removeprefix("1 - "), ast.unparse(node)]
            return ast.Name(twice[0]) if twice[1] == f"1 - (1 - {twice[0]})" and twice[0].isidentifier() else whole

    found = Rename().visit(copy.deepcopy(value))
    assert isinstance(found, ast.expr)
    return found


def _put(whole: ast.expr, place: ast.AST, other: ast.expr) -> ast.expr:
    class Put(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return other if node is place else self.generic_visit(node)

    found = Put().visit(whole)
    assert isinstance(found, ast.expr)
    return ast.fix_missing_locations(found)
