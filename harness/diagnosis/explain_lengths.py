"""Naming what is wrong where sequences of a batch have their own lengths, or where dropout masks stand between layers.

No exact derivative is asked for: the reference stack with each known mistake is run on the same numbers, and the one that gives all
that was given, to rounding, where the right one does not, is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bptt.harness.call.drawing import draw
from bptt.harness.call.guard import called, named_arrays
from bptt.harness.cases import Case, Data, admissible, generator
from bptt.harness.errors import BpttError
from bptt.harness.gradient.distance import relative_distance
from bptt.harness.known.plant_stack import RIGHT, PlantedModule, StackBug, plant_stack
from bptt.harness.known.stacks import STACK_BUGS
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.weights.map import Identification, WeightMap, gradients_from_reference, params_to_reference
from bptt.refimpl.stack import Masks, Stack
from bptt.reports.records import Cause

_CASE = Case(T=5, N=3, D=3, H=4)
#: The order of the three by length is its own inverse in none of its powers but the third.
_LENGTHS = (1, 5, 3)
_CLOSE = 1e-9


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


@dataclass(frozen=True)
class Given:
    """What came back, in the reference's own layout; {} or None for what did not."""

    ys: Array
    final: Arrays
    dparams: Arrays
    dxs: Array | None
    dstate: Arrays


def answer(call: Call, planted: PlantedModule = RIGHT) -> Given:
    """What the reference gives, with a mistake planted in it or none."""
    with np.errstate(all="ignore"):
        ys, final, tape = planted.forward(call.stack, call.params, call.xs, call.state, call.lengths, call.masks)
        dparams, dxs, dstate = planted.backward(call.stack, call.params, tape, call.dys, call.dfinal)
    return Given(ys, final, dparams, dxs, dstate)


def causes_of_call(call: Call, given: Given) -> tuple[Cause, ...]:
    """The known mistakes that give what was given in every number; () where it is right, or where none does.

    A mistake of the forward pass is known by outputs and final states: what a backward makes of it is its own.
    """
    right = _numbers(answer(call))
    yours = _numbers(given)
    wrong = [name for name in yours if not relative_distance(yours[name], right[name]) <= _CLOSE]
    if not wrong:
        return ()
    ahead = any(name.startswith("forward ") for name in wrong)
    found = _found(_candidates(call, ahead), lambda bug: _error(call, bug, yours, ahead))
    return tuple(_cause(bug, error, wrong, [other for other, _ in found if other is not bug]) for bug, error in found)


def causes_with_lengths(subject: Subject, identification: Identification | None, seed: int = 0) -> tuple[Cause, ...]:
    """Known mistakes that give a subject's outputs, or gradients, of sequences of different lengths; () where none does.

    identification   what it is without lengths: a stack
    """
    if identification is None or identification.mapping.stack is None or not subject.lengths:
        return ()
    case = admissible(subject, replace(_CASE, seed=seed))
    mapping, stack = identification.mapping, identification.mapping.stack
    try:
        data = draw(subject, case)
        lengths = np.asarray([min(length, case.T) for length in (_LENGTHS * case.N)[: case.N]])
        given = subject.implementation.run(data.params, data.xs.copy(), data.state, lengths=lengths.copy())
        ys, final = np.asarray(given[0]), named_arrays(given[1], f"{subject.name}.run: final_state")
        rng = generator(case, "cotangents of lengths")
        valid = np.arange(case.T)[:, None] < lengths
        dys = rng.normal(size=ys.shape) * valid[..., None]
        dfinal = {name: np.asarray(rng.normal(size=value.shape)) for name, value in final.items()}
        back = _backward(subject, data, dys, dfinal, lengths)
    except (BpttError, TypeError, ValueError, IndexError, RuntimeError):  # the checks of lengths say what is wrong with it
        return ()
    params = params_to_reference(mapping, data.params)
    canonical = {theirs: data.state[mine] for mine, theirs in mapping.state.items()}
    ends = {theirs: dfinal[mine] for mine, theirs in mapping.state.items()}
    call = Call(stack, params, data.xs, canonical, dys, ends, lengths)
    return _in_own_layout(call, mapping, data, ys, final, back)


