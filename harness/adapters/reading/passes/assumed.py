"""A loss that stands nowhere: outputs are compared with targets inside of a backward pass, and no line says with what loss.

    outputs that are probabilities                 L = -sum of log p[target]
    a softmax inside of backward                   L = -sum of log softmax(y)[target]
    anything else                                  L = 1/2 sum of (y - t)^2, or the sum of squares where backward has a factor 2

each over the number of steps or rows where backward divides by one that is called so.
"""

from __future__ import annotations

import ast
from collections.abc import Collection
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.code.layout import LastStep
from bptt.harness.adapters.reading.passes.form import Forward, Path, Values
from bptt.harness.adapters.reading.passes.results import outputs
from bptt.harness.subject import Array


def loss_of(forward: Forward, function: Any, target: str, handed: Collection[Path], root: Any, result: Any) -> Path | None:
    """The loss that a backward pass can be of, as ('assumed', kind, leaf, factor); None where no output goes with the targets.

    `handed` are the leaves of forward that the backward pass `function` is given: of several outputs it is one of these.  Of outputs over
    time and one target a sequence it is the last, never another one of them: `forward` has it (see `with_last_steps`).
    """
    if not target:
        return None
    over_time = any(a in target for a in "Ttk")
    lists = {p for p, w in forward.leaves.items() if ":" in w}
    fitting = [
        p for p, w in forward.leaves.items()
        if w and ("O" in w or (forward.counts and "D" in w) or ("D" in target and "D" in w)) and ("T" in w.replace("S", "T")) == over_time
        and not (p[:-1] in lists and not isinstance(p[-1], LastStep))
    ]  # fmt: skip
    if not fitting:
        return None
    probable = [p for p in fitting if _are_probabilities(outputs(forward, root, result, p))]
    if probable:
        leaf = next((p for p in probable if p in handed), probable[0])
        return ("assumed", "cross entropy of probabilities", leaf, _factor(function, forward.x))
    leaf = next((p for p in fitting if p in handed), fitting[0])
    if _calls(function, "exp", "softmax"):
        return ("assumed", "cross entropy of a softmax", leaf, _factor(function, forward.x))
    return ("assumed", "squares" if _has_factor_two(function) else "half the squares", leaf, _factor(function, forward.x))


def _are_probabilities(value: Array) -> bool:
    return value.shape[-1] > 1 and bool(np.all(value > 0) and np.allclose(value.sum(-1), 1))


def _calls(function: Any, *names: str) -> bool:
    tree = words.tree_of(function)
    called = [n.func for n in ast.walk(tree) if isinstance(n, ast.Call)] if tree else []
    said = [f.attr if isinstance(f, ast.Attribute) else f.id if isinstance(f, ast.Name) else "" for f in called]
    return any(s.strip("_").lower() in names or s.lower().endswith("softmax") for s in said)


def _factor(function: Any, x: str) -> str:
    """The letters of the sizes that a function divides by: '' 'T' 'N' 'TN'; x is the layout of what it unpacks a shape of."""
    found = set()
    tree = words.tree_of(function)
    unpacked = _sizes_unpacked(tree, x.upper().replace(":", ""))
    for node in ast.walk(tree) if tree else ():
        divided = node.right if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) else None
        divided = node.value if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Div) else divided
        for name in ast.walk(divided) if divided is not None else ():
            word = name.attr if isinstance(name, ast.Attribute) else name.id if isinstance(name, ast.Name) else ""
            found |= {r for r in (unpacked.get(word) or words.roles(word))[:1] if r in ("T", "N")}
    return "".join(a for a in "TN" if a in found)


def _sizes_unpacked(tree: ast.AST | None, layout: str) -> dict[str, str]:
    """name -> letter, of ``B, T, _ = X.shape`` where X has `layout`."""
    found: dict[str, str] = {}
    for node in ast.walk(tree) if tree else ():
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute) and node.value.attr == "shape"):
            continue
        source = node.value.value
        if isinstance(source, ast.Name | ast.Attribute) and "x" in words.roles(source.id if isinstance(source, ast.Name) else source.attr):
            for target in node.targets:
                names = target.elts if isinstance(target, ast.Tuple) and len(target.elts) == len(layout) else []
                found |= {n.id: a for n, a in zip(names, layout, strict=False) if isinstance(n, ast.Name)}
    return found


def _has_factor_two(function: Any) -> bool:
    tree = words.tree_of(function)
    products = [n for n in ast.walk(tree) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Mult)] if tree else []
    return any(isinstance(side, ast.Constant) and side.value == 2 for n in products for side in (n.left, n.right))


def value(loss: Path, target: str, y: Array, values: Values) -> Any:
    """An assumed loss of the output `y` of its leaf."""
    _, kind, _, factor = loss
    t = _one_hot(values.targets, y.shape[-1]) if target.islower() else values.targets
    t = t if any(a in target for a in "Ttk") else t[-1]
    t = t.reshape(y.shape)
    if kind == "cross entropy of a softmax":
        y = softmax(y)
    total: Any = -np.sum(t * np.log(y)) if kind.startswith("cross") else (1 if kind == "squares" else 0.5) * np.sum((y - t) ** 2)
    for letter in factor:
        total = total / values.x.shape["TN".index(letter)]
    return total


def softmax(y: Array) -> Array:
    """Along the last axis; of complex numbers too."""
    e = np.exp(y - y.real.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def _one_hot(numbers: Array, classes: int) -> Array:
    rows: Array = np.eye(classes)[np.asarray(numbers)]
    return rows
