"""Wrong numbers beside exact ones, tensor by tensor and gate by gate: what the patterns are looked for in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bptt.harness.diagnosis.wrong import WrongGradient, tensors
from bptt.harness.gradient.derivatives.distance import relative_distance
from bptt.harness.known.tolerances import same_number
from bptt.harness.subject import Array


@dataclass(frozen=True)
class Pair:
    """A tensor's gradient, or one gate's block of it, for all cotangents.   yours, exact: one array a cotangent"""

    tensor: str
    gate: str | None
    yours: tuple[Array, ...]
    exact: tuple[Array, ...]

    @property
    def label(self) -> str:
        return f"dL/d{self.tensor}" + (f", gate {self.gate}" if self.gate else "")

    @property
    def size(self) -> int:
        return self.exact[0].size

    def flat(self) -> tuple[Array, Array]:
        return np.concatenate([y.ravel() for y in self.yours]), np.concatenate([e.ravel() for e in self.exact])


@dataclass(frozen=True)
class Numbers:
    """All that the tests look at.   whole: the tensors that are wrong;   parts: the gates' blocks that are;   same: tolerance"""

    wrong: WrongGradient
    whole: tuple[Pair, ...]
    right: tuple[Pair, ...]
    parts: tuple[Pair, ...]
    right_parts: tuple[Pair, ...]
    same: float

    def equal(self, a: Array, b: Array) -> bool:
        return relative_distance(a, b) <= self.same

    def all_equal(self, a: Sequence[Array], b: Sequence[Array]) -> bool:
        """As `equal`, for each cotangent by itself."""
        return all(self.equal(x, y) for x, y in zip(a, b, strict=True))


def numbers_of(wrong: WrongGradient) -> Numbers:
    """The tensors and gates' blocks of which both sides are known, told apart by whether they are wrong."""
    same = same_number(wrong.subject.dtype)
    yours, exact = [dict(tensors(g)) for g in wrong.yours], [dict(tensors(g)) for g in wrong.exact]
    shared = [name for name in exact[0] if all(name in g for g in (*yours, *exact))] if exact and yours else []
    pairs = [Pair(name, None, tuple(g[name] for g in yours), tuple(g[name] for g in exact)) for name in shared]
    pairs = [pair for pair in pairs if pair.size and all(y.shape == e.shape for y, e in zip(pair.yours, pair.exact, strict=True))]
    parts = []
    for pair in pairs:
        for region in wrong.regions:
            if region.tensor == pair.tensor and pair.tensor in wrong.data.params:
                part = Pair(
                    pair.tensor,
                    region.gate,
                    tuple(y[region.index] for y in pair.yours),
                    tuple(e[region.index] for e in pair.exact),
                )
                parts.append(part)

    def is_wrong(pair: Pair) -> bool:
        return any(not relative_distance(y, e) <= 10 * same for y, e in zip(pair.yours, pair.exact, strict=True))

    return Numbers(
        wrong,
        tuple(p for p in pairs if is_wrong(p)),
        tuple(p for p in pairs if not is_wrong(p)),
        tuple(p for p in parts if is_wrong(p)),
        tuple(p for p in parts if not is_wrong(p)),
        same,
    )


def finest(numbers: Numbers) -> list[Pair]:
    """The gates' blocks where they are known, else the tensors."""
    split = {pair.tensor for pair in (*numbers.parts, *numbers.right_parts)}
    return [*numbers.parts, *(pair for pair in numbers.whole if pair.tensor not in split)]


def listed(pairs: Sequence[Pair]) -> str:
    """'dL/dW_x and dL/dW_h, gate f'"""
    labels = [pair.label for pair in pairs]
    return labels[0] if len(labels) == 1 else ", ".join(labels[:-1]) + " and " + labels[-1]
