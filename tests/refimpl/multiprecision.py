"""A number of 50 digits and more that NumPy can carry in an object array: a few lines around mpmath.

The reference asks of a number no more than this: + - * /, comparisons, exp(), log(), tanh(), and of scans sqrt(), cos() and sin().
np.exp and its like call these methods.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mpmath import MPContext, mpf

from bptt.refimpl.types import Array

CONTEXT = MPContext()
CONTEXT.dps = 70


class Number:
    """A real number of 70 digits (50 are asked for; the rest is room for the difference quotient)."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        if isinstance(value, Number):
            self.value: mpf = value.value
        elif isinstance(value, np.floating):  # a longdouble has more digits than one float holds
            head = float(value)
            self.value = CONTEXT.mpf(head) + CONTEXT.mpf(float(value - head))
        else:
            self.value = CONTEXT.mpf(value)

    def __add__(self, other: Any) -> Number:
        return Number(self.value + Number(other).value)

    def __sub__(self, other: Any) -> Number:
        return Number(self.value - Number(other).value)

    def __rsub__(self, other: Any) -> Number:
        return Number(Number(other).value - self.value)

    def __mul__(self, other: Any) -> Number:
        return Number(self.value * Number(other).value)

    def __truediv__(self, other: Any) -> Number:
        return Number(self.value / Number(other).value)

    def __rtruediv__(self, other: Any) -> Number:
        return Number(Number(other).value / self.value)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Number:
        return Number(-self.value)

    def log(self) -> Number:
        return Number(CONTEXT.log(self.value))

    def __abs__(self) -> Number:
        return Number(abs(self.value))

    def __lt__(self, other: Any) -> bool:
        return bool(self.value < Number(other).value)

    def __le__(self, other: Any) -> bool:
        return bool(self.value <= Number(other).value)

    def __gt__(self, other: Any) -> bool:
        return bool(self.value > Number(other).value)

    def __ge__(self, other: Any) -> bool:
        return bool(self.value >= Number(other).value)

    def __float__(self) -> float:
        return float(self.value)

    def exp(self) -> Number:
        return Number(CONTEXT.exp(self.value))

    def sqrt(self) -> Number:
        return Number(CONTEXT.sqrt(self.value))

    def cos(self) -> Number:
        return Number(CONTEXT.cos(self.value))

    def sin(self) -> Number:
        return Number(CONTEXT.sin(self.value))

    def tanh(self) -> Number:
        return Number(CONTEXT.tanh(self.value))


def exact(a: Array) -> Array:
    """The same values as an array of Numbers."""
    numbers = np.empty(a.shape, dtype=object)
    for index in np.ndindex(a.shape):
        numbers[index] = Number(a[index])
    return numbers
