"""Planting a bug in a stack of recurrent layers: one piece of the reference's text replaced, and its module made anew from it.

As `plant.py` does it for a cell.  The functions of a stack call each other by their names, so that the whole module is made anew.
"""

from __future__ import annotations
import __future__

import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, ClassVar, Literal

import numpy as np

from bptt.harness.known.plant import PlantError, replaced
from bptt.harness.subject import Array, Arrays
from bptt.refimpl import CELLS, lengths, stack
from bptt.refimpl.stack import Stack

MODULES: Mapping[str, ModuleType] = {"stack": stack, "lengths": lengths}
Need = Literal["layers", "three layers", "directions", "lengths", "masks"]


@dataclass(frozen=True)
class StackBug:
    """A mistake that people make in what stands around the cells, as an edit of refimpl/stack.py or refimpl/lengths.py.

    name       kebab-case, unique
    function   which function is edited, with its class where it is a method: "_layer_backward", "Packed.unpack"
    before, after   the text and what stands in its place; further lines of `after` are indented like the line of `before`
    sentence   what is wrong, in a person's words
    fix        one line of code to write instead
    needs      what a stack, or a call, must have for it to show
    found_by   id of the check that sees it; "" where no check can hand over masks
    kind       "backward": outputs right, gradients wrong; "forward": outputs or final states wrong
    cells      names of the cells it shows with; () for all
    also       further edits (before, after) of the same function
    occurrences, which   `before` stands in the function this often, and the edit takes this one (from 1)
    published  where the same thing is meant; "" for a plain mistake
    """

    name: str
    function: str
    before: str
    after: str
    sentence: str
    fix: str
    needs: tuple[Need, ...] = ()
    found_by: str = "GRD110"
    kind: Literal["backward", "forward"] = "backward"
    cells: tuple[str, ...] = ()
    also: tuple[tuple[str, str], ...] = ()
    occurrences: int = 1
    which: int = 1
    module: Literal["stack", "lengths"] = "stack"
    published: str = ""

    def shows_in(self, made: Stack, with_lengths: bool = False, with_masks: bool = False) -> bool:
        """Whether it can change anything there."""
        there: dict[Need, bool] = {
            "layers": len(made.cells) > 1,
            "three layers": len(made.cells) > 2,
            "directions": made.bidirectional,
            "lengths": with_lengths,
            "masks": with_masks,
        }
        return all(there[need] for need in self.needs) and (not self.cells or any(cell.name in self.cells for cell in made.cells))


@dataclass(frozen=True)
class PlantedModule:
    """bptt.refimpl.stack with bugs in it, or none.   forward, backward: as there"""

    forward: Callable[..., tuple[Array, dict[str, Array], Any]] = stack.forward
    backward: Callable[..., tuple[dict[str, Array], Array, dict[str, Array]]] = stack.backward


RIGHT = PlantedModule()


@lru_cache(maxsize=512)
def plant_stack(*bugs: StackBug) -> PlantedModule:
    """The reference's stack with `bugs`.  Raises PlantError where a text is not there as a bug says."""
    if not bugs:
        return RIGHT
    spaces = {}
    for name in ("lengths", "stack"):
        own = [bug for bug in bugs if bug.module == name]
        if own or name == "stack":
            spaces[name] = _made(name, own)
    if "lengths" in spaces:
        spaces["stack"] |= {name: spaces["lengths"][name] for name in ("layout", "Layout")}
    return PlantedModule(spaces["stack"]["forward"], spaces["stack"]["backward"])


def _made(module: str, bugs: Sequence[StackBug]) -> dict[str, Any]:
    text = _text(MODULES[module])
    for bug in bugs:
        own = _text(_function(bug))
        if text.count(own) != 1:
            raise PlantError(f"bug {bug.name}: {bug.function} was edited by another bug, wanted one edit a function")
        flat = textwrap.dedent(own)
        for before, after in ((bug.before, bug.after), *bug.also):
            flat = replaced(flat, before, after, bug)
        text = text.replace(own, textwrap.indent(flat, own[: len(own) - len(own.lstrip())]))
    space: dict[str, Any] = {"__name__": MODULES[module].__name__}
    name = f"<{MODULES[module].__name__} with {', '.join(bug.name for bug in bugs)}>"
    exec(compile(text, name, "exec", __future__.annotations.compiler_flag), space)  # our own source with the library's edit
    return space


def _function(bug: StackBug) -> Any:
    found: Any = MODULES[bug.module]
    for name in bug.function.split("."):
        found = getattr(found, name, None)
    if found is None:
        raise PlantError(f"bug {bug.name}: {bug.function} is not in {MODULES[bug.module].__name__}")
    return found


@cache
def _text(of: Any) -> str:
    return inspect.getsource(of)


@dataclass(frozen=True)
class PlantedStack:
    """A reference stack with bugs, as a plug-in contract object in the reference's own layout: a subject to test the harness on.

    It travels to worker processes, because it keeps names and edits and no functions.
    """

    names: tuple[str, ...]
    bidirectional: bool = False
    bugs: tuple[StackBug, ...] = ()
    lengths: ClassVar[bool] = True

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return stack.init(self.stack, rng, input_size, hidden_size)

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return stack.zero_state(self.stack, params, batch_size)

    def run(self, params: Arrays, xs: Array, state: Arrays, lengths: Array | None = None) -> tuple[Array, dict[str, Array]]:
        ys, final, _ = plant_stack(*self.bugs).forward(self.stack, params, xs, state, lengths)
        return ys, final

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays, lengths: Array | None = None
    ) -> tuple[dict[str, Array], Array, dict[str, Array]]:
        planted = plant_stack(*self.bugs)
        _, _, tape = planted.forward(self.stack, params, xs, state, lengths)
        return planted.backward(self.stack, params, tape, dys, dfinal)

    @property
    def stack(self) -> Stack:
        return Stack(tuple(CELLS[name] for name in self.names), self.bidirectional)
