"""Naming a wrong gradient.

Where the subject's forward pass is a published cell, the reference is run on the subject's own weights with each known mistake in
turn; the one that gives the subject's wrong numbers, in every tensor and under every cotangent, is the cause.  Where none does,
the numbers themselves are looked at (structure.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import Case, Cotangent, admissible
from bptt.harness.diagnosis import explain_stack, structure
from bptt.harness.diagnosis.fixes import in_words_of
from bptt.harness.diagnosis.narrowing import Rerun, narrowed
from bptt.harness.diagnosis.numbers import numbers_of
from bptt.harness.diagnosis.tolerances import bound_of, distances, limit_of
from bptt.harness.diagnosis.wrong import WrongGradient, tensors
from bptt.harness.gradient.distance import relative_distance
from bptt.harness.known import bugs_of
from bptt.harness.known.plant import Bug, Planted, PlantError, plant
from bptt.harness.subject import Array
from bptt.harness.weights.map import Identification, gradients_from_reference, params_to_reference, resized
from bptt.refimpl import unroll
from bptt.reports.records import Cause

__all__ = ["Reference", "WrongGradient", "explain", "matching_bugs", "two_mistakes"]

#: The case at which what a smaller one suggests is confirmed.
_LARGER = Case(T=5, N=3)
#: A longer case than this is not run again: it is long enough to tell most things apart, and a longer one takes seconds.
_MOST_STEPS = 20
#: Where a gradient with so few entries is wrong, its exact entries are always computed.
_ALWAYS_EXACT = 500


def explain(wrong: WrongGradient, rerun: Rerun | None = None) -> tuple[Cause, ...]:
    """Likely causes of a wrong gradient, best first; () where nothing is known.   A score of 1 reproduces every number.

    rerun   gives the same subject's gradients at another case: to tell apart bugs that are the same at this one, to confirm
            what a small case suggests, and to look at more numbers than it has
    """
    found = _found(wrong, rerun)
    if rerun is not None and not any(cause.score == 1 for cause in found) and not agrees(wrong, wrong):
        found = narrowed(found, wrong, rerun, lambda again: agrees(again, wrong))
    return tuple(in_words_of(wrong.subject, cause) for cause in found)


def _found(wrong: WrongGradient, rerun: Rerun | None) -> tuple[Cause, ...]:
    if wrong.identification is not None and wrong.identification.mapping.stack is not None:
        if (named := explain_stack.causes(wrong, wrong.identification, rerun)) and named[0].score == 1:
            return named
        return (*named, *structure.causes(_with_enough_numbers(wrong, rerun)))
    if wrong.identification is not None:
        if named := _named(wrong, wrong.identification, rerun):
            return named
        if pair := two_mistakes(wrong, wrong.identification, rerun):
            return pair
    return structure.causes(_with_enough_numbers(wrong, rerun))


def agrees(wrong: WrongGradient, beside: WrongGradient) -> bool:
    """Whether every gradient is right after all; False where too little is known to say so.

    beside   the gradient that was found wrong: where nothing exact is known of a smaller one, nothing was wrong with it
    """
    if wrong.identification is not None:
        if wrong.identification.mapping.stack is not None:
            apart = explain_stack.apart(wrong, wrong.identification)
        else:
            apart = _apart(wrong, Reference(wrong.identification, wrong))
        return all(d <= limit_of(wrong) for far in apart for d in far.values())
    if any(True for exact in wrong.exact for _ in tensors(exact)):
        return not numbers_of(wrong).whole
    if wrong is beside or not any(True for exact in beside.exact for _ in tensors(exact)):
        return False
    return _entries(wrong) <= max(_ALWAYS_EXACT, _entries(beside))


def _entries(wrong: WrongGradient) -> int:
    data = wrong.data
    return data.xs.size + sum(value.size for value in (*data.params.values(), *data.state.values()))


def _named(wrong: WrongGradient, identification: Identification, rerun: Rerun | None) -> tuple[Cause, ...]:
    matches = matching_bugs(wrong, Reference(identification, wrong))
    if not matches:
        return ()
    kept, elsewhere = _confirmed(wrong, identification, matches, rerun)
    if elsewhere is None:
        return _causes(wrong, identification, kept)
    return _with_partner(elsewhere, identification, kept) or _causes(wrong, identification, kept, elsewhere)


def _with_partner(wrong: WrongGradient, identification: Identification, matches: Sequence[Match]) -> tuple[Cause, ...]:
    """One of the bugs that explain a smaller case, and a second one beside it that explains this one too."""
    reference = Reference(identification, wrong)
    for match in matches[:3]:
        for other in matching_bugs(wrong, reference, together_with=match.bug):
            return _both(wrong, identification, Match((*match.bugs, *other.bugs), other.error, other.wrong))
    return ()


def _with_enough_numbers(wrong: WrongGradient, rerun: Rerun | None) -> WrongGradient:
    """The same gradient at sizes at which a pattern means something: in a case of one unit everything is a constant factor."""
    case = wrong.case
    if rerun is None or min(case.T, 2) * min(case.N, 2) * min(case.D, 3) * min(case.H, 5) >= 2 * 2 * 3 * 5:
        return wrong
    larger = rerun(admissible(wrong.subject, replace(_LARGER, seed=case.seed)))
    known = all(any(True for _ in tensors(exact)) for exact in larger.exact)
    return larger if known and numbers_of(larger).whole else wrong


@dataclass(frozen=True)
class Match:
    """Bugs that together give the subject's numbers.   error: largest relative distance to them; wrong: tensors that are"""

    bugs: tuple[Bug, ...]
    error: float
    wrong: tuple[str, ...]

    @property
    def bug(self) -> Bug:
        return self.bugs[0]


