"""How near a mistake must come to a subject's wrong numbers to be named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bptt.harness.call.cell import Gradients
from bptt.harness.diagnosis.wrong import WrongGradient, tensors
from bptt.harness.gradient.distance import relative_distance

#: A bug is named where it comes this close to the subject's numbers in every tensor (relative to its largest entry) ...
CLOSE = {"float32": 1e-3, "float64": 1e-8, "longdouble": 1e-8}
#: ... and this many times closer than the right gradient does.
CLOSER_THAN_RIGHT = 100.0
#: A tensor is wrong where it is farther than this from the right one.
WRONG = {"float32": 3e-3, "float64": 1e-9, "longdouble": 1e-9}


def limit_of(wrong: WrongGradient) -> float:
    """A tensor is wrong where it is farther than this from the right one."""
    return WRONG.get(wrong.subject.dtype, 1e-9)


def bound_of(wrong: WrongGradient, apart: Sequence[Mapping[str, float]]) -> float:
    """How near a mistake must come.   apart: how far every tensor is from the right one, for each cotangent"""
    worst = max(max(distances.values(), default=0.0) for distances in apart)
    return min(CLOSE.get(wrong.subject.dtype, 1e-8), worst / CLOSER_THAN_RIGHT)


def distances(ours: Gradients, yours: Gradients) -> Iterator[tuple[str, float]]:
    """Relative distance of every tensor that both have.  dL/dxs step by step: a long lag's is tiny beside the last one's."""
    mine = dict(tensors(ours))
    for name, value in tensors(yours):
        if name not in mine:
            continue
        if name == "xs" and mine[name].shape == value.shape:
            each = [relative_distance(a, b) for a, b in zip(mine[name], value, strict=True)]
            yield name, float("nan") if np.isnan(each).any() else max(each, default=0.0)
        else:
            yield name, relative_distance(mine[name], value)
