"""What code calls of torch, seen at each call, the reading of a tensor's shape among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch.overrides import TorchFunctionMode

X = TypeVar("X")


@contextmanager
def watched(look: Callable[[str, tuple[Any, ...]], X | None]) -> Iterator[list[X]]:
    """While it lasts, what `look` makes of each call's name and arguments, those by keyword behind the others, but for None."""
    found: list[X] = []

    class Watching(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            seen = look(getattr(func, "__name__", ""), (*args, *kwargs.values()))
            if seen is not None:
                found.append(seen)
            return func(*args, **kwargs)

    with Watching():
        yield found