class Reference:
    """The reference cell with a subject's weights, and its gradients in the subject's own layout."""

    def __init__(self, identification: Identification, wrong: WrongGradient) -> None:
        data = wrong.data
        # Written for these sizes once; without `tensors` it is not asked to fit itself to the parameters again.
        self.mapping = replace(resized(identification.mapping, data.params), tensors={})
        self.cell = self.mapping.cell
        self.own_params = data.params
        self.dtype = np.result_type(np.float64, data.xs.dtype)
        self.params = {name: value.astype(self.dtype) for name, value in params_to_reference(self.mapping, data.params).items()}
        self.xs = data.xs.astype(self.dtype)
        N = data.xs.shape[1]
        self.zero = {name: value.astype(self.dtype) for name, value in self.cell.zero_state(self.params, N).items()}
        self.state = self.zero | {
            own: data.state[name].astype(self.dtype) for name, own in self.mapping.state.items() if name in data.state
        }

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


def matching_bugs(
    wrong: WrongGradient, reference: Reference, among: Sequence[Bug] | None = None, together_with: Bug | None = None
) -> tuple[Match, ...]:
    """The bugs of the cell (or of `among`) that give the subject's numbers under every cotangent; () where its numbers are right.

    together_with   a bug that is planted beside each of them
    """
    apart = _apart(wrong, reference)
    limit = limit_of(wrong)
    names = tuple(dict.fromkeys(name for far in apart for name, distance in far.items() if not distance <= limit))
    if not names:
        return ()
    bound = bound_of(wrong, apart)
    order = sorted(range(len(apart)), key=lambda j: -max(apart[j].values(), default=0.0))
    found = []
    for bug in bugs_of(reference.cell.name, len(wrong.data.xs)) if among is None else among:
        planted = _planted(reference, *([together_with] if together_with else []), bug)
        error = None if planted is None else _error(wrong, reference, planted, order, bound)
        if error is not None:
            found.append(Match((bug,), error, names))
    return tuple(found)


def two_mistakes(wrong: WrongGradient, identification: Identification, rerun: Rerun | None) -> tuple[Cause, ...]:
    """Two bugs that reproduce the subject's numbers together.

    Either one of them explains what is wrong after a single step, or each of them mends a gate's block there and spoils none.
    """
    if rerun is None:
        return ()
    first = wrong if wrong.case.T == 1 else rerun(admissible(wrong.subject, replace(_LARGER, T=1, seed=wrong.case.seed)))
    reference = Reference(identification, first)
    if wrong is not first and (singles := matching_bugs(first, reference)):
        return _with_partner(wrong, identification, singles)
    apart = _apart(first, reference)
    bound, order = bound_of(first, apart), list(range(len(apart)))
    before = _right_blocks(first, reference, plant(reference.cell), bound)
    helpful: list[tuple[Bug, frozenset[int]]] = []
    for bug in bugs_of(reference.cell.name):
        planted = _planted(reference, bug)
        after = _right_blocks(first, reference, planted, bound) if planted is not None else frozenset()
        if after > before:
            helpful.append((bug, after))
    for (one, right_of_one), (other, right_of_other) in combinations(helpful[:40], 2):
        if right_of_one == right_of_other:
            continue
        planted = _planted(reference, one, other)
        error = None if planted is None else _error(first, reference, planted, order, bound)
        if error is not None:
            names = tuple(dict.fromkeys(name for far in apart for name, d in far.items() if not d <= 10 * bound))
            return _confirmed_pair(wrong, identification, Match((one, other), error, names), rerun)
    return ()


def _confirmed_pair(wrong: WrongGradient, identification: Identification, match: Match, rerun: Rerun) -> tuple[Cause, ...]:
    case = admissible(wrong.subject, replace(_LARGER, seed=wrong.case.seed))
    larger = wrong if wrong.case.T >= case.T else rerun(case)
    one, other = match.bugs
    if matching_bugs(larger, Reference(identification, larger), [other], together_with=one):
        return _both(larger, identification, match)
    return ()


def _right_blocks(wrong: WrongGradient, reference: Reference, planted: Planted, bound: float) -> frozenset[int]:
    """Which pieces of the mapping, the gates' blocks in the subject's tensors, agree under the first cotangent."""
    ours, yours = reference.gradients(planted, wrong.cotangents[0]).params, wrong.yours[0].params
    return frozenset(
        k
        for k, piece in enumerate(reference.mapping.pieces)
        if piece.tensor in yours and relative_distance(ours[piece.tensor][piece.index], yours[piece.tensor][piece.index]) <= bound
    )


