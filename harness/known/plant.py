"""Planting a bug: one piece of a reference cell's source text replaced, and the function made anew from it.

The text that a bug replaces must stand in the source exactly as often as the bug says, so that a plant can neither miss
nor land in the wrong line when the reference is rewritten.
"""

from __future__ import annotations
import __future__

import inspect
import linecache
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from typing import Any, Literal, Protocol

import numpy as np

import bptt.refimpl
from bptt.harness.errors import BpttError
from bptt.harness.subject import Array, Arrays
from bptt.refimpl import unroll
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.types import Params, State, Tape

_LOOPS = ("forward", "backward")
Function = Literal["step", "step_backward", "project_inputs", "project_inputs_backward", "forward", "backward"]


class PlantError(BpttError):
    """A bug's text does not stand in the source as the bug says."""


@dataclass(frozen=True)
class Place:
    """Where a bug shows, with a random cotangent on every output and final state, in the reference's own layout.

    tensors   the tensors whose gradient is wrong, in words: "W_h b xs h0"; "all" for every one
    gates     the gates whose columns of dL/dW_x are wrong after one step, "" where all or none are
    lag       steps from the last one back to the first wrong dL/dxs; None where dL/dxs is right
    """

    tensors: str = "all"
    gates: str = ""
    lag: int | None = 0


EVERYWHERE = Place()


@dataclass(frozen=True)
class Bug:
    """A mistake that people make, as an edit of the reference.

    name       kebab-case, unique within a cell
    cells      names of the reference cells it fits
    function   which function is edited: one of the cell's, or "backward", the loop over time
    before, after   the text and what stands in its place; further lines of `after` are indented like the line of `before`
    sentence   what is wrong, in a person's words
    fix        one line of code to write instead
    where      what it changes
    found_by   id of the first check that sees it
    kind       "backward": outputs right, gradients wrong; "forward": outputs wrong
    also       further edits (before, after) of the same function
    occurrences, which   `before` stands in the text this often, and the edit takes this one (from 1)
    case       the smallest default-like case in which it shows;   scale   of the cotangents there
    published  where the same thing is meant, as a convention; "" for a plain mistake
    """

    name: str
    cells: tuple[str, ...]
    function: Function
    before: str
    after: str
    sentence: str
    fix: str
    where: Place = EVERYWHERE
    found_by: str = "GRD110"
    kind: Literal["backward", "forward"] = "backward"
    also: tuple[tuple[str, str], ...] = ()
    occurrences: int = 1
    which: int = 1
    case: str = "T5-N2-D3-H7"
    scale: float = 1.0
    published: str = ""


class Loop(Protocol):
    """The loop over time backwards, as `bptt.refimpl.unroll.backward`."""

    def __call__(self, cell: Cell, params: Params, xs: Array, tapes: Sequence[Tape], dys: Array, dfinal: State) -> unroll.Gradients: ...


class ForwardLoop(Protocol):
    """The loop over time, as `bptt.refimpl.unroll.forward`."""

    def __call__(self, cell: Cell, params: Params, xs: Array, state: State) -> tuple[Array, dict[str, Array], list[Tape]]: ...


@dataclass(frozen=True)
class Planted:
    """A cell and its loops over time, one of them with a bug in it (or none)."""

    cell: Cell
    backward: Loop = unroll.backward
    forward: ForwardLoop = unroll.forward


def mutant(cell: Cell, *bugs: Bug) -> Cell:
    """`cell` with `bugs` in its own functions.  Raises PlantError where a text is not there, or is in the loop over time."""
    for bug in bugs:
        if bug.function in _LOOPS:
            raise PlantError(f"bug {bug.name}: it is in the loop over time, wanted one in a function of the cell; use plant()")
    for name in dict.fromkeys(bug.function for bug in bugs):
        edited: dict[str, Any] = {name: _edited(getattr(cell, name), [bug for bug in bugs if bug.function == name])}
        cell = replace(cell, **edited)
    return cell


@lru_cache(maxsize=4096)
def plant(cell: Cell, *bugs: Bug) -> Planted:
    """`cell` and its loops over time, each bug in whichever it belongs to; all right without bugs.  Raises PlantError."""
    back, ahead = ([bug for bug in bugs if bug.function == name] for name in ("backward", "forward"))
    return Planted(
        mutant(cell, *(bug for bug in bugs if bug.function not in _LOOPS)),
        _edited(unroll.backward, back) if back else unroll.backward,
        _edited(unroll.forward, ahead) if ahead else unroll.forward,
    )


def _edited(function: Callable[..., Any], bugs: Sequence[Bug]) -> Callable[..., Any]:
    if isinstance(function, partial):
        return partial(_edited(function.func, bugs), *function.args, **function.keywords)
    text = _source(function)
    for bug in bugs:
        for before, after in ((bug.before, bug.after), *bug.also):
            text = replaced(text, before, after, bug)
    namespace = dict(function.__globals__)
    name = f"<{function.__module__}.{function.__name__} with {', '.join(bug.name for bug in bugs)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)  # for whoever asks for a line of it
    exec(compile(text, name, "exec", __future__.annotations.compiler_flag), namespace)  # our own source with the library's edit
    made: Callable[..., Any] = namespace[function.__name__]
    return made


@cache
def _source(function: Callable[..., Any]) -> str:
    return textwrap.dedent(inspect.getsource(function))


class Edit(Protocol):
    """What an edit says of the text that it takes out."""

    @property
    def name(self) -> str: ...
    @property
    def function(self) -> str: ...
    @property
    def before(self) -> str: ...
    @property
    def occurrences(self) -> int: ...
    @property
    def which(self) -> int: ...


def replaced(text: str, before: str, after: str, bug: Edit) -> str:
    """`text` with the edit; the lines that it adds are indented like the one it starts in.  Raises PlantError."""
    wanted, which = (bug.occurrences, bug.which) if before == bug.before else (1, 1)
    count = text.count(before)
    if count != wanted:
        raise PlantError(f"bug {bug.name}: {before!r} stands {count} times in {bug.function}, wanted {wanted}")
    start = -1
    for _ in range(which):
        start = text.index(before, start + 1)
    line = text[text.rfind("\n", 0, start) + 1 : start]
    indent = line[: len(line) - len(line.lstrip())]
    return text[:start] + after.replace("\n", "\n" + indent) + text[start + len(before) :]


@dataclass(frozen=True)
class PlantedCell:
    """A reference cell with bugs, as a plug-in contract object in the reference's own layout: a subject to test the harness on.

    It travels to worker processes, because it keeps names and edits and no functions.
    """

    name: str
    bugs: tuple[Bug, ...] = ()

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return self._cell.init(rng, input_size, hidden_size)

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return self._cell.zero_state(params, batch_size)

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        planted = self._planted
        ys, final, _ = planted.forward(planted.cell, params, xs, state)
        return ys, final

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> unroll.Gradients:
        planted = self._planted
        tapes = planted.forward(planted.cell, params, xs, state)[2]
        return planted.backward(planted.cell, params, xs, tapes, dys, dfinal)

    @property
    def _cell(self) -> Cell:
        return bptt.refimpl.find(self.name)

    @property
    def _planted(self) -> Planted:
        return plant(self._cell, *self.bugs)
