"""Naming a wrong gradient.

Where the subject's forward pass is a published cell, the reference is run on the subject's own weights with each known mistake in
turn; the one that gives the subject's wrong numbers, in every tensor and under every cotangent, is the cause.  Where none does,
the numbers themselves are looked at (structure.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from harness.cases import Case, Cotangent, admissible
from harness.diagnosis import structure
from harness.diagnosis.bugs import bugs_of
from harness.diagnosis.mapping import Identification, Mapping, gradients_from_reference, params_to_reference, resized
from harness.diagnosis.plant import Bug, Planted, plant
from harness.diagnosis.wrong import WrongGradient, relative_distance, tensors
from harness.gradient.running import Gradients
from harness.subject import Array
from refimpl import unroll
from reports.records import Cause

__all__ = ["Reference", "WrongGradient", "explain", "matching_bugs"]

Rerun = Callable[[Case], WrongGradient]

#: A bug is named where it comes this close to the subject's numbers in every tensor (relative to its largest entry) ...
_CLOSE = {"float32": 1e-3, "float64": 1e-8, "longdouble": 1e-8}
#: ... and this many times closer than the right gradient does.
_CLOSER_THAN_RIGHT = 100.0
#: A tensor is wrong where it is farther than this from the right one.
_WRONG = {"float32": 3e-3, "float64": 1e-9, "longdouble": 1e-9}


def explain(wrong: WrongGradient, rerun: Rerun | None = None) -> tuple[Cause, ...]:
    """Likely causes of a wrong gradient, best first; () where nothing is known.   score 1: it reproduces every number to rounding.

    rerun   gives the same subject's gradients at another case, to tell apart bugs that are the same at this one
    """
    identification = wrong.identification
    if identification is not None:
        matches = matching_bugs(wrong, Reference(identification, wrong))
        if matches:
            return _causes(wrong, identification, matches, rerun)
    return structure.causes(wrong)


@dataclass(frozen=True)
class Match:
    """A bug that gives the subject's numbers.   error: largest relative distance to them; wrong: names of the tensors that are wrong"""

    bug: Bug
    error: float
    wrong: tuple[str, ...]


class Reference:
    """The reference cell with a subject's weights, and its gradients in the subject's own layout."""

    def __init__(self, identification: Identification, wrong: WrongGradient) -> None:
        data = wrong.data
        # Written for these sizes once; without `tensors` it is not asked to fit itself to the parameters again.
        self.mapping: Mapping = replace(resized(identification.mapping, data.params), tensors={})
        self.cell = self.mapping.cell
        self.own_params = data.params
        self.dtype = np.result_type(np.float64, data.xs.dtype)
        self.params = {name: value.astype(self.dtype) for name, value in params_to_reference(self.mapping, data.params).items()}
        self.xs = data.xs.astype(self.dtype)
        N = data.xs.shape[1]
        self.zero = {name: value.astype(self.dtype) for name, value in self.cell.zero_state(self.params, N).items()}
        self.state = self.zero | {own: data.state[name].astype(self.dtype) for name, own in self.mapping.state.items() if name in data.state}

    @cached_property
    def tapes(self) -> list[tuple[Array, ...]]:
        return unroll.forward(self.cell, self.params, self.xs, self.state)[2]

    def gradients(self, planted: Planted, cotangent: Cotangent) -> Gradients:
        """The gradients of <dys, ys> + <dfinal, final> that the reference gives, with the bug that is planted in it."""
        dfinal = self.zero | {
            own: cotangent.dfinal[name].astype(self.dtype) for name, own in self.mapping.state.items() if name in cotangent.dfinal
        }
        with np.errstate(all="ignore"):
            dparams, dxs, dstate = planted.backward(
                planted.cell, self.params, self.xs, self.tapes, cotangent.dys.astype(self.dtype), dfinal
            )
        covered = {piece.tensor for piece in self.mapping.pieces}
        own = gradients_from_reference(self.mapping, dparams, self.own_params)
        return Gradients(
            {name: value for name, value in own.items() if name in covered},
            dxs,
            {name: dstate[canonical] for name, canonical in self.mapping.state.items()},
        )


