"""Settings and measured values in the type that they are meant to have."""

from __future__ import annotations

from collections.abc import Mapping


def real(values: Mapping[str, object], name: str) -> float:
    """A number.  Raises TypeError where it is something else."""
    value = values[name]
    if not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}, wanted a number")
    return float(value)


def whole(values: Mapping[str, object], name: str) -> int:
    """A whole number.  Raises TypeError where it is something else."""
    value = values[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, wanted a whole number")
    return value


def text(values: Mapping[str, object], name: str) -> str:
    """A text.  Raises TypeError where it is something else."""
    value = values[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, wanted a text")
    return value


def reals(values: Mapping[str, object], name: str) -> tuple[float, ...]:
    """A list of numbers.  Raises TypeError where it is something else."""
    value = values[name]
    if not isinstance(value, list | tuple):
        raise TypeError(f"{name} is {value!r}, wanted a list of numbers")
    return tuple(float(v) for v in value)
