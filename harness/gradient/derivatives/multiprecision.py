"""Fifty digits, for machines whose longdouble is no wider than a double: a subject's own code on object arrays of such numbers.

NumPy calls an element's methods for what it does itself on floats: + - * /, comparisons, tanh(), exp(), log(), sqrt(). A subject that
writes into buffers of floats cannot be run like this, since a `Number` refuses to become one.
"""

from __future__ import annotations

import decimal
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from bptt.harness.call.cell import backward, run
from bptt.harness.call.guard import OfManyDigits
from bptt.harness.cases import Cotangent, Data
from bptt.harness.errors import BpttError
from bptt.harness.gradient.derivatives.blocks import Block
from bptt.harness.gradient.derivatives.tangent import Tangent, contract, dot
from bptt.harness.subject import Array, Subject

#: Digits carried: fifty are wanted, and a central difference of this step leaves them.
_CARRIED, _STEP = 80, Decimal("1e-26")
#: More products of numbers than this are too slow.
_MOST = 200_000


class Number(OfManyDigits):
    """A real number of 80 digits."""

    __slots__ = ("value",)

    def __init__(self, value: Decimal | float | int) -> None:
        self.value = Decimal(value)

    def __add__(self, other: Any) -> Number:
        return Number(self.value + _value(other))

    def __sub__(self, other: Any) -> Number:
        return Number(self.value - _value(other))

    def __rsub__(self, other: Any) -> Number:
        return Number(_value(other) - self.value)

    def __mul__(self, other: Any) -> Number:
        return Number(self.value * _value(other))

    def __truediv__(self, other: Any) -> Number:
        return Number(self.value / _value(other))

    def __rtruediv__(self, other: Any) -> Number:
        return Number(_value(other) / self.value)

    def __pow__(self, other: Any) -> Number:
        return Number(self.value ** _value(other))

    def __neg__(self) -> Number:
        return Number(-self.value)

    def __abs__(self) -> Number:
        return Number(abs(self.value))

    __radd__, __rmul__ = __add__, __mul__

    def __eq__(self, other: object) -> bool:
        return self.value == _value(other)

    def __lt__(self, other: Any) -> bool:
        return self.value < _value(other)

    def __le__(self, other: Any) -> bool:
        return self.value <= _value(other)

    def __gt__(self, other: Any) -> bool:
        return self.value > _value(other)

    def __ge__(self, other: Any) -> bool:
        return self.value >= _value(other)

    def __hash__(self) -> int:
        return hash(self.value)

    def exp(self) -> Number:
        return Number(self.value.exp())

    def log(self) -> Number:
        return Number(self.value.ln())

    def sqrt(self) -> Number:
        return Number(self.value.sqrt())

    def tanh(self) -> Number:
        e = (-2 * abs(self.value)).exp()
        return Number(((1 - e) / (1 + e)).copy_sign(self.value))

    def conjugate(self) -> Number:
        return self


def _value(other: Any) -> Decimal:
    if isinstance(other, Number):
        return other.value
    if isinstance(other, int | float | np.integer | np.floating):
        return Decimal(other.item() if isinstance(other, np.generic) else other)
    raise TypeError(f"no number: {type(other).__name__}")


def discrepancy_in_digits(subject: Subject, data: Data, cotangent: Cotangent, block: Block, u: Array) -> float | None:
    """|v'Ju - u'g| / sum|terms| in fifty digits, J u by a central difference; None where the subject cannot be run so."""
    if data.xs.shape[0] * data.xs.shape[1] * sum(p.size for p in data.params.values()) > _MOST:
        return None
    with decimal.localcontext(decimal.Context(prec=_CARRIED, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)):
        try:
            at, v = _Wide.of(data), Cotangent(cotangent.name, numbers(cotangent.dys), _each(cotangent.dfinal))
            g = block.of(backward(subject, at.data, v))
            ahead, behind = (run(subject, at.moved(block, numbers(u), step)) for step in (_STEP, -_STEP))
        except (BpttError, TypeError, ValueError, AttributeError, ArithmeticError):
            return None
        if g is None or g.dtype != object:
            return None
        half = Number(1 / (2 * _STEP))
        tangent = Tangent((ahead[0] - behind[0]) * half, {k: (ahead[1][k] - behind[1][k]) * half for k in ahead[1]})
        (value, scale), (yours, terms) = contract(tangent, v), dot([(numbers(u), g)])
        total = _value(scale) + _value(terms)
        return float(abs(_value(value) - _value(yours)) / total) if total else None


def numbers(values: Array) -> Array:
    """An object array of the same numbers."""
    wide = np.empty(values.shape, object)
    for index, value in np.ndenumerate(values):
        wide[index] = Number(float(value))
    return wide


def _each(values: Mapping[str, Array]) -> dict[str, Array]:
    return {name: numbers(value) for name, value in values.items()}


@dataclass(frozen=True)
class _Wide:
    """A case's arrays as numbers of many digits."""

    data: Data

    @classmethod
    def of(cls, data: Data) -> _Wide:
        return cls(Data(_each(data.params), numbers(data.xs), _each(data.state)))

    def moved(self, block: Block, u: Array, step: Decimal) -> Data:
        params, xs, state = dict(self.data.params), self.data.xs.copy(), dict(self.data.state)
        if block.source == "xs":
            xs[block.index] += u * Number(step)
        else:
            owner = params if block.source == "params" else state
            owner[block.tensor] = owner[block.tensor].copy()
            owner[block.tensor][block.index] += u * Number(step)
        return Data(params, xs, state)
