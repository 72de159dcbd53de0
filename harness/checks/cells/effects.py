"""Whether every parameter does anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bptt.harness.call.cell import backward, run
from bptt.harness.cases import Case, Data, generator, resized
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, holds
from bptt.harness.checks.registry import check
from bptt.harness.subject import DROPOUT, Array
from bptt.harness.words import ranges
from bptt.reports.records import Where

#: Draws of numbers in all of which a gradient must be zero: a unit that is off by chance is on in one of them.
_DRAWS = 3


@check("GRD195", family="gradient", level="standard", cases=(Case(seed=70),), needs=("GRD130",))
def every_parameter_has_an_effect(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """dL/dW is not zero everywhere for a W, nor in a row or a column of it: what it is zero in changes nothing, whatever its value.

    Zero exactly, under several draws of all numbers; and the outputs and final states must stay as they are, bit for bit, where those
    entries are moved.  A warning: a bias before another bias, a gate that is multiplied by zero, a layer that is made and never called.
    """
    context.needs_backward()
    dead = {name: np.ones(value.shape, bool) for name, value in context.data(case).params.items()}
    for seed in range(_DRAWS):
        at = replace(case, seed=case.seed + seed)
        data = context.data(at)
        found = backward(context.subject, data, context.cotangents(at, data)[0]).params
        dead = {name: mask & (found[name] == 0) for name, mask in dead.items() if name in found and found[name].shape == mask.shape}
    for name, mask in dead.items():
        parts = _parts(mask)
        if any(each.what == DROPOUT for each in context.subject.detected):
            parts = [part for part in parts if part[0] < 0]  # a row that a mask drops is dropped at every call
        if parts and _moves_nothing(context, case, name, parts) and not (mask.all() and name in _alive_at_more_units(context, case)):
            yield _said(name, mask, parts)
        else:
            yield holds()


def _alive_at_more_units(context: CheckContext, case: Case) -> set[str]:
    """Parameters with a gradient at more units, where only some numbers of them are taken: in groups of 16 the smallest, 16, is one."""
    more = [size for size in context.subject.hidden_sizes or () if size > case.H]
    if not more:
        return set()
    at = resized(context.subject, case, H=more[0])
    data = context.data(at)
    return {name for name, value in backward(context.subject, data, context.cotangents(at, data)[0]).params.items() if np.any(value)}


def _parts(mask: Array) -> list[tuple[int, list[int]]]:
    """(axis, places) of rows and columns that are dead throughout; axis -1 for the whole."""
    if mask.size and mask.all():
        return [(-1, [])]
    if mask.ndim == 0:
        return []
    dead = ((axis, mask.all(axis=tuple(k for k in range(mask.ndim) if k != axis))) for axis in range(mask.ndim))
    return [(axis, [int(k) for k in np.flatnonzero(along)]) for axis, along in dead if along.any()]


def _moves_nothing(context: CheckContext, case: Case, name: str, parts: list[tuple[int, list[int]]]) -> bool:
    """Whether outputs and final states stay where those entries take other values."""
    data = context.data(case)
    rng = generator(case, "an effect")
    moved = np.array(data.params[name])
    for axis, places in parts:
        index = ... if axis < 0 else tuple(places if k == axis else slice(None) for k in range(moved.ndim))
        moved[index] += rng.normal(size=moved[index].shape).astype(moved.dtype)
    there = run(context.subject, data)
    here = run(context.subject, Data({**data.params, name: moved}, data.xs, data.state))
    return np.array_equal(there[0], here[0]) and all(np.array_equal(value, here[1][k]) for k, value in there[1].items())


def _said(name: str, mask: Array, parts: list[tuple[int, list[int]]]) -> Evidence:
    axis, places = parts[0]
    if axis < 0:
        what = f"{name} {mask.shape} has no effect: outputs and final states are the same whatever its values, its gradient is always zero"
    else:
        entries = f"entries {ranges(places, ' to ')}"
        of = f"{entries} of axis {axis}" if mask.ndim > 1 else entries
        what = f"{of} of {name} {mask.shape} have no effect: outputs and final states are the same whatever their values"
    return Evidence(False, what, "CONTRACT", "warning", Where(tensor=name))
