"""Planting known mistakes: a piece of our own source text replaced, and what uses it made anew.

The text that an edit replaces must stand in the source exactly as often as the edit says, so that a plant can neither miss
nor land in the wrong line when the reference is rewritten.
"""

from __future__ import annotations
import __future__

import inspect
import linecache
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property, lru_cache, partial
from importlib import import_module
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any, Protocol

from bptt.harness.errors import BpttError
from bptt.harness.known.mistake import Edit, KnownMistake
from bptt.harness.subject import Array, Arrays
from bptt.refimpl import unroll
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.stack import Masks, Stack, StackTape
from bptt.refimpl.types import Params, State, Tape

#: Modules of which the later ones use the earlier ones.
_CHAIN = ("refimpl.unroll", "refimpl.lengths", "refimpl.stack")


class PlantError(BpttError):
    """An edit's text does not stand in the source as the edit says."""


class Loop(Protocol):
    """The loop over time backwards, as `bptt.refimpl.unroll.backward`."""

    def __call__(self, cell: Cell, params: Params, xs: Array, tapes: Sequence[Tape], dys: Array, dfinal: State) -> unroll.Gradients: ...


class ForwardLoop(Protocol):
    """The loop over time, as `bptt.refimpl.unroll.forward`."""

    def __call__(self, cell: Cell, params: Params, xs: Array, state: State) -> tuple[Array, dict[str, Array], list[Tape]]: ...


class Layers(Protocol):
    """All layers, as `bptt.refimpl.stack.forward`."""

    def __call__(
        self, stack: Stack, params: Arrays, xs: Array, state: Arrays, lengths: Array | None = None, masks: Masks | None = None
    ) -> tuple[Array, dict[str, Array], StackTape]: ...


class LayersBackward(Protocol):
    """All layers backwards, as `bptt.refimpl.stack.backward`."""

    def __call__(self, stack: Stack, params: Arrays, tape: StackTape, dys: Array, dfinal: Arrays) -> unroll.Gradients: ...


class Planted:
    """The reference with mistakes in it, each in whichever function it belongs to; all right without mistakes."""

    def __init__(self, mistakes: Sequence[KnownMistake]) -> None:
        self.names = ", ".join(mistake.name for mistake in mistakes)
        self.edits = [(mistake.name, edit) for mistake in mistakes for edit in mistake.edits]
        self._cells: dict[Cell, Cell] = {}
        self._spaces: dict[str, Mapping[str, Any]] = {}

    def cell(self, cell: Cell) -> Cell:
        """`cell` with the edits of its own functions.  Raises PlantError."""
        if cell not in self._cells:
            own = [pair for pair in self.edits if pair[1].function.startswith("cell.")]
            made = cell
            for path in dict.fromkeys(edit.function for _, edit in own):
                name = path.partition(".")[2]
                edited: dict[str, Any] = {
                    name: _edited(getattr(cell, name), [pair for pair in own if pair[1].function == path], self.names)
                }
                made = replace(made, **edited)
            self._cells[cell] = made
        return self._cells[cell]

    def stack(self, stack: Stack) -> Stack:
        """`stack` with the edits of its cells' functions."""
        return replace(stack, cells=tuple(self.cell(cell) for cell in stack.cells))

    def function(self, dotted: str) -> Callable[..., Any]:
        """The function of this path below bptt."""
        module, _, name = dotted.rpartition(".")
        made: Callable[..., Any] = self.space(module)[name]
        return made

    @cached_property
    def forward(self) -> ForwardLoop:
        return self.function("refimpl.unroll.forward")

    @cached_property
    def backward(self) -> Loop:
        return self.function("refimpl.unroll.backward")

    @cached_property
    def layers(self) -> Layers:
        return self.function("refimpl.stack.forward")

    @cached_property
    def layers_backward(self) -> LayersBackward:
        return self.function("refimpl.stack.backward")

    def space(self, module: str) -> Mapping[str, Any]:
        """What stands in a module: itself where nothing in it, or in what it uses, is edited."""
        if module not in self._spaces:
            real = import_module(f"bptt.{module}")
            own = [pair for pair in self.edits if _module(pair[1].function) == module]
            below = _CHAIN[: _CHAIN.index(module)] if module in _CHAIN else ()
            others = {name: import_module(f"bptt.{name}") for name in below}
            changed = {other: self.space(name) for name, other in others.items() if self.space(name) is not vars(other)}
            self._spaces[module] = _made_anew(real, own, changed, self.names) if own or changed else vars(real)
        return self._spaces[module]


