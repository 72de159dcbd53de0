"""Naming a wrong forward pass of several layers or both directions: the stack that was meant, with one known difference.

What layers there are shows in what acts on what (units.py).  One layer of the bottom is a known cell in some arrangement of its
weights; all others are taken to be arranged as it is, in the order of their own parameters; and each known difference is then planted
in the reference stack, until one gives the subject's outputs and final states to rounding.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import numpy as np

from bptt.harness.call.cell import Gradients, backward, run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, Cotangent, Data, admissible, cotangents
from bptt.harness.errors import BpttError, ContractError
from bptt.harness.gradient.distance import relative_distance
from bptt.harness.identify.probing import Unidentified
from bptt.harness.identify.stacks import assembled, confirmed, sentence_of, unit_found
from bptt.harness.identify.units import Unit, Whole, open_whole
from bptt.harness.known.plant_stack import RIGHT, plant_stack
from bptt.harness.known.stacks import STACK_BUGS, stack_bug
from bptt.harness.subject import Subject
from bptt.harness.weights.map import Identification, Variation, gradients_from_reference, params_to_reference, resized
from bptt.refimpl import stack as reference_stack


def stack_variation(subject: Subject, like: str | None = None, seed: int = 0) -> Variation | None:
    """The one known difference to a stack of published cells that gives the subject's outputs to rounding.

    Raises Unidentified where the subject has no layers that can be told apart.
    """
    whole = open_whole(subject, np.random.default_rng([seed, 4]))
    one, unit = _one(whole, like, seed)
    both = len(whole.layers[0]) == 2
    tried = one.tried
    for layers in product(*(list(permutations(units)) for units in whole.layers)):
        try:
            found = [tuple(_as(one, unit, other, whole) for other in units) for units in layers]
        except (ContractError, KeyError):
            return None
        ordered = Whole(subject, tuple(layers), whole.template, whole.zero, whole.sizes)
        mapping = assembled(ordered, found)
        assert mapping.stack is not None
        for bug in STACK_BUGS:
            if bug.kind != "forward" or not bug.shows_in(mapping.stack):
                continue
            tried += 1
            try:
                error = confirmed(ordered, mapping, seed, plant_stack(bug))
            except Unidentified:
                continue
            cell = "+".join(dict.fromkeys(cell.name for cell in mapping.stack.cells))
            said = sentence_of(found) if both or len(layers) > 1 else one.convention
            return Variation(bug.name, bug.sentence, bug.fix, bug.published, Identification(cell, said, error, mapping, tried))
    return None


def own_gradients(subject: Subject) -> tuple[Data, Cotangent, Gradients]:
    """The subject's gradients at the default case, for a cotangent on every output and final state.  Raises what running it raises."""
    case = admissible(subject, Case())
    data = draw(subject, case)
    v = cotangents(subject, case, *run(subject, data))[0]
    return data, v, backward(subject, data, v)


def backward_is_that_of_the_right_stack(subject: Subject, found: Variation) -> bool:
    """As `variation.backward_is_that_of_the_right_cell`, for a stack."""
    mapping = found.identification.mapping
    assert mapping.stack is not None
    try:
        data, v, yours = own_gradients(subject)
    except BpttError:
        return False
    params = params_to_reference(mapping, data.params)
    state = {theirs: data.state[mine] for mine, theirs in mapping.state.items()}
    dfinal = {theirs: v.dfinal.get(mine, np.zeros_like(data.state[mine])) for mine, theirs in mapping.state.items()}
    for planted in (RIGHT, plant_stack(stack_bug(found.code))):
        with np.errstate(all="ignore"):
            _, _, tape = planted.forward(mapping.stack, params, data.xs, state)
            dparams, _, _ = reference_stack.backward(mapping.stack, params, tape, v.dys, dfinal)
        right = gradients_from_reference(mapping, dparams, data.params)
        compared = [relative_distance(right[name], value) for name, value in yours.params.items() if name in right]
        if compared and max(compared) < 1e-8:
            return True
    return False


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
