"""The published cells, one variant a file, and the table of their names."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

from bptt.refimpl.cells.cell import Cell

#: A file each; where two compute the same, the first gives its name.
_NAMES = (
    "elman",
    "elman_relu",
    "elman_sigmoid",
    "elman_linear",
    "lstm",
    "lstm_peephole",
    "lstm_tf1",
    "lstm_projected",
    "gru_reset_after",
    "gru_reset_before",
    "lstm_coupled",
    "lstm_layernorm",
    "mgu",
    "mgu_keep",
    "ugrnn",
    "janet",
    "ligru",
    "indrnn",
    "min_gru",
    "min_lstm",
    "sru",
    "qrnn",
)
CELLS: dict[str, Cell] = {name: import_module(f"{__name__}.{name}").CELL for name in _NAMES}


def find(name: str) -> Cell:
    """The published cell of this name.

    Raises LookupError, with the nearest names, where there is none.
    """
    if name in CELLS:
        return CELLS[name]
    near = get_close_matches(name, CELLS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise LookupError(f"no published cell is called {name!r}: {hint}known are {', '.join(CELLS)}")
