"""Naming a wrong forward pass: a published cell, or a stack of them, with one known difference, in some arrangement of its weights.

The search for a cell (search.py) is made once for each known difference, with the difference planted in the reference.

Of several layers or both directions, what layers there are shows in what acts on what (units.py).  One layer of the bottom is a known cell
in some arrangement of its weights; all others are taken to be arranged as it is, in the order of their own parameters; and each known
difference is then planted in the reference stack, until one gives the subject's outputs and final states to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import Any, Literal

import numpy as np

from bptt.harness.call.cell import Gradients, backward, run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, Cotangent, Data, admissible, cotangents
from bptt.harness.errors import BpttError, ContractError
from bptt.harness.gradient.derivatives.distance import relative_distance
from bptt.harness.identify.influence import layouts
from bptt.harness.identify.probing import Unidentified, open_probe
from bptt.harness.identify.search import Search, with_like_first
from bptt.harness.identify.stacks import assembled, confirmed, sentence_of, unit_found
from bptt.harness.identify.units import Unit, Whole, in_place_of_each_other, number_of_states, open_whole
from bptt.harness.known import STACKS, edits_of_forward, forward_of_cell
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.plant import plant
from bptt.harness.known.tolerances import gradients
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.weights.map import Identification, gradients_from_reference, params_to_reference, resized
from bptt.refimpl import stack as reference_stack
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.stack import single

_WAYS: tuple[Literal["influence", "names"], ...] = ("influence", "names")


@dataclass(frozen=True)
class ForwardBug:
    """A published cell, or a stack of them, but for one known difference in its forward pass.

    identification  the cell and the arrangement, with the largest error of the outputs against the reference with the difference planted
    """

    mistake: KnownMistake
    identification: Identification

    @property
    def convention(self) -> str:
        """ "an LSTM, blocks i f g o, one bias, but f multiplies tanh(c_(t-1)) and not c_(t-1)"."""
        meant = f" ({self.mistake.published})" if self.mistake.published else ""
        return f"{self.identification.convention}, but {self.mistake.sentence}{meant}"


def forward_bug(subject: Subject, like: str | None = None, seed: int = 0) -> ForwardBug | None:
    """The one difference to a published cell that gives the subject's outputs to rounding; None where none does.

    Only for a subject that is no published cell; `like` is tried first.  Differences are the known ones; of the cell that it is declared to
    be, also every single edit of an equation.
    """
    try:
        probe = open_probe(subject, np.random.default_rng([seed, 1]))
        searches = [Search(probe, layout) for layout in layouts(probe, interleaved=False)]
        for cell, mistake in _differences(like):
            if (found := _found(searches, cell, mistake, seed)) is not None:
                return ForwardBug(mistake, found)
    except (Unidentified, BpttError):  # no single cell, or one that cannot be run: other checks say so
        pass
    try:
        several = subject.kind == "cell" and number_of_states(subject) > 1
        return _of_stack(subject, like, seed) if several else None
    except (Unidentified, BpttError):
        return None


def _differences(like: str | None) -> Iterator[tuple[Cell, KnownMistake]]:
    """Those that are known, then those that any equation of the cell that it is declared to be may have."""
    cells = with_like_first(like)
    yield from ((cell, mistake) for cell in cells for mistake in forward_of_cell(cell.name))
    yield from ((cell, mistake) for cell in cells if cell.name == like for mistake in edits_of_forward(cell))


def backward_is_that_of_the_right_cell(subject: Subject, found: ForwardBug) -> bool:
    """Whether its backward was derived from the equations without the difference, from their values or from those of its own forward
    pass: then forward and backward do not belong together, and it is the forward pass that has to be mended."""
    mapping = found.identification.mapping
    try:
        data, v, yours = _own_gradients(subject)
    except BpttError:
        return False
    params = params_to_reference(mapping, data.params)
    zero = reference_stack.zero_state(mapping.stack, params, data.xs.shape[1])
    state = zero | {theirs: data.state[mine] for mine, theirs in mapping.state.items()}
    dfinal = zero | {theirs: v.dfinal[mine] for mine, theirs in mapping.state.items() if mine in v.dfinal}
    for planted in (plant(), plant(found.mistake)):
        with np.errstate(all="ignore"):
            _, _, tape = planted.layers(planted.stack(mapping.stack), params, data.xs, state)
            dparams, _, _ = reference_stack.backward(mapping.stack, params, tape, v.dys, dfinal)
        right = gradients_from_reference(mapping, dparams, data.params)
        compared = [relative_distance(right[name], value) for name, value in yours.params.items() if name in right]
        if compared and max(compared) < gradients("float64").close:
            return True
    return False


def _own_gradients(subject: Subject) -> tuple[Data, Cotangent, Gradients]:
    """The subject's gradients at the default case, for a cotangent on every output and final state.  Raises what running it raises."""
    case = admissible(subject, Case())
    data = draw(subject, case)
    v = cotangents(subject, case, *run(subject, data))[0]
    return data, v, backward(subject, data, v)


