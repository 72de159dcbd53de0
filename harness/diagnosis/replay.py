"""Running the reference on a subject's own weights, with known mistakes in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bptt.harness.call.cell import Gradients
from bptt.harness.diagnosis.wrong import WrongGradient, tensors
from bptt.harness.known import tolerances
from bptt.harness.known.match import Apart, Match, apart, match
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.plant import Planted, PlantError, plant
from bptt.harness.subject import Array, Arrays
from bptt.harness.weights.map import (
    Identification,
    WeightMap,
    gradients_from_reference,
    of,
    of_layer,
    params_to_reference,
    place_of,
    resized,
)
from bptt.refimpl import stack as reference_stack
from bptt.refimpl.stack import REVERSE, Masks, Stack, StackTape
from bptt.refimpl.unroll import Gradients as Raw


@dataclass(frozen=True)
class Candidate:
    """Known mistakes, and where they are made.

    where   the suffixes of the layers and directions in whose cells; () for what stands around the cells
    label   the same in words, "" where there is one place only
    """

    mistakes: tuple[KnownMistake, ...]
    where: tuple[str, ...] = ()
    label: str = ""

    @property
    def first(self) -> KnownMistake:
        return self.mistakes[0]

    @property
    def sentence(self) -> str:
        return f"in {self.label}: {self.first.sentence}" if self.label else self.first.sentence


# ------------------------------------------------------------------------------------------------ one call of a stack


@dataclass(frozen=True)
class Call:
    """What a stack was given, in the reference's own layout.   lengths (N,) or None   masks as bptt.refimpl.stack has them"""

    stack: Stack
    params: Arrays
    xs: Array
    state: Arrays
    dys: Array
    dfinal: Arrays
    lengths: Array | None = None
    masks: Masks | None = None


def replay(call: Call, *mistakes: KnownMistake) -> dict[str, Array]:
    """All that the reference gives: "forward ys", "forward h_l0", "dW_x_l0", "dxs", "dh_l00"."""
    planted = plant(*mistakes)
    with np.errstate(all="ignore"):
        ys, final, tape = planted.layers(call.stack, call.params, call.xs, call.state, call.lengths, call.masks)
        dparams, dxs, dstate = planted.layers_backward(call.stack, call.params, tape, call.dys, call.dfinal)
    found = {"forward ys": ys} | {f"forward {name}": value for name, value in final.items()}
    return found | {f"d{name}": value for name, value in dparams.items()} | {"dxs": dxs} | {f"d{k}0": value for k, value in dstate.items()}


# ------------------------------------------------------------------------------------------------ a subject's wrong gradient


