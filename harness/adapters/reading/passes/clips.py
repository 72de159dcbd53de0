"""Gradient clipping that the author wrote into a backward pass."""

from __future__ import annotations

import ast
import contextlib
import copy
import functools
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.code import words


class _Lifted(types.ModuleType):
    """NumPy, whose `clip` to (-c, c) leaves its argument as it is, and whose norms are 0, so that nothing is above a threshold.

    `bound` is c, infinite for any c: then norms are lifted too.
    """

    def __init__(self, bound: float) -> None:
        super().__init__("numpy")
        self._bound = bound
        self.linalg = _Norms() if np.isinf(bound) else np.linalg

    def __getattr__(self, name: str) -> Any:
        value = self.__dict__[name] = getattr(np, name)
        return value

    def clip(self, a: Any, a_min: Any = None, a_max: Any = None, *args: Any, **kwargs: Any) -> Any:
        if np.isscalar(a_max) and np.isscalar(a_min) and -a_min == a_max > 0 and (np.isinf(self._bound) or a_max == self._bound):  # type: ignore[operator]  # scalars
            return a if kwargs.get("out") is None else kwargs["out"]
        return np.clip(a, a_min, a_max, *args, **kwargs)


_lifted_numpy = functools.lru_cache(maxsize=8)(_Lifted)


class _Norms(types.ModuleType):
    """np.linalg, whose norm is 0."""

    def __init__(self) -> None:
        super().__init__("numpy.linalg")

    def __getattr__(self, name: str) -> Any:
        return getattr(np.linalg, name)

    def norm(self, *_: Any, **__: Any) -> Any:
        return np.float64(0.0)


def clip_of(function: Any, beside: Mapping[str, Any] | None = None) -> float | None:
    """The bound c in ``np.clip(gradient, -c, c, ...)`` in a function, or in one of `beside` that it calls; None where it clips nothing.

    Infinite where c is no number in the code but the same on both sides, or where a norm is held against a threshold.
    """
    tree = words.tree_of(function)
    nodes = list(ast.walk(tree)) if tree else []
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "clip":
            given = [*node.args, *(k.value for k in node.keywords)]
            bounds = [n for a in given if (n := _number(a)) is not None]
            if len(bounds) >= 2 and bounds[0] == -bounds[1] and 0 < bounds[1] <= 100:
                return bounds[1]
            said = [ast.unparse(a) for a in given]
            if any(f"-{s}" in said for s in said):
                return float("inf")
        if isinstance(node, ast.Compare) and re.search(r"norm", ast.unparse(node)) and any(_calls_norm(n) for n in nodes):
            return float("inf")
    if _Uncut.applies_to(nodes):
        return float("inf")
    called = {c.func.attr if isinstance(c.func, ast.Attribute) else getattr(c.func, "id", "") for c in nodes if isinstance(c, ast.Call)}
    inner = [f for n, f in (beside or {}).items() if n in called and f is not function and ("clip" in n.lower() or words.BACKWARD.match(n))]
    found = next((found for f in inner if (found := clip_of(f)) is not None), None)
    return float("inf") if found is None and any(_is_home_made(f) for f in inner) else found


class _Uncut(ast.NodeTransformer):
    """A function without the cut that its own lines make: ``if norm > c: g = g * c / norm`` and ``g * min(1, c / norm)``."""

    @classmethod
    def applies_to(cls, nodes: Sequence[ast.AST]) -> bool:
        """Whether a norm that was taken by hand is held against a threshold, and gradients are made smaller by it."""
        rooted = any(isinstance(n, ast.Call) and getattr(n.func, "attr", getattr(n.func, "id", "")) == "sqrt" for n in nodes) or any(
            isinstance(n, ast.BinOp) and isinstance(n.op, ast.Pow) and ast.unparse(n.right) in ("0.5", "1 / 2") for n in nodes
        )
        return rooted and any((isinstance(n, ast.If) and cls._side(n.test) is not None and _scales(n)) or cls._is_share(n) for n in nodes)

    @staticmethod
    def _side(test: ast.expr) -> bool | None:
        """Whether a test holds for a norm above its threshold; None where it is another test."""
        match test:
            case ast.Compare(left, [ast.Gt() | ast.GtE()], [right]) if "norm" in ast.unparse(left).lower() and not _is_tiny(right):
                return True
            case ast.Compare(left, [ast.Lt() | ast.LtE()], [right]) if "norm" in ast.unparse(right).lower() and not _is_tiny(left):
                return True
        return None

    @staticmethod
    def _is_share(node: ast.AST) -> bool:
        """min(1, c / norm)"""
        match node:
            case ast.Call(ast.Name("min") | ast.Attribute(attr="minimum"), [one, ast.BinOp(_, ast.Div(), norm)]) | ast.Call(
                ast.Name("min") | ast.Attribute(attr="minimum"), [ast.BinOp(_, ast.Div(), norm), one]
            ):
                return _number(one) == 1.0 and "norm" in ast.unparse(norm).lower()
        return False

    def visit_If(self, node: ast.If) -> ast.AST:
        if self._side(node.test) and _scales(node):
            node.test = ast.copy_location(ast.Constant(False), node.test)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        return ast.copy_location(ast.Constant(1.0), node) if self._is_share(node) else self.generic_visit(node)