def matching_bugs(wrong: WrongGradient, reference: Reference, among: Sequence[Bug] | None = None) -> tuple[Match, ...]:
    """The bugs of the cell (or of `among`) that give the subject's numbers under every cotangent; () where its numbers are right."""
    right = [reference.gradients(plant(reference.cell, None), v) for v in wrong.cotangents]
    apart = [_distances(clean, yours) for clean, yours in zip(right, wrong.yours, strict=True)]
    close = _CLOSE.get(wrong.subject.dtype, 1e-8)
    limit = _WRONG.get(wrong.subject.dtype, 1e-9)
    names = tuple(dict.fromkeys(name for distances in apart for name, distance in distances.items() if not distance <= limit))
    if not names:
        return ()
    worst = max(max(distances.values(), default=0.0) for distances in apart)
    bound = min(close, worst / _CLOSER_THAN_RIGHT)
    order = sorted(range(len(apart)), key=lambda j: -max(apart[j].values(), default=0.0))
    candidates = bugs_of(reference.cell.name, len(wrong.data.xs)) if among is None else among
    found = []
    for bug in candidates:
        error = _error(wrong, reference, plant(reference.cell, bug), order, bound)
        if error is not None:
            found.append(Match(bug, error, names))
    return tuple(found)


def _error(wrong: WrongGradient, reference: Reference, planted: Planted, order: Sequence[int], bound: float) -> float | None:
    """Largest distance of the planted reference to the subject's gradients, or None as soon as one is above `bound`."""
    worst = 0.0
    for j in order:
        distances = _distances(reference.gradients(planted, wrong.cotangents[j]), wrong.yours[j])
        if not all(distance <= bound for distance in distances.values()):
            return None
        worst = max(worst, *distances.values(), 0.0)
    return worst


def _distances(ours: Gradients, yours: Gradients) -> dict[str, float]:
    """Relative distance of every tensor that both have.  dL/dxs step by step: a long lag's gradient is tiny beside the last step's."""
    mine = dict(tensors(ours))
    found = {}
    for name, value in tensors(yours):
        if name in mine:
            pairs = zip(mine[name], value, strict=False) if name == "xs" and mine[name].shape == value.shape else [(mine[name], value)]
            distances = [relative_distance(a, b) for a, b in pairs]
            found[name] = float("nan") if np.isnan(distances).any() else max(distances, default=0.0)
    return found


def _causes(wrong: WrongGradient, identification: Identification, matches: Sequence[Match], rerun: Rerun | None) -> tuple[Cause, ...]:
    told_apart, elsewhere = _told_apart(wrong, identification, matches, rerun)
    names = [match.bug.name for match in told_apart]
    causes = []
    for match in told_apart:
        count = len(match.wrong)
        what = f"all {count} wrong tensors ({', '.join(match.wrong)})" if count > 1 else f"the wrong tensor ({match.wrong[0]})"
        evidence = f"the reference with this mistake, on your weights, reproduces {what} to {match.error:.0e} under {len(wrong.cotangents)} cotangents"
        if len(names) > 1:
            evidence += f"; so does {', '.join(name for name in names if name != match.bug.name)} at {wrong.case}"
        if elsewhere:
            evidence += f"; at {elsewhere} something else is wrong too"
        causes.append(Cause(match.bug.name, match.bug.sentence, evidence, 0.9 if elsewhere else 1.0, match.bug.fix + _in_their_words(identification, match.bug)))
    return tuple(causes)


def _told_apart(
    wrong: WrongGradient, identification: Identification, matches: Sequence[Match], rerun: Rerun | None
) -> tuple[Sequence[Match], str]:
    """The matches that also hold at larger cases, and the case, if any, at which none of them does."""
    if rerun is None or len(matches) == 1:
        return matches, ""
    for T in (5, 12, wrong.case.T + 7):
        case = admissible(wrong.subject, Case(T=T, N=3, seed=wrong.case.seed))
        if (case.T, case.N) <= (wrong.case.T, wrong.case.N):
            continue
        again = rerun(case)
        survivors = {match.bug for match in matching_bugs(again, Reference(identification, again), [match.bug for match in matches])}
        if not survivors:
            return matches, str(case)
        matches = [match for match in matches if match.bug in survivors]
        if len(matches) == 1:
            break
    return matches, ""


def _in_their_words(identification: Identification, bug: Bug) -> str:
    """A reminder where the subject's z is the reference's 1 - z."""
    opens = any(piece.gate == "z" and piece.sign < 0 for piece in identification.mapping.pieces)
    return "   (for a z that keeps the old state; yours opens the new one: read 1 - z for z)" if opens and "z" in bug.fix else ""
