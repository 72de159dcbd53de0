"""Naming a wrong gradient of several layers, or of both directions.

Two libraries are tried on the subject's own weights.  That of stacks (bugs/stacks.py) is planted in what stands around the cells.  That
of cells (bugs/) is planted in one layer and direction: the uppermost that is wrong, because what reaches it from above is right; and then
in all layers, all of that layer or all of that direction, whichever gives every number of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import Case, Cotangent, admissible
from bptt.harness.diagnosis.narrowing import Rerun
from bptt.harness.diagnosis.tolerances import bound_of, distances, limit_of
from bptt.harness.diagnosis.wrong import WrongGradient
from bptt.harness.gradient.distance import relative_distance
from bptt.harness.known import bugs_of
from bptt.harness.known.plant import Bug, Planted, plant
from bptt.harness.known.plant_stack import RIGHT, PlantedModule, StackBug, plant_stack
from bptt.harness.known.stacks import stack_bugs_of
from bptt.harness.subject import Array
from bptt.harness.weights.map import (
    Identification,
    WeightMap,
    gradients_from_reference,
    of_layer,
    params_to_reference,
    place_of,
    resized,
    suffixes,
)
from bptt.refimpl import stack as reference_stack
from bptt.refimpl.stack import REVERSE, Stack, StackTape
from bptt.refimpl.unroll import Gradients as Raw
from bptt.reports.records import Cause

#: The case at which what a smaller one suggests is confirmed.
_LARGER = Case(T=5, N=3)
#: More wrong tensors than these are counted, not listed.
_MOST_NAMES = 8


def causes(wrong: WrongGradient, identification: Identification, rerun: Rerun | None) -> tuple[Cause, ...]:
    """What is known of a wrong gradient of a stack, best first.   Scores as in `explain.explain`."""
    reference = StackReference(identification, wrong)
    names = _wrong_names(wrong, reference.apart)
    if not names:
        return ()
    found: Sequence[Match] = tuple(_of_stacks(reference)) or tuple(_of_cells(reference))
    if found and rerun is not None and len(wrong.data.xs) < _LARGER.T:
        again = rerun(admissible(wrong.subject, replace(_LARGER, seed=wrong.case.seed)))
        larger = StackReference(identification, again)
        found = [match for match in found if larger.error(match) is not None] or [replace(match, only_here=True) for match in found]
    if found:
        return tuple(_cause(wrong, match, names, found) for match in found)
    return _place(reference)


def apart(wrong: WrongGradient, identification: Identification) -> list[dict[str, float]]:
    """How far every tensor is from the right one, for each cotangent."""
    return StackReference(identification, wrong).apart


@dataclass(frozen=True)
class Match:
    """A mistake that gives the subject's numbers.   where: the suffixes of the layers that a cell's mistake is in, () for a stack's"""

    bug: Bug | StackBug
    error: float
    where: tuple[str, ...] = ()
    words: str = ""
    only_here: bool = False


