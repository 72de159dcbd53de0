"""Recurrent cells and their backpropagation through time, as published, in NumPy alone.

Each published cell is an attribute of its name: `refimpl.lstm`, `refimpl.gru_reset_after`.
"""

from __future__ import annotations

from bptt.refimpl.cells import CELLS, find
from bptt.refimpl.cells.cell import Cell

__all__ = ["CELLS", "Cell", "find", *CELLS]


def __getattr__(name: str) -> Cell:
    if name in CELLS:
        return CELLS[name]
    raise AttributeError(f"bptt.refimpl has no {name!r}, wanted {', '.join(__all__)}")
