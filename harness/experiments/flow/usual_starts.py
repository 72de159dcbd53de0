"""The usual ways to start a gated or a plain cell, on the weights of any subject that was identified; and what weights are like.

    orthogonal      each square block of the recurrent weights is a random orthogonal matrix: all its singular values are 1
    forget bias 1   the gate that keeps the memory is open at the start: sigmoid(1) = 0.73
    chrono          b_f ~ log U(1, T_max - 1), b_i = -b_f: the units remember for every time from 1 to T_max steps

Sources: Saxe, McClelland and Ganguli 2014, arXiv:1312.6120; Jozefowicz, Zaremba and Sutskever 2015, ICML (forget bias 1); Tallec and
Ollivier 2018, arXiv:1804.11188 (chrono).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bptt.harness.errors import ContractError
from bptt.harness.experiments.theory.random_matrices import orthogonal
from bptt.harness.subject import Array, Arrays
from bptt.harness.weights.map import Identification, Piece, params_to_reference, resized
from bptt.harness.weights.transfer import add_block
from bptt.refimpl.cells.cell import Cell

#: Cells of one gate that keep 1 - gate, or keep a ratio of two.
_TAKES_ANEW = frozenset({"mgu", "min_gru", "min_lstm"})
#: (canonical tensor, gate) -> the block that is wanted there, None where it stays as it is
Blocks = Callable[[str, str], Array | None]


@dataclass(frozen=True)
class Like:
    """What recurrent weights are like.

    gain         root of H times the root mean square of the recurrent weights: 1 where a plain linear cell neither fades nor grows
    radius       largest modulus of an eigenvalue of the recurrent weights of a cell without gates; NaN elsewhere
    forget_bias  mean bias of the gate that keeps the memory; NaN where there is none, or it is not known
    """

    gain: float
    radius: float
    forget_bias: float


def keeping_gate(cell: Cell) -> str | None:
    """The gate that says how much of the memory is kept; None where there is none, or its f or z says how much is taken anew."""
    return None if cell.name in _TAKES_ANEW else next((gate for gate in ("f", "z") if gate in cell.gates), None)


def started(start: str, found: Identification | None, params: Arrays, T_max: int, rng: np.random.Generator) -> dict[str, Array] | None:
    """`params` with this start; None where it does not apply to the cell, or where the weights lie is not known."""
    if found is None or not found.mapping.stack.bare:
        return None
    cell = found.mapping.cell
    keep = keeping_gate(cell)
    H = params_to_reference(found.mapping, params)["W_h"].shape[0]
    if start == "orthogonal" and keep is None:
        return _with(found, params, lambda tensor, gate: orthogonal(rng, H) if tensor == "W_h" else None)
    biases = [p.name for p in cell.of_role("bias") if keep in p.gates]
    if keep is None or not biases:
        return None

    def with_biases(to: Mapping[str, Array]) -> dict[str, Array]:
        """The first bias of each gate is that, all others of it are 0."""
        first = {gate: next(p.name for p in cell.of_role("bias") if gate in p.gates) for gate in to}
        return _with(found, params, lambda tensor, gate: None if tensor == "W_h" or gate not in to else to[gate] * (tensor == first[gate]))

    if start == "forget bias 1" and keep == "f":
        return with_biases({keep: np.ones(H)})
    if start == "chrono":
        b = np.log(rng.uniform(1, max(T_max, 3) - 1, H))
        return with_biases({keep: b} | ({"i": -b} if "i" in cell.gates else {}))
    return None


def with_gain(found: Identification | None, params: Arrays, gain: float) -> dict[str, Array]:
    """`params` with recurrent weights of this gain; of a cell that was not identified all its square matrices are scaled.

    Raises ContractError where there are none.
    """
    now = like(found, params).gain
    if not now > 0:
        raise ContractError("no recurrent weights were found, wanted a cell that is identified, or one with a square matrix")
    made: dict[str, Array] = {name: np.array(p) for name, p in params.items()}
    if found is None or not found.mapping.stack.bare:
        return {name: p * (gain / now) if p.ndim == 2 and p.shape[0] == p.shape[1] else p for name, p in made.items()}
    for piece in resized(found.mapping, params).pieces:
        if piece.reference == "W_h":
            made[piece.tensor][piece.index] *= gain / now
    return made


def like(found: Identification | None, params: Arrays) -> Like:
    """What is known of `params`; of a cell that was not identified, by its square matrices."""
    if found is None:
        square = [p for p in params.values() if p.ndim == 2 and p.shape[0] == p.shape[1]]
        return Like(math.sqrt(np.mean([_gain(p) ** 2 for p in square])) if square else math.nan, math.nan, math.nan)
    canonical = params_to_reference(found.mapping, params)
    W_h = np.asarray(canonical["W_h"] if "W_h" in canonical else next(iter(canonical.values())), dtype=np.float64)
    H = W_h.shape[0]
    radius = float(np.max(np.abs(np.linalg.eigvals(W_h)))) if W_h.shape == (H, H) else math.nan
    return Like(_gain(W_h), radius, float(np.mean(bias)) if len(bias := kept_bias(found, params)) else math.nan)


def kept_bias(found: Identification, params: Arrays) -> Array:
    """The bias of the gate that keeps the memory, all of it: (H,); () where there is none, or where there are several layers."""
    cell, keep = found.mapping.cell, keeping_gate(found.mapping.cell)
    if keep is None or not found.mapping.stack.bare:
        return np.zeros(0)
    canonical = params_to_reference(found.mapping, params)
    biases = [p for p in cell.of_role("bias") if keep in p.gates]
    units = [canonical[p.name].shape[-1] // len(p.gates) for p in biases]
    parts = [canonical[p.name][p.place(keep, H)] for p, H in zip(biases, units, strict=True)]
    return np.asarray(sum(parts)) if parts else np.zeros(0)


def _gain(W: Array) -> float:
    return float(math.sqrt(W.shape[0] * np.mean(np.asarray(W, dtype=np.float64) ** 2)))


def _with(found: Identification, params: Arrays, wanted: Blocks) -> dict[str, Array]:
    """`params` with those canonical blocks: of several pieces that are added up the first has it all, less what is added at run time."""
    mapping = resized(found.mapping, params)
    biases = {p.name for p in mapping.cell.of_role("bias")}
    made: dict[str, Array] = {name: np.array(p) for name, p in params.items()}
    given = set[tuple[str, str]]()
    for piece in mapping.pieces:
        if piece.reference != "W_h" and piece.reference not in biases:
            continue
        block = wanted(piece.reference, piece.gate)
        if block is None:
            continue
        made[piece.tensor][piece.index] = 0
        if (piece.reference, piece.gate) not in given:
            given.add((piece.reference, piece.gate))
            add_block(made, piece, (block - _constant(mapping.constants, piece)).astype(made[piece.tensor].dtype))
    return made


def _constant(constants: Mapping[str, tuple[object, float]], piece: Piece) -> float:
    """What the cell adds to this block at run time: a forget bias."""
    known = constants.get(piece.reference)
    return known[1] if known is not None and known[0] == piece.reference_index else 0.0
