"""A torch function that computes in float32 whatever it is given (`q.float()`, `dtype=torch.float32`), run in float64.

Its mathematics can then be judged with fifteen digits; what it does in float32 is another question, asked by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bptt.harness.adapters.objects import WithoutCompiler


@contextmanager
def widened(claims: str = "") -> Iterator[None]:
    """Within it torch makes float64 of every cast to a shorter type of floating numbers, and of numbers without a type.

    claims   the type that tensors of floating numbers say they have, for code that takes no other; "" for their own
    """
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    short = {torch.float32: torch.float64, torch.float16: torch.float64, torch.bfloat16: torch.float64, torch.complex64: torch.complex128}
    claimed, of_type = getattr(torch, claims) if claims else None, torch.Tensor.dtype.__get__  # type: ignore[attr-defined]  # a getter
    casts = {torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16}
    complex_casts = {torch.Tensor.cfloat, torch.Tensor.chalf}  # type: ignore[attr-defined]  # torch has no types for them
    engines = {torch.autograd.grad, torch.autograd.backward, torch.Tensor.backward}

    def wide(value: Any) -> Any:
        return short.get(value, value) if isinstance(value, torch.dtype) else value

    class WideBackward(WithoutCompiler, TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch gives its classes no types
        """The same where torch looks at no function: in the backward of an autograd.Function."""

        def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
            return func(*(wide(a) for a in args), **{k: wide(v) for k, v in (kwargs or {}).items()})

    class Wide(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
            if claimed is not None and func == of_type and func(*args).is_floating_point:
                return claimed
            if func in engines:
                with WideBackward():  # type: ignore[no-untyped-call]  # the same
                    return func(*args, **(kwargs or {}))
            if func in casts:
                given = args[0]
                return given if given.is_floating_point() or given.is_complex() else given.to(torch.float64)
            if func in complex_casts:
                return args[0].to(torch.complex128)
            if func is torch.Tensor.to and args[0].is_complex() and any(isinstance(a, torch.dtype) and a.is_floating_point for a in args):
                args = [torch.complex128 if isinstance(a, torch.dtype) else a for a in args]
            return func(*(wide(a) for a in args), **{k: wide(v) for k, v in (kwargs or {}).items()})

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with Wide():
            yield
    finally:
        torch.set_default_dtype(before)
