"""The reference in a subject's clothes: its parameters and state names, the published cell's arithmetic.

Where a subject's own code cannot take complex numbers (buffers of a fixed dtype), the reference that it was found to equal can.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bptt.harness.subject import Array, Arrays, Subject, no_regions
from bptt.harness.weights.map import Identification, WeightMap, params_to_reference
from bptt.refimpl import stack, unroll


def reference_zero_state(mapping: WeightMap, params: Arrays, N: int) -> dict[str, Array]:
    """The initial state of the stack that `mapping` leads to; `params` and the state in its own names."""
    return stack.zero_state(mapping.stack, params, N)


def reference_forward(mapping: WeightMap, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array], stack.StackTape]:
    """Outputs, final state and tape of the stack that `mapping` leads to."""
    return stack.forward(mapping.stack, params, xs, state)


def reference_backward(mapping: WeightMap, params: Arrays, tape: stack.StackTape, dys: Array, dfinal: Arrays) -> unroll.Gradients:
    """dparams, dxs, dstate0 of <dys, ys> + <dfinal, final>, from the tape of `reference_forward`."""
    return stack.backward(mapping.stack, params, tape, dys, dfinal)


@dataclass(frozen=True)
class Mirror:
    """run as the subject's, computed by the reference.   Same shapes and names as the subject's."""

    mapping: WeightMap

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        carried = params_to_reference(self.mapping, params)
        start = reference_zero_state(self.mapping, carried, xs.shape[1])
        start |= {theirs: state[mine] for mine, theirs in self.mapping.state.items()}
        ys, final, _ = reference_forward(self.mapping, carried, xs, start)
        return ys, {mine: final[theirs] for mine, theirs in self.mapping.state.items()}


def mirror(subject: Subject, identification: Identification) -> Subject:
    """A subject that computes what `subject` was found to compute."""
    name, implementation = f"the reference {identification.cell}", Mirror(identification.mapping)
    bare = replace(subject, second_call=None, written_into=None, two_sequences=None)  # these are the user's own object's
    return replace(bare, name=name, implementation=implementation, regions=no_regions, no_dfinal=())
