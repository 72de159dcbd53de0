"""Naming what is wrong where sequences of a batch have their own lengths, or where dropout masks stand between layers.

No exact derivative is asked for: the reference stack with each known mistake is run on the same numbers, and the one that gives all
that was given, to rounding, where the right one does not, is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from bptt.harness.call.drawing import draw
from bptt.harness.call.guard import called, named_arrays
from bptt.harness.cases import Case, Data, admissible, generator
from bptt.harness.diagnosis.replay import Call, replay
from bptt.harness.errors import BpttError
from bptt.harness.known import STACKS
from bptt.harness.known.match import apart, match
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.say import evidence
from bptt.harness.known.tolerances import CALL
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.weights.map import Identification, WeightMap, gradients_from_reference, params_to_reference
from bptt.reports.records import Cause

_CASE = Case(T=5, N=3, D=3, H=4)
#: The order of the three by length is its own inverse in none of its powers but the third.
_LENGTHS = (1, 5, 3)
#: What the reference gives, as what came back is called.
Read = Callable[[dict[str, Array]], dict[str, Array]]


def causes_of_call(call: Call, given: Arrays, read: Read = dict) -> tuple[Cause, ...]:
    """The known mistakes that give what was given in every number; () where it is right, or where none does.

    A mistake of the forward pass is known by outputs and final states: what a backward makes of it is its own.

    given   as `replay` names it      read   what the reference gives under those names, in the same layout
    """
    right = read(replay(call))
    far = apart([{name: value for name, value in given.items() if name in right}], [right], CALL)
    ahead = any(name.startswith("forward ") for name in far.wrong)
    yours = {name: value for name, value in given.items() if name in right and (not ahead or name.startswith("forward "))}

    def planted(mistake: KnownMistake, _: int) -> dict[str, Array] | None:
        try:
            return read(replay(call, mistake))
        except (ValueError, IndexError):  # it cannot be made where steps are packed
            return None

    for group in _groups(call, ahead):
        if found := match([yours], group, planted, far):
            model = "the reference stack with this mistake, on your weights,"
            return tuple(
                Cause(
                    one.candidate.name,
                    one.candidate.sentence,
                    evidence(model, far.wrong, one.error, others=[other.candidate.sentence for other in found if other is not one]),
                    1.0,
                    one.candidate.fix,
                )
                for one in found
            )
    return ()


def causes_with_lengths(subject: Subject, identification: Identification | None, seed: int = 0) -> tuple[Cause, ...]:
    """Known mistakes that give a subject's outputs, or gradients, of sequences of different lengths; () where none does.

    identification   what it is without lengths: a stack
    """
    if identification is None or identification.mapping.stack.bare or not subject.lengths:
        return ()
    case = admissible(subject, replace(_CASE, seed=seed))
    mapping = identification.mapping
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
    state = {theirs: data.state[mine] for mine, theirs in mapping.state.items()}
    ends = {theirs: dfinal[mine] for mine, theirs in mapping.state.items()}
    call = Call(mapping.stack, params_to_reference(mapping, data.params), data.xs, state, dys, ends, lengths)
    return causes_of_call(call, dict(_named(mapping, ys, final, back)), lambda made: _in_own_tensors(made, call, mapping, data))


def _backward(subject: Subject, data: Data, dys: Array, dfinal: Arrays, lengths: Array) -> tuple[Arrays, Array | None, Arrays]:
    """Its gradients with lengths; empty where it has no backward that takes them."""
    if "backward" not in subject.capabilities:
        return {}, None, {}

    def call() -> object:
        return subject.implementation.backward(data.params, data.xs.copy(), data.state, dys, dfinal, lengths=lengths.copy())

    returned = called(subject, "backward", call)
    dparams, dxs, dstate = returned
    return dict(dparams), dxs, dict(dstate)


def _named(mapping: WeightMap, ys: Array, final: Arrays, back: tuple[Arrays, Array | None, Arrays]) -> Iterator[tuple[str, Array]]:
    """What came back, as `replay` names it; parameters in the subject's tensors."""
    yield "forward ys", ys
    yield from ((f"forward {mapping.state[name]}", value) for name, value in final.items() if name in mapping.state)
    yield from ((f"d{name}", value) for name, value in back[0].items() if value is not None)
    if back[1] is not None:
        yield "dxs", back[1]
    yield from ((f"d{mapping.state[name]}0", value) for name, value in back[2].items() if value is not None)


def _in_own_tensors(made: dict[str, Array], call: Call, mapping: WeightMap, data: Data) -> dict[str, Array]:
    """Parameters in the subject's tensors: two biases that are added up have one gradient."""
    canonical = {name: made[f"d{name}"] for name in call.params}
    rest = {name: value for name, value in made.items() if name.removeprefix("d") not in canonical}
    return rest | {f"d{name}": value for name, value in gradients_from_reference(mapping, canonical, data.params).items()}


def _groups(call: Call, ahead: bool) -> tuple[list[KnownMistake], list[KnownMistake]]:
    """Mistakes that need lengths or masks where there are any, and all others."""
    possible = [
        mistake
        for mistake in STACKS
        if (mistake.kind == "forward") is ahead and mistake.shows_in(call.stack, call.lengths is not None, call.masks is not None)
    ]
    own = [mistake for mistake in possible if {"lengths", "masks"} & set(mistake.needs)]
    return own, [mistake for mistake in possible if mistake not in own]
