"""How near is near: one table for all that is held against a known mistake or a published cell."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Near:
    """Distances are relative to an array's largest entry.

    close    a mistake is named where it comes this close in every array ...
    closer   ... and this many times closer than what is right
    wrong    an array is wrong where it is farther than this from the right one
    """

    close: float
    wrong: float
    closer: float = 1.0


_GRADIENTS = {"float32": Near(1e-3, 3e-3, 100.0), "float64": Near(1e-8, 1e-9, 100.0)}
#: One call of a stack with lengths or masks, in float64 on both sides.
CALL = Near(1e-9, 1e-9)
#: A network with its loss inside.
NETWORK = Near(1e-8, 1e-9)
#: A part of a training loop, which has nothing to round but its own formula.
PART = Near(1e-12, 1e-12)
#: Two numbers of a pattern (a constant factor, a transpose) are the same.
_SAME = {"float32": 1e-4, "float64": 1e-9}
#: Outputs of a published cell, after some saturated steps.
_OUTPUTS = {"float32": 2e-5, "float64": 1e-9}
#: ... of a whole stack of them in float32.
_STACK = {"float32": 1e-3, "float64": 1e-9}


def gradients(dtype: str) -> Near:
    """Of a subject that works in this dtype."""
    return _GRADIENTS.get(dtype, _GRADIENTS["float64"])


def same_number(dtype: str) -> float:
    return _SAME.get(dtype, _SAME["float64"])


def outputs(dtype: str) -> float:
    return _OUTPUTS.get(dtype, _OUTPUTS["float64"])


def outputs_of_stack(dtype: str) -> float:
    return _STACK.get(dtype, _STACK["float64"])
