"""The certificate: for every block and cotangent, <u, g> of the subject's backward against <v, J u> of its forward.

One directional derivative J u is tested against all cotangents v. Directions have entries sign * U[0.5, 1.5], so a wrong block
escapes one draw with probability at most 0.08 (an error that cancels to below 5 % of its norm; measured over single entries,
pairs, swaps, dense and transposed errors); K draws leave 0.08**K.

A disagreement is called wrong only after three questions: is it more than what moving the inputs by a unit in the last place
does? does it stay when the precision grows? does a second, independent oracle side with the first?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bptt.harness.call.cell import Gradients, backward, run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, Cotangent, Data, cotangents, generator
from bptt.harness.errors import ContractError
from bptt.harness.gradient.derivatives.blocks import Block, blocks
from bptt.harness.gradient.derivatives.differences import contracted, ladder
from bptt.harness.gradient.derivatives.every_entry import through_single_steps
from bptt.harness.gradient.derivatives.oracle import Contractions, Oracle, choose
from bptt.harness.gradient.derivatives.step_jacobians import NoChain
from bptt.harness.gradient.derivatives.stepwise import OneStepAtATime
from bptt.harness.gradient.derivatives.tangent import signed_directions
from bptt.harness.gradient.precision import Noise, Precisions
from bptt.harness.subject import Array, Arrays, Region, Subject

#: Chance that one random direction misses a wrong block.
MISS_PER_DRAW = 0.08
#: A direction costs one run by complex step and fifteen by differences.
DRAWS_BY_DIFFERENCES = 2
#: Sums below this are where numbers of the dtype lose digits to underflow, on the way or in the end.
_SMALLEST = {"float32": 1e-30, "float64": 1e-290}
_MOST_CONFIRMED = 12
#: Entries of the parameters from which on all of them by single steps cost less than a few whole runs a block.
_MANY = 50_000

Verdict = Literal["agrees", "rounding", "wrong", "not finite", "undecided", "not given"]


@dataclass(frozen=True)
class Judged:
    """One block under one cotangent.   relative = |v'Ju - u'g| / sum of the sizes of all terms, the worst over the draws."""

    block: Block
    cotangent: int
    verdict: Verdict
    relative: float
    exact: float
    yours: float
    u: Array


@dataclass(frozen=True)
class Examination:
    """All blocks of one case, judged, with what is needed to look closer.   exact: where every entry is known already"""

    case: Case
    data: Data
    cotangents: tuple[Cotangent, ...]
    gradients: tuple[Gradients, ...]
    oracle: Oracle
    judged: tuple[Judged, ...]
    draws: int
    exact: tuple[Gradients, ...] | None = None

    @property
    def wrong(self) -> tuple[Judged, ...]:
        return tuple(j for j in self.judged if j.verdict in ("wrong", "not finite"))

    @property
    def undecided(self) -> tuple[Judged, ...]:
        return tuple(j for j in self.judged if j.verdict == "undecided")

    @property
    def miss_probability(self) -> float:
        return MISS_PER_DRAW**self.draws


Regions = Callable[[Arrays], Sequence[Region]]


def no_regions(params: Arrays) -> tuple[Region, ...]:
    """No gate is known."""
    return ()


def examine(
    subject: Subject,
    case: Case,
    regions: Regions = no_regions,
    draws: int = 8,
    sources: Sequence[str] = ("params", "xs", "state"),
    mirror: Subject | None = None,
) -> Examination:
    """Certify every block of the inputs in `sources` at one case; `regions` tells the gates' blocks in given parameters.

    mirror   the reference in the subject's clothes, where it was identified

    Raises ContractError when run or backward return nonsense, SubjectError when they raise.
    """
    data = draw(subject, case)
    ys, final = run(subject, data)
    vs = cotangents(subject, case, ys, final)
    with np.errstate(all="ignore"):
        gradients = [backward(subject, data, v) for v in vs]
    return judge(subject, case, data, vs, gradients, regions(data.params), draws, sources, mirror)


def judge(
    subject: Subject,
    case: Case,
    data: Data,
    vs: Sequence[Cotangent],
    gradients: Sequence[Gradients],
    regions: Sequence[Region],
    draws: int,
    sources: Sequence[str],
    mirror: Subject | None = None,
) -> Examination:
    """Hold given gradients against the oracle, block by block."""
    oracle = choose(subject, case, data, mirror)
    draws = draws if oracle.exact else min(draws, DRAWS_BY_DIFFERENCES)
    chosen = [b for b in blocks(case, data, regions) if b.source in sources]
    rng = generator(case, "directions")
    us = [signed_directions(rng, b.input(data)[b.index], draws) for b in chosen]
    exact = _every_entry_of_many(oracle, case, data, vs, chosen)
    if exact is None:
        found = oracle.contractions([b.direction_along(data, u) for b, many in zip(chosen, us, strict=True) for u in many], vs)
    else:
        found = _contracted(exact, chosen, us)
    values = found.values.reshape(len(chosen), draws, len(vs))
    errors, scales = found.errors.reshape(values.shape), found.scales.reshape(values.shape)
    judged: list[Judged] = []
    for i, block in enumerate(chosen):
        for j, gradient in enumerate(gradients):
            judged.append(_first_look(subject, block, j, gradient, us[i], values[i, :, j], errors[i, :, j], scales[i, :, j]))
    candidates = rounding_or_wrong(subject, case, data, vs, oracle, judged, gradients)
    confirmed = confirmed_by_another(subject, data, vs, oracle, candidates, gradients)
    if exact is not None:
        confirmed = [_without_direction(item) for item in confirmed]  # a hundred megabytes of directions
        exact = exact if any(item.verdict in ("wrong", "not finite") for item in confirmed) else None
    return Examination(case, data, tuple(vs), tuple(gradients), oracle, tuple(confirmed), draws, exact)


def _without_direction(item: Judged) -> Judged:
    """An item that agrees, with ones for its direction, whose entries are one in the mean."""
    return replace(item, u=np.broadcast_to(1.0, item.u.shape)) if item.verdict in ("agrees", "rounding", "not given") else item


def _every_entry_of_many(
    oracle: Oracle, case: Case, data: Data, vs: Sequence[Cotangent], chosen: Sequence[Block]
) -> tuple[Gradients, ...] | None:
    """Exact gradients where there are so many entries that all of them by single steps cost less than a few runs a block."""
    if sum(b.input(data)[b.index].size for b in chosen if b.source == "params") < _MANY:
        return None
    try:
        return through_single_steps(oracle, data, vs, chosen, generator(case, "every entry"))
    except NoChain:
        return None


def _contracted(exact: Sequence[Gradients], chosen: Sequence[Block], us: Sequence[Sequence[Array]]) -> Contractions:
    """<u, g> for the exact g."""
    values, scales = [], []
    for block, many in zip(chosen, us, strict=True):
        columns = np.stack([np.ravel(whole[block.index]) for g in exact if (whole := block.whole(g)) is not None], axis=1)  # (size, V)
        lines = np.stack([u.reshape(-1) for u in many])
        values.append(lines @ columns)
        scales.append(np.abs(lines) @ np.abs(columns))
    return Contractions(np.concatenate(values), np.zeros((len(values) * len(us[0]), len(exact))), np.concatenate(scales))


def rounding_or_wrong(
    subject: Subject,
    case: Case,
    data: Data,
    vs: Sequence[Cotangent],
    oracle: Oracle,
    judged: Sequence[Judged],
    gradients: Sequence[Gradients],
) -> list[Judged]:
    """The same, with what was undecided at first sight found to be rounding, or a candidate for 'wrong'."""
    zeros = _zero_but_for_rounding(judged, gradients)
    judged = [with_verdict(item, "rounding") if k in zeros else item for k, item in enumerate(judged)]
    largest = [_largest(g) for g in gradients]
    noise, precisions = Noise(subject, case, data, vs), Precisions(subject, data, vs)
    lost = [_most_lost(data, v, size) for v, size in zip(vs, largest, strict=True)]
    return [_second_look(noise, precisions, oracle, item, largest[item.cotangent], lost[item.cotangent]) for item in judged]


def _most_lost(data: Data, v: Cotangent, largest: float) -> float:
    """What an entry of a gradient may lose to rounding: half of the digits of the largest of them and of the cotangents.

    What is right in a wider number is rounding by no more than that: code may take another way for one dtype, a kernel for float64
    beside NumPy for all else, and be wrong in that way alone.
    """
    cotangents = max((float(np.max(np.abs(a), initial=0.0)) for a in (v.dys, *v.dfinal.values())), default=0.0)
    return 4 * float(np.sqrt(np.finfo(data.xs.dtype if data.xs.dtype.kind == "f" else np.float64).eps)) * max(largest, cotangents)


def _first_look(
    subject: Subject, block: Block, j: int, gradients: Gradients, us: list[Array], values: Array, errors: Array, scales: Array
) -> Judged:
    g = block.of(gradients)
    if g is None:
        return Judged(block, j, "not given", 0.0, float("nan"), float("nan"), us[0])
    if g.shape != us[0].shape:
        raise ContractError(
            f"{subject.name}.backward: dL/d{block.tensor} has other axes than {block.tensor}: {g.shape}, wanted {us[0].shape}"
        )
    unit = float(np.finfo(g.dtype if g.dtype.kind == "f" else np.float64).eps) / 2
    unit = max(unit, float(np.finfo(subject.dtype).eps) / 2)
    smallest = _SMALLEST["float32" if unit > 1e-10 else "float64"]
    worst: Judged | None = None
    lines, flat = np.stack([u.reshape(-1) for u in us]), g.reshape(-1)
    with np.errstate(all="ignore"):
        all_yours, all_terms = lines @ flat, np.abs(lines) @ np.abs(flat)
    for u, value, error, scale, yours, terms in zip(us, values, errors, scales, all_yours, all_terms, strict=True):
        if not np.isfinite(value):
            return Judged(block, j, "undecided", float("nan"), float(value), float(yours), u)
        if not np.isfinite(yours):
            return Judged(block, j, "not finite", float("inf"), float(value), float(yours), u)
        total = float(scale + terms)
        relative = abs(float(value) - float(yours)) / total if total > smallest else 0.0
        fine = abs(value - yours) <= 2**11 * unit * total + 30 * error or total <= smallest
        item = Judged(block, j, "agrees" if fine else "undecided", relative, float(value), float(yours), u)
        if worst is None or (item.verdict, item.relative) > (worst.verdict, worst.relative):
            worst = item
    assert worst is not None
    return worst


def _largest(gradients: Gradients) -> float:
    parts = [*gradients.params.values(), *gradients.state.values()] + ([] if gradients.xs is None else [gradients.xs])
    return max((float(np.max(np.abs(g), initial=0.0)) for g in parts), default=0.0)


def _zero_but_for_rounding(judged: Sequence[Judged], gradients: Sequence[Gradients]) -> set[int]:
    """Candidates in a parameter that has no influence (a bias before a softmax, a layer norm over one unit): both sides are rounding.

    A parameter acts at lag zero too, so its gradient is never honestly a unit roundoff of the others; an early input's may be.
    """
    found = set()
    for j, gradient in enumerate(gradients):
        largest = _largest(gradient)
        for k, item in enumerate(judged):
            g = item.block.of(gradient) if item.cotangent == j and item.verdict == "undecided" else None
            if g is None or g.dtype.kind != "f":
                continue
            eps = float(np.finfo(g.dtype).eps)
            floor = 64 * eps * largest * np.sqrt(g.size)
            if abs(item.exact) < 1e-6 * abs(item.yours):  # a sum that cancels, and was multiplied by 1 / sqrt(1e-5) on the way
                floor = max(floor, 0.01 * np.sqrt(eps) * largest)
            # of an input, dust where the exact gradient is zero; never a zero where the exact gradient is small
            dust = item.block.source == "params" or abs(item.exact) < 1e-3 * abs(item.yours)
            if dust and abs(item.exact) <= floor and abs(item.yours) <= floor:
                found.add(k)
    return found


def _second_look(noise: Noise, precisions: Precisions, oracle: Oracle, item: Judged, largest: float, lost: float) -> Judged:
    """Rounding, or a candidate for 'wrong'?

    largest   entry of all gradients for this cotangent        lost   what rounding may make of one entry at most, see `_most_lost`
    """
    if item.verdict != "undecided" or not np.isfinite(item.relative):
        return item
    with np.errstate(all="ignore"):
        gap = abs(item.exact - item.yours)
        gross = item.relative >= 1e-3 and gap >= 1e-9 * largest  # that is no rounding, and need not be asked
        if not gross and gap <= 100 * noise.of(item.block, item.cotangent, item.u, item.yours):
            return with_verdict(item, "rounding")
        within = gap <= lost * np.sqrt(item.u.size)
        if within and oracle.name == "complex step" and precisions.shrinks(item.block, item.cotangent, item.u):
            return with_verdict(item, "rounding")
    return with_verdict(item, "wrong")


def to_be_asked(judged: Sequence[Judged]) -> tuple[list[int], list[int]]:
    """The candidates, largest first, and those for a second oracle: the largest ones, and each tensor and gate at least once."""
    candidates = sorted((i for i, item in enumerate(judged) if item.verdict == "wrong"), key=lambda i: -judged[i].relative)
    first_of_tensor = {(judged[i].block.source, judged[i].block.tensor, judged[i].block.gate): i for i in reversed(candidates)}
    return candidates, sorted(set(candidates[:_MOST_CONFIRMED]) | set(first_of_tensor.values()))


def confirmed_by_another(
    subject: Subject, data: Data, vs: Sequence[Cotangent], oracle: Oracle, judged: list[Judged], gradients: Sequence[Gradients]
) -> list[Judged]:
    """Ask a second oracle about the candidates; without one that sides with the first, nothing is called wrong."""
    candidates, asked = to_be_asked(judged)
    floors = [64 * float(np.finfo(data.xs.dtype).eps) * _largest(g) for g in gradients]
    by_steps = OneStepAtATime(subject, data)
    answers = {i: second_opinion(by_steps, vs[judged[i].cotangent], oracle, judged[i]) for i in asked}
    trusted = "sides" in answers.values()
    result = list(judged)
    for i in candidates:
        answer = answers.get(i, "sides" if trusted else "cannot see")
        if answer != "sides":
            below_rounding = answer == "cannot see" and oracle.exact and by_steps.possible
            # finer differences at a kink; or all is saturated, and the function in these numbers is as flat as the subject says
            two_to_one = answer == "flat" or (answer == "sides with the subject" and not oracle.exact)
            tiny = max(abs(judged[i].exact), abs(judged[i].yours)) <= floors[judged[i].cotangent] * np.sqrt(judged[i].u.size)
            slight = judged[i].relative < 1e-8 or (answer == "cannot see" and tiny)  # no difference is good to eight digits of these
            result[i] = with_verdict(judged[i], "rounding" if below_rounding or two_to_one or slight else "undecided")
    return result


Opinion = Literal["sides", "disagrees", "sides with the subject", "flat", "cannot see"]


def second_opinion(by_steps: OneStepAtATime, v: Cotangent, oracle: Oracle, item: Judged) -> Opinion:
    """Whether an independent derivative sides with the first oracle against the subject.

    'cannot see': the gap is below the rounding noise of the forward pass itself, even one step at a time.
    'flat': one step at a time, the forward pass in these numbers has the derivative that the subject says.
    """
    subject, data = by_steps.subject, by_steps.data
    direction = item.block.direction_along(data, item.u)
    gap = abs(item.exact - item.yours)

    def opinion(value: float, error: float) -> Opinion:
        if not oracle.exact and abs(value - item.yours) <= 30 * error and abs(value - item.exact) > 0.3 * gap:
            return "sides with the subject"
        if not error <= 0.2 * gap:
            return "cannot see"
        if abs(value - item.exact) <= 0.3 * gap:
            return "sides"
        return "sides with the subject" if abs(value - item.yours) <= 0.3 * gap else "disagrees"

    with np.errstate(all="ignore"):
        if not oracle.exact:
            return opinion(*by_steps.finer(direction, v))
        found = opinion(*contracted(ladder(subject, data, direction), v))
        if found == "cannot see" and by_steps.possible:
            # one step at a time: the only difference that sees a gradient of 1e-43
            closer = opinion(*by_steps.along(direction, v))
            return "flat" if closer == "sides with the subject" else closer
        return found


def with_verdict(item: Judged, verdict: Verdict) -> Judged:
    return replace(item, verdict=verdict)
