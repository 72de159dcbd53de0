"""Recurrent cells and their backpropagation through time, as published, in NumPy alone.

Each published cell is an attribute of its name: `refimpl.lstm`, `refimpl.gru_reset_after`.
"""

from __future__ import annotations

from bptt.refimpl.cells import CELLS, find
from bptt.refimpl.cells.cell import Cell

elman = CELLS["elman"]
elman_relu = CELLS["elman_relu"]
elman_sigmoid = CELLS["elman_sigmoid"]
elman_linear = CELLS["elman_linear"]
lstm = CELLS["lstm"]
lstm_peephole = CELLS["lstm_peephole"]
lstm_tf1 = CELLS["lstm_tf1"]
lstm_projected = CELLS["lstm_projected"]
gru_reset_after = CELLS["gru_reset_after"]
gru_reset_before = CELLS["gru_reset_before"]

__all__ = ["CELLS", "Cell", "find", *CELLS]