class StackReference:
    """The reference stack with a subject's weights, and its gradients in the subject's own layout."""

    def __init__(self, identification: Identification, wrong: WrongGradient) -> None:
        data = wrong.data
        # Written for these sizes once; without `tensors` it is not asked to fit itself to the parameters again.
        self.mapping: WeightMap = replace(resized(identification.mapping, data.params), tensors={})
        assert self.mapping.stack is not None
        self.wrong, self.stack, self.own_params = wrong, self.mapping.stack, data.params
        self.dtype = np.result_type(np.float64, data.xs.dtype)
        self.params = {name: value.astype(self.dtype) for name, value in params_to_reference(self.mapping, data.params).items()}
        self.xs = data.xs.astype(self.dtype)
        zero = reference_stack.zero_state(self.stack, self.params, data.xs.shape[1])
        self.zero = {name: value.astype(self.dtype) for name, value in zero.items()}
        self.state = self.zero | {theirs: data.state[mine].astype(self.dtype) for mine, theirs in self.mapping.state.items()}
        self.covered = {piece.tensor for piece in self.mapping.pieces}

    @cached_property
    def tape(self) -> StackTape:
        return reference_stack.forward(self.stack, self.params, self.xs, self.state)[2]

    @cached_property
    def apart(self) -> list[dict[str, float]]:
        pairs = zip(self.wrong.cotangents, self.wrong.yours, strict=True)
        return [dict(distances(self.gradients(v), yours)) for v, yours in pairs]

    @cached_property
    def bound(self) -> float:
        return bound_of(self.wrong, self.apart)

    @cached_property
    def order(self) -> list[int]:
        """The cotangents, that under which most is wrong first."""
        return sorted(range(len(self.apart)), key=lambda j: -max(self.apart[j].values(), default=0.0))

    def dfinal(self, v: Cotangent) -> dict[str, Array]:
        given = {theirs: v.dfinal[mine].astype(self.dtype) for mine, theirs in self.mapping.state.items() if mine in v.dfinal}
        return self.zero | given

    def gradients(self, v: Cotangent, bug: StackBug | None = None) -> Gradients:
        """Those that the reference gives, with a mistake of stacks planted in it."""
        planted: PlantedModule = RIGHT if bug is None else plant_stack(bug)
        with np.errstate(all="ignore"):
            tape = self.tape
            if bug is not None and not (bug.module == "stack" and "backward" in bug.function):
                tape = planted.forward(self.stack, self.params, self.xs, self.state)[2]
            raw = planted.backward(self.stack, self.params, tape, v.dys.astype(self.dtype), self.dfinal(v))
        return self._own(raw)

    def gradients_with(self, bug: Bug, where: Sequence[str], v: Cotangent) -> Gradients:
        """Those that the reference gives, with a cell's mistake in some layers and directions."""
        dparams: dict[str, Array] = {}
        dstate: dict[str, Array] = {}
        dys, dfinal = v.dys.astype(self.dtype), self.dfinal(v)
        for k in reversed(range(len(self.stack.cells))):
            parts = []
            for suffix, drs in self.errors(k, dys, dfinal).items():
                planted = _planted(self.stack, suffix, bug) if suffix in where else plant(self.stack.cells[k])
                share, dq, ds = self.layer(suffix, planted, drs, dfinal)
                dparams |= {name + suffix: d for name, d in share.items()}
                dstate |= {name + suffix: d for name, d in ds.items()}
                parts.append(dq)
            dys = np.asarray(sum(parts))
        return self._own((dparams, dys, dstate))

    def errors(self, k: int, dys: Array, dfinal: Mapping[str, Array]) -> dict[str, Array]:
        """What reaches each direction of layer k from dL/dys of that layer, in its own order of time."""
        found, start = {}, 0
        for suffix in self.stack.suffixes(k):
            width = dfinal["h" + suffix].shape[1]
            found[suffix] = _turned(suffix, dys[:, :, start : start + width])
            start += width
        return found

    def layer(self, suffix: str, planted: Planted, drs: Array, dfinal: Mapping[str, Array]) -> Raw:
        """dparams, dxs in the order of time, and dstate0 of one layer in one direction."""
        k = place_of(suffix)[0]
        xs = self.tape.xs if k == 0 else self.tape.inputs[k - 1]
        assert xs is not None
        tapes = self.tape.tapes[k][self.stack.suffixes(k).index(suffix)]
        params, end = _of(self.params, suffix), _of(dfinal, suffix)
        with np.errstate(all="ignore"):
            dparams, dxs, dstate = planted.backward(planted.cell, params, _turned(suffix, xs), tapes, drs, end)
        return dparams, _turned(suffix, dxs), dstate

    def own_of_layer(self, suffix: str, raw: Raw) -> Gradients:
        """The gradients of one layer in one direction, in the subject's layout; without dxs."""
        mapping = of_layer(self.mapping, suffix)
        mine = {piece.tensor for piece in mapping.pieces}
        params = gradients_from_reference(mapping, raw[0], {name: self.own_params[name] for name in mine})
        return Gradients(params, None, {name: raw[2][theirs] for name, theirs in mapping.state.items()})

    def error(self, match: Match) -> float | None:
        """Largest distance of the reference with a mistake to the subject's gradients; None as soon as one is not near."""
        worst = 0.0
        for j in self.order:
            v = self.wrong.cotangents[j]
            made = self.gradients(v, match.bug) if isinstance(match.bug, StackBug) else self.gradients_with(match.bug, match.where, v)
            for _, distance in distances(made, self.wrong.yours[j]):
                if not distance <= self.bound:
                    return None
                worst = max(worst, distance)
        return worst

    def _own(self, raw: Raw) -> Gradients:
        dparams, dxs, dstate = raw
        own = gradients_from_reference(self.mapping, dparams, self.own_params)
        return Gradients(
            {name: value for name, value in own.items() if name in self.covered},
            dxs,
            {mine: dstate[theirs] for mine, theirs in self.mapping.state.items()},
        )


