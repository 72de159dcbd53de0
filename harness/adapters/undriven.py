"""Which arguments of a user's constructor and call nobody has varied: what a verdict does not speak of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

#: Arguments that choose no computation, and those that adapters fill in themselves.
_NOT_OPTIONS = frozenset(
    {"self", "name", "key", "rngs", "parent", "device", "dtype", "param_dtype", "trainable", "seed", "args", "kwargs", "mode"}
)
_NO_OPTION = ("_initializer", "_regularizer", "_constraint", "_init")


def undriven(make: object, given: Iterable[str], call: Callable[..., Any] | None, driven: int | Iterable[str]) -> tuple[str, ...]:
    """("constructor: bias, dropout", "call: mask"), without what is empty.

    make     the class or function of the object, or None
    given    names of its arguments that are sizes
    call     the method by which it is called, or None
    driven   how many of its positional arguments, or which, the checks fill in
    """
    found = []
    if options := [name for name in _names(make, constructor=True) if name not in set(given)]:
        found.append(f"constructor: {', '.join(options)}")
    names = _names(call)
    first = driven - (1 if call is not None and "self" in _signature(call) else 0) if isinstance(driven, int) else 0
    left = names[first:] if isinstance(driven, int) else [name for name in names if name not in set(driven)]
    if left:
        found.append(f"call: {', '.join(left)}")
    return tuple(found)


def _names(function: object, constructor: bool = False) -> list[str]:
    for candidate in _constructors(function) if constructor and isinstance(function, type) else (function,):
        try:
            parameters = list(inspect.signature(candidate).parameters.values())  # type: ignore[arg-type]  # whatever it is, it may be asked
        except (TypeError, ValueError):
            continue
        named = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if wanted := [name for name in named if name not in _NOT_OPTIONS and not name.startswith("_") and not name.endswith(_NO_OPTION)]:
            return wanted
    return []


def _signature(function: object) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(function).parameters)  # type: ignore[arg-type]  # whatever it is, it may be asked
    except (TypeError, ValueError):
        return ()


def _constructors(cls: type) -> list[object]:
    """Its own first, then those that it hands *args, **kwargs on to."""
    return [vars(c)["__init__"] for c in cls.__mro__ if "__init__" in vars(c)]