class Reference:
    """The reference with a subject's weights, and its gradients in the subject's own layout, held against the subject's."""

    def __init__(self, identification: Identification, wrong: WrongGradient) -> None:
        data = wrong.data
        # Written for these sizes once; without `tensors` it is not asked to fit itself to the parameters again.
        self.mapping: WeightMap = replace(resized(identification.mapping, data.params), tensors={})
        self.wrong, self.stack, self.own_params = wrong, self.mapping.stack, data.params
        self.dtype = np.result_type(np.float64, data.xs.dtype)
        self.params = {name: value.astype(self.dtype) for name, value in params_to_reference(self.mapping, data.params).items()}
        self.xs = data.xs.astype(self.dtype)
        zero = reference_stack.zero_state(self.stack, self.params, data.xs.shape[1])
        self.zero = {name: value.astype(self.dtype) for name, value in zero.items()}
        given = {theirs: data.state[mine].astype(self.dtype) for mine, theirs in self.mapping.state.items() if mine in data.state}
        self.state = self.zero | given
        self.covered = {piece.tensor for piece in self.mapping.pieces}
        self.yours = [dict(tensors(g)) for g in wrong.yours]

    @cached_property
    def tape(self) -> StackTape:
        return reference_stack.forward(self.stack, self.params, self.xs, self.state)[2]

    @cached_property
    def apart(self) -> Apart:
        right = (dict(tensors(self.gradients(Candidate(()), j))) for j in range(len(self.yours)))
        return apart(self.yours, right, tolerances.gradients(self.wrong.subject.dtype))

    def matches(self, candidates: Sequence[Candidate]) -> tuple[Match[Candidate], ...]:
        """The candidates that give the subject's numbers under every cotangent."""
        return match(self.yours, candidates, self.numbers, self.apart)

    def numbers(self, candidate: Candidate, j: int) -> dict[str, Array] | None:
        """The gradients that the reference gives under cotangent j; None where two mistakes take each other's text away."""
        try:
            return dict(tensors(self.gradients(candidate, j)))
        except PlantError:
            if len(candidate.mistakes) < 2:
                raise
            return None

    def gradients(self, candidate: Candidate, j: int) -> Gradients:
        planted, dys, dfinal = plant(*candidate.mistakes), self.dys(j), self.dfinal(j)
        if candidate.where:
            return self._own(self._through_cells(planted, candidate.where, dys, dfinal))
        with np.errstate(all="ignore"):
            tape = self.tape
            if any("backward" not in edit.function for _, edit in planted.edits):
                tape = planted.layers(self.stack, self.params, self.xs, self.state)[2]
            return self._own(planted.layers_backward(self.stack, self.params, tape, dys, dfinal))

    def dys(self, j: int) -> Array:
        return self.wrong.cotangents[j].dys.astype(self.dtype)

    def dfinal(self, j: int) -> dict[str, Array]:
        given = self.wrong.cotangents[j].dfinal
        return self.zero | {theirs: given[mine].astype(self.dtype) for mine, theirs in self.mapping.state.items() if mine in given}

    def _through_cells(self, planted: Planted, where: Sequence[str], dys: Array, dfinal: Mapping[str, Array]) -> Raw:
        """Back through all layers, with mistakes in the cells of some of them."""
        right = plant()
        dparams: dict[str, Array] = {}
        dstate: dict[str, Array] = {}
        for k in reversed(range(len(self.stack.cells))):
            parts = []
            for suffix, drs in self.errors(k, dys, dfinal).items():
                share, dq, ds = self.layer(suffix, planted if suffix in where else right, drs, dfinal)
                dparams |= {name + suffix: d for name, d in share.items()}
                dstate |= {name + suffix: d for name, d in ds.items()}
                parts.append(dq)
            dys = parts[0] if len(parts) == 1 else np.asarray(sum(parts))
        return dparams, dys, dstate

    def errors(self, k: int, dys: Array, dfinal: Mapping[str, Array]) -> dict[str, Array]:
        """What reaches each direction of layer k from dL/dys of that layer, in its own order of time."""
        found, start = {}, 0
        for suffix in self.stack.suffixes(k):
            width = dfinal["h" + suffix].shape[1]
            found[suffix] = turned(suffix, dys[:, :, start : start + width])
            start += width
        return found

    def layer(self, suffix: str, planted: Planted, drs: Array, dfinal: Mapping[str, Array]) -> Raw:
        """dparams, dxs in the order of time, and dstate0 of one layer in one direction."""
        k = place_of(suffix)[0]
        xs = self.tape.xs if k == 0 else self.tape.inputs[k - 1]
        assert xs is not None  # the tape is one of `forward`
        tapes = self.tape.tapes[k][self.stack.suffixes(k).index(suffix)]
        cell = self.stack.cells[k]
        with np.errstate(all="ignore"):
            dparams, dxs, dstate = planted.backward(
                planted.cell(cell), of(self.params, suffix), turned(suffix, xs), tapes, drs, of(dfinal, suffix)
            )
        return dparams, turned(suffix, dxs), dstate

    def own_of_layer(self, suffix: str, raw: Raw) -> dict[str, Array]:
        """The gradients of one layer in one direction, in the subject's layout; without dxs."""
        mapping = of_layer(self.mapping, suffix)
        mine = {piece.tensor for piece in mapping.pieces}
        params = gradients_from_reference(mapping, raw[0], {name: self.own_params[name] for name in mine})
        return dict(tensors(Gradients(params, None, {name: raw[2][theirs] for name, theirs in mapping.state.items()})))

    def _own(self, raw: Raw) -> Gradients:
        dparams, dxs, dstate = raw
        own = gradients_from_reference(self.mapping, dparams, self.own_params)
        return Gradients(
            {name: value for name, value in own.items() if name in self.covered},
            dxs,
            {mine: dstate[theirs] for mine, theirs in self.mapping.state.items()},
        )


def turned(suffix: str, rows: Array) -> Array:
    """In a direction's own order of time."""
    return rows[::-1] if suffix.endswith(REVERSE) else rows
