"""Every entry of every gradient against its exact value: nothing is drawn by chance but the proofs of the exact values.

Where the certificate asks whether a block is right, this asks which of its entries are, each relative to the largest one of its
block: a tensor's gate, or one step of the inputs. An entry that differs is moved on its own through the whole run, and goes through the
same questions as a block of the certificate (rounding? a second oracle?) before it is called wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bptt.harness.call.cell import Gradients, backward, run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, Cotangent, Data, cotangents, generator
from bptt.harness.gradient.certificate import (
    Examination,
    Judged,
    Regions,
    confirmed_by_another,
    no_regions,
    rounding_or_wrong,
    second_opinion,
    to_be_asked,
    with_verdict,
)
from bptt.harness.gradient.derivatives.blocks import Block, blocks
from bptt.harness.gradient.derivatives.every_entry import exact_gradients
from bptt.harness.gradient.derivatives.oracle import Oracle, choose
from bptt.harness.gradient.derivatives.stepwise import OneStepAtATime
from bptt.harness.subject import Array, Subject

#: Entries of a difference quotient that differ by less than this part of the largest are left to what has a better eye.
_BY_DIFFERENCES = 1e-6


def exhaust(subject: Subject, case: Case, regions: Regions = no_regions, mirror: Subject | None = None) -> Examination:
    """Every entry of one case, judged; `judged` has a line for each block and cotangent, about its worst entry.

    Raises ContractError when run or backward return nonsense, SubjectError when they raise.
    """
    data = draw(subject, case)
    ys, final = run(subject, data)
    vs = cotangents(subject, case, ys, final)
    with np.errstate(all="ignore"):
        gradients = [backward(subject, data, v) for v in vs]
    oracle = choose(subject, case, data, mirror)
    chosen = blocks(case, data, regions(data.params), most_steps=case.T)
    exact = exact_gradients(oracle, data, vs, chosen, generator(case, "every entry"))
    judged: list[Judged] = []
    for source, tensor in dict.fromkeys((block.source, block.tensor) for block in chosen):
        mine = [block for block in chosen if (block.source, block.tensor) == (source, tensor)]
        given = [j for j, g in enumerate(gradients) if mine[0].whole(g) is not None]
        judged += [_not_given(block, j, data) for block in mine for j in range(len(vs)) if j not in given]
        if given:
            yours, truth = (np.stack([_whole(mine[0], many[j]) for j in given]) for many in (gradients, exact))
            for block in mine:
                judged += _worst_entries(data, oracle, block, [(j, vs[j]) for j in given], yours, truth)
    candidates = rounding_or_wrong(subject, case, data, vs, oracle, judged, gradients)
    decide = _unless_opposed if oracle.exact else confirmed_by_another
    closer = decide(subject, data, vs, oracle, candidates, gradients)
    return Examination(case, data, tuple(vs), tuple(gradients), oracle, tuple(closer), 0, exact)


def _worst_entries(
    data: Data, oracle: Oracle, block: Block, vs: Sequence[tuple[int, Cotangent]], yours: Array, truth: Array
) -> list[Judged]:
    """The worst entry of one block, for each cotangent.   yours, truth (V, ...): the whole tensor"""
    at = (slice(None), *block.index)
    a, b = yours[at].reshape(len(vs), -1), truth[at].reshape(len(vs), -1)
    shape = yours[at].shape[1:]
    eps = float(np.finfo(a.dtype).eps) if a.dtype.kind == "f" else 2e-16
    relative, of_largest = (1e6 * eps, 1e4 * eps) if oracle.exact else (_BY_DIFFERENCES, _BY_DIFFERENCES)
    with np.errstate(all="ignore"):
        apart, exact_sizes = np.abs(a - b), np.abs(b)
        sizes = exact_sizes.max(axis=1, keepdims=True)
        over = apart - np.maximum(relative * exact_sizes, of_largest * sizes)
    over[np.isnan(over)] = np.inf
    worst = over.argmax(axis=1)
    none = np.broadcast_to(0.0, shape)
    judged = []
    for k, (j, v) in enumerate(vs):
        w = int(worst[k])
        mine, exact, size = float(a[k, w]), float(b[k, w]), float(sizes[k, 0])
        if over[k, w] <= 0:
            judged.append(Judged(block, j, "agrees", float(apart[k].max()) / (size or 1.0), exact, mine, none))
            continue
        u = np.zeros(shape, data.xs.dtype if data.xs.dtype.kind == "f" else np.float64)
        u.flat[w] = 1
        if np.isfinite(exact) and not np.isfinite(mine):
            judged.append(Judged(block, j, "not finite", float("inf"), exact, mine, u))
            continue
        found = oracle.contractions([block.direction_along(data, u)], [v])
        value, error = float(found.values[0, 0]), 30 * float(found.errors[0, 0])
        gap = abs(value - mine)
        fine = gap <= max(relative * abs(value), of_largest * size, error)
        total = (abs(value) + abs(mine)) or 1.0
        judged.append(Judged(block, j, "agrees" if fine else "undecided", gap / total, value, mine, u))
    return judged


def _not_given(block: Block, j: int, data: Data) -> Judged:
    nothing = np.broadcast_to(0.0, block.input(data)[block.index].shape)
    return Judged(block, j, "not given", 0.0, float("nan"), float("nan"), nothing)


def _whole(block: Block, gradients: Gradients) -> Array:
    whole = block.whole(gradients)
    assert whole is not None
    return whole


def _unless_opposed(
    subject: Subject, data: Data, vs: Sequence[Cotangent], oracle: Oracle, judged: list[Judged], gradients: Sequence[Gradients]
) -> list[Judged]:
    """An entry for which the chain and the whole run agree stays wrong where differences are too coarse to see it.

    Differences are asked about the worst entry of each tensor and gate.
    """
    candidates, _ = to_be_asked(judged)
    asked = {(judged[i].block.source, judged[i].block.tensor, judged[i].block.gate): i for i in reversed(candidates)}
    by_steps = OneStepAtATime(subject, data)
    answers = {i: second_opinion(by_steps, vs[judged[i].cotangent], oracle, judged[i]) for i in asked.values()}
    trusted = any(answer in ("sides", "cannot see") for answer in answers.values())
    result = list(judged)
    for i in candidates:
        answer = answers.get(i, "sides" if trusted else "disagrees")
        if answer not in ("sides", "cannot see"):
            result[i] = with_verdict(judged[i], "undecided" if answer == "disagrees" else "rounding")
    return result