# ------------------------------------------------------------------------------------------------ mistakes of stacks, and of cells


def _of_stacks(reference: StackReference) -> Iterator[Match]:
    for bug in stack_bugs_of(reference.stack):
        error = reference.error(Match(bug, 0.0))
        if error is not None:
            yield Match(bug, error)


def _of_cells(reference: StackReference) -> Iterator[Match]:
    """Cells' mistakes, in the uppermost wrong layer first; the first direction that one explains settles it."""
    seen: set[tuple[str, tuple[str, ...]]] = set()
    found = False
    for suffix, own_are_wrong in _suspects(reference):
        if found:
            return
        for bug in _singles(reference, suffix, own_are_wrong):
            for where, words in _spreads(reference.stack, suffix):
                if (bug.name, where) in seen:
                    continue
                seen.add((bug.name, where))
                error = reference.error(Match(bug, 0.0, where))
                if error is not None:
                    found = True
                    yield Match(bug, error, where, words)


def _suspects(reference: StackReference) -> list[tuple[str, bool]]:
    """Where to look: the uppermost layer with wrong numbers of its own, and the one above it, which may hand on wrong ones."""
    wrong = set(_wrong_units(reference))
    top = max((place_of(suffix)[0] for suffix in wrong), default=-1)
    found = [(suffix, True) for suffix in suffixes(reference.stack) if suffix in wrong and place_of(suffix)[0] == top]
    if top + 1 < len(reference.stack.cells):
        found += [(suffix, False) for suffix in reference.stack.suffixes(top + 1)]
    return found


def _wrong_units(reference: StackReference) -> list[str]:
    """The layers and directions of which a parameter or a state has a wrong gradient."""
    names = _wrong_names(reference.wrong, reference.apart)
    found = []
    for suffix in suffixes(reference.stack):
        mapping = of_layer(reference.mapping, suffix)
        mine = {piece.tensor for piece in mapping.pieces} | {f"{name}0" for name in mapping.state}
        if mine & set(names):
            found.append(suffix)
    return found


def _singles(reference: StackReference, suffix: str, own_are_wrong: bool) -> Iterator[Bug]:
    """The cell's mistakes that give this layer's own wrong numbers; or leave them right, and only hand wrong ones on."""
    wrong, k = reference.wrong, place_of(suffix)[0]
    j = reference.order[0]
    v, yours = wrong.cotangents[j], wrong.yours[j]
    dys, dfinal = v.dys.astype(reference.dtype), reference.dfinal(v)
    for above in reversed(range(k + 1, len(reference.stack.cells))):
        right_cell, reaching = plant(reference.stack.cells[above]), reference.errors(above, dys, dfinal)
        parts = [reference.layer(s, right_cell, drs, dfinal)[1] for s, drs in reaching.items()]
        dys = np.asarray(sum(parts))
    drs = reference.errors(k, dys, dfinal)[suffix]
    right = reference.layer(suffix, plant(reference.stack.cells[k]), drs, dfinal)[1]
    for bug in bugs_of(reference.stack.cells[k].name, len(wrong.data.xs)):
        raw = reference.layer(suffix, _planted(reference.stack, suffix, bug), drs, dfinal)
        if not own_are_wrong and relative_distance(raw[1], right) <= limit_of(wrong):
            continue
        if all(distance <= reference.bound for _, distance in distances(reference.own_of_layer(suffix, raw), yours)):
            yield bug


