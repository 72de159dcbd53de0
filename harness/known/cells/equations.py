"""Differences of the forward pass that nobody has listed: each single edit of the equations of a cell's `step`.

c = f * c_prev + i * g   with another operator (f * c_prev - i * g), without an operand (c_prev + i * g), with another value of the same
shape (f * h_prev + i * g), with 1 - f for f, without a nonlinearity or with another one.  Which names have a shape in common is seen by
running `step` once.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np

from bptt.harness.known.mistake import KnownMistake, of_cell
from bptt.refimpl.cells.cell import Cell

_OPERATORS: Mapping[type[ast.operator], tuple[ast.operator, ...]] = {
    ast.Add: (ast.Sub(), ast.Mult()),
    ast.Sub: (ast.Add(),),
    ast.Mult: (ast.Add(),),
}
_N, _D, _H = 2, 3, 5
Drawn = tuple[dict[str, Any], Any, dict[str, Any]]


@lru_cache(maxsize=64)
def edits_of_step(cell: Cell) -> tuple[KnownMistake, ...]:
    """Each single edit of an equation of `cell`'s step, likelier kinds first; () where the step has no text of its own."""
    step = cell.step
    if not isinstance(step, FunctionType):
        return ()
    text = textwrap.dedent(inspect.getsource(step))
    function = next(node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef))
    drawn = _drawn(cell)
    values, right = _values(step, function, drawn), step(*drawn)[1]
    found: dict[tuple[str, str], int] = {}
    for node in ast.walk(function):
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        before = ast.get_source_segment(text, node)
        name = node.targets[0].id
        if before is None or text.count(before) != 1 or not isinstance(values.get(name), np.ndarray):
            continue
        earlier = {k: v for k, v in values.items() if isinstance(v, np.ndarray) and _line(function, k) < node.lineno}
        for likelihood, value in _edits(node.value, earlier):
            found.setdefault((before, f"{name} = {ast.unparse(value)}"), likelihood)
    each = sorted(found, key=lambda pair: found[pair])
    return tuple(_mistake(cell, before, after) for before, after in each if _is_another(step, text.replace(before, after), drawn, right))


def _mistake(cell: Cell, before: str, after: str) -> KnownMistake:
    sentence = f"{after} stands where {before} should"
    return of_cell(f"edited: {after}", (cell.name,), "step", before, after, sentence, before, found_by="PAR100", kind="forward")


def _edits(value: ast.expr, earlier: Mapping[str, Any]) -> Iterator[tuple[int, ast.expr]]:
    """(how unlikely, the expression with one edit)."""
    yield from _here(value, earlier)
    for field, part in ast.iter_fields(value):
        parts = list(enumerate(part)) if isinstance(part, list) else [(-1, part)]
        for k, each in parts:
            if isinstance(each, ast.expr) and not (isinstance(value, ast.Subscript) or (isinstance(value, ast.Call) and field == "func")):
                for likelihood, edited in _edits(each, earlier):
                    yield likelihood, _with(value, field, k, edited)


def _here(value: ast.expr, earlier: Mapping[str, Any]) -> Iterator[tuple[int, ast.expr]]:
    match value:
        case ast.BinOp(left, operator, right) if type(operator) in _OPERATORS:
            for instead in _OPERATORS[type(operator)]:
                yield 0, ast.BinOp(left, instead, right)
            yield 2, right
            yield 2, left
        case ast.Name(id=name) if name in earlier:
            shape = earlier[name].shape
            if shape == (_N, _H) and np.all((earlier[name] > 0) & (earlier[name] < 1)):
                yield 1, ast.BinOp(ast.Constant(1), ast.Sub(), value)
            for other in earlier:
                if other != name and earlier[other].shape == shape:
                    yield 3, ast.Name(other)
        case ast.Call(func=ast.Name(id="tanh"), args=[inner]):
            yield 1, inner
            yield 1, ast.Subscript(ast.Call(ast.Name("sigmoid_pair"), [inner], []), ast.Constant(0))
            yield 1, ast.Call(ast.Attribute(ast.Name("np"), "maximum"), [inner, ast.Constant(0)], [])


def _with(node: ast.expr, field: str, k: int, part: ast.expr) -> ast.expr:
    fields = dict(ast.iter_fields(node))
    fields[field] = part if k < 0 else [part if j == k else other for j, other in enumerate(fields[field])]
    return type(node)(**fields)


def _line(function: ast.stmt, name: str) -> int:
    """The line that gives a name its value first; 0 of an argument."""
    stored = [n.lineno for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store) and n.id == name]
    return min(stored, default=0)


def _is_another(step: Callable[..., Any], text: str, drawn: Drawn, right: Mapping[str, Any]) -> bool:
    """Whether the edited text of the step runs, and gives another state than `right`, of the same shapes."""
    seen: dict[str, Any] = {}
    exec(compile(text, "<step>", "exec", __future__.annotations.compiler_flag), dict(step.__globals__), seen)
    try:
        made = seen[step.__name__](*drawn)[1]
    except (IndexError, NameError, ValueError):  # no text for this cell: shapes that do not meet, a function that it does not import
        return False
    if any(made[name].shape != value.shape for name, value in right.items()):
        return False
    return any(bool(np.max(np.abs(made[name] - value)) > 1e-6) for name, value in right.items())


def _values(step: Callable[..., Any], function: ast.FunctionDef, drawn: Drawn) -> dict[str, Any]:
    """What each name of `step` stands for when it ends, with random weights."""
    body = [*(statement for statement in function.body if not isinstance(statement, ast.Return)), *ast.parse("return locals()").body]
    ended = ast.Module([ast.FunctionDef(function.name, function.args, body, [], None)], [])
    seen: dict[str, Any] = {}
    exec(compile(ast.fix_missing_locations(ended), "<step>", "exec", __future__.annotations.compiler_flag), dict(step.__globals__), seen)
    made: dict[str, Any] = seen[function.name](*drawn)
    return made


def _drawn(cell: Cell) -> Drawn:
    """Random weights, the inputs' share of the pre-activations (N, gH), and a state (N, H) each."""
    rng = np.random.default_rng(0)
    params = {name: np.asarray(rng.normal(size=value.shape)) for name, value in cell.init(rng, _D, _H).items()}
    state = {name: np.asarray(rng.normal(size=value.shape)) for name, value in cell.zero_state(params, _N).items()}
    (ax,) = cell.project_inputs(params, rng.normal(size=(1, _N, _D)))
    return params, ax, state
