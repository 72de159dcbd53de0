"""Naming a wrong gradient.

Where the subject's forward pass is a published cell, or a stack of them, the reference is run on the subject's own weights with each known
mistake in turn; the one that gives the subject's wrong numbers, in every tensor and under every cotangent, is the cause.  Where none does,
the numbers themselves are looked at (structure.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

from bptt.harness.cases import Case, admissible
from bptt.harness.diagnosis.candidates import groups, label_of, wrong_units
from bptt.harness.diagnosis.confirmed import confirmed, second_case, unknown
from bptt.harness.diagnosis.directions import dy_overwritten
from bptt.harness.diagnosis.fixes import in_words_of
from bptt.harness.diagnosis.narrowing import Rerun, narrowed
from bptt.harness.diagnosis.patterns import structure
from bptt.harness.diagnosis.patterns.numbers import numbers_of
from bptt.harness.diagnosis.replay import Candidate, Reference
from bptt.harness.diagnosis.wrong import WrongGradient, tensors
from bptt.harness.gradient.derivatives.distance import relative_distance
from bptt.harness.known import of_cell
from bptt.harness.known.match import Match
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.say import counted, evidence
from bptt.harness.weights.map import Identification, of_layer, place_of
from bptt.reports.records import Cause

__all__ = ["Reference", "WrongGradient", "explain", "two_mistakes"]

#: The case at which what a smaller one suggests is confirmed.
_LARGER = Case(T=5, N=3)
#: A longer case than this is not run again: it is long enough to tell most things apart, and a longer one takes seconds.
_MOST_STEPS = 20
#: Where a gradient with so few entries is wrong, its exact entries are always computed.
_ALWAYS_EXACT = 500

Found = Match[Candidate]


def explain(wrong: WrongGradient, rerun: Rerun | None = None, shortest: int = 0) -> tuple[Cause, ...]:
    """Likely causes of a wrong gradient, best first; () where nothing is known.   A score of 1 reproduces every number.

    rerun   gives the same subject's gradients at another case: to tell apart mistakes that are the same at this one, to confirm
            what a small case suggests, and to look at more numbers than it has
    shortest   steps of the shortest sequence that is known to be wrong, 0 where none is
    """
    found = _found(wrong, rerun)
    if rerun is not None and not any(cause.score == 1 for cause in found) and not agrees(wrong, wrong):
        found = narrowed(found, wrong, rerun, lambda again: agrees(again, wrong), shortest) or (unknown(wrong, _tried(wrong)),)
    return tuple(in_words_of(wrong.subject, cause) for cause in found)


def _found(wrong: WrongGradient, rerun: Rerun | None) -> tuple[Cause, ...]:
    named: tuple[Cause, ...] = ()
    if wrong.identification is not None:
        reference = Reference(wrong.identification, wrong)
        named = _named(reference, rerun)
        if not named and reference.stack.bare:
            named = two_mistakes(wrong, wrong.identification, rerun)
        if named and (named[0].score == 1 or reference.stack.bare):
            return named
        if not named and not reference.stack.bare:
            named = _place(reference)
    return (*named, *_patterns(wrong, rerun))


def _patterns(wrong: WrongGradient, rerun: Rerun | None) -> tuple[Cause, ...]:
    """What the numbers themselves suggest, where they do so at a second case too."""
    seen = _with_enough_numbers(wrong, rerun)
    if named := dy_overwritten(seen):
        return named
    found = structure.causes(seen)
    return found if rerun is None else confirmed(found, seen, rerun, structure.causes)


def _tried(wrong: WrongGradient) -> int:
    """How many known mistakes there are of the cell that it is."""
    if wrong.identification is None:
        return 0
    return sum(len(list(of_cell(name, len(wrong.data.xs)))) for name in wrong.identification.cell.split("+"))


def agrees(wrong: WrongGradient, beside: WrongGradient) -> bool:
    """Whether every gradient is right after all; False where too little is known to say so.

    beside   the gradient that was found wrong: where nothing exact is known of a smaller one, nothing was wrong with it
    """
    if wrong.identification is not None:
        return not Reference(wrong.identification, wrong).apart.wrong
    if any(True for exact in wrong.exact for _ in tensors(exact)):
        return not numbers_of(wrong).whole
    if wrong is beside or not any(True for exact in beside.exact for _ in tensors(exact)):
        return False
    return _entries(wrong) <= max(_ALWAYS_EXACT, _entries(beside))


def _entries(wrong: WrongGradient) -> int:
    data = wrong.data
    return data.xs.size + sum(value.size for value in (*data.params.values(), *data.state.values()))


def _with_enough_numbers(wrong: WrongGradient, rerun: Rerun | None) -> WrongGradient:
    """The same gradient at sizes at which a pattern means something: in a case of one unit everything is a constant factor."""
    case = wrong.case
    if rerun is None or min(case.T, 2) * min(case.N, 2) * min(case.D, 3) * min(case.H, 5) >= 2 * 2 * 3 * 5:
        return wrong
    larger = rerun(admissible(wrong.subject, replace(_LARGER, seed=case.seed)))
    known = all(any(True for _ in tensors(exact)) for exact in larger.exact)
    return larger if known and numbers_of(larger).whole else wrong


# ------------------------------------------------------------------------------------------------ one mistake


def _named(reference: Reference, rerun: Rerun | None) -> tuple[Cause, ...]:
    matches = next((found for group in groups(reference) if (found := reference.matches(group))), ())
    if not matches:
        return ()
    kept, elsewhere = _confirmed(reference, matches, rerun)
    if elsewhere is None:
        return _causes(reference, kept)
    if partner := _with_partner(elsewhere, kept):
        return partner
    identification = reference.wrong.identification
    if rerun is None or identification is None or not agrees(elsewhere.wrong, reference.wrong):
        return ()  # what explains a small case and not the larger one is no cause
    again = Reference(identification, rerun(second_case(reference.wrong)))  # a mistake of these sizes alone
    survivors = {found.candidate for found in again.matches([found.candidate for found in kept])}
    return _causes(reference, [found for found in kept if found.candidate in survivors], elsewhere)


def _confirmed(reference: Reference, matches: Sequence[Found], rerun: Rerun | None) -> tuple[Sequence[Found], Reference | None]:
    """The matches that also hold at larger cases, and the gradient, if any, at which none of them does."""
    wrong = reference.wrong
    if rerun is None or wrong.identification is None:
        return matches, None
    for T in (_LARGER.T, 12, wrong.case.T + 7):
        case = admissible(wrong.subject, replace(_LARGER, T=T, seed=wrong.case.seed))
        if case.T <= wrong.case.T or wrong.case.T > _MOST_STEPS:
            continue
        if len(matches) == 1 and T != _LARGER.T:
            break
        again = Reference(wrong.identification, rerun(case))
        survivors = {found.candidate for found in again.matches([found.candidate for found in matches])}
        if not survivors:
            return matches, again
        matches = [found for found in matches if found.candidate in survivors]
    return matches, None


def _with_partner(reference: Reference, matches: Sequence[Found]) -> tuple[Cause, ...]:
    """One of the mistakes that explain a smaller case, and a second one beside it that explains this one too; of a cell by itself."""
    if not reference.stack.bare:
        return ()
    for found in matches[:3]:
        first = found.candidate.first
        pairs = [Candidate((first, other), ("",)) for other in of_cell(reference.stack.cells[0].name, len(reference.xs))]
        for pair in reference.matches(pairs):
            return _both(reference, pair)
    return ()


# ------------------------------------------------------------------------------------------------ two mistakes


def two_mistakes(wrong: WrongGradient, identification: Identification, rerun: Rerun | None) -> tuple[Cause, ...]:
    """Two mistakes that reproduce the subject's numbers together.

    Either one of them explains what is wrong after a single step, or each of them mends a gate's block there and spoils none.
    """
    if rerun is None:
        return ()
    first = wrong if wrong.case.T == 1 else rerun(admissible(wrong.subject, replace(_LARGER, T=1, seed=wrong.case.seed)))
    reference = Reference(identification, first)
    known = of_cell(reference.stack.cells[0].name)
    if wrong is not first and (singles := reference.matches([Candidate((mistake,), ("",)) for mistake in known])):
        return _with_partner(Reference(identification, wrong), singles)
    before = _right_blocks(reference, Candidate(()))
    right = ((mistake, _right_blocks(reference, Candidate((mistake,), ("",)))) for mistake in known)
    helpful = [(mistake, blocks) for mistake, blocks in right if blocks > before][:40]
    for pair in (Candidate((a, b), ("",)) for (a, of_a), (b, of_b) in combinations(helpful, 2) if of_a != of_b):
        if found := reference.matches([pair]):
            return _confirmed_pair(reference, wrong, identification, found[0], rerun)
    return ()


def _confirmed_pair(small: Reference, wrong: WrongGradient, identification: Identification, pair: Found, rerun: Rerun) -> tuple[Cause, ...]:
    case = admissible(wrong.subject, replace(_LARGER, seed=wrong.case.seed))
    larger = Reference(identification, wrong if wrong.case.T >= case.T else rerun(case))
    return _both(larger, Match(pair.candidate, pair.error)) if larger.matches([pair.candidate]) else ()


def _right_blocks(reference: Reference, candidate: Candidate) -> frozenset[int]:
    """Which pieces of the mapping, the gates' blocks in the subject's tensors, agree under the first cotangent."""
    ours, yours = reference.gradients(candidate, 0).params, reference.wrong.yours[0].params
    return frozenset(
        k
        for k, piece in enumerate(reference.mapping.pieces)
        if piece.tensor in yours
        and relative_distance(ours[piece.tensor][piece.index], yours[piece.tensor][piece.index]) <= reference.apart.bound
    )


# ------------------------------------------------------------------------------------------------ words


def _causes(reference: Reference, matches: Sequence[Found], elsewhere: Reference | None = None) -> tuple[Cause, ...]:
    notes, score = "", 1.0
    if elsewhere is not None:
        right_there = agrees(elsewhere.wrong, reference.wrong)
        notes, score = f"; at {elsewhere.wrong.case} " + ("nothing is wrong" if right_there else "something else is wrong too"), 0.6
    causes = []
    for found in matches:
        others = [other.candidate.first.sentence for other in matches if other is not found]
        said = _evidence(reference, found, others) + (f" at {reference.wrong.case}" if others else "") + notes
        first = found.candidate.first
        causes.append(Cause(first.name, found.candidate.sentence, said, score, _fix(reference, first)))
    return tuple(causes)


def _evidence(reference: Reference, found: Found, others: Sequence[str] = ()) -> str:
    where = f" in {found.candidate.label}" if found.candidate.label else ""
    model = f"the reference {'' if reference.stack.bare else 'stack '}with this mistake{where}, on your weights,"
    return evidence(model, reference.apart.wrong, found.error, f"under {counted(len(reference.yours), 'cotangent')}", others)


def _both(reference: Reference, found: Found) -> tuple[Cause, ...]:
    """Two mistakes as a cause each; as one, where they are the two sides of a path that is cut."""
    one, other = found.candidate.mistakes
    for state in reference.wrong.data.state:
        own = reference.mapping.state.get(state, state)
        if {one.name, other.name} == {f"d{own}-next-dropped", f"d{own}0-zero"}:
            said = f"nothing goes back to {own}_(t-1): neither to dL/d{own}_0 nor to the step before"
            return (Cause(f"nothing-back-to-{own}", said, _evidence(reference, found), 1.0, _fix(reference, one)),)
    return tuple(_one_of_two(reference, found, *pair) for pair in ((one, other), (other, one)))


def _one_of_two(reference: Reference, found: Found, mistake: KnownMistake, partner: KnownMistake) -> Cause:
    model = f"two mistakes: together with '{partner.sentence}', on your weights, it"
    said = evidence(model, reference.apart.wrong, found.error, f"under {counted(len(reference.yours), 'cotangent')}")
    return Cause(mistake.name, mistake.sentence, said, 1.0, _fix(reference, mistake))


def _fix(reference: Reference, mistake: KnownMistake) -> str:
    """The fix, with a reminder where the subject's gate is 1 minus the reference's."""
    for cell in reference.stack.cells:
        for complement in cell.complements:
            other = any(piece.gate == complement.gate and piece.sign < 0 for piece in reference.mapping.pieces)
            if other and complement.gate in mistake.fix:
                gate = complement.gate
                return f"{mistake.fix} (for a cell in which {complement.said}; in yours {complement.other}: read 1 - {gate} for {gate})"
    return mistake.fix


def _place(reference: Reference) -> tuple[Cause, ...]:
    """Where a stack goes wrong first on the way back, where no mistake that is known gives the numbers."""
    wrong, names = wrong_units(reference), reference.apart.wrong
    if not names:
        return ()
    if not wrong:
        return (
            Cause(
                "wrong-dxs-of-stack",
                "every parameter's gradient is right: look at the bottom layer's last product, and at how directions are added up",
                f"only dL/d{names[0]} is wrong",
                0.6,
                "dxs = das @ W_x.T of the bottom layer, added up over the directions",
            ),
        )
    top = max(place_of(suffix)[0] for suffix in wrong)
    here = [suffix for suffix in wrong if place_of(suffix)[0] == top]
    words = " and ".join(label_of(reference.stack, suffix) for suffix in here)
    above = len(reference.stack.cells) - 1 - top
    mine = set(_own_names(reference, here))
    listed = ", ".join(f"dL/d{name}" for name in names if name in mine)
    said = f"{listed} {'are' if ', ' in listed else 'is'} wrong there" + (f", and nothing in the {above} above" if above else "")
    return (Cause("wrong-in-layer", f"on the way back it goes wrong first in {words}", said, 0.6, "look at this layer's backward alone"),)


def _own_names(reference: Reference, units: Sequence[str]) -> Iterator[str]:
    for suffix in units:
        mapping = of_layer(reference.mapping, suffix)
        yield from (piece.tensor for piece in mapping.pieces)
        yield from (f"{name}0" for name in mapping.state)
