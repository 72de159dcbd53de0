"""A forward (or backward) pass as a graph of array operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bptt.harness.subject import Array


@dataclass(frozen=True)
class Frame:
    """A place in the user's code.   line, column, end_line, end_column: the expression there, columns in bytes from 0"""

    file: str
    line: int
    function: str
    column: int = -1
    end_line: int = -1
    end_column: int = -1


#: From the outermost call of the user's code to the innermost.
Place = tuple[Frame, ...]


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    op        "input", "constant", or a name in `operations.OPERATIONS`
    args      the nodes that it reads, by index
    settings  what else decides its value: an axis, the indices of a gather, the name of a ufunc
    order     the axes from the largest stride to the smallest, so that a replay adds in the same order
    name      of an input: ("params", "W_x"), ("xs", ""), ("state", "h"), ("dys", ""), ("dfinal", "h")
    part      which of several results of one statement it is (of f, i, o = np.split(...))
    """

    index: int
    op: str
    args: tuple[int, ...]
    settings: Any
    place: Place
    order: tuple[int, ...] = ()
    name: tuple[str, str] | None = None
    part: int = -1


@dataclass(frozen=True)
class Lost:
    """Where a value left the graph: `what` was done to it ("float()"), at a place of the user's code."""

    what: str
    place: Place


@dataclass(frozen=True)
class Graph:
    """nodes   in the order in which they were computed;   values: what they were
    outputs    name -> node: ("ys", ""), ("final", "h"); of a backward ("dparams", "W_x"), ("dxs", ""), ("dstate", "h")
    lost       where values left it
    cuts       nodes that the user's code takes out of autograd (detach, .data), before which node, and where
    taken      where a result that is part of another array was taken out of it"""

    nodes: tuple[Node, ...]
    values: tuple[Array, ...]
    outputs: Mapping[tuple[str, str], int]
    lost: tuple[Lost, ...] = ()
    cuts: tuple[tuple[int, int, Place], ...] = ()
    taken: Mapping[tuple[str, str], Place] = field(default_factory=dict)
