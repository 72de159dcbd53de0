"""Two loops held together step by step, and the tolerance of each step measured from rounding itself.

    difference(p) = max |p - p'| / max |p'|        of each parameter after each step, and of each step's loss
    noise(p)      = the same between the reference and its shadow: the reference with rounding added at every step
    tolerance(p)  = 100 * the largest noise up to this step, and at least of 100 units in the last place

A difference that grows because training amplifies rounding grows in the shadow as well; a mistake does not.  Once the tolerance is
beyond BLIND it tells nothing any more, and what comes then is not judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bptt.refimpl.types import Array, Params

#: So many times the measured noise is still rounding: two shadows of one loop were up to 9 times apart, torch's loop up to 4 times.
MARGIN = 100.0
BLIND = 1e-3
LOSS = "loss"
Step = tuple[float, Params]
#: The names of a parameter's column blocks, () where it has none.
Gates = Callable[[str], tuple[str, ...]]


class Gap(NamedTuple):
    """A relative difference, and up to which it is rounding."""

    relative: float
    tolerance: float

    @property
    def excess(self) -> float:
        return self.relative / self.tolerance


@dataclass(frozen=True)
class Parting:
    """The first quantity that is not the same.

    step, tensor   counted from 1; a parameter's name, or "loss"
    gradient       whether it is the parameter's gradient that parts
    gates          those of it that part, () where all do or it has none
    index          of the largest difference, () of the loss, with both values there
    others         parameters that part in the same step
    words          what the difference says on its cause
    """

    step: int
    tensor: str
    gap: Gap
    mine: float
    reference: float
    index: tuple[int, ...] = ()
    gates: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    gradient: bool = False
    words: str = ""


@dataclass(frozen=True)
class Held:
    """What came of holding two loops together.

    losses, reference   the loss of each step in both
    loss_gaps           of each step
    gaps                of the parameter that differs most, each step
    parting             None where all is equal to rounding
    blind               the first step that cannot be judged, because rounding alone parts two runs by then
    """

    losses: tuple[float, ...]
    reference: tuple[float, ...]
    loss_gaps: tuple[Gap, ...]
    gaps: tuple[Gap, ...]
    parting: Parting | None = None
    blind: int | None = None


def hold(
    mine: Iterator[Step], reference: Iterator[Step], shadow: Iterator[Step], start: Params, gates: Gates, units: Mapping[str, float]
) -> Held:
    """Both, step by step, to the end of the reference or the first parting.   No array may change after it was yielded.

    start   the parameters before the first step
    units   of the loss and of each parameter: a unit in the last place of the coarser of the two
    """
    losses, expected = list[float](), list[float]()
    loss_gaps, gaps = list[Gap](), list[Gap]()
    noise = dict(units)
    before = start, start
    parting = blind = None
    for number, (loss, params) in enumerate(reference, 1):
        (own_loss, own), (moved_loss, moved) = next(mine), next(shadow)
        own_loss = float(own_loss)
        noise = {name: max(noise[name], _relative(moved[name], p)) for name, p in params.items()} | {
            LOSS: max(noise[LOSS], _relative(moved_loss, loss))
        }
        if not MARGIN * max(noise.values()) < BLIND:
            blind = number
            break
        found = {name: Gap(_relative(own[name], p), MARGIN * noise[name]) for name, p in params.items()}
        losses.append(own_loss)
        expected.append(loss)
        loss_gaps.append(Gap(_relative(own_loss, loss), MARGIN * noise[LOSS]))
        gaps.append(largest(found.values()))
        if loss_gaps[-1].excess > 1:
            parting = Parting(number, LOSS, loss_gaps[-1], own_loss, loss, words=_of_a_loss(number))
        else:
            parting = first_parting(own, params, found, gates, number)
            if parting:
                parting = _explained(parting, before, (own, params))
        if parting:
            break
        before = own, params
    return Held(tuple(losses), tuple(expected), tuple(loss_gaps), tuple(gaps), parting, blind)


def gradients(mine: Params, reference: Params, shadow: Params, gates: Gates, eps: float) -> tuple[Gap, Parting | None]:
    """The largest gap between the gradients of the first step, and the gradient that parts."""
    noise = {name: max(eps, _relative(shadow[name], d)) for name, d in reference.items()}
    found = {name: Gap(_relative(mine[name], d), MARGIN * noise[name]) for name, d in reference.items()}
    return largest(found.values()), first_parting(mine, reference, found, gates, 1, gradient=True)


def largest(gaps: Iterable[Gap]) -> Gap:
    """The gap of what differs most."""
    return max(gaps, key=lambda gap: gap.relative)


def first_parting(
    mine: Params, reference: Params, found: Mapping[str, Gap], gates: Gates, step: int, gradient: bool = False
) -> Parting | None:
    """The parameter that is the farthest beyond its tolerance, None where none is."""
    apart = sorted((name for name, gap in found.items() if gap.excess > 1), key=lambda name: -found[name].excess)
    if not apart:
        return None
    name = apart[0]
    p, q, gap = mine[name], reference[name], found[name]
    differences = np.abs(p - q)
    differences[np.isnan(differences)] = np.inf
    index = tuple(int(i) for i in np.unravel_index(differences.argmax(), q.shape))
    parted = _parted_gates(differences, gap.tolerance * _scale(q), gates(name))
    return Parting(step, name, gap, float(p[index]), float(q[index]), index, parted, tuple(apart[1:]), gradient)


def _parted_gates(differences: Array, bound: float, gates: tuple[str, ...]) -> tuple[str, ...]:
    """The column blocks with an entry beyond `bound`; () where that is each of them."""
    blocks = np.split(differences, len(gates), axis=-1) if gates else []
    parted = tuple(gate for gate, block in zip(gates, blocks, strict=True) if (block > bound).any())
    return parted if len(parted) < len(gates) else ()


def _relative(mine: Array | float, reference: Array | float) -> float:
    difference = float(np.max(np.abs(np.subtract(mine, reference)), initial=0.0))
    return math.inf if math.isnan(difference) else difference / _scale(reference)


def _scale(values: Array | float) -> float:
    return float(np.max(np.abs(values), initial=0.0)) or 1.0


def _of_a_loss(step: int) -> str:
    if step == 1:
        return "with the same weights: the forward pass, the masks, or what the loss is a mean of"
    return "with weights that agree: the state it starts from, the masks, or which batch it is"


def _explained(parting: Parting, before: tuple[Params, Params], after: tuple[Params, Params]) -> Parting:
    """The parting with what the last step says: how far each parameter moved, held against the reference's."""
    moves = {name: _moved(after[0][name] - before[0][name], after[1][name] - before[1][name]) for name in before[1]}
    own, apart = moves[parting.tensor], {parting.tensor, *parting.others}
    if own is None:
        words = ""
    elif own == 0:
        words = "it did not move"
    elif len(moves) > 1 and all(r is not None and abs(r - own) <= 1e-2 * abs(own - 1) for r in moves.values()):
        words = f"every parameter moved {own:.9g} times as far"
    else:
        words = f"it moved {own:.9g} times as far"
    others = "" if len(apart) > 1 else "all others agree"
    return replace(parting, words="; ".join(w for w in (words, others) if w))


def _moved(mine: Array, reference: Array) -> float | None:
    """r where mine = r * reference to a hundredth of r - 1; None where the two have other directions."""
    length = float(np.sum(reference * reference))
    if length == 0 or not np.isfinite(mine).all():
        return None
    r = float(np.sum(mine * reference)) / length
    rest = math.sqrt(float(np.sum((mine - r * reference) ** 2)) / length)
    return r if rest <= 1e-2 * abs(r - 1) else None