@lru_cache(maxsize=4096)
def plant(*mistakes: KnownMistake) -> Planted:
    """The reference with these mistakes."""
    return Planted(mistakes)


def _module(dotted: str) -> str:
    """The module of a path: "refimpl.lengths.Packed.unpack" -> "refimpl.lengths"."""
    parts = [part for part in dotted.split(".")[:-1] if not part[0].isupper()]
    return ".".join(parts)


def _made_anew(
    module: ModuleType, own: Sequence[tuple[str, Edit]], changed: Mapping[ModuleType, Mapping[str, Any]], names: str
) -> dict[str, Any]:
    """The module's names, with functions that see the edited ones.   changed: modules that it uses -> what stands in them now"""
    instead: dict[int, Any] = {id(other): SimpleNamespace(**space) for other, space in changed.items()}
    for other, now in changed.items():
        instead |= {id(value): now[name] for name, value in vars(other).items() if now[name] is not value}
    space: dict[str, Any] = {name: instead.get(id(value), value) for name, value in vars(module).items()} | {"unedited": module}
    for name, value in list(space.items()):
        if isinstance(value, FunctionType) and value.__module__ == module.__name__:
            space[name] = _seeing(value, space)
        elif isinstance(value, type) and value.__module__ == module.__name__:
            methods = {k: f for k, f in vars(value).items() if isinstance(f, FunctionType) and not k.startswith("__")}
            if methods:
                space[name] = type(value.__name__, (value,), {k: _seeing(f, space) for k, f in methods.items()})
    prefix = module.__name__.removeprefix("bptt.") + "."
    for path in dict.fromkeys(edit.function for _, edit in own):
        *owners, name = path.removeprefix(prefix).split(".")
        holder: Any = module
        for part in (*owners, name):
            holder = getattr(holder, part, None)
        if holder is None:
            raise PlantError(f"mistake {own[0][0]}: {'.'.join((*owners, name))} is not in {module.__name__}")
        edited = _edited(holder, [pair for pair in own if pair[1].function == path], names, space)
        if owners:
            setattr(space[owners[0]], name, edited)
        else:
            space[name] = edited
    return space


def _seeing(function: FunctionType, space: dict[str, Any]) -> FunctionType:
    """The same function, which finds its names in `space`."""
    made = FunctionType(function.__code__, space, function.__name__, function.__defaults__, function.__closure__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _edited(
    function: Callable[..., Any], own: Iterable[tuple[str, Edit]], names: str, space: dict[str, Any] | None = None
) -> Callable[..., Any]:
    if isinstance(function, partial):
        return partial(_edited(function.func, own, names), *function.args, **function.keywords)
    text = _source(function)
    for name, edit in own:
        text = replaced(text, name, edit)
    seen = dict(function.__globals__) if space is None else space
    file = f"<{function.__module__}.{function.__name__} with {names}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)  # for whoever asks for a line of it
    made: dict[str, Any] = {}
    exec(compile(text, file, "exec", __future__.annotations.compiler_flag), seen, made)  # our own source with the library's edit
    found: Callable[..., Any] = made[function.__name__]
    return found


@cache
def _source(function: Callable[..., Any]) -> str:
    return textwrap.dedent(inspect.getsource(function))


def replaced(text: str, name: str, edit: Edit) -> str:
    """`text` with the edit; the lines that it adds are indented like the one it starts in.  Raises PlantError."""
    count = text.count(edit.before)
    if count != edit.occurrences:
        function = edit.function.rpartition(".")[2]
        raise PlantError(f"mistake {name}: {edit.before!r} stands {count} times in {function}, wanted {edit.occurrences}")
    start = -1
    for _ in range(edit.which):
        start = text.index(edit.before, start + 1)
    line = text[text.rfind("\n", 0, start) + 1 : start]
    indent = line[: len(line) - len(line.lstrip())]
    return text[:start] + edit.after.replace("\n", "\n" + indent) + text[start + len(edit.before) :]
