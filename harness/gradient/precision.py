"""Bug or rounding?  A rounding error shrinks when the precision grows; a bug does not.

The same dot test is run in two precisions. Where neither the wider nor the narrower one is genuine (code that casts, buffers
of a fixed dtype), the answer is None and the second oracle decides alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bptt.harness.call.cell import Gradients, backward
from bptt.harness.cases import Case, Cotangent, Data, generator
from bptt.harness.gradient.derivatives.blocks import Block
from bptt.harness.gradient.derivatives.complex_step import CANNOT_TAKE_COMPLEX, complex_step
from bptt.harness.gradient.derivatives.multiprecision import discrepancy_in_digits
from bptt.harness.gradient.derivatives.tangent import Tangent, astype, contract, dot
from bptt.harness.subject import Array, Subject

#: Entries of the parameters up to which 80-bit numbers are affordable: their products are not done by BLAS.
_MOST_WIDE = 50_000
#: What a right formula keeps to when it is computed in eighty digits.
_FIFTY_DIGITS = 1e-40
#: Unit roundoffs.
U32, U64, U80 = (float(np.finfo(t).eps) / 2 for t in (np.float32, np.float64, np.longdouble))


def rounding_noise(
    subject: Subject, data: Data, cotangent: Cotangent, block: Block, u: Array, here: float, rng: np.random.Generator
) -> float:
    """Largest change of <u, g> from `here` when every input moves by a unit in the last place.   Three draws."""

    def projected(at: Data) -> float:
        part = block.of(backward(subject, at, cotangent))
        return 0.0 if part is None else float(np.sum(u * part))

    return max(abs(projected(nudged(data, rng)) - here) for _ in range(3))


@dataclass(frozen=True)
class Noise:
    """The same for many blocks: gradients at three sets of moved inputs for each cotangent, computed when first asked for."""

    subject: Subject
    case: Case
    data: Data
    cotangents: Sequence[Cotangent]
    known: dict[int, list[Gradients]] = field(default_factory=dict)

    def of(self, block: Block, cotangent: int, u: Array, here: float) -> float:
        if cotangent not in self.known:
            rng = generator(self.case, f"noise {cotangent}")
            moved = [nudged(self.data, rng) for _ in range(3)]
            self.known[cotangent] = [backward(self.subject, at, self.cotangents[cotangent]) for at in moved]
        parts = [block.of(g) for g in self.known[cotangent]]
        return max(0.0 if part is None else abs(float(np.sum(u * part)) - here) for part in parts)


def nudged(data: Data, rng: np.random.Generator) -> Data:
    """`data` with every number moved by a unit in the last place, up or down or not at all."""
    eps = float(np.finfo(data.xs.dtype if data.xs.dtype.kind == "f" else np.float64).eps)

    def one(value: Array) -> Array:
        if value.dtype.kind != "f":
            return value
        return np.asarray(value * (1 + eps * rng.choice([-1.0, 0.0, 1.0], size=value.shape)), value.dtype)

    return Data({k: one(v) for k, v in data.params.items()}, one(data.xs), {k: one(v) for k, v in data.state.items()})


@dataclass(frozen=True)
class Precisions:
    """The dot test of a block in two precisions: gradients in each for each cotangent and J u for each direction, computed when first asked
    for."""

    subject: Subject
    data: Data
    cotangents: Sequence[Cotangent]
    known: dict[tuple[type, int], tuple[Cotangent, Gradients] | None] = field(default_factory=dict)
    along: dict[tuple[type, int], tuple[Array, Tangent]] = field(default_factory=dict)

    def shrinks(self, block: Block, cotangent: int, u: Array) -> bool | None:
        """True: the discrepancy is rounding.  False: it is not.  None: this subject has only one precision."""
        if self.data.xs.dtype == np.float32:
            return self._shrinks_in_float64(block, cotangent, u)
        if self.data.xs.dtype != np.float64:
            return None
        here = self.discrepancy(block, cotangent, u, np.float64)
        if here is None:
            return None
        if U80 < U64 and sum(p.size for p in self.data.params.values()) < _MOST_WIDE:
            wide = self.discrepancy(block, cotangent, u, np.longdouble)
            if wide is not None:
                return not (wide > 2**5 * (U80 / U64) * here and wide > 1e5 * U80)
        if U80 == U64:  # this machine has nothing wider than a double
            digits = discrepancy_in_digits(self.subject, self.data, self.cotangents[cotangent], block, u)
            if digits is not None:
                return digits < _FIFTY_DIGITS
        narrow = self.discrepancy(block, cotangent, u, np.float32)
        return None if narrow is None else not (here > 2**11 * (U64 / U32) * narrow and here > 1e3 * U64)

    def _shrinks_in_float64(self, block: Block, cotangent: int, u: Array) -> bool | None:
        """By the same margins as float64 against float32: two roundings differ by chance, a mistake by nothing."""
        here, wide = (self.discrepancy(block, cotangent, u, dtype) for dtype in (np.float32, np.float64))
        return None if here is None or wide is None else not (wide > 2**11 * (U64 / U32) * here and wide > 1e5 * U64)

    def discrepancy(self, block: Block, cotangent: int, u: Array, dtype: type) -> float | None:
        """|v'Ju - u'g| / sum|terms| with everything computed in `dtype`; None where the subject does not really compute in it."""
        found = self._gradients(cotangent, dtype)
        g = None if found is None else block.of(found[1])
        if found is None or g is None or not computed_in(g, dtype):
            return None
        try:
            tangent = self._tangent(block, u, dtype)
        except CANNOT_TAKE_COMPLEX:
            return None
        value, scale = contract(tangent, found[0])
        yours, terms = dot([(u.astype(g.dtype), g)])
        total = scale + terms
        return float(abs(value - yours) / total) if total > 0 and np.isfinite(float(total)) else None

    def _tangent(self, block: Block, u: Array, dtype: type) -> Tangent:
        """J u at the inputs as they are in `dtype`.   Raises CANNOT_TAKE_COMPLEX."""
        key = (dtype, id(u))  # one direction is asked about under several cotangents; it is kept, so that no other gets its id
        if key not in self.along:
            at = astype(astype(self.data, dtype), dtype if dtype is np.longdouble else np.float64)
            with np.errstate(all="ignore"):
                self.along[key] = u, complex_step(self.subject, at, block.direction_along(at, u.astype(at.xs.dtype)))
        return self.along[key][1]

    def _gradients(self, cotangent: int, dtype: type) -> tuple[Cotangent, Gradients] | None:
        """The cotangent in `dtype` and the subject's gradients for it."""
        key = (dtype, cotangent)
        if key not in self.known:
            v = self.cotangents[cotangent]
            cast = Cotangent(v.name, v.dys.astype(dtype), {k: a.astype(dtype) for k, a in v.dfinal.items()})
            try:
                with np.errstate(all="ignore"):
                    self.known[key] = cast, backward(self.subject, astype(self.data, dtype), cast)
            except CANNOT_TAKE_COMPLEX:
                self.known[key] = None
        return self.known[key]


