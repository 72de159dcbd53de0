"""How often the gates of a published cell are shut, open, or at the end of their range.

A logistic gate is left-saturated below 0.1 and right-saturated above 0.9; a tanh is either where |value| > 0.9.  A saturated gate passes
next to no gradient to what feeds it: sigmoid' < 0.09, tanh' < 0.19.

Source: Karpathy, Johnson and Li 2016, Visualizing and understanding recurrent networks, arXiv:1506.02078, section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bptt.harness.subject import Array
from bptt.refimpl.activations import sigmoid, tanh
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.types import Tape

LOW, HIGH = 0.1, 0.9


def _lstm(tape: Tape) -> dict[str, Array]:
    _, _, _, s, _, g, _, _ = tape
    H = g.shape[1]
    return {"i": s[:, :H], "f": s[:, H : 2 * H], "g": g, "o": s[:, 3 * H :]}


def _lstm_by_gate(tape: Tape) -> dict[str, Array]:
    """lstm_peephole: i i_bar f f_bar g . o;  lstm_tf1: i i_bar f f_bar g . . o"""
    return {"i": tape[3], "f": tape[5], "g": tape[7], "o": tape[9] if len(tape) == 12 else tape[10]}


def _gru_reset_after(tape: Tape) -> dict[str, Array]:
    _, _, s, _, _, n = tape
    H = n.shape[1]
    return {"r": s[:, :H], "z": s[:, H:], "n": n}


def _gru_reset_before(tape: Tape) -> dict[str, Array]:
    _, s, _, _, _, n = tape
    H = n.shape[1]
    return {"r": s[:, :H], "z": s[:, H:], "n": n}


def _lstm_layernorm(tape: Tape) -> dict[str, Array]:
    s, g = tape[7], tape[9]
    H = g.shape[1]
    return {"i": s[:, :H], "f": s[:, H : 2 * H], "g": g, "o": s[:, 3 * H :]}


#: From a step's tape to the values of its gates (N, H); logistic but those of _TANH.  What has no ends (relu, linear) is left out.
_GATES: Mapping[str, Callable[[Tape], dict[str, Array]]] = {
    "elman": lambda tape: {"h": tanh(tape[1])},
    "elman_sigmoid": lambda tape: {"s": sigmoid(tape[1])},
    "lstm": _lstm,
    "lstm_peephole": _lstm_by_gate,
    "lstm_tf1": _lstm_by_gate,
    "lstm_projected": _lstm_by_gate,
    "gru_reset_after": _gru_reset_after,
    "gru_reset_before": _gru_reset_before,
    "lstm_coupled": lambda tape: {"i": tape[3], "g": tape[7], "o": tape[5]},
    "lstm_layernorm": _lstm_layernorm,
    "mgu": lambda tape: {"f": tape[1], "n": tape[5]},
    "mgu_keep": lambda tape: {"f": tape[1], "n": tape[5]},
    "ugrnn": lambda tape: {"z": tape[1], "n": tape[4]},
    "janet": lambda tape: {"f": tape[1], "n": tape[6]},
    "ligru": lambda tape: {"z": tape[1]},
    "min_gru": lambda tape: {"z": tape[1]},
    "min_lstm": lambda tape: {"f": 1 - tape[1], "i": 1 - tape[2]},
    "sru": lambda tape: {"f": tape[4], "r": tape[6]},
    "qrnn": lambda tape: {"g": tape[3], "f": tape[4], "o": tape[6]},
}
_TANH = frozenset("ghn")


@dataclass(frozen=True)
class Saturation:
    """Shares of all units, rows and steps at which a gate is `low` and `high`, and its mean."""

    gate: str
    low: float
    high: float
    mean: float


def saturation(cell: Cell, tapes: Sequence[Tape]) -> tuple[Saturation, ...]:
    """Each gate of `cell` along a forward pass; () for a cell whose gates are not known here, or no step."""
    return tuple(
        Saturation(
            gate,
            float(np.mean(z < (-HIGH if gate in _TANH else LOW))),
            float(np.mean(z > HIGH)),
            float(np.mean(z)),
        )
        for gate, z in gates_along(cell, tapes).items()
    )


def gates_along(cell: Cell, tapes: Sequence[Tape]) -> dict[str, Array]:
    """Values of each gate, (T, N, H) each; {} for a cell whose gates are not known here, or no step."""
    read = _GATES.get(cell.name)
    if read is None or not tapes:
        return {}
    steps = [read(tape) for tape in tapes]
    return {gate: np.array([step[gate] for step in steps]) for gate in steps[0]}