def _found(searches: Sequence[Search], cell: Cell, mistake: KnownMistake, seed: int) -> Identification | None:
    planted = plant(mistake)
    for search in searches:
        if not search.fitting([cell]):
            continue
        try:
            found = search.planted(planted.cell(cell), planted.forward, seed)
        except Unidentified:
            continue
        return replace(found, mapping=replace(found.mapping, stack=single(cell)))  # its weights are arranged as those of the right cell
    return None


# ------------------------------------------------------------------------------------------------ several layers


def _of_stack(subject: Subject, like: str | None, seed: int) -> ForwardBug | None:
    """As `forward_bug`.  Raises Unidentified where the subject has no layers that can be told apart."""
    reason: Unidentified | None = None
    for whole in _wholes(subject, seed):
        try:
            if (found := _difference_of(whole, subject, like, seed)) is not None:
                return found
        except (Unidentified, ContractError) as unknown:
            reason = reason or Unidentified(str(unknown))
    if reason is not None:
        raise reason
    return None


def _wholes(subject: Subject, seed: int) -> Iterator[Whole]:
    """The subject's layers: by what acts on what, by their names, and so with states in each other's place, as a mistake may put them."""
    named: list[Whole] = []
    for by in _WAYS:
        try:
            named.append(open_whole(subject, np.random.default_rng([seed, 4]), by=by))
        except Unidentified:
            continue
        yield named[-1]
    for whole in named[-1:]:
        for names in in_place_of_each_other(whole):
            for wrapped in (_Exchanged(subject.implementation, names, "first"), _Exchanged(subject.implementation, names, "last")):
                yield replace(whole, subject=replace(subject, implementation=wrapped))


@dataclass(frozen=True)
class _Exchanged:
    """A subject whose initial (first) or final (last) states stand in each other's place."""

    implementation: Any
    names: Mapping[str, str]
    which: Literal["first", "last"]

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> Arrays:
        made: Arrays = self.implementation.init(rng, input_size, hidden_size)
        return made

    def zero_state(self, params: Arrays, batch_size: int) -> Arrays:
        zero: Arrays = self.implementation.zero_state(params, batch_size)
        return zero

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, Arrays]:
        given = {self.names[name]: value for name, value in state.items()} if self.which == "first" else state
        ys, final = self.implementation.run(params, xs, {name: given[name] for name in state})
        return ys, {self.names[name]: value for name, value in final.items()} if self.which == "last" else final


def _difference_of(whole: Whole, subject: Subject, like: str | None, seed: int) -> ForwardBug | None:
    """The known difference with which the reference stack gives the outputs of `subject`, whose layers are those of `whole`."""
    one, unit = _one(whole, like, seed)
    both = len(whole.layers[0]) == 2
    tried = one.tried
    for layers in product(*(list(permutations(units)) for units in whole.layers)):
        try:
            found = [tuple(_as(one, unit, other, whole) for other in units) for units in layers]
        except (ContractError, KeyError):
            return None
        ordered = replace(whole, subject=subject, layers=tuple(layers))
        mapping = assembled(ordered, found)
        for mistake in STACKS:
            if mistake.kind != "forward" or not mistake.shows_in(mapping.stack):
                continue
            tried += 1
            try:
                error = confirmed(ordered, mapping, seed, plant(mistake))
            except Unidentified:
                continue
            cell = "+".join(dict.fromkeys(cell.name for cell in mapping.stack.cells))
            said = sentence_of(found) if both or len(layers) > 1 else one.convention
            return ForwardBug(mistake, Identification(cell, said, error, mapping, tried))
    return None


def _one(whole: Whole, like: str | None, seed: int) -> tuple[Identification, Unit]:
    """One direction of the bottom layer that is a known cell for one step.  Raises Unidentified with the first reason."""
    reason = Unidentified("")
    for unit in whole.layers[0]:
        try:
            return unit_found(whole, unit, None, like, seed, np.random.default_rng([seed, 5])), unit
        except Unidentified as unknown:
            reason = reason if str(reason) else unknown
    raise reason


def _as(one: Identification, unit: Unit, other: Unit, whole: Whole) -> Identification:
    """What `other` is, if its parameters and states, in their order, are what those of `unit` are."""
    if len(other.params) != len(unit.params) or len(other.states) != len(unit.states):
        raise ContractError(f"{len(other.params)} parameters, wanted {len(unit.params)} as in the layer beside it")
    names, states = dict(zip(unit.params, other.params, strict=True)), dict(zip(unit.states, other.states, strict=True))
    m = one.mapping
    moved = replace(
        m,
        pieces=tuple(replace(piece, tensor=names[piece.tensor]) for piece in m.pieces),
        state={states[mine]: theirs for mine, theirs in m.state.items()},
        tensors={names[tensor]: words for tensor, words in m.tensors.items()},
    )
    fitted = resized(moved, {name: whole.template[name] for name in other.params})
    return Identification(one.cell, one.convention, one.max_error, fitted, 0)
