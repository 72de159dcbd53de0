"""What a file that `bptt init` writes calls: the user's code as it stands, weights put into it, arrays in its layouts.

user_code(file, H=...)    the file's definitions, its training left out, its own sizes replaced by name
holding(cell, at, params) a copy of an object that holds these weights
Walk                      a cell that keeps its own state from step to step, as a layer over time (walk.py)
called, watched           a call with globals that its script's loop would have made; its local variables beside what it returns
formed, canonical, at     an array in another layout, and back; what stands at a place of a result (layout.py)
before, centred, softmax  what probabilities are the softmax of, and the gradient of that (through.py)
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.code.layout import at, at_the_end, canonical, formed
from bptt.harness.adapters.reading.code.making import built
from bptt.harness.adapters.reading.code.owners import Namespace, called, follow, watched
from bptt.harness.adapters.reading.code.source import module_at
from bptt.harness.adapters.reading.code.walk import Walk
from bptt.harness.adapters.reading.code.weights import Parameter, Slot, Step, like_shape, substitute
from bptt.harness.adapters.reading.passes.assumed import softmax
from bptt.harness.adapters.reading.passes.clips import clip_lifted
from bptt.harness.adapters.reading.passes.form import quiet
from bptt.harness.adapters.reading.passes.guards import guard_lifted
from bptt.harness.adapters.reading.passes.handing import drawn_alike
from bptt.harness.adapters.reading.passes.results import before
from bptt.harness.adapters.reading.passes.running import centred
from bptt.harness.subject import Array, Arrays

__all__ = [
    "SimpleNamespace",
    "Walk",
    "at",
    "at_the_end",
    "before",
    "built",
    "called",
    "canonical",
    "centred",
    "clip_lifted",
    "drawn_alike",
    "follow",
    "formed",
    "guard_lifted",
    "holding",
    "like_shape",
    "quiet",
    "shapes",
    "softmax",
    "symbols",
    "user_code",
    "watched",
]  # fmt: skip


def user_code(file: str | Path, /, **sizes: int) -> Any:
    """What a file, or a notebook, defines, as attributes.  `sizes` replace numbers that it names so; 'RNN__hidden_size' is RNN's own.

    Raises whatever its imports and class bodies raise.
    """
    with quiet():
        return Namespace(module_at(Path(file), {n.replace("__", "."): v for n, v in sizes.items()}), {})


def holding(cell: Any, at: Mapping[str, str], params: Arrays) -> Any:
    """A copy of `cell` whose weights are copies of `params`.   at   name -> where it stands: 'Wx', 'params["W"]', 'layers[0].W'"""
    places = tuple(Parameter(name, slot_of(text)) for name, text in at.items())
    return substitute(cell, places, {n: np.array(v) for n, v in params.items()}) if places else copy.deepcopy(cell)


def slot_of(text: str) -> Slot:
    """The steps of an expression such as 'layers[0].params["W"]'."""
    steps: list[Step] = []
    node: ast.expr = ast.parse(f"_.{text}", mode="eval").body
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Attribute):
            steps.append(Step("attr", node.attr))
        else:
            assert isinstance(node, ast.Subscript)
            steps.append(Step("item", ast.literal_eval(node.slice)))
        node = node.value
    return tuple(reversed(steps))


def shapes(params: Arrays) -> tuple[tuple[int, ...], ...]:
    """The shapes of parameters, which tell the sizes that they were made for."""
    return tuple(np.shape(v) for v in params.values())


def symbols(table: Mapping[str, int], numbers: Array) -> list[str]:
    """Numbers as what stands for them in a table {symbol: number}."""
    back = {number: symbol for symbol, number in table.items()}
    return [back[int(n)] for n in numbers]
