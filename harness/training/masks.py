"""How a dropout mask looks: two that are drawn from different numbers of a generator are compared by this, and not entry by entry."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bptt.harness.errors import BpttError
from bptt.harness.known.match import Match
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.subject import Array, Subject
from bptt.harness.training.oracle import Named, Question, asked, causes

#: More values than these are no mask of two values any more.
_FEW = 4


@dataclass(frozen=True)
class Look:
    """values   the different ones, in order, the first and the last where there are many    many   whether there are
    zeros       their share          same   axes along which nothing changes          independent   entries that may differ
    """

    values: tuple[float, ...]
    many: bool
    zeros: float
    same: tuple[int, ...]
    independent: int

    @property
    def words(self) -> str:
        return ", ".join(f"{value:.4g}" for value in self.values) + (" and many between" if self.many else "")

    def is_like(self, other: Look) -> bool:
        """The same values along the same axes, and about as many zeros."""
        if self.many != other.many or self.same != other.same or (not self.many and len(self.values) != len(other.values)):
            return False
        if not self.many and not np.allclose(self.values, other.values, rtol=1e-9, atol=0):
            return False
        return abs(self.zeros - other.zeros) <= 4 * float(np.sqrt(0.5 / self.independent))


def look(mask: Array) -> Look:
    """Of a mask of at least two entries along every axis."""
    values = np.unique(np.round(mask, 12))
    same = tuple(axis for axis in range(mask.ndim) if np.array_equal(mask, np.broadcast_to(mask.take([0], axis=axis), mask.shape)))
    independent = int(np.prod([n for axis, n in enumerate(mask.shape) if axis not in same], initial=1))
    many = len(values) > _FEW
    shown = (float(values[0]), float(values[-1])) if many else tuple(float(value) for value in values)
    return Look(shown, many, float(np.mean(mask == 0)), same, independent)


def named_by_look(subject: Subject, variants: Iterable[KnownMistake], questions: Sequence[Question]) -> Named:
    """The variants whose masks look like its own, for every question."""
    try:
        own = [look(asked(subject, question)["mask", None]) for question in questions]
    except BpttError:
        return Named(())

    def fits(variant: KnownMistake) -> bool:
        theirs = (look(variant.answer({}, *copy.deepcopy(question.args))["mask", None]) for question in questions)
        return all(a.is_like(b) for a, b in zip(own, theirs, strict=True))

    found = [Match(variant, 0.0) for variant in variants if fits(variant)]
    return causes(found, ["mask"], len(questions)) if found else Named(())