def _spreads(stack: Stack, suffix: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """In which layers and directions a mistake that is seen in one may be, with words for it."""
    k, direction = place_of(suffix)
    every = suffixes(stack)
    options = {
        (suffix,): _named(stack, suffix),
        tuple(s for s in every if place_of(s)[0] == k): f"layer {k}, both directions",
        tuple(s for s in every if place_of(s)[1] == direction): f"the {direction} direction of every layer",
        tuple(every): "every layer" if len(stack.cells) > 1 else "both directions",
    }
    if not stack.bidirectional:
        options = {(suffix,): f"layer {k}", tuple(every): "every layer"}
    yield from options.items()


def _named(stack: Stack, suffix: str) -> str:
    k, direction = place_of(suffix)
    layer = f"layer {k}" if len(stack.cells) > 1 else ""
    return ", ".join(words for words in (layer, f"the {direction} direction" if stack.bidirectional else "") if words)


def _planted(stack: Stack, suffix: str, bug: Bug) -> Planted:
    cell = stack.cells[place_of(suffix)[0]]
    return plant(cell, bug) if cell.name in bug.cells else plant(cell)


# ------------------------------------------------------------------------------------------------ words


def _cause(wrong: WrongGradient, match: Match, names: Sequence[str], all_of_them: Sequence[Match]) -> Cause:
    count = len(names)
    listed = f" ({', '.join(names)})" if count <= _MOST_NAMES else ""
    what = f"all {count} wrong tensors{listed}" if count > 1 else f"the wrong tensor ({names[0]})"
    where = f" in {match.words}" if match.words else ""
    evidence = (
        f"the reference stack with this mistake{where}, on your weights, reproduces {what} to {match.error:.0e} under "
        f"{len(wrong.cotangents)} cotangent{'s' * (len(wrong.cotangents) > 1)}"
    )
    if len(all_of_them) > 1:
        others = [f"'{other.bug.sentence}'" for other in all_of_them if other is not match]
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        evidence += f"; so do{'es' * (len(others) == 1)} {others[0]}{more} at {wrong.case}"
    if match.only_here:
        evidence += "; at a larger case something else is wrong too"
    said = f"in {match.words}: {match.bug.sentence}" if match.words else match.bug.sentence
    return Cause(match.bug.name, said, evidence, 0.6 if match.only_here else 1.0, match.bug.fix)


def _place(reference: StackReference) -> tuple[Cause, ...]:
    """Where it goes wrong first on the way back, where no mistake that is known gives the numbers."""
    wrong = _wrong_units(reference)
    names = _wrong_names(reference.wrong, reference.apart)
    if not wrong:
        return (
            Cause(
                "wrong-dxs-of-stack",
                "every parameter's gradient is right: look at the bottom layer's last product, and at how directions are added up",
                f"only dL/d{names[0]} is wrong",
                0.6,
                "dxs = das @ W_x.T of the bottom layer, added up over the directions",
            ),
        )
    top = max(place_of(suffix)[0] for suffix in wrong)
    here = [suffix for suffix in wrong if place_of(suffix)[0] == top]
    words = " and ".join(_named(reference.stack, suffix) for suffix in here)
    above = len(reference.stack.cells) - 1 - top
    mapping = [of_layer(reference.mapping, suffix) for suffix in here]
    mine = {piece.tensor for m in mapping for piece in m.pieces} | {f"{name}0" for m in mapping for name in m.state}
    listed = ", ".join(f"dL/d{name}" for name in names if name in mine)
    evidence = f"{listed} {'are' if ', ' in listed else 'is'} wrong there" + (f", and nothing in the {above} above" if above else "")
    said = f"on the way back it goes wrong first in {words}"
    return (Cause("wrong-in-layer", said, evidence, 0.6, "look at this layer's backward alone"),)


def _wrong_names(wrong: WrongGradient, far: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    limit = limit_of(wrong)
    return tuple(dict.fromkeys(name for each in far for name, distance in each.items() if not distance <= limit))


def _turned(suffix: str, rows: Array) -> Array:
    return rows[::-1] if suffix.endswith(REVERSE) else rows


def _of(arrays: Mapping[str, Array], suffix: str) -> dict[str, Array]:
    return {name.removesuffix(suffix): a for name, a in arrays.items() if name.endswith(suffix)}
