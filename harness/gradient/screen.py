"""All blocks of a gradient in one look: the price of a certificate where nothing is wrong.

A certificate asks <u, g> = <v, J u> for each block and draw, a run each.  The sum over all blocks is one run a draw:

    sum_b s_b <u_b, g_b>  =  <v, J (sum_b s_b u_b)>         s_b = 1 / sum |u_b g_b|

Every block, however small its gradient, adds terms of size one to that sum, so none hides behind another: with B blocks an error is seen
that is B times what its own certificate would have seen, 1e-11 in the place of 1e-13.  Choices of cotangents stand side by side as rows of
one batch, each row group with directions of its own; dL/dW is the sum over them.  The identity holds whether rows mix or not.

Where the two sides agree, and the smallest error that would have been seen is small, the certificate would agree too.  A slight difference
is rounding where the backward is as rough as that from point to point (1 - y^2 of a y close to one): that is then the smallest error seen.
In every other case nothing is said, and the certificate is asked: what is rounding, a kink or wrong is decided there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bptt.harness.call.cell import Gradients, backward, run
from bptt.harness.cases import Case, Cotangent, Data, cotangents, generator
from bptt.harness.errors import ContractError, SubjectError
from bptt.harness.gradient.derivatives.blocks import Block, blocks
from bptt.harness.gradient.derivatives.complex_step import CANNOT_TAKE_COMPLEX
from bptt.harness.gradient.derivatives.differences import moved_in_dtype, roughness
from bptt.harness.gradient.derivatives.oracle import NOTHING, Oracle, of_the_same_kind
from bptt.harness.gradient.derivatives.tangent import Direction, contract, signed_directions, tiled
from bptt.harness.subject import QUICK, Array, Arrays, Region, Subject

#: As in the certificate: units of rounding, of the sum of all terms, that are forgiven.
_FORGIVEN = 2**11
#: A look that would miss a larger relative error in a typical entry of some block is no look.
_SHARP = 1e-6
#: Sequences from which on cotangents stand side by side even where there is one row: a look costs a run whatever its width.
_LONG = 8
#: A gradient of this size is none, at whatever lag: gates that are shut leave such.
_NEGLIGIBLE = 1e-150
#: Of the sum of all terms: beyond that, a difference is not asked whether it is rounding here.
_SLIGHT = 1e-9
#: Of the noise so measured, that is forgiven.
_OF_NOISE = 30
#: Distance of the points at which the noise of a backward is measured: a unit in the last place moves nothing where a gate is almost shut.
_CLOSE = 1e-4
#: Draws for the choices of cotangents after the first where each is asked apart.
_OF_OTHERS = 1
#: Of an error ten thousand times the sensitivity, in one draw.
MISS_PER_LOOK = 1.6e-4
#: Of the largest gradient of a parameter: what is smaller may be zero but for rounding, and is not blown up.
_DUST = 1e-9


@dataclass(frozen=True)
class Screen:
    """What one look at all blocks saw.   sources: of which a gradient was given;   blocks: how many;   sensitivity: None where all are zero

    A direction u of independent entries sign * U[0.5, 1.5] takes <u, e> below d |e| with a chance of at most 1.6 d (1.42 d of two equal
    entries).  So an error ten thousand times the sensitivity, 1e-7 of a block and less, is missed by one draw with a chance of 1.6e-4.
    """

    relative: float
    sensitivity: float | None
    draws: int
    oracle: Oracle
    sources: frozenset[str]
    blocks: int

    @property
    def miss_probability(self) -> float:
        """The chance that every draw misses an error ten thousand times the sensitivity."""
        return MISS_PER_LOOK**self.draws


@dataclass(frozen=True)
class _Part:
    """A block of one row group, or of a parameter.   index cuts it out of the arrays as they stand side by side"""

    block: Block
    index: tuple[slice | int, ...]
    group: int | None


def screen(
    subject: Subject,
    case: Case,
    data: Data,
    regions: Sequence[Region],
    draws: int,
    known: Oracle,
    mirror: Subject | None,
    apart: bool = False,
    form: tuple[Array, Arrays] | None = None,
) -> Screen | None:
    """None where it disagrees, is not sharp enough, or cannot be done: then the certificate is to be asked.

    known   the oracle that was chosen at another case of this subject
    apart   a backward for each choice of cotangents: it may ask whether one of them is zero everywhere
    form    arrays of the form of outputs and final states, where that is known: else it is run for them
    """
    try:
        ys, final = run(subject, data) if form is None else form
        vs = cotangents(subject, case, ys, final)
        several = not apart and subject.batch_sizes is None and (case.N > 1 or case.T > _LONG)
        if several and all(v.shape[:1] == (case.N,) for v in final.values()):
            return screen_under(subject, case, data, regions, vs, draws, known, mirror)
        tiles = subject.batch_sizes is None and subject.framework in QUICK and all(v.shape[:1] == (case.N,) for v in final.values())
        chosen = [[v] for v in vs] if apart or not tiles else [vs[:1], vs[1:]]  # one row as it is, and the others beside each other
        points = {n: _Point(subject, data, n, known, mirror) for n in {len(some) for some in chosen if some}}
        looks = [
            _look(points[len(some)], case, regions, some, min(draws, _OF_OTHERS) if k else draws, known)
            for k, some in enumerate(chosen)
            if some
        ]
    except (ContractError, SubjectError, *CANNOT_TAKE_COMPLEX):
        return None
    seen = [look for look in looks if look is not None]
    if len(seen) < len(looks):
        return None
    sharp = [look.sensitivity for look in seen if look.sensitivity is not None]
    return replace(seen[0], relative=max(look.relative for look in seen), sensitivity=max(sharp, default=None))


def screen_under(
    subject: Subject,
    case: Case,
    data: Data,
    regions: Sequence[Region],
    vs: Sequence[Cotangent],
    draws: int,
    known: Oracle,
    mirror: Subject | None,
) -> Screen | None:
    """The same under the cotangents given, several of them in rows of one batch."""
    return _look(_Point(subject, data, len(vs), known, mirror), case, regions, vs, draws, known)


class _Point:
    """Where is looked: the data, once for each of several cotangents that stand side by side, and the exact derivative there."""

    def __init__(self, subject: Subject, data: Data, times: int, known: Oracle, mirror: Subject | None) -> None:
        self.subject, self.data = subject, data
        self.at = tiled([data] * times) if times > 1 else data
        looked_at = subject.dtype == "float64" and data.xs.dtype == np.float64 and subject.dys_scale is None
        self.tangents = of_the_same_kind(known, subject, self.at, mirror) if looked_at else None


def _look(point: _Point, case: Case, regions: Sequence[Region], vs: Sequence[Cotangent], draws: int, known: Oracle) -> Screen | None:
    subject, data, at, tangents = point.subject, point.data, point.at, point.tangents
    if tangents is None:
        return None
    v = side_by_side_of(vs)
    with np.errstate(all="ignore"):
        g = backward(subject, at, v)
    parts = list(_parts(case, data, list(regions), len(vs), g))
    if not parts or not _fits(at, g):
        return None
    largest = max((float(np.sum(np.abs(p.block.whole(g)[p.index]))) for p in parts if p.group is None), default=0.0)  # type: ignore[index]  # given
    unit, relative, worst = float(np.finfo(np.float64).eps) / 2, 0.0, 0.0
    rng = generator(case, f"directions of all blocks under {v.name}")
    for _ in range(draws):
        us = [signed_directions(rng, p.block.input(at)[p.index], 1)[0] for p in parts]
        own = [np.asarray(p.block.whole(g))[p.index] for p in parts]
        sizes = [float(np.sum(np.abs(u * x))) for u, x in zip(us, own, strict=True)]
        if not np.all(np.isfinite(sizes)):
            return None
        scales = _scales(parts, sizes, largest)
        most = max(scales)  # a complex step is one only where what it moves by is small
        scales = [s / most for s in scales]
        yours = _summed(parts, scales, us, g)
        terms = sum(s * size for s, size in zip(scales, sizes, strict=True))
        (tangent,) = tangents([_direction(at, parts, scales, us)])
        value, scale = contract(tangent, v)
        total = float(scale) + terms
        gap, floor = abs(float(value) - yours), _FORGIVEN * unit * total + NOTHING
        if not gap <= floor:  # NaN is no agreement
            if not gap <= _SLIGHT * total:
                return None
            along = _direction(at, parts, [1.0] * len(parts), us)
            close = [backward(subject, moved_in_dtype(at, along, _CLOSE * i), v) for i in range(-3, 4)]
            floor = _OF_NOISE * float(roughness([np.asarray(_summed(parts, scales, us, each)) for each in close]))
            if not gap <= floor:
                return None
        relative = max(relative, gap / total if total > 0 else 0.0)
        rms = [float(np.sqrt(np.mean(np.square(x)))) for x in own]
        worst = max([worst, *(floor / (s * r) for s, r in zip(scales, rms, strict=True) if r > _NEGLIGIBLE)])
    if worst > _SHARP:
        return None
    return Screen(relative, worst or None, draws, known, frozenset(p.block.source for p in parts), len(parts))


def side_by_side_of(vs: Sequence[Cotangent]) -> Cotangent:
    """Each choice of cotangents in rows of its own."""
    if len(vs) == 1:
        return vs[0]
    dfinal = {k: np.concatenate([v.dfinal[k] for v in vs]) for k in vs[0].dfinal}
    return Cotangent("each choice in rows of its own", np.concatenate([v.dys for v in vs], axis=1), dfinal)


def _summed(parts: Sequence[_Part], scales: Sequence[float], us: Sequence[Array], g: Gradients) -> float:
    """sum_b s_b <u_b, g_b>"""
    return sum(s * float(np.sum(u * np.asarray(p.block.whole(g))[p.index])) for p, s, u in zip(parts, scales, us, strict=True))


def _fits(at: Data, g: Gradients) -> bool:
    shapes = all(x.shape == at.params[k].shape for k, x in g.params.items() if k in at.params)
    states = all(x.shape == at.state[k].shape for k, x in g.state.items() if k in at.state)
    return shapes and states and (g.xs is None or g.xs.shape == at.xs.shape)


def _parts(case: Case, data: Data, regions: list[Region], groups: int, g: Gradients) -> Iterator[_Part]:
    """Every block of which a gradient was given: of a parameter once, of inputs and states once a row group."""
    N = data.xs.shape[1]
    for block in blocks(case, data, regions):
        if block.whole(g) is None:
            continue
        if block.source == "params":
            yield _Part(block, block.index, None)
            continue
        for k in range(groups):
            rows = slice(k * N, (k + 1) * N)
            yield _Part(block, (*block.index[:1], rows) if block.source == "xs" else (rows,), k)


def _scales(parts: Sequence[_Part], sizes: Sequence[float], largest: float) -> list[float]:
    """One over the size of each part.  A part that is zero is blown up as the smallest other of its row group is: its true gradient may be
    as small as theirs."""
    smallest: dict[int | None, float] = {}
    for p, size in zip(parts, sizes, strict=True):
        if size > 0:
            smallest[p.group] = min(size, smallest.get(p.group, size))
    floor = _DUST * largest
    found = []
    for p, size in zip(parts, sizes, strict=True):
        own = size if size > 0 else smallest.get(p.group, 1.0)
        found.append(1.0 / max(own, floor if p.group is None else 0.0, _NEGLIGIBLE))
    return found


def _direction(at: Data, parts: Sequence[_Part], scales: Sequence[float], us: Sequence[Array]) -> Direction:
    params = {p.block.tensor: np.zeros_like(at.params[p.block.tensor]) for p in parts if p.block.source == "params"}
    state = {p.block.tensor: np.zeros_like(at.state[p.block.tensor]) for p in parts if p.block.source == "state"}
    xs = np.zeros_like(at.xs) if any(p.block.source == "xs" for p in parts) else None
    for p, s, u in zip(parts, scales, us, strict=True):
        whole = params[p.block.tensor] if p.block.source == "params" else state[p.block.tensor] if p.block.source == "state" else xs
        assert whole is not None
        whole[p.index] = s * u
    return Direction(params, xs, state)
