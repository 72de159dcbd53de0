"""Which of its arguments a function has looked at by the time it raises: shapes of the others cannot be why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _Noting(TorchFunctionMode):
    """While this is open, the names of tensors that any function of torch is handed, or whose attributes are read, are written down."""

    def __init__(self, names: Mapping[int, str], found: set[str]) -> None:
        super().__init__()
        self.names, self.found = names, found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._note((args, tuple(kwargs.values())))
        return func(*args, **kwargs)

    def _note(self, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            name = self.names.get(_memory(value))
            if name is not None:
                self.found.add(name)
        elif isinstance(value, tuple | list):
            for each in value:
                self._note(each)


def _memory(value: torch.Tensor) -> int:
    """Where a tensor lies: of its views too, and of what a Function is handed in its place."""
    return int(value.untyped_storage()._cdata)


@contextmanager
def noting(given: Mapping[str, Any], found: set[str]) -> Iterator[None]:
    """While this is open, the names in `given` of the tensors that are looked at are put into `found`."""
    names = {_memory(value): name for name, value in given.items() if isinstance(value, torch.Tensor)}
    with _Noting(names, found):
        yield