def _scales(node: ast.If) -> bool:
    """Whether what stands under an ``if`` multiplies or divides."""
    return any(isinstance(n, ast.Mult | ast.Div) for s in node.body for n in ast.walk(s))


def _is_tiny(node: ast.expr) -> bool:
    value = _number(node)
    return value is not None and value < 1e-3  # no division by zero


def _uncut(function: Any) -> types.CodeType | None:
    """The code of a function without the cut in its own lines; None where there is none, or it can't be compiled by itself."""
    tree = words.tree_of(function)
    if not isinstance(tree, ast.Module) or not _Uncut.applies_to(list(ast.walk(tree))):
        return None
    own = function.__code__
    changed = ast.increment_lineno(ast.fix_missing_locations(_Uncut().visit(copy.deepcopy(tree))), own.co_firstlineno - 1)
    inside = (c for c in compile(changed, own.co_filename, "exec").co_consts if isinstance(c, types.CodeType))
    return next((c for c in inside if c.co_name == own.co_name and c.co_freevars == own.co_freevars), None)


def _is_home_made(function: Any) -> bool:
    """Whether a function called clip... holds a norm that it takes itself against a threshold: sqrt(sum of g**2) > c."""
    if "clip" not in str(getattr(function, "__name__", "")).lower():
        return False
    tree = words.tree_of(function)
    nodes = list(ast.walk(tree)) if tree else []
    roots = [n for n in nodes if isinstance(n, ast.Call) and getattr(n.func, "attr", getattr(n.func, "id", "")) == "sqrt"]
    return bool(roots) and any(isinstance(n, ast.Compare) for n in nodes)


def _untouched(function: types.FunctionType) -> Any:
    """In the place of a function that clips what it is given, and hands it back or changes it in place."""
    tree = words.tree_of(function)
    gives = any(isinstance(n, ast.Return) and n.value is not None for n in ast.walk(tree)) if tree else True
    return lambda given, *_, **__: given if gives else None


def _calls_norm(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "norm"


def _number(node: ast.expr) -> float | None:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def clip_lifted(function: Any, bound: float | None) -> contextlib.AbstractContextManager[None]:
    """The author's gradient clipping is no part of the gradient: while `function` is judged, it is lifted."""
    return contextlib.nullcontext() if bound is None else _lifted(function, bound)


@contextlib.contextmanager
def _lifted(function: Any, bound: float) -> Iterator[None]:
    space = getattr(function, "__globals__", {})
    saved: list[tuple[str, Any]] = [(name, value) for name, value in space.items() if value is np]
    lifted = _lifted_numpy(bound)
    for name, _ in saved:
        space[name] = lifted
    if np.isinf(bound):
        home_made = {name: value for name, value in space.items() if isinstance(value, types.FunctionType) and _is_home_made(value)}
        space.update({name: _untouched(function) for name, function in home_made.items()})
        saved += home_made.items()
    plain = getattr(function, "__func__", function)
    own, uncut = getattr(plain, "__code__", None), _uncut(plain) if np.isinf(bound) else None
    try:
        if uncut is not None:
            plain.__code__ = uncut
        yield
    finally:
        for name, value in saved:
            space[name] = value
        if uncut is not None:
            plain.__code__ = own
