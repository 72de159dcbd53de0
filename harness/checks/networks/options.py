"""Networks with dropout that is drawn outside and handed in: masks(rng, params, T, N), loss(..., masks=masks)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from bptt.harness.call.drawing import draw
from bptt.harness.call.guard import called_as, copies
from bptt.harness.call.network import LossAsOutput, Masks, as_cell, each_mask, loss_and_gradients, named_masks, with_masks
from bptt.harness.cases import Case, generator
from bptt.harness.checks.cells.gradients import evidence_of
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, agree
from bptt.harness.checks.registry import check
from bptt.harness.errors import ContractError
from bptt.harness.gradient.certificate import examine
from bptt.harness.subject import Array
from bptt.reports.records import Where

#: Values of a mask that are needed before anything is said of how many are zero.
_ENOUGH = 200


@check("OPT100", family="options", cases=(Case(T=12, N=8, H=16),), kinds=("network",), needs=("CON210",))
def dropout_masks_are_drawn_anew_and_keep_the_mean(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """A mask has the values 0 and 1/(1-p), so that its mean is 1; it differs from step to step, row to row and call to call."""
    first, second = named_masks(_masks(context, case, 0)), named_masks(_masks(context, case, 1))
    for name in (n for n in first if n in second):
        mask, again, where = first[name], second[name], Where(tensor=name)
        values = np.unique(mask)
        scale = float(values[-1])
        two = len(values) <= 2 and (values[0] == 0 or len(values) == 1) and scale >= 1
        yield Evidence(two, f"{name} has the values {_shown(values)}, wanted 0 and one number 1/(1-p)", where=where)
        if not two or scale == 1.0 or mask.size < _ENOUGH:
            continue
        p = 1 - 1 / scale
        spread = 6 * np.sqrt(p / (1 - p) / mask.size)
        yield Evidence(
            abs(float(mask.mean()) - 1) <= spread,
            f"{name} zeroes {float((mask == 0).mean()):.1%} of the values; its scale {scale:.4g} = 1/(1-p) belongs to p = {p:.1%}",
            where=where,
            observed=float(mask.mean()),
            expected=1.0,
            noise=float(spread),
        )
        yield Evidence(not np.array_equal(mask, again), f"{name} of a second call are those of the first", where=where)
        for axis, unit in ((0, "step"), (1, "row")):
            if mask.ndim > 2 and mask.shape[axis] > 1 and mask[0].size * p > 20:
                same = bool(np.all(mask == mask.take([0], axis=axis)))
                yield Evidence(not same, f"{name} are the same at every {unit}", "CONVENTION", "warning", where)


@check("OPT110", family="options", cases=(Case(), Case(T=3, N=1, seed=1)), kinds=("network",), needs=("CON210",))
def evaluation_knows_nothing_of_the_masks_of_training(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Loss and gradients without masks are the same before and after a call with masks, and the other way round."""
    network, params, state, _ = _network(context, case)
    masks = _masks(context, case, 2)  # of no other check: a mask that is kept since then would be the same one
    orders = ((None, masks, "without masks, after a call with masks,"), (masks, None, "with masks, after a call without,"))
    for first, between, name in orders:
        before, dbefore = _loss(network, params, state, first)
        _loss(network, params, state, between)
        after, dafter = _loss(network, params, state, first)
        yield agree(f"the loss {name}", got=after, expected=before, tolerance=0.0, than="that before it", where=Where(tensor="loss"))
        for tensor, value in dbefore.items():
            yield agree(
                f"dL/d{tensor} {name}",
                got=dafter.get(tensor, np.zeros_like(value)),
                expected=value,
                tolerance=0.0,
                than="that before it: a mask is kept",
                where=Where(tensor=tensor),
            )


@check("OPT120", family="options", cases=(Case(), Case(T=3, N=1, seed=1)), kinds=("network",), needs=("OPT110",))
def without_dropout_nothing_is_dropped_or_scaled(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """The loss and gradients without masks are those with masks of ones: evaluation neither drops nor scales."""
    network, params, state, masks = _network(context, case)
    plain, dplain = _loss(network, params, state, None)
    ones, dones = _loss(network, params, state, each_mask(np.ones_like, masks))
    than = "that with masks of ones"
    yield agree("the loss without masks", got=plain, expected=ones, tolerance=1e-12, than=than, where=Where(tensor="loss"))
    for name, value in dones.items():
        what = f"dL/d{name} without masks"
        yield agree(what, got=dplain.get(name, value), expected=value, tolerance=1e-10, than=than, where=Where(tensor=name))


@check("GRD240", family="gradient", cases=(Case(T=4), Case(T=3, N=1, seed=1)), kinds=("network",), needs=("GRD220",))
def gradients_with_given_masks_match_the_exact_derivative(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """<u, dL/dW> = d/de L(W + e u) with the dropout masks held fixed, for every parameter W."""
    _masks(context, case, 0)
    k = context.subject.truncation
    case = case if k is None else replace(case, T=min(case.T, k + 1))
    subject = with_masks(as_cell(context.subject, case), _masks(context, case, 0))
    found = evidence_of(examine(subject, case, context.regions, min(context.draws, 4), ("params",), None), ("params",), context)
    # without masks it is right, GRD220: what is wrong with them is not to be sought by other cases, or in the graph, which have none
    yield found if found.holds else replace(found, detail=None)


def _network(context: CheckContext, case: Case) -> tuple[LossAsOutput, dict[str, Array], dict[str, Array], Masks]:
    masks = _masks(context, case, 0)
    subject = as_cell(context.subject, case)
    data = draw(subject, case)
    return subject.implementation, data.params, data.state, masks


def _loss(network: LossAsOutput, params: dict[str, Array], state: dict[str, Array], masks: Masks | None) -> tuple[Array, dict[str, Array]]:
    held = None if masks is None else each_mask(np.copy, masks)
    loss, dparams = loss_and_gradients(network.network, network.name, params, network.inputs, network.targets, state, held)
    return np.array(loss), copies(dparams)


def _masks(context: CheckContext, case: Case, call: int) -> Masks:
    """Masks of its own kind.  Raises NotApplicable for a network without dropout."""
    made = getattr(context.subject.implementation, "masks", None)
    if not callable(made):
        raise NotApplicable("it has no dropout masks: wanted masks(rng, params, T, N) and loss(..., masks=)")
    params = draw(as_cell(context.subject, case), case).params
    where = f"{context.subject.name}.masks"
    masks = called_as(where, made, generator(case, f"masks {call}"), params, case.T, case.N)
    if not isinstance(masks, np.ndarray | Mapping | tuple | list | None):
        raise ContractError(f"{where} returned a {type(masks).__name__}, wanted an array, or a dict or a row of arrays")
    if masks is None or not named_masks(masks):
        raise NotApplicable("its dropout is off: masks gives none")
    for name, mask in named_masks(masks).items():
        if mask.dtype.kind not in "biuf":
            raise ContractError(f"{where}: {name} has dtype {mask.dtype}, wanted numbers")
    return masks


def _shown(values: Array) -> str:
    some = ", ".join(f"{value:.4g}" for value in values[:4])
    return f"{some}, ... ({len(values)} of them)" if len(values) > 4 else some
