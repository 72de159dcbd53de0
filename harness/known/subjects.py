"""Reference cells and stacks with known mistakes in them, as subjects to test the harness on.

They travel to worker processes, because they keep names and edits and no functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.plant import plant
from bptt.harness.subject import Array, Arrays
from bptt.refimpl import find, stack, unroll
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.stack import Stack


@dataclass(frozen=True)
class PlantedCell:
    """A reference cell with mistakes, in the reference's own layout."""

    name: str
    mistakes: tuple[KnownMistake, ...] = ()

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return self._cell.init(rng, input_size, hidden_size)

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return self._cell.zero_state(params, batch_size)

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        planted = plant(*self.mistakes)
        ys, final, _ = planted.forward(planted.cell(self._cell), params, xs, state)
        return ys, final

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> unroll.Gradients:
        planted = plant(*self.mistakes)
        cell = planted.cell(self._cell)
        return planted.backward(cell, params, xs, planted.forward(cell, params, xs, state)[2], dys, dfinal)

    @property
    def _cell(self) -> Cell:
        return find(self.name)


@dataclass(frozen=True)
class PlantedStack:
    """A reference stack with mistakes around its cells, in the reference's own layout."""

    names: tuple[str, ...]
    bidirectional: bool = False
    mistakes: tuple[KnownMistake, ...] = ()
    lengths: ClassVar[bool] = True

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return stack.init(self.stack, rng, input_size, hidden_size)

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return stack.zero_state(self.stack, params, batch_size)

    def run(self, params: Arrays, xs: Array, state: Arrays, lengths: Array | None = None) -> tuple[Array, dict[str, Array]]:
        ys, final, _ = plant(*self.mistakes).layers(self.stack, params, xs, state, lengths)
        return ys, final

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays, lengths: Array | None = None
    ) -> unroll.Gradients:
        planted = plant(*self.mistakes)
        _, _, tape = planted.layers(self.stack, params, xs, state, lengths)
        return planted.layers_backward(self.stack, params, tape, dys, dfinal)

    @property
    def stack(self) -> Stack:
        return Stack(tuple(find(name) for name in self.names), self.bidirectional)