@dataclass(frozen=True)
class Rung:
    """How far a block is off in one precision.

    roundoff     the unit roundoff of that precision
    difference   |v'Ju - u'g| over the sum of the sizes of all terms
    """

    precision: str
    roundoff: float
    difference: float


def ladder(subject: Subject, data: Data, cotangents: Sequence[Cotangent], block: Block, cotangent: int, u: Array) -> tuple[Rung, ...]:
    """The dot test of a block in each precision in which the subject computes, the narrowest first: a mistake is the same in all."""
    precisions = Precisions(subject, data, cotangents)
    types = {"float32": (np.float32, U32), "float64": (np.float64, U64), "longdouble": (np.longdouble, U80)}
    if U80 == U64 or sum(p.size for p in data.params.values()) >= _MOST_WIDE:
        del types["longdouble"]
    found = {name: precisions.discrepancy(block, cotangent, u, dtype) for name, (dtype, _) in types.items()}
    return tuple(Rung(name, types[name][1], difference) for name, difference in found.items() if difference is not None)


_NARROWER = {np.dtype(np.longdouble): np.float64, np.dtype(np.float64): np.float32}


def computed_in(g: Array, dtype: type) -> bool:
    """Whether numbers were computed in `dtype`, not in a narrower or wider one and then cast."""
    if g.dtype != dtype:
        return False
    narrower = _NARROWER.get(np.dtype(dtype))
    if narrower is None:
        return True
    with np.errstate(all="ignore"):
        return bool(np.any(g.astype(narrower).astype(dtype) != g))
