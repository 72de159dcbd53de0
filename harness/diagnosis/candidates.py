"""Which known mistakes are tried on a wrong gradient, and in which layers.

Of several layers, those around the cells are tried first.  A cell's mistake is tried in the uppermost layer that is wrong, because what
reaches it from above is right; and then in all layers, all of that layer or all of that direction, whichever gives every number of the
whole.  A cell by itself is a stack of one layer: there is one place to try.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bptt.harness.diagnosis.replay import Candidate, Reference
from bptt.harness.gradient.derivatives.distance import relative_distance
from bptt.harness.known import of_cell, of_stack
from bptt.harness.known.match import by_array
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.plant import plant
from bptt.harness.weights.map import of_layer, place_of, suffixes
from bptt.refimpl.stack import Stack


def groups(reference: Reference) -> Iterator[list[Candidate]]:
    """Candidates in the order in which they are tried: where one of a group fits, the next group is not."""
    stack = reference.stack
    if stack.bare:
        yield [Candidate((mistake,), ("",)) for mistake in of_cell(stack.cells[0].name, len(reference.xs))]
        return
    yield [Candidate((mistake,)) for mistake in of_stack(stack)]
    for suffix, own_are_wrong in _suspects(reference):
        singles = list(_singles(reference, suffix, own_are_wrong))
        yield [Candidate((mistake,), where, label) for mistake in singles for where, label in _spreads(stack, suffix)]


def wrong_units(reference: Reference) -> list[str]:
    """The layers and directions of which a parameter or a state has a wrong gradient."""
    found = []
    for suffix in suffixes(reference.stack):
        mapping = of_layer(reference.mapping, suffix)
        mine = {piece.tensor for piece in mapping.pieces} | {f"{name}0" for name in mapping.state}
        if mine & set(reference.apart.wrong):
            found.append(suffix)
    return found


def label_of(stack: Stack, suffix: str) -> str:
    """ "layer 1, the reverse direction"."""
    k, direction = place_of(suffix)
    layer = f"layer {k}" if len(stack.cells) > 1 else ""
    return ", ".join(words for words in (layer, f"the {direction} direction" if stack.bidirectional else "") if words)


def _suspects(reference: Reference) -> list[tuple[str, bool]]:
    """Where to look: the uppermost layer with wrong numbers of its own, and the one above it, which may hand on wrong ones."""
    wrong = set(wrong_units(reference))
    top = max((place_of(suffix)[0] for suffix in wrong), default=-1)
    found = [(suffix, True) for suffix in suffixes(reference.stack) if suffix in wrong and place_of(suffix)[0] == top]
    if top + 1 < len(reference.stack.cells):
        found += [(suffix, False) for suffix in reference.stack.suffixes(top + 1)]
    return found


def _singles(reference: Reference, suffix: str, own_are_wrong: bool) -> Iterator[KnownMistake]:
    """The cell's mistakes that give this layer's own wrong numbers; or leave them right, and only hand wrong ones on."""
    stack, k, right = reference.stack, place_of(suffix)[0], plant()
    j = reference.apart.order[0]
    dys, dfinal, yours = reference.dys(j), reference.dfinal(j), reference.yours[j]
    for above in reversed(range(k + 1, len(stack.cells))):
        reaching = reference.errors(above, dys, dfinal)
        dys = np.asarray(sum(reference.layer(s, right, drs, dfinal)[1] for s, drs in reaching.items()))
    drs = reference.errors(k, dys, dfinal)[suffix]
    handed_on = reference.layer(suffix, right, drs, dfinal)[1]
    for mistake in of_cell(stack.cells[k].name, len(reference.xs)):
        raw = reference.layer(suffix, plant(mistake), drs, dfinal)
        if not own_are_wrong and relative_distance(raw[1], handed_on) <= reference.apart.near.wrong:
            continue
        if all(distance <= reference.apart.bound for _, distance in by_array(reference.own_of_layer(suffix, raw), yours)):
            yield mistake


def _spreads(stack: Stack, suffix: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """In which layers and directions a mistake that is seen in one may be, with words for it."""
    k, direction = place_of(suffix)
    every = suffixes(stack)
    if not stack.bidirectional:
        yield from {(suffix,): f"layer {k}", tuple(every): "every layer"}.items()
        return
    options = {
        (suffix,): label_of(stack, suffix),
        tuple(s for s in every if place_of(s)[0] == k): f"layer {k}, both directions",
        tuple(s for s in every if place_of(s)[1] == direction): f"the {direction} direction of every layer",
        tuple(every): "every layer" if len(stack.cells) > 1 else "both directions",
    }
    yield from options.items()
