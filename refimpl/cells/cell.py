"""What a reference cell is: a few pure functions over dicts of arrays, bundled under a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

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


Role = Literal["input", "recurrent", "bias", "diagonal", "projection"]


@dataclass(frozen=True)
class Parameter:
    """A parameter, as what it acts on and the gates whose blocks of H units stand side by side in it.

    role    "input" (D, gH): x @ W     "recurrent" (P, gH): h @ W     "bias" (gH,)
            "diagonal" (g, H), or (H,) for one gate: multiplied with a state, entry by entry     "projection" (H, P): makes h of H units
    gates   in the order of their blocks, or rows; () for a projection
    said    how a sentence says that a cell has it: "peepholes (o reads the new c)"; of a bias that acts apart (`Cell.apart`), how
    """

    name: str
    role: Role
    gates: tuple[str, ...] = ()
    said: str = ""

    def shape(self, projected: bool) -> str:
        """In words: "D 4H", "P 4H" where h is projected, "3 H"."""
        g = len(self.gates)
        units = "H" if g == 1 else f"{g}H"
        return {
            "input": f"D {units}",
            "recurrent": f"{'P' if projected else 'H'} {units}",
            "bias": units,
            "diagonal": "H" if g == 1 else f"{g} H",
            "projection": "H P",
        }[self.role]

    def place(self, gate: str, H: int) -> tuple[slice | int, ...]:
        """The index of a gate's block."""
        k, every = self.gates.index(gate), slice(None)
        if self.role == "diagonal":
            return (every,) if len(self.gates) == 1 else (k, every)
        units = slice(k * H, (k + 1) * H)
        return (units,) if self.role == "bias" else (every, units)


@dataclass(frozen=True)
class Complement:
    """A gate s that others write as 1 - s, which is the same but for the sign of what goes into it: 1 - sigmoid(a) = sigmoid(-a).

    said, other   how a sentence says which one it is: as here, and the other way round
    """

    gate: str
    said: str
    other: str


def plain(*gates: str) -> tuple[Parameter, ...]:
    """W_x, W_h and one bias b, a block a gate."""
    return Parameter("W_x", "input", gates), Parameter("W_h", "recurrent", gates), Parameter("b", "bias", gates)


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

    What follows is what an implementation whose parameters are arranged in another way is searched for by.  A cell without
    `parameters` is not searched for.

    parameters      all of them, in the order of `init`
    states          "h", and "c" where it has a second one
    kind            what it is, in a sentence: "an LSTM"; cells of the same kind and traits are one but for diagonals and projection
    traits          what sets it apart from others of its kind: ("reset after the product",)
    complements     gates that others write as 1 minus themselves
    apart           gates of which the biases do different things (one is multiplied by r); those of other gates are only added up
    forget          the gate f of c' = f * c + ..., with the rest zero where all parameters are: code may add a constant to a_f
    options         (names of parameters in use, cell_clip, proj_clip) -> the cell with no more than those, where it can do with fewer

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
    parameters: tuple[Parameter, ...] = ()
    states: tuple[str, ...] = ("h",)
    kind: str = ""
    traits: tuple[str, ...] = ()
    complements: tuple[Complement, ...] = ()
    apart: tuple[str, ...] = ()
    forget: str | None = None
    options: Callable[[frozenset[str], float | None, float | None], Cell] | None = None

    def of_role(self, *roles: Role) -> tuple[Parameter, ...]:
        return tuple(parameter for parameter in self.parameters if parameter.role in roles)

    def parameter(self, name: str) -> Parameter:
        """Raises LookupError where it has none of this name."""
        found = next((parameter for parameter in self.parameters if parameter.name == name), None)
        if found is None:
            raise LookupError(f"{self.name} has no parameter {name!r}, wanted one of {', '.join(p.name for p in self.parameters)}")
        return found
