"""Gradient clipping that the author wrote into a backward pass."""

from __future__ import annotations

import ast
import contextlib
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from bptt.harness.adapters.reading import words


class _Lifted(types.ModuleType):
    """NumPy, whose `clip` to (-c, c) leaves its argument as it is."""

    def __init__(self, bound: float) -> None:
        super().__init__("numpy")
        self._bound = bound

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def clip(self, a: Any, a_min: Any = None, a_max: Any = None, *args: Any, **kwargs: Any) -> Any:
        if np.isscalar(a_max) and np.isscalar(a_min) and a_max == self._bound and a_min == -self._bound:
            return a if kwargs.get("out") is None else kwargs["out"]
        return np.clip(a, a_min, a_max, *args, **kwargs)


def clip_of(function: Any) -> float | None:
    """The bound c in ``np.clip(gradient, -c, c, ...)`` written in a function, None where it clips nothing."""
    tree = words.tree_of(function)
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "clip":
            numbers = [_number(a) for a in (*node.args, *(k.value for k in node.keywords))]
            bounds = [n for n in numbers if n is not None]
            if len(bounds) >= 2 and bounds[0] == -bounds[1] and 0 < bounds[1] <= 100:
                return bounds[1]
    return None


def _number(node: ast.expr) -> float | None:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


@contextlib.contextmanager
def clip_lifted(function: Any, bound: float | None) -> Iterator[None]:
    """The author's gradient clipping is no part of the gradient: while `function` is judged, it is lifted."""
    if bound is None:
        yield
        return
    space = getattr(function, "__globals__", {})
    saved = [(name, value) for name, value in space.items() if value is np]
    lifted = _Lifted(bound)
    for name, _ in saved:
        space[name] = lifted
    try:
        yield
    finally:
        for name, value in saved:
            space[name] = value
