"""Two directions side by side are one function of their weights, over the sequence and over the sequence turned around."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from bptt.harness.cases import Case, Data
from bptt.harness.checks.cells.time import forward_half
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, agree
from bptt.harness.checks.registry import check
from bptt.harness.subject import Array
from bptt.reports.records import Where

#: What a name claims for both directions.
_A_CELL = re.compile(r"lstm|gru|rnn|elman", re.I)
#: Ways to pair weights of the same shapes that are tried.
_WAYS = 24

#: (an array of the forward direction, its counterpart)
Pairs = Sequence[tuple[str, str]]


@check("TIM140", family="time", level="standard", cases=(Case(), Case(T=4, N=1, D=2, H=3, seed=1)), needs=("CON110", "CON150"))
def both_directions_are_one_function_of_their_weights(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Of a layer of two directions side by side: with the weights and states of both exchanged, over the sequence turned around, its
    outputs are exchanged and turned around, and its final states exchanged.

    Where the name says of no cell that it is both, two functions may be meant: that is a warning.
    """
    context.exempt("directions")
    data, ys, final = context.data(case), context.first(case).ys, context.first(case).final
    forwards = forward_half(context, data, ys) if _reads_the_last(context, data, ys) else None
    if forwards is None:
        raise NotApplicable("its outputs are not those of two directions side by side")
    sides = {name: _side(context, data, name, ys, forwards) for name in (*data.params, *data.state)}
    if "both" in sides.values():
        shared = ", ".join(name for name, side in sides.items() if side == "both")
        raise NotApplicable(f"{shared} reach both directions: they cannot be exchanged")
    kinds = [{name: value for name, value in arrays.items() if sides[name]} for arrays in (data.params, data.state)]
    ways = [list(itertools.islice(_pairings(arrays, sides), _WAYS)) for arrays in kinds]
    if not all(ways):
        raise NotApplicable("its directions have weights of other shapes: they are meant to be two functions")
    there, back = np.flatnonzero(forwards), np.flatnonzero(~forwards)
    wanted = np.array(ys[::-1])
    wanted[..., there], wanted[..., back] = ys[::-1][..., back], ys[::-1][..., there]
    first: Evidence | None = None
    for pairs in itertools.islice(((*a, *b) for a, b in itertools.product(*ways)), _WAYS):
        got, ended = context.run(_exchanged(data, pairs))
        found = _alike(context, got, wanted, case)
        if found.holds:
            yield found
            states = [pair for both in pairs if both[0] in final and both[1] in final for pair in (both, both[::-1])]
            yield from (_alike(context, ended[a], final[b], case, f"final {a}") for a, b in states)
            return
        for units in (there, back):  # one of them reads the step beside: y_t of s_(t+1)
            if any(_alike(context, got[a][..., units], wanted[b][..., units], case).holds for a, b in _A_STEP):
                raise NotApplicable("one of its directions is a step ahead of the other: they are meant to be two functions")
        first = first or found
    assert first is not None  # there is a way
    yield first


def _reads_the_last(context: CheckContext, data: Data, ys: Array) -> bool:
    """Whether an output before the last step reads its input: one pass tells most layers of one direction."""
    xs = data.xs.copy()
    xs[-1] = -1.3 * xs[-1] + 0.1
    changed = np.abs(context.run(Data(data.params, xs, data.state))[0][:-1] - ys[:-1])
    return bool(np.max(changed, initial=0.0) > 64 * float(np.finfo(ys.dtype).eps) * float(np.max(np.abs(ys), initial=0.0)))


_A_STEP = ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None)))


_TWO = "its own, exchanged and turned around: they are two functions"


def _alike(context: CheckContext, got: Array, wanted: Array, case: Case, what: str = "outputs") -> Evidence:
    found = agree(
        f"{what} with the weights of both directions exchanged",
        got=got,
        expected=wanted,
        tolerance=1e4 * float(np.finfo(case.dtype).eps),
        than=_TWO if what == "outputs" else "that of the other direction: it is not the state in which its direction ends",
        where=Where(tensor="ys" if what == "outputs" else what),
    )
    meant = what == "outputs" and not _A_CELL.search(context.subject.name)
    return replace(found, severity="warning") if meant and not found.holds else found


def _side(context: CheckContext, data: Data, name: str, ys: Array, forwards: Array) -> str:
    """Which outputs an array reaches: "forward", "reverse", "both", or "" for none."""
    arrays = data.params if name in data.params else data.state
    moved = dict(arrays) | {name: np.asarray(arrays[name] * 1.3 + 0.1, arrays[name].dtype)}
    other = Data(moved, data.xs, data.state) if name in data.params else Data(data.params, data.xs, moved)
    changed = np.any(context.run(other)[0] != ys, axis=(0, 1))
    one, two = bool(np.any(changed[forwards])), bool(np.any(changed[~forwards]))
    return "both" if one and two else "forward" if one else "reverse" if two else ""


def _pairings(arrays: Mapping[str, Array], sides: Mapping[str, str]) -> Iterator[list[tuple[str, str]]]:
    """Each array of one direction with one of the other of its shape, in every order; first those in the order in which they stand."""
    ours, theirs = ([name for name in arrays if sides[name] == side] for side in ("forward", "reverse"))
    if sorted(arrays[n].shape for n in ours) != sorted(arrays[n].shape for n in theirs):
        return
    for order in itertools.islice(itertools.permutations(theirs), 40_320):
        pairs = list(zip(ours, order, strict=True))
        if all(arrays[a].shape == arrays[b].shape for a, b in pairs):
            yield pairs


def _exchanged(data: Data, pairs: Pairs) -> Data:
    other = {a: b for pair in pairs for a, b in (pair, pair[::-1])}

    def of(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {name: arrays[other.get(name, name)] for name in arrays}

    return Data(of(data.params), np.array(data.xs[::-1]), of(data.state))
