"""A guard against log(0), or against a division by zero in a softmax, that the author wrote into what makes a loss.

``np.log(p + 1e-12)`` and ``e / (e.sum() + 1e-8)``, whose gradient is written as that of the same without the small number.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import functools
import re
import types
from collections.abc import Iterable, Iterator
from typing import Any

from bptt.harness.adapters.reading.code import words

_SMALL = 1e-4
_NAME = re.compile(r"_?(eps|epsilon|tiny)\w*", re.I)


def _is_small(node: ast.expr) -> bool:
    if isinstance(node, ast.Name | ast.Attribute):
        return _NAME.fullmatch(node.id if isinstance(node, ast.Name) else node.attr) is not None
    return isinstance(node, ast.Constant) and isinstance(node.value, float) and 0 < node.value <= _SMALL


def _bare(node: ast.AST) -> ast.expr | None:
    """`p` of ``p + 1e-12``; None of anything else."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Add) or _is_small(node.left) == _is_small(node.right):
        return None
    return node.left if _is_small(node.right) else node.right


def _is_call(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and name == (node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", ""))


class _Unguarded(ast.NodeTransformer):
    """A function whose logarithms are those of what stands beside the guard, and whose sums are divided by without one.

    left   other small numbers that it adds, but for those beside a square root, which an optimiser divides by
    """

    def __init__(self) -> None:
        self.guards = 0
        self.left = 0

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _is_call(node, "sqrt"):
            return node
        if _is_call(node, "log") and len(node.args) == 1 and (bare := _bare(node.args[0])) is not None:
            self.guards += 1
            node.args = [bare]
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        sum_ = _bare(node.right) if isinstance(node.op, ast.Div) else None
        if sum_ is not None and any(_is_call(n, "sum") for n in ast.walk(sum_)):
            self.guards += 1
            node.right = sum_
            return self.generic_visit(node)
        bare = _bare(node)
        self.left += bare is not None and not any(_is_call(n, "sqrt") for n in ast.walk(bare))
        return self.generic_visit(node)


@functools.lru_cache(maxsize=256)
def _looked_at(code: types.CodeType) -> tuple[types.CodeType | None, bool]:
    """The code without its guards, None where it has none; whether it adds other small numbers."""
    function = types.FunctionType(code, {}, closure=tuple(types.CellType() for _ in code.co_freevars) or None)
    tree = words.tree_of(function)
    if not isinstance(tree, ast.Module):
        return None, False
    without = _Unguarded()
    changed = ast.increment_lineno(ast.fix_missing_locations(without.visit(copy.deepcopy(tree))), code.co_firstlineno - 1)
    if not without.guards:
        return None, bool(without.left)
    inside = (c for c in compile(changed, code.co_filename, "exec").co_consts if isinstance(c, types.CodeType))
    return next((c for c in inside if c.co_name == code.co_name and c.co_freevars == code.co_freevars), None), bool(without.left)


def reached(function: Any, depth: int = 3) -> dict[int, types.FunctionType]:
    """A function, and those of its module and of its object that it calls, by identity."""
    plain = getattr(function, "__func__", function)
    if not isinstance(plain, types.FunctionType):
        return {}
    found, its = {id(plain): plain}, getattr(function, "__self__", None)
    for name in plain.__code__.co_names if depth else ():
        inner = getattr(its, name, None) if hasattr(type(its), name) else plain.__globals__.get(name)
        if isinstance(inner, types.FunctionType | types.MethodType):
            found |= reached(inner, depth - 1)
    return found


def is_guarded(losses: Iterable[Any], backward: Any) -> bool:
    """Whether what makes a loss guards its logarithms, and nothing that makes its gradients knows of a guard."""
    making = {k: f for loss in losses for k, f in reached(loss).items()}
    known = reached(backward) if backward is not None else making
    return any(_looked_at(f.__code__)[0] is not None for f in making.values()) and not any(
        _looked_at(f.__code__)[1] for f in known.values()
    )


@contextlib.contextmanager
def guard_lifted(function: Any, lifted: bool) -> Iterator[None]:
    """While `function` runs, its logarithms and divisions are without their guard."""
    changed = (
        [(f, f.__code__, bare) for f in reached(function).values() if (bare := _looked_at(f.__code__)[0]) is not None] if lifted else []
    )
    try:
        for f, _, bare in changed:
            f.__code__ = bare
        yield
    finally:
        for f, own, _ in changed:
            f.__code__ = own
