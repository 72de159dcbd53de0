"""Is a backward the gradient of any function?   No reference is asked, only the backward itself, at neighbouring points.

For a fixed cotangent v let g(x) be what backward gives at x, all parameters, inputs and states together. If g is the gradient of a
function, its Jacobian H = dg/dx is that function's Hessian, and symmetric:

    u' H w = w' H u          H u = Im g(x + i h u) / h by one complex step through the subject's own backward

A dropped factor, a forgotten path or a detached value in one tensor's gradient breaks the symmetry between that tensor and the others.
What stays symmetric is the right gradient of another function: that, the checks against the forward pass find. Where the backward cannot
take complex numbers (autograd, whose complex gradients are conjugates), differences of the backward are taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bptt.harness.call.cell import Gradients, backward, dropped_parts_are_errors, run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, Cotangent, Data, cotangents, generator
from bptt.harness.gradient.certificate import Regions, no_regions
from bptt.harness.gradient.derivatives.blocks import Block, blocks
from bptt.harness.gradient.derivatives.complex_step import CANNOT_TAKE_COMPLEX
from bptt.harness.gradient.derivatives.differences import FINER, largest, slope
from bptt.harness.gradient.derivatives.tangent import Direction, astype, moved, signed_directions
from bptt.harness.gradient.precision import nudged
from bptt.harness.subject import Array, Subject

_STEP = 1e-30
#: Directions a block, so that a block's own share of H is tested too.
_DIRECTIONS = 2
#: Roundoffs of the terms summed that are no asymmetry.
_FORGIVEN = 2**11
#: Candidates that are held against differences, the largest first.
_MOST_ASKED = 12


@dataclass(frozen=True)
class Probes:
    """Random directions, `_DIRECTIONS` a block.   us (directions, *block.shape) for each block"""

    blocks: tuple[Block, ...]
    us: tuple[Array, ...]

    def __len__(self) -> int:
        return _DIRECTIONS * len(self.blocks)

    def block(self, k: int) -> Block:
        return self.blocks[k // _DIRECTIONS]

    def direction(self, k: int, data: Data) -> Direction:
        return self.block(k).direction_along(data, self.us[k // _DIRECTIONS][k % _DIRECTIONS])

    def projected(self, gradients: Gradients) -> tuple[Array, Array]:
        """u' g for every direction, and the sums of the sizes of the terms.   (K,) each"""
        found = []
        for block, us in zip(self.blocks, self.us, strict=True):
            part = block.of(gradients)
            products = us * (np.nan if part is None else part)
            found.append((products.reshape(_DIRECTIONS, -1).sum(axis=1), np.abs(products).reshape(_DIRECTIONS, -1).sum(axis=1)))
        return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])


@dataclass(frozen=True)
class Hessian:
    """values[k, m] = u_m' H u_k, with errors and the sums of the sizes of the terms.   (K, K) each"""

    values: Array
    errors: Array
    terms: Array

    @property
    def gaps(self) -> Array:
        return np.asarray(self.values - self.values.T)


@dataclass(frozen=True)
class Pair:
    """Two directions for which u' H w and w' H u differ."""

    first: Block
    second: Block
    one_way: float
    other_way: float
    relative: float


@dataclass(frozen=True)
class Symmetry:
    """What was found.

    how        "complex step" or "differences" of the backward
    largest    asymmetry of the pairs that agree, relative to the terms summed
    pairs      number of pairs compared
    wrong      pairs that differ, after all questions, the worst first
    """

    how: Literal["complex step", "differences"]
    largest: float
    pairs: int
    wrong: tuple[Pair, ...]


def symmetry(subject: Subject, case: Case, regions: Regions = no_regions) -> Symmetry:
    """Whether H is symmetric at one case.  Raises ContractError and SubjectError as backward does."""
    data = draw(subject, case)
    ys, final = run(subject, data)
    v = cotangents(subject, case, ys, final)[0]
    with np.errstate(all="ignore"):
        given = backward(subject, data, v)
    inputs = [Block("xs", "xs")] if data.xs.dtype.kind == "f" and data.xs.size else []
    by_gate = [*(b for b in blocks(case, data, regions(data.params)) if b.source != "xs"), *inputs]
    by_gate = [b for b in by_gate if b.of(given) is not None]
    probes = _probes(by_gate, case, data)
    try:
        found = by_complex_step(subject, data, v, probes)
    except CANNOT_TAKE_COMPLEX:  # a direction costs two dozen backward passes by differences: one block a tensor
        whole = list(dict.fromkeys((b.source, b.tensor) for b in by_gate))
        return _judged_by_differences(subject, data, v, _probes([Block(*names) for names in whole], case, data))
    return _judged_by_complex_step(subject, case, data, v, probes, found)


def _probes(chosen: Sequence[Block], case: Case, data: Data) -> Probes:
    rng = generator(case, "second order")
    return Probes(tuple(chosen), tuple(np.stack(signed_directions(rng, b.input(data)[b.index], _DIRECTIONS)) for b in chosen))


