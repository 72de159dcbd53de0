"""The equations of one step, as text: what is assigned, from what.

    z = sigmoid(x @ W_z + h @ U_z + b_z)      # a line an assignment; x is the input of the step
    r = sigmoid(x @ W_r + h @ U_r + b_r)
    n = tanh(x @ W_n + (r * h) @ U_n + b_n)
    h = (1 - z) * n + z * h                   # read before it is assigned: a state, carried on
    y = h                                     # optional: the output; without it h, or the last state that is assigned

What is read and never assigned is a parameter.  `W @ x` is W x_t for one row, `x @ W` the same with W transposed.  Nothing is executed:
the text is parsed, and only what stands in `FUNCTIONS`, products, sums, quotients, powers and `.T` are known.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bptt.harness.errors import UsageError
from bptt.harness.words import near_miss

INPUT, OUTPUT = "x", "y"
#: Of one array, entry by entry.
ELEMENTWISE = ("sigmoid", "tanh", "exp", "log", "sqrt", "relu", "softplus", "sin", "cos", "abs")
#: sum and mean over the last axis; concat side by side; split(a, k) into k equal parts.
FUNCTIONS = (*ELEMENTWISE, "sum", "mean", "concat", "split")
OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.MatMult, ast.Pow)


@dataclass(frozen=True)
class Assignment:
    """names = value.   Several names where the value is split(a, k)."""

    names: tuple[str, ...]
    value: ast.expr
    line: int


@dataclass(frozen=True)
class Equations:
    """One step.   states: in the order in which they are assigned;   output: the name of what a step gives"""

    where: str
    text: str
    lines: tuple[Assignment, ...]
    states: tuple[str, ...]
    params: tuple[str, ...]
    output: str


def equations(text: str, where: str) -> Equations:
    """The text as equations.   where   its file, for errors.   Raises UsageError with the line that is none."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        here = f"{where}:{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else where
        raise UsageError(f"{here}: not an equation ({error}), wanted lines such as h = tanh(x @ W + b)") from None
    lines = tuple(_assignment(statement, where) for statement in tree.body)
    assigned = dict.fromkeys(name for line in lines for name in line.names)
    before: dict[str, None] = {}
    known: set[str] = set()
    for line in lines:
        for name in _names(line.value):
            if name not in known:
                before[name] = None
        known |= {*line.names}
    states = tuple(name for name in assigned if name in before)
    params = tuple(name for name in before if name not in assigned and name != INPUT)
    _refuse(where, lines, states, tuple(before), params)
    output = OUTPUT if OUTPUT in assigned else "h" if "h" in states else states[-1]
    return Equations(where, text, lines, states, params, output)


def _refuse(where: str, lines: Sequence[Assignment], states: Sequence[str], read: Sequence[str], params: Sequence[str]) -> None:
    if not lines:
        raise UsageError(f"{where}: no equation, wanted lines such as h = tanh(x @ W + h @ U + b)")
    if INPUT not in read:
        raise UsageError(f"{where}: no equation reads {INPUT}, which is the input of a step")
    if not states:
        raise UsageError(f"{where}: nothing is carried on: no name is read before it is assigned, as h is in h = tanh(x @ W + h @ U + b)")
    if not params:
        raise UsageError(f"{where}: no parameter: each name is assigned")
    for line in lines:
        if INPUT in line.names:
            raise UsageError(f"{where}:{line.line}: {INPUT} is assigned, and it is the input of a step")
        if taken := next((name for name in line.names if name in FUNCTIONS), None):
            raise UsageError(f"{where}:{line.line}: {taken} is assigned, and it is a function")


def _assignment(statement: ast.stmt, where: str) -> Assignment:
    here = f"{where}:{statement.lineno}"
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        raise UsageError(f"{here}: {_shown(statement)!r} is no equation, wanted NAME = ...")
    target = statement.targets[0]
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    found = tuple(name.id for name in names if isinstance(name, ast.Name))
    if len(found) != len(names):
        raise UsageError(f"{here}: {_shown(target)!r} is no name")
    parts = _parts(statement.value)
    if len(found) > 1 and parts != len(found):
        raise UsageError(f"{here}: {len(found)} names, wanted split(..., {len(found)}) on the right")
    if len(found) == 1 and parts is not None:
        raise UsageError(f"{here}: split gives {parts} arrays, and there is one name for them")
    whole = statement.value
    _check(whole.args[0] if parts is not None and isinstance(whole, ast.Call) else whole, here)
    return Assignment(found, whole, statement.lineno)


def _parts(value: ast.expr) -> int | None:
    """k of split(a, k), None for another expression."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "split" and len(value.args) == 2:
        k = value.args[1]
        if isinstance(k, ast.Constant) and isinstance(k.value, int) and k.value > 1:
            return k.value
    return None


def _check(value: ast.expr, here: str) -> None:
    """Raises UsageError where something in an expression is not known here."""
    if isinstance(value, ast.Name):
        if value.id in FUNCTIONS:
            raise UsageError(f"{here}: {value.id} is a function, wanted {value.id}(...)")
        return
    if isinstance(value, ast.Constant):
        if type(value.value) not in (int, float):
            raise UsageError(f"{here}: {_shown(value)!r} is no number")
        return
    if isinstance(value, ast.BinOp) and isinstance(value.op, OPERATORS):
        if isinstance(value.op, ast.Pow) and number(value.right) is None:
            raise UsageError(f"{here}: {_shown(value)!r}: the power is no number")
        _check(value.left, here)
        _check(value.right, here)
        return
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub | ast.UAdd):
        return _check(value.operand, here)
    if isinstance(value, ast.Attribute) and value.attr == "T":
        return _check(value.value, here)
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and not value.keywords:
        name = value.func.id
        if name not in FUNCTIONS:
            raise UsageError(f"{here}: no function {name!r}{near_miss(name, FUNCTIONS) or ','} known are {', '.join(FUNCTIONS)}")
        if name == "split":
            raise UsageError(f"{here}: {_shown(value)!r}, wanted a, b = split(..., 2) as a line of its own")
        if len(value.args) != 1 and name != "concat":
            raise UsageError(f"{here}: {_shown(value)!r}: {name} takes one array")
        for each in value.args:
            _check(each, here)
        return
    raise UsageError(f"{here}: {_shown(value)!r} is not known here, wanted + - * / @ ** .T and {', '.join(FUNCTIONS)}")


def number(value: ast.expr) -> float | None:
    """The number that an expression is, None where it is none."""
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub) and (inner := number(value.operand)) is not None:
        return -inner
    return value.value if isinstance(value, ast.Constant) and type(value.value) in (int, float) else None  # type: ignore[return-value]  # a number


def _names(value: ast.expr) -> Iterator[str]:
    """Names of arrays in an expression, as they are read."""
    named = [node for node in ast.walk(value) if isinstance(node, ast.Name) and node.id not in FUNCTIONS]
    yield from (node.id for node in sorted(named, key=lambda node: (node.lineno, node.col_offset)))


def _shown(node: ast.AST) -> str:
    return ast.unparse(node)[:60]