def _backward(subject: Subject, data: Data, dys: Array, dfinal: Arrays, lengths: Array) -> tuple[Arrays, Array | None, Arrays]:
    """Its gradients with lengths; empty where it has no backward that takes them."""
    if "backward" not in subject.capabilities:
        return {}, None, {}

    def call() -> object:
        return subject.implementation.backward(data.params, data.xs.copy(), data.state, dys, dfinal, lengths=lengths.copy())

    returned = called(subject, "backward", call)
    dparams, dxs, dstate = returned
    return dict(dparams), dxs, dict(dstate)


def _in_own_layout(
    call: Call, mapping: WeightMap, data: Data, ys: Array, final: Arrays, back: tuple[Arrays, Array | None, Arrays]
) -> tuple[Cause, ...]:
    """As `causes_of_call`, with parameters compared in the subject's tensors: two biases that are added up have one gradient."""
    yours = {"forward ys": ys} | {f"forward {mapping.state[name]}": value for name, value in final.items() if name in mapping.state}
    yours |= {f"d{name}": value for name, value in back[0].items() if value is not None}
    yours |= {} if back[1] is None else {"dxs": back[1]}
    yours |= {f"d{mapping.state[name]}0": value for name, value in back[2].items() if value is not None}

    def own(given: Given) -> dict[str, Array]:
        dparams = gradients_from_reference(mapping, given.dparams, data.params)
        return _numbers(replace(given, dparams=dparams))

    right = own(answer(call))
    wrong = [name for name in yours if name in right and not relative_distance(yours[name], right[name]) <= _CLOSE]
    ahead = any(name.startswith("forward ") for name in wrong)
    if not wrong:
        return ()

    def error(bug: StackBug) -> float | None:
        planted = _answer(call, bug)
        if planted is None:
            return None
        made = own(planted)
        far = [relative_distance(yours[n], made[n]) for n in yours if n in made and (not ahead or n.startswith("forward "))]
        return max(far) if all(distance <= _CLOSE for distance in far) else None

    found = _found(_candidates(call, ahead), error)
    return tuple(_cause(bug, error, wrong, [other for other, _ in found if other is not bug]) for bug, error in found)


def _candidates(call: Call, ahead: bool) -> tuple[list[StackBug], list[StackBug]]:
    """Mistakes that need lengths or masks where there are any, and all others."""
    possible = [
        bug
        for bug in STACK_BUGS
        if (bug.kind == "forward") is ahead and bug.shows_in(call.stack, call.lengths is not None, call.masks is not None)
    ]
    own = [bug for bug in possible if {"lengths", "masks"} & set(bug.needs)]
    return own, [bug for bug in possible if bug not in own]


def _found(groups: Sequence[Sequence[StackBug]], error: Callable[[StackBug], float | None]) -> list[tuple[StackBug, float]]:
    """The mistakes of the first group in which there is one that fits."""
    for bugs in groups:
        if found := [(bug, e) for bug in bugs if (e := error(bug)) is not None]:
            return found
    return []


def _answer(call: Call, bug: StackBug) -> Given | None:
    """As `answer`; None for a mistake that cannot be made where steps are packed."""
    try:
        return answer(call, plant_stack(bug))
    except (ValueError, IndexError):
        return None


def _numbers(given: Given) -> dict[str, Array]:
    def each() -> Iterator[tuple[str, Array]]:
        yield "forward ys", given.ys
        for name, value in given.final.items():
            yield f"forward {name}", value
        for name, value in given.dparams.items():
            yield f"d{name}", value
        if given.dxs is not None:
            yield "dxs", given.dxs
        for name, value in given.dstate.items():
            yield f"d{name}0", value

    return dict(each())


def _error(call: Call, bug: StackBug, yours: dict[str, Array], ahead: bool) -> float | None:
    """Largest distance of the reference with the mistake to what was given; None where it is more than rounding."""
    planted = _answer(call, bug)
    if planted is None:
        return None
    made = _numbers(planted)
    far = [relative_distance(value, made[name]) for name, value in yours.items() if not ahead or name.startswith("forward ")]
    return max(far) if all(distance <= _CLOSE for distance in far) else None


def _cause(bug: StackBug, error: float, wrong: Sequence[str], others: Sequence[StackBug]) -> Cause:
    evidence = f"the reference stack with this mistake, on your weights, reproduces all that is wrong ({len(wrong)} arrays) to {error:.0e}"
    if others:
        evidence += f"; so does '{others[0].sentence}'" + (f" and {len(others) - 1} more" if len(others) > 1 else "")
    return Cause(bug.name, bug.sentence, evidence, 1.0, bug.fix)
