"""What a reference cell is: a few pure functions over dicts of arrays, bundled under a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bptt.refimpl.types import Array, Params, State, Tape


class Outer(NamedTuple):
    """A step's share of a weight gradient, kept in two factors: dW = left.T @ right.

    Stacked over time the two factors give dW in one matrix product.   left (N, I)   right (N, J)   dW (I, J)
    """

    left: Array
    right: Array


class Columns(NamedTuple):
    """A step's share of a weight gradient whose column blocks have left factors of their own: dW = [left.T @ right, ...]."""

    parts: tuple[Outer, ...]


class RowSum(NamedTuple):
    """A step's share of a bias gradient, not yet summed over the batch: db = rows.sum(axis=0).   rows (N, J)   db (J,)"""

    rows: Array


Share = Array | Outer | Columns | RowSum


@dataclass(frozen=True)
class Cell:
    """A published recurrent cell.

    name            one of the names that `like` accepts
    gates           names of the column blocks of W_x, W_h, b in order, e.g. ("i", "f", "g", "o")
    init            (rng, input_size, hidden_size) -> params, all float64, biases random and not zero
    zero_state      (params, batch_size) -> {"h": (N, H)[, "c": (N, H)]} in the dtype of the params
    project_inputs  (params, xs (T, N, D)) -> axs (T, N, G*H): the part of the pre-activations that needs no state, one product
    project_inputs_backward  (params, xs, daxs) -> dparams (its share), dxs
    step            (params, ax (N, G*H), state) -> y (N, H or P), state, tape
    step_backward   (params, tape, dy, dstate) -> dax, dstate_prev, dparams_t (a `Share` each; an array is summed over N)
    summary         one line: what it is and how it differs from its neighbours

    All arrays that a step is given share one dtype (unroll sees to it); every array of a tape has N as its first axis; y is the
    new state["h"].
    """

    name: str
    gates: tuple[str, ...]
    init: Callable[[np.random.Generator, int, int], dict[str, Array]]
    zero_state: Callable[[Params, int], dict[str, Array]]
    project_inputs: Callable[[Params, Array], Array]
    project_inputs_backward: Callable[[Params, Array, Array], tuple[dict[str, Array], Array]]
    step: Callable[[Params, Array, State], tuple[Array, dict[str, Array], Tape]]
    step_backward: Callable[[Params, Tape, Array, State], tuple[Array, dict[str, Array], dict[str, Share]]]
    summary: str
