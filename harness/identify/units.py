"""Which parameters and states belong to which layer and direction of a stack: from what acts on what, and from no name.

A final state depends on the parameters of its own layer and direction and on those of all layers below.  So states that depend on the
same parameters are one unit, a unit above another depends on all that the lower one does and on its own parameters besides, and two
directions of a layer have no own parameters in common.  Several steps are run, so that what acts on h_(t-1) alone shows in c_t too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np

from bptt.harness.call.cell import run
from bptt.harness.call.guard import called, named_arrays
from bptt.harness.cases import Data
from bptt.harness.identify.probing import FREE_SIZES, OutOfReach, Unidentified, choose, normal
from bptt.harness.subject import Array, Arrays, Subject

_POINTS = 2
_STEPS = 3


@dataclass(frozen=True)
class Unit:
    """One layer in one direction.   states, params: as the subject names them"""

    states: tuple[str, ...]
    params: tuple[str, ...]


@dataclass(frozen=True)
class Whole:
    """A subject of several layers or directions at one size.

    layers    the units of each layer, the bottom one's first: one, or two for both directions
    template  parameters as its init gives them;   zero   states, (N, H) each
    sizes     D, H, N
    """

    subject: Subject
    layers: tuple[tuple[Unit, ...], ...]
    template: dict[str, Array]
    zero: dict[str, Array]
    sizes: dict[str, int]

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        """Outputs and final states; the subject gets copies."""
        given = {name: params[name].copy() for name in self.template}  # in the order of its own init: some look at that
        with np.errstate(all="ignore"):
            return run(self.subject, Data(given, xs.copy(), {name: state[name].copy() for name in self.zero}))


def number_of_states(subject: Subject) -> int:
    """How many states it has: a single cell has two at most."""
    D, H, N = choose(subject, FREE_SIZES)
    template = named_arrays(called(subject, "init", subject.implementation.init, np.random.default_rng(0), D, H), f"{subject.name}.init")
    return len(called(subject, "zero_state", subject.implementation.zero_state, template, N))


def open_whole(
    subject: Subject, rng: np.random.Generator, free: dict[str, int] = FREE_SIZES, by: Literal["influence", "names"] = "influence"
) -> Whole:
    """The subject's layers at small sizes.  Raises Unidentified where its states and parameters don't make layers.

    by   what acts on what; or what they are called (W_h_l1_reverse), where a mistake is looked for that makes one act on another
    """
    whole = opened(subject, rng, free)
    return replace(whole, layers=_layers(whole, rng) if by == "influence" else _layers_by_names(whole))


def opened(subject: Subject, rng: np.random.Generator, free: dict[str, int] = FREE_SIZES) -> Whole:
    """The subject at small sizes, its layers not yet told apart.  Raises Unidentified where it can have none."""
    D, H, N = choose(subject, free)
    dtype, implementation = np.dtype(subject.dtype), subject.implementation
    template = named_arrays(called(subject, "init", implementation.init, rng, D, H), f"{subject.name}.init")
    for name, value in template.items():
        if value.dtype.kind != "f":
            raise OutOfReach(f"parameter {name!r} has dtype {value.dtype}, wanted real numbers")
    template = {name: value.astype(dtype) for name, value in template.items()}
    zero = named_arrays(called(subject, "zero_state", implementation.zero_state, template, N), f"{subject.name}.zero_state")
    zero = {name: value.astype(dtype) for name, value in zero.items()}
    if not zero:
        raise OutOfReach("it reads the sequence in both directions and keeps no states, from which they could be told apart")
    for name, value in zero.items():
        if value.ndim != 2 or value.shape[0] != N:
            raise OutOfReach(f"its state {name!r} has shape {value.shape}, wanted ({N}, H), one state for each layer and direction")
    return Whole(subject, (), template, zero, {"D": D, "H": H, "N": N})


def _layers(whole: Whole, rng: np.random.Generator) -> tuple[tuple[Unit, ...], ...]:
    acting = _acting(whole, rng)
    groups: dict[frozenset[str], list[str]] = {}
    for state, names in acting.items():
        groups.setdefault(names, []).append(state)
    if len(groups) == 1:
        states = ", ".join(acting)
        raise Unidentified(f"its states ({states}) all depend on the same parameters, as those of a single cell do: no layers")
    order = sorted(groups, key=len)
    depth: dict[frozenset[str], int] = {}
    for names in order:
        depth[names] = max((depth[lower] + 1 for lower in depth if lower < names), default=0)
    layers: list[tuple[Unit, ...]] = []
    below: frozenset[str] = frozenset()
    for k in range(max(depth.values()) + 1):
        here = [names for names in order if depth[names] == k]
        own = [names - below for names in here]
        if len(here) > 2 or (len(here) == 2 and own[0] & own[1]) or not all(own) or any(not below <= names for names in here):
            states = "; ".join(", ".join(groups[names]) for names in here)
            raise Unidentified(f"its states {states} depend on parameters as those of no layer do, in one direction or in both")
        layers.append(tuple(Unit(tuple(groups[n]), tuple(p for p in whole.template if p in o)) for n, o in zip(here, own, strict=True)))
        below = below.union(*here)
    if left := [name for name in whole.template if name not in below]:
        raise Unidentified(f"parameter {left[0]!r} acts on none of its states: something stands beside its layers")
    if len({len(layer) for layer in layers}) > 1:
        raise Unidentified("some of its layers have one direction and others two")
    return tuple(layers)


_REVERSE = re.compile(r"_?(?:reversed|reverse|rev|backward|bwd|right)(?=_|\d|$)")


def _layers_by_names(whole: Whole) -> tuple[tuple[Unit, ...], ...]:
    """Layers by the number in a name, directions by a word in it; each unit has the same names but for these."""
    units: dict[tuple[int, bool], tuple[list[str], list[str]]] = {}
    plain: dict[tuple[int, bool], list[str]] = {}
    for kind, names in ((0, whole.zero), (1, whole.template)):
        for name in names:
            called = _REVERSE.sub("", name)
            numbers = re.findall(r"\d+", called)
            place = int(numbers[-1]) if numbers else 0, called != name
            units.setdefault(place, ([], []))[kind].append(name)
            plain.setdefault(place, []).append(re.sub(r"\d+", "", called))
    both = any(reverse for _, reverse in units)
    wanted = sorted(product(range(min(k for k, _ in units), max(k for k, _ in units) + 1), (False, True) if both else (False,)))
    if len(units) < 2 or sorted(units) != wanted or len({tuple(names) for names in plain.values()}) > 1:
        raise Unidentified("its names do not say which parameters and states make a layer")
    found = [Unit(tuple(states), tuple(params)) for place in wanted for states, params in (units[place],)]
    return tuple(zip(found[::2], found[1::2], strict=True)) if both else tuple((unit,) for unit in found)


def in_place_of_each_other(whole: Whole) -> Iterator[dict[str, str]]:
    """States that can be taken for another: those of the other direction, those of the layers in reversed order."""
    kinds: dict[str, list[str]] = {}
    for name in whole.zero:
        kinds.setdefault(re.sub(r"\d+", "", _REVERSE.sub("", name)), []).append(name)
    counts = {len(names) for names in kinds.values()}
    if len(counts) == 1 and (count := counts.pop()) > 1:
        yield {a: b for names in kinds.values() for a, b in zip(names, names[::-1], strict=True)}
        if count > 2 and count % 2 == 0:
            yield {names[k]: names[k ^ 1] for names in kinds.values() for k in range(count)}


def _acting(whole: Whole, rng: np.random.Generator) -> dict[str, frozenset[str]]:
    """State -> the parameters that its final value depends on."""
    found: dict[str, set[str]] = {state: set() for state in whole.zero}
    dtype = np.dtype(whole.subject.dtype)
    for _ in range(_POINTS):
        params, state = normal(rng, whole.template, 0.5), normal(rng, whole.zero, 0.5)
        xs = rng.normal(size=(_STEPS, whole.sizes["N"], whole.sizes["D"])).astype(dtype)
        _, final = whole.run(params, xs, state)
        if missing := [name for name in whole.zero if name not in final or final[name].shape != whole.zero[name].shape]:
            raise Unidentified(f"its final state {missing[0]!r} is missing or of another shape than in zero_state")
        for name, value in params.items():
            moved = (value + 0.3 * rng.normal(size=value.shape)).astype(dtype)
            _, other = whole.run({**params, name: moved}, xs, state)
            for s in found:
                if not np.array_equal(final[s], other[s]):
                    found[s].add(name)
    return {state: frozenset(names) for state, names in found.items()}
