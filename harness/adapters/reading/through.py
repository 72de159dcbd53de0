"""What a gradient from outside is the gradient of, where the last thing that forward does is a softmax or a sigmoid.

Of the cross entropy and the probabilities y = softmax(a), or y = sigmoid(a), people hand over dL/da = y - t, call it dL/dy, and go on from
there.  Under that reading the output is a itself, which y tells but for a constant:

    sigmoid    a = log y - log(1 - y)
    softmax    a - mean(a) = log y - mean(log y)        and the sum of what is handed over is zero
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from dataclasses import replace

import numpy as np

from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.passes.backward import tried_out
from bptt.harness.adapters.reading.passes.form import quiet
from bptt.harness.adapters.reading.passes.results import outputs
from bptt.harness.adapters.reading.passes.running import Reading, probe, run

_PREDICTED = re.compile(
    r"(^|_)(y_?)?(p|ps|probs?|probabilit(y|ies)|preds?|predicted|prediction|y_?hats?|hat|outputs?|out|o|a|y)(_|$|s$)", re.I
)
_TRUE = re.compile(r"(^|_)(y|ys|t|ts|targets?|labels?|true|truth|one_?hot|expected|gold)(_|$|\d)", re.I)
_RATE = re.compile(r"(^|_)(lr|eta|alpha|rate|learning_?rate|step_?size)(_|$)", re.I)


def through_activation(reading: Reading) -> Reading | None:
    """`reading` with what is handed over as the gradient before the last softmax or sigmoid; None where there is none."""
    forward = reading.forward
    layouts = {p: forward.leaves.get(p, "") for p in reading.cotangents}  # a state that the object keeps is no leaf
    wide = [p for p, layout in layouts.items() if "O" in layout or (forward.counts and "D" in layout)]
    if len(wide) != 1 or reading.loss is not None:
        return None
    [leaf] = wide
    params, values = probe(reading)
    try:
        with quiet():
            bare = run(replace(reading, backward=None), params, values, {})
            kind = _activation(outputs(forward, bare.root, bare.result, leaf))
            return tried_out(replace(reading, forward=replace(forward, through={leaf: kind}))) if kind else None
    except Exception:  # the user's code, at values of ours
        return None


def _activation(y: np.ndarray) -> str | None:
    if not (np.all(y > 0) and np.all(y < 1)):
        return None
    return "softmax" if y.shape[-1] > 1 and np.allclose(y.sum(-1), 1) else "sigmoid"


def is_said(reading: Reading) -> bool:
    """Whether the author hands over a difference of prediction and target, beside a loss with a logarithm: that is no dL/dy.

    So does an argument that is called after what comes before: dlogits, dscores.
    """
    of_outputs = [a for a, s in reading.sources.items() if s[0] == "cotangent" and (len(reading.cotangents) == 1 or "O" in s[2])]
    if any(re.search(r"logit|score|pre_?act|net_?in|dz_?y?$", a, re.I) for a in of_outputs):
        return True
    nodes = _nodes(reading)
    return any(_is_difference(n) or _is_less_one(n) for n in nodes) and any(map(_is_logarithm, nodes))


def is_said_apart(reading: Reading) -> bool:
    """Whether the author's file calls backward where it trains, and turns no weight round but in its passes: nothing else makes a share."""
    method = reading.forward.owner.methods[reading.forward.method]
    module = sys.modules.get(getattr(method, "__module__", ""), None)
    try:
        tree = ast.parse(inspect.getsource(module)) if module is not None else ast.Module([], [])
    except (OSError, TypeError, SyntaxError):
        return False
    passes = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name in (reading.forward.method, reading.backward)]
    inside = {id(inner) for each in passes for inner in ast.walk(each)}
    nodes = [n for n in ast.walk(tree) if id(n) not in inside]
    turned = any(isinstance(n, ast.Attribute) and n.attr in ("T", "transpose", "swapaxes", "einsum") for n in nodes)
    return not turned and any(isinstance(n, ast.Call) and _last_name(n.func) == reading.backward for n in nodes)


def _nodes(reading: Reading) -> list[ast.AST]:
    """The author's own code: the methods, and the functions and classes beside them."""
    method = reading.forward.owner.methods[reading.forward.method]
    module = sys.modules.get(getattr(method, "__module__", ""), None)
    beside = [f for f in vars(module).values() if getattr(f, "__module__", None) == module.__name__] if module else []
    trees = [t for f in (*reading.forward.owner.methods.values(), *beside) if (t := words.tree_of(f)) is not None]
    return [n for t in trees for n in ast.walk(t)]


def up_the_error(reading: Reading) -> Reading | None:
    """`reading` with what is handed over as an error, target - output, that weights go up along; None where nothing is called an error."""
    errors = [a for a, s in reading.sources.items() if s[0] == "cotangent" and re.search(r"(^|_)err(or)?s?(_|$)", a, re.I)]
    if len(errors) != 1 or len(reading.cotangents) != 1 or reading.loss is not None:
        return None
    try:
        with quiet():
            return tried_out(replace(reading, uphill=True))
    except Exception:  # the user's code, at values of ours
        return None


def is_said_uphill(reading: Reading) -> bool:
    """Whether the author makes an error of target - output, or of minus a softmax."""
    nodes = _nodes(reading)
    squared = {id(inner) for n in nodes if _is_square(n) for inner in ast.walk(n)}  # of which the sign says nothing
    return any((_is_difference(n, up=True) and id(n) not in squared) or _is_minus_softmax(n) for n in nodes)


def _is_square(node: ast.AST) -> bool:
    power = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)
    return power or (isinstance(node, ast.Call) and _last_name(node.func) in ("square", "abs", "norm", "power"))


def ways_of_weights(reading: Reading) -> set[str]:
    """How the author's own steps go: "up", ``W += lr * dW``, or "down", ``W = W - lr * dW``.

    What forward and backward add, ``h = h + alpha * u``, is no step of a weight.
    """
    nodes = _nodes(reading)
    passes = [n for n in nodes if isinstance(n, ast.FunctionDef) and n.name in (reading.forward.method, reading.backward)]
    inside = {id(inner) for each in passes for inner in ast.walk(each)}
    found = set()
    for node in (n for n in nodes if id(n) not in inside):
        match node:
            case ast.AugAssign(op=ast.Add() | ast.Sub() as op, value=step):
                pass
            case ast.Assign(value=ast.BinOp(op=ast.Add() | ast.Sub() as op, right=step)):
                pass
            case _:
                continue
        if any(_RATE.search(_last_name(n)) for n in ast.walk(step) if isinstance(n, ast.Name | ast.Attribute)):
            found.add("up" if isinstance(op, ast.Add) else "down")
    return found


def _is_minus_softmax(node: ast.AST) -> bool:
    minus = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Call)
    return minus and "softmax" in _last_name(node.operand.func).lower()  # type: ignore[attr-defined]  # a call, as just seen


def _is_difference(node: ast.AST, up: bool = False) -> bool:
    """Whether it is output - target; `up`: target - output."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub)):
        return False
    left, right = (_last_name(side) for side in ((node.right, node.left) if up else (node.left, node.right)))
    return bool(left and right and left != right and _PREDICTED.search(left) and _TRUE.search(right))


def _is_less_one(node: ast.AST) -> bool:
    """``probs[label] -= 1``."""
    match node:
        case ast.AugAssign(target=ast.Subscript(), op=ast.Sub(), value=ast.Constant(1)):
            return True
    return False


def _is_logarithm(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name) and _last_name(node.func) == "log"


def _last_name(node: ast.expr) -> str:
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
