"""Which of its arguments a function has looked at by the time it raises: shapes of the others cannot be why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from bptt.harness.adapters.torch.watching import watched


@contextmanager
def noting(given: Mapping[str, Any], found: set[str]) -> Iterator[None]:
    """While this is open, the names in `given` of the tensors that are looked at are put into `found`."""
    names = {_memory(value): name for name, value in given.items() if isinstance(value, torch.Tensor)}

    def look(_: str, args: tuple[Any, ...]) -> None:
        found.update(names[at] for at in map(_memory, _tensors(args)) if at in names)

    with watched(look):
        yield


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _tensors(each)


def _memory(value: torch.Tensor) -> int:
    """Where a tensor lies: of its views too, and of what a Function is handed in its place."""
    return int(value.untyped_storage()._cdata)