def _planted(reference: Reference, *bugs: Bug) -> Planted | None:
    """The reference with these bugs, None where one of them has taken the other's text away."""
    if len(bugs) < 2:
        return plant(reference.cell, *bugs)
    try:
        return plant(reference.cell, *bugs)
    except PlantError:
        return None


def _apart(wrong: WrongGradient, reference: Reference) -> list[dict[str, float]]:
    """How far every tensor is from the right one, for each cotangent."""
    right = (reference.gradients(plant(reference.cell), v) for v in wrong.cotangents)
    return [dict(distances(clean, yours)) for clean, yours in zip(right, wrong.yours, strict=True)]


def _error(wrong: WrongGradient, reference: Reference, planted: Planted, order: Sequence[int], bound: float) -> float | None:
    """Largest distance of the planted reference to the subject's gradients, or None as soon as one is above `bound`."""
    worst = 0.0
    for j in order:
        for _, distance in distances(reference.gradients(planted, wrong.cotangents[j]), wrong.yours[j]):
            if not distance <= bound:
                return None
            worst = max(worst, distance)
    return worst


def _confirmed(
    wrong: WrongGradient, identification: Identification, matches: Sequence[Match], rerun: Rerun | None
) -> tuple[Sequence[Match], WrongGradient | None]:
    """The matches that also hold at larger cases, and the gradient, if any, at which none of them does."""
    if rerun is None:
        return matches, None
    for T in (_LARGER.T, 12, wrong.case.T + 7):
        case = admissible(wrong.subject, replace(_LARGER, T=T, seed=wrong.case.seed))
        if case.T <= wrong.case.T or wrong.case.T > _MOST_STEPS:
            continue
        if len(matches) == 1 and T != _LARGER.T:
            break
        again = rerun(case)
        survivors = {match.bug for match in matching_bugs(again, Reference(identification, again), [match.bug for match in matches])}
        if not survivors:
            return matches, again
        matches = [match for match in matches if match.bug in survivors]
    return matches, None


def _causes(
    wrong: WrongGradient, identification: Identification, matches: Sequence[Match], elsewhere: WrongGradient | None = None
) -> tuple[Cause, ...]:
    right_there = elsewhere is not None and agrees(elsewhere, wrong)
    causes = []
    for match in matches:
        evidence = f"the reference with this mistake, on your weights, reproduces {_reproduced(wrong, match)}"
        if len(matches) > 1:
            evidence += f"; {_so_do(match, matches)} at {wrong.case}"
        if elsewhere:
            evidence += f"; at {elsewhere.case} " + ("nothing is wrong" if right_there else "something else is wrong too")
        score = 0.6 if elsewhere else 1.0
        causes.append(Cause(match.bug.name, match.bug.sentence, evidence, score, _fix(identification, match.bug)))
    return tuple(causes)


def _so_do(match: Match, matches: Sequence[Match]) -> str:
    """Which other mistakes give the same numbers: "so does 'dL/dh_0 is zero'", or how many beside two of them."""
    others = [f"'{other.bug.sentence}'" for other in matches if other is not match]
    shown = " and ".join(others[:2])
    return f"so do{'es' * (len(others) == 1)} {shown}" + (f" and {len(others) - 2} more" if len(others) > 2 else "")


def _both(wrong: WrongGradient, identification: Identification, match: Match) -> tuple[Cause, ...]:
    """Two mistakes as a cause each; as one, where they are the two sides of a path that is cut."""
    one, other = match.bugs
    for state in wrong.data.state:
        own = identification.mapping.state.get(state, state)
        if {one.name, other.name} == {f"d{own}-next-dropped", f"d{own}0-zero"}:
            evidence = f"the reference with this mistake, on your weights, reproduces {_reproduced(wrong, match)}"
            said = f"nothing goes back to {own}_(t-1): neither to dL/d{own}_0 nor to the step before"
            return (Cause(f"nothing-back-to-{own}", said, evidence, 1.0, _fix(identification, one)),)
    return tuple(
        Cause(
            bug.name,
            bug.sentence,
            f"two mistakes: together with '{partner.sentence}', on your weights, it reproduces {_reproduced(wrong, match)}",
            1.0,
            _fix(identification, bug),
        )
        for bug, partner in ((one, other), (other, one))
    )


def _reproduced(wrong: WrongGradient, match: Match) -> str:
    count = len(match.wrong)
    what = f"all {count} wrong tensors ({', '.join(match.wrong)})" if count > 1 else f"the wrong tensor ({match.wrong[0]})"
    return f"{what} to {match.error:.0e} under {len(wrong.cotangents)} cotangent{'s' * (len(wrong.cotangents) > 1)}"


def _fix(identification: Identification, bug: Bug) -> str:
    """The mend, with a reminder where the subject's z is the reference's 1 - z."""
    opens = any(piece.gate == "z" and piece.sign < 0 for piece in identification.mapping.pieces)
    return bug.fix + (" (for a z that keeps the old state; yours opens the new one: read 1 - z for z)" if opens and "z" in bug.fix else "")
