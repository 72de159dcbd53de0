"""A wrong gradient, with all that is known of it: what the diagnosis works on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import Case, Cotangent, Data
from bptt.harness.subject import Array, Region, Subject
from bptt.harness.weights.map import Identification


@dataclass(frozen=True)
class WrongGradient:
    """A subject's gradients at one case for several cotangents, beside the exact ones.

    identification   the published cell that the subject's forward pass is, or None
    regions          gates' blocks in the subject's tensors, () where none are known
    yours, exact     one `Gradients` a cotangent; `exact` may lack tensors that were too large to compute
    """

    subject: Subject
    identification: Identification | None
    regions: tuple[Region, ...]
    case: Case
    data: Data
    cotangents: tuple[Cotangent, ...]
    yours: tuple[Gradients, ...]
    exact: tuple[Gradients, ...]


def tensors(gradients: Gradients) -> Iterator[tuple[str, Array]]:
    """The tensors of a gradient under the names that messages use: parameters, xs, and h0 for a state h."""
    yield from gradients.params.items()
    if gradients.xs is not None:
        yield "xs", gradients.xs
    for name, value in gradients.state.items():
        yield f"{name}0", value
