"""What models on a stack of recurrent layers share: which cells, in which directions, and how wide each layer's outputs are."""

from __future__ import annotations

from dataclasses import dataclass

from bptt.refimpl import stack
from bptt.refimpl.cells import find
from bptt.refimpl.stack import Stack
from bptt.refimpl.types import Array, Params


@dataclass(frozen=True)
class Stacked:
    """cells  names of published cells, bottom first          bidirectional  both directions in every layer"""

    cells: tuple[str, ...] = ("elman",)
    bidirectional: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", tuple(self.cells))  # a list comes from JSON
        if not self.cells:
            raise ValueError(f"{type(self).__name__}: cells is empty, wanted the name of a published cell for each layer")
        for name in self.cells:
            find(name)

    @property
    def stack(self) -> Stack:
        return Stack(tuple(find(name) for name in self.cells), self.bidirectional)

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    def zero_state(self, params: Params, batch_size: int) -> dict[str, Array]:
        return stack.zero_state(self.stack, params, batch_size)

    def widths(self, params: Params) -> list[int]:
        """How wide the outputs of each layer are: H, and 2H in both directions."""
        state = self.zero_state(params, 1)
        return [self.directions * state[f"h_l{k}"].shape[1] for k in range(len(self.cells))]


def of_layer(params: Params, suffix: str) -> dict[str, Array]:
    """The parameters of one layer and direction under the cell's own names."""
    return {name.removesuffix(suffix): p for name, p in params.items() if name.endswith(suffix)}
