"""Values of the equations and, backwards through the graph of them, gradients.

Each value is a node that knows what it was made of and how a cotangent goes back there.  For y = f(a), da += dy f'(a); for a product
Y = A W of rows A (N, k) with a parameter W (k, m), dA += dY W' and dW += A' dY; what was broadcast is summed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bptt.harness.adapters.equations.read import INPUT, Equations, number
from bptt.harness.subject import Array, Arrays
from bptt.refimpl.activations import sigmoid

Back = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Node:
    """value, and (what it was made of, how a cotangent of it becomes one of that).   rows: its first axis is the batch"""

    value: Array
    made_of: tuple[tuple[Node, Back], ...] = ()
    rows: bool = True


def _relu(a: Array) -> Array:
    return np.where(a.real > 0, a, 0 * a)


def _softplus(a: Array) -> Array:
    """log(1 + e^a) = max(a, 0) + log(1 + e^-|a|)."""
    return _relu(a) + np.log1p(np.exp(-np.where(a.real > 0, a, -a)))


#: name -> (f, the derivative from the argument and the value).
_ENTRYWISE: dict[str, tuple[Callable[[Array], Array], Callable[[Array, Array], Array]]] = {
    "sigmoid": (sigmoid, lambda a, y: y * (1 - y)),
    "tanh": (np.tanh, lambda a, y: 1 - y * y),
    "exp": (np.exp, lambda a, y: y),
    "log": (np.log, lambda a, y: 1 / a),
    "sqrt": (np.sqrt, lambda a, y: 0.5 / y),
    "relu": (_relu, lambda a, y: (a.real > 0).astype(y.dtype)),
    "softplus": (_softplus, lambda a, y: sigmoid(a)),
    "sin": (np.sin, lambda a, y: np.cos(a)),
    "cos": (np.cos, lambda a, y: -np.sin(a)),
    "abs": (lambda a: np.where(a.real < 0, -a, a), lambda a, y: np.sign(a.real).astype(y.dtype)),
}


def unrolled(said: Equations, params: Arrays, xs: Array, state: Arrays) -> tuple[list[Node], dict[str, Node], dict[str, Node], list[Node]]:
    """Nodes of the output at each step, of the final state, of parameters and initial states by name, and of the inputs."""
    leaves = {name: Node(np.asarray(params[name]), rows=False) for name in said.params}
    leaves |= {name: Node(np.asarray(state[name])) for name in said.states}
    inputs = [Node(x) for x in xs]
    outputs, carried = [], {name: leaves[name] for name in said.states}
    for x in inputs:
        known = {**leaves, **carried, INPUT: x}
        for line in said.lines:
            if len(line.names) == 1:
                known[line.names[0]] = _node(line.value, known)
            elif isinstance(line.value, ast.Call):
                known |= zip(line.names, _split(_node(line.value.args[0], known), len(line.names)), strict=True)
        carried = {name: known[name] for name in said.states}
        outputs.append(known[said.output])
    return outputs, carried, leaves, inputs


def swept(ends: Sequence[tuple[Node, Array]]) -> Mapping[Node, Array]:
    """Cotangents of all nodes, from those of the last ones."""
    order: list[Node] = []
    seen: set[Node] = set()
    todo = [(node, False) for node, _ in ends]
    while todo:
        node, done = todo.pop()
        if done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            todo.append((node, True))
            todo += [(parent, False) for parent, _ in node.made_of]
    found: dict[Node, Array] = {}
    for node, cotangent in ends:
        found[node] = found.get(node, 0) + cotangent
    for node in reversed(order):
        for parent, back in node.made_of:
            found[parent] = found.get(parent, 0) + _summed(back(found[node]), parent.value.shape)
    return found


def _summed(cotangent: Array, shape: tuple[int, ...]) -> Array:
    """Over the axes that were broadcast."""
    cotangent = cotangent.sum(tuple(range(cotangent.ndim - len(shape))))
    wide = tuple(k for k, n in enumerate(shape) if n == 1 and cotangent.shape[k] != 1)
    return np.asarray(cotangent.sum(wide, keepdims=True) if wide else cotangent)


def _node(value: ast.expr, known: Mapping[str, Node]) -> Node:
    if isinstance(value, ast.Name):
        return known[value.id]
    if (constant := number(value)) is not None:
        return Node(np.asarray(constant, known[INPUT].value.real.dtype), rows=False)
    if isinstance(value, ast.Attribute):
        a = _node(value.value, known)
        return Node(a.value.T, ((a, np.transpose),), a.rows)
    if isinstance(value, ast.UnaryOp):
        a = _node(value.operand, known)
        return Node(-a.value, ((a, np.negative),), a.rows) if isinstance(value.op, ast.USub) else a
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return _called(value.func.id, [_node(each, known) for each in value.args])
    assert isinstance(value, ast.BinOp)
    if isinstance(value.op, ast.Pow):
        a, power = _node(value.left, known), number(value.right) or 0.0
        return Node(a.value**power, ((a, lambda dy: dy * power * a.value ** (power - 1)),), a.rows)
    return _joined(value.op, _node(value.left, known), _node(value.right, known))


def _joined(op: ast.operator, a: Node, b: Node) -> Node:
    A, B, rows = a.value, b.value, a.rows or b.rows
    if isinstance(op, ast.MatMult):
        if not a.rows and b.rows:  # W x, a row at a time
            return Node(B @ A.T, ((a, lambda dy: dy.T @ B), (b, lambda dy: dy @ A)))
        return Node(A @ B, ((a, lambda dy: dy @ B.T), (b, lambda dy: A.T @ dy)), rows)
    if isinstance(op, ast.Add):
        return Node(A + B, ((a, _same), (b, _same)), rows)
    if isinstance(op, ast.Sub):
        return Node(A - B, ((a, _same), (b, np.negative)), rows)
    if isinstance(op, ast.Mult):
        return Node(A * B, ((a, lambda dy: dy * B), (b, lambda dy: dy * A)), rows)
    return Node(A / B, ((a, lambda dy: dy / B), (b, lambda dy: -dy * A / B**2)), rows)


def _same(dy: Array) -> Array:
    return dy


def _called(name: str, of: Sequence[Node]) -> Node:
    a = of[0]
    if name == "concat":
        ends = np.cumsum([0, *(each.value.shape[-1] for each in of)])

        def part(k: int) -> Back:
            return lambda dy: dy[..., ends[k] : ends[k + 1]]

        return Node(np.concatenate([each.value for each in of], axis=-1), tuple((each, part(k)) for k, each in enumerate(of)))
    if name in ("sum", "mean"):
        share = 1.0 if name == "sum" else 1.0 / a.value.shape[-1]
        whole = a.value.sum(-1, keepdims=True) * share
        return Node(whole, ((a, lambda dy: np.broadcast_to(dy * share, a.value.shape)),), a.rows)
    f, slope = _ENTRYWISE[name]
    y: Any = f(a.value)
    return Node(y, ((a, lambda dy: dy * slope(a.value, y)),), a.rows)


def _split(a: Node, parts: int) -> list[Node]:
    width = a.value.shape[-1] // parts

    def part(k: int) -> Node:
        def back(dy: Array) -> Array:
            whole = np.zeros(a.value.shape, dy.dtype)
            whole[..., k * width : (k + 1) * width] = dy
            return whole

        return Node(a.value[..., k * width : (k + 1) * width], ((a, back),), a.rows)

    return [part(k) for k in range(parts)]