def by_complex_step(subject: Subject, data: Data, v: Cotangent, probes: Probes) -> Hessian:
    """H along every probe, exact but for rounding.  Raises what the backward raises when it cannot take complex numbers."""
    point = astype(data, np.complex128)
    K = len(probes)
    values, terms = np.zeros((2, K, K))
    with dropped_parts_are_errors():
        for k in range(K):
            g = backward(subject, moved(point, probes.direction(k, data), _STEP * 1j), v)
            if any(part.dtype != np.complex128 for b in probes.blocks if (part := b.of(g)) is not None):
                raise TypeError("backward returned real gradients for complex inputs")
            values[k], terms[k] = probes.projected(_imaginary(g))
    return Hessian(values, np.zeros_like(values), terms)


def by_differences(subject: Subject, data: Data, v: Cotangent, probes: Probes, along: Iterable[int], finer: float = 1.0) -> Hessian:
    """The same by extrapolated differences of the backward along the probes numbered in `along`; other rows are NaN."""
    K = len(probes)
    values, errors, terms = np.full((3, K, K), np.nan)
    for k in along:
        direction = probes.direction(k, data)

        def projected(step: float, direction: Direction = direction) -> Array:
            return probes.projected(backward(subject, moved(data, direction, np.float64(step)), v))[0]

        with np.errstate(all="ignore"):
            values[k], errors[k] = slope(projected, largest(direction), finer)
        terms[k] = np.abs(values[k])
    return Hessian(values, errors, terms)


def _judged_by_complex_step(subject: Subject, case: Case, data: Data, v: Cotangent, probes: Probes, found: Hessian) -> Symmetry:
    """A pair differs if its gap is beyond rounding, moving the inputs by an ulp leaves it, and differences see the same gap."""
    gaps, terms = np.abs(found.gaps), found.terms + found.terms.T
    candidates = ~(gaps <= _FORGIVEN * np.finfo(np.float64).eps * terms) & np.isfinite(gaps)
    if candidates.any():
        rng = generator(case, "second order, noise")
        moved_gaps = [by_complex_step(subject, nudged(data, rng), v, probes).gaps for _ in range(3)]
        noise = np.max([np.abs(m - found.gaps) for m in moved_gaps], axis=0)
        candidates &= gaps > 100 * noise
    asked = _worst(candidates, gaps / np.maximum(terms, 1e-300))
    seen = by_differences(subject, data, v, probes, sorted({k for pair in asked for k in pair}))
    confirmed = [(k, m) for k, m in asked if _same_gap(found, seen, k, m)]
    return _symmetry("complex step", probes, found, terms, candidates, confirmed)


def _judged_by_differences(subject: Subject, data: Data, v: Cotangent, probes: Probes) -> Symmetry:
    """A pair differs if its gap is beyond the error of the differences, and differences of much smaller steps see the same gap."""
    found = by_differences(subject, data, v, probes, range(len(probes)))
    gaps, terms = np.abs(found.gaps), found.terms + found.terms.T
    allowed = 30 * (found.errors + found.errors.T) + 1e-9 * terms
    candidates = (gaps > allowed) & np.isfinite(gaps)
    asked = _worst(candidates, gaps / np.maximum(terms, 1e-300))
    seen = by_differences(subject, data, v, probes, sorted({k for pair in asked for k in pair}), FINER["float64"])
    confirmed = [(k, m) for k, m in asked if _same_gap(found, seen, k, m)]
    return _symmetry("differences", probes, found, terms, candidates, confirmed)


def _worst(candidates: Array, relative: Array) -> list[tuple[int, int]]:
    """The pairs (k < m) that are furthest apart."""
    pairs = [(int(k), int(m)) for k, m in np.argwhere(np.triu(candidates, 1))]
    return sorted(pairs, key=lambda p: -float(relative[p]))[:_MOST_ASKED]


def _same_gap(found: Hessian, seen: Hessian, k: int, m: int) -> bool:
    gap, other, error = found.gaps[k, m], seen.gaps[k, m], seen.errors[k, m] + seen.errors[m, k]
    return bool(error <= 0.2 * abs(gap) and abs(other - gap) <= 0.3 * abs(gap))


def _symmetry(
    how: Literal["complex step", "differences"],
    probes: Probes,
    found: Hessian,
    terms: Array,
    candidates: Array,
    confirmed: Sequence[tuple[int, int]],
) -> Symmetry:
    with np.errstate(all="ignore"):
        relative = np.where(terms > 0, np.abs(found.gaps) / terms, 0.0)
    wrong = tuple(
        Pair(probes.block(k), probes.block(m), float(found.values[k, m]), float(found.values[m, k]), float(relative[k, m]))
        for k, m in confirmed
    )
    K = len(probes)
    return Symmetry(how, float(np.max(np.where(candidates, 0.0, np.nan_to_num(relative)), initial=0.0)), K * (K - 1) // 2, wrong)


def _imaginary(g: Gradients) -> Gradients:
    """Im g / h."""
    return Gradients(
        {k: p.imag / _STEP for k, p in g.params.items()},
        None if g.xs is None else g.xs.imag / _STEP,
        {k: s.imag / _STEP for k, s in g.state.items()},
    )
