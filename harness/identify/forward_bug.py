"""Naming a wrong forward pass: the published cell with one known difference, in some arrangement of its weights.

The search for a cell (`search.py`) is made once for each known difference, with the difference planted in the reference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bptt.harness.errors import BpttError
from bptt.harness.gradient.distance import relative_distance
from bptt.harness.identify.forward_bug_stack import backward_is_that_of_the_right_stack, own_gradients, stack_variation
from bptt.harness.identify.influence import layouts
from bptt.harness.identify.probing import Unidentified, open_probe
from bptt.harness.identify.search import Search, with_like_first
from bptt.harness.identify.units import number_of_states
from bptt.harness.known import Bug, forward_bugs_of
from bptt.harness.known.plant import plant
from bptt.harness.subject import Subject
from bptt.harness.weights.map import Identification, Variation, gradients_from_reference, params_to_reference
from bptt.refimpl import unroll
from bptt.refimpl.cells import CELLS
from bptt.refimpl.cells.cell import Cell


def variation(subject: Subject, like: str | None = None, seed: int = 0) -> Variation | None:
    """The one known difference to a published cell that gives the subject's outputs to rounding; None where none does.

    Only for a subject that is no published cell; `like` is tried first.
    """
    try:
        probe = open_probe(subject, np.random.default_rng([seed, 1]))
        searches = [Search(probe, layout) for layout in layouts(probe, interleaved=False)]
        for cell in with_like_first(like):
            for bug in forward_bugs_of(cell.name):
                found = _found(searches, cell, bug, seed)
                if found is not None:
                    return Variation(bug.name, bug.sentence, bug.fix, bug.published, found)
    except (Unidentified, BpttError):  # no single cell, or one that cannot be run: other checks say so
        pass
    try:
        several = subject.kind == "cell" and number_of_states(subject) > 1
        return stack_variation(subject, like, seed) if several else None
    except (Unidentified, BpttError):
        return None


def backward_is_that_of_the_right_cell(subject: Subject, found: Variation) -> bool:
    """Whether its backward was derived from the equations without the difference, from their values or from those of its own forward
    pass: then forward and backward do not belong together, and it is the forward pass that has to be mended."""
    if found.identification.mapping.stack is not None:
        return backward_is_that_of_the_right_stack(subject, found)
    mapping, cell = found.identification.mapping, CELLS[found.identification.cell]
    try:
        data, v, yours = own_gradients(subject)
    except BpttError:
        return False
    params = params_to_reference(mapping, data.params)
    zero = cell.zero_state(params, data.xs.shape[1])
    state = {**zero, **{theirs: data.state[mine] for mine, theirs in mapping.state.items()}}
    dfinal = {**zero, **{theirs: v.dfinal[mine] for mine, theirs in mapping.state.items() if mine in v.dfinal}}
    bug = next(bug for bug in forward_bugs_of(cell.name) if bug.name == found.code)
    for planted in (plant(cell), plant(cell, bug)):
        with np.errstate(all="ignore"):
            tapes = planted.forward(planted.cell, params, data.xs, state)[2]
            dparams, _, _ = unroll.backward(cell, params, data.xs, tapes, v.dys, dfinal)
        right = gradients_from_reference(mapping, dparams, data.params)
        compared = [relative_distance(right[name], value) for name, value in yours.params.items() if name in right]
        if compared and max(compared) < 1e-8:
            return True
    return False


def _found(searches: Sequence[Search], cell: Cell, bug: Bug, seed: int) -> Identification | None:
    with_it = plant(cell, bug)
    for search in searches:
        if not search.fitting([cell]):
            continue
        try:
            return search.planted(with_it.cell, with_it.forward, seed)
        except Unidentified:
            continue
    return None
