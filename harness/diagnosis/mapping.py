"""How a subject's parameters lie over those of a published cell."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field

import numpy as np

from harness.subject import Array, Arrays, Region
from refimpl.cells.cell import Cell


@dataclass(frozen=True)
class Piece:
    """One block of a user's tensor and the block of the canonical tensor it is added to.

    canonical[reference][reference_index] += sign * user[tensor][index]        (.T first where `transposed`; a view of shape (1, k) or
    (k, 1) onto a bias block of shape (k,) is flattened).
    """

    tensor: str
    index: tuple[slice | int, ...]
    reference: str
    reference_index: tuple[slice | int, ...]
    gate: str
    transposed: bool = False
    sign: float = 1.0


@dataclass(frozen=True)
class Mapping:
    """Affine map from a subject's parameters to canonical ones: pieces that are added up, and constants (a run-time forget bias).

    state    the subject's state name -> the canonical one ({"hidden": "h", "cell": "c"}); {} where the subject has no state
    """

    cell: Cell
    pieces: tuple[Piece, ...]
    shapes: MappingOf[str, str]
    constants: MappingOf[str, tuple[tuple[slice | int, ...], float]] = field(default_factory=dict)
    state: MappingOf[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Identification:
    """Which published cell, in which convention.

    cell         a name that `like` accepts
    convention   a sentence: "an LSTM, blocks i o f g, weights as rows, two biases"
    max_error    largest difference of outputs and final states to the reference with the weights carried over, relative to the largest output
    mapping      how the weights were carried; None where nothing was found
    tried        number of candidates that were run
    """

    cell: str
    convention: str
    max_error: float
    mapping: Mapping
    tried: int


def params_to_reference(mapping: Mapping, params: Arrays) -> dict[str, Array]:
    """Canonical parameters that make the reference compute what the subject computes with `params`."""
    raise NotImplementedError


def gradients_from_reference(mapping: Mapping, dparams: Arrays, params: Arrays) -> dict[str, Array]:
    """dL/d(user's tensor) from dL/d(canonical tensor): the transpose of the map above.  Shapes like `params`."""
    raise NotImplementedError


def regions(mapping: Mapping) -> tuple[Region, ...]:
    """The gates' blocks in the user's tensors, for locating an error."""
    raise NotImplementedError
