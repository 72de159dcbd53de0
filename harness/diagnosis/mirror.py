"""The reference in a subject's clothes: its parameters and state names, the published cell's arithmetic.

Where a subject's own code cannot take complex numbers (buffers of a fixed dtype), the reference that it was found to equal can.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.diagnosis.mapping import Identification, Mapping, params_to_reference
from harness.subject import Array, Arrays, Subject
from refimpl.unroll import forward


@dataclass(frozen=True)
class Mirror:
    """run as the subject's, computed by the reference.   Same shapes and names as the subject's."""

    mapping: Mapping

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        carried = params_to_reference(self.mapping, params)
        start = self.mapping.cell.zero_state(carried, xs.shape[1])
        start |= {theirs: state[mine] for mine, theirs in self.mapping.state.items()}
        ys, final, _ = forward(self.mapping.cell, carried, xs, start)
        return ys, {mine: final[theirs] for mine, theirs in self.mapping.state.items()}


def mirror(subject: Subject, identification: Identification) -> Subject:
    """A subject that computes what `subject` was found to compute."""
    return replace(subject, name=f"the reference {identification.cell}", implementation=Mirror(identification.mapping), extra={})
