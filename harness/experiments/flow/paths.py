"""Two ways back through a gated cell: along the memory (the highway), and through the recurrent weights.

    dL/ds_{t-1} = dL/ds_t @ J_t          J_t = K_t + R_t
    K_t   what is left of the step where no gradient passes the recurrent weights (W_h, and peepholes p): dc f in an LSTM, dh z in a GRU
    highway_{t-1}   = highway_t @ K_t                               highway_T = dL/ds_T: paths that never pass them
    recurrent_{t-1} = recurrent_t @ J_t + highway_t @ (J_t - K_t)   recurrent_T = 0:     paths that pass them once or more
    highway + recurrent = dL/ds, at every step

`step_backward` reads the weights only to carry the error back through them, and the gates from the tape: so K_t is
`step_backward` with these weights set to zero on the tape of the true forward pass.  Each part keeps a logarithm of its own
scale, so that neither under- nor overflows however long T is, and a highway of e^-1000 beside a recurrent path of e^200 is told.

Source: Arpit et al. 2018, h-detach, arXiv:1810.03023 (large weights drown the cell path).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bptt.harness.subject import Array
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.types import Params, State, Tape


@dataclass(frozen=True)
class Part:
    """A gradient with respect to a state, {name: (N, H)}, as direction * exp(log).   log is -inf where it is zero."""

    direction: Mapping[str, Array]
    log: float

    def log_norm(self, name: str | None = None) -> float:
        """log of the norm over the batch, of all of the state or of the state `name`."""
        norm = _norm(self.direction if name is None else {name: self.direction[name]})
        return self.log + math.log(norm) if norm > 0 else -math.inf


@dataclass(frozen=True)
class Lag:
    """dL/ds_{T-lag} in its two parts."""

    highway: Part
    recurrent: Part

    @property
    def whole(self) -> Part:
        return _sum(self.highway, self.recurrent)


def recurrent_weights(cell: Cell) -> frozenset[str]:
    """Names of the weights through which a state enters the pre-activations of the next step."""
    return frozenset({"W_h", *(p.name for p in cell.of_role("recurrent", "diagonal"))})


def has_highway(cell: Cell) -> str | None:
    """The state along which the highway runs: "c" where a cell has one, "h" where a gate f or z keeps it; else None."""
    return "c" if "c" in cell.states else "h" if {"f", "z"} & set(cell.gates) else None


def walk(cell: Cell, params: Params, tapes: Sequence[Tape], dfinal: State) -> Iterator[Lag]:
    """The parts at lag 0, 1, ..., T for L = <dfinal, final state>.   dfinal {name: (N, H)}"""
    through = recurrent_weights(cell)
    cut = {name: np.zeros_like(p) if name in through else p for name, p in params.items()}
    dy = np.zeros_like(dfinal["h"])

    def back(weights: Params, tape: Tape, part: Part) -> Part:
        _, dstate, _ = cell.step_backward(weights, tape, dy, part.direction)
        return Part(dstate, part.log)

    highway, recurrent = _scaled(Part(dict(dfinal), 0.0)), _scaled(Part({name: np.zeros_like(d) for name, d in dfinal.items()}, 0.0))
    yield Lag(highway, recurrent)
    for tape in reversed(tapes):
        kept, full = back(cut, tape, highway), back(params, tape, highway)
        entering = _scaled(Part({name: full.direction[name] - kept.direction[name] for name in dfinal}, highway.log))
        recurrent = _sum(back(params, tape, recurrent), entering)
        highway = _scaled(kept)
        yield Lag(highway, recurrent)


@dataclass(frozen=True)
class Split:
    """Logarithms of the norms of dL/ds_{T-lag} by lag, (T + 1,) each."""

    whole: Array
    highway: Array
    recurrent: Array


def split(cell: Cell, params: Params, tapes: Sequence[Tape], dfinal: State, of: str | None = None) -> Split:
    """How much of the gradient runs along which way, of all of the state or of the state `of`."""
    rows = [(lag.whole.log_norm(of), lag.highway.log_norm(of), lag.recurrent.log_norm(of)) for lag in walk(cell, params, tapes, dfinal)]
    whole, highway, recurrent = np.array(rows).T
    return Split(whole, highway, recurrent)


def _scaled(part: Part) -> Part:
    """The same with a direction of norm 1."""
    norm = _norm(part.direction)
    if norm == 0:
        return Part(part.direction, -math.inf)
    return Part({name: d / norm for name, d in part.direction.items()}, part.log + math.log(norm))


def _sum(a: Part, b: Part) -> Part:
    log = max(a.log, b.log)
    if log == -math.inf:
        return a
    left, right = math.exp(a.log - log), math.exp(b.log - log)
    return _scaled(Part({name: left * a.direction[name] + right * b.direction[name] for name in a.direction}, log))


def _norm(direction: Mapping[str, Array]) -> float:
    return math.sqrt(sum(float(np.vdot(d, d).real) for d in direction.values()))
