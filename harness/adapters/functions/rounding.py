"""A torch function as it would be in a shorter type, in float64: the result of every operation is rounded to that type.

What rounding can do to a function is measured so: the same operations, forward and backward, on inputs a unit in the last place apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bptt.harness.adapters.objects import WithoutCompiler


@contextmanager
def rounded(dtype: str) -> Iterator[None]:
    """Within it torch rounds what every operation on float64 numbers gives to `dtype`; views stay views."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    short = getattr(torch, dtype)

    def is_long(value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.dtype in (torch.float64, torch.complex128)

    def to_short(value: Any) -> Any:
        if not is_long(value):
            return value
        if value.dtype == torch.complex128:
            return torch.view_as_complex(torch.view_as_real(value.resolve_conj()).to(short).to(torch.float64))
        return value.to(short).to(value.dtype)

    class Rounding(WithoutCompiler, TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch gives its classes no types
        def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
            found = func(*args, **(kwargs or {}))
            alias = [r.alias_info for r in func._schema.returns]
            if any(a is not None and a.is_write for a in alias):  # in place: the tensor itself is rounded
                for value in found if isinstance(found, tuple | list) else [found]:
                    if is_long(value):
                        value.copy_(to_short(value))
                return found
            if any(a is not None for a in alias):
                return found
            return type(found)(to_short(v) for v in found) if isinstance(found, tuple | list) else to_short(found)

    with Rounding():  # type: ignore[no-untyped-call]  # the same
        yield
