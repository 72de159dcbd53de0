"""NumPy arrays as tensors that lie in memory as the arrays do, strides of zero included, and gradients that arrive that way."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bptt.harness.subject import Array


def tensor_of(value: Array, dtype: torch.dtype) -> torch.Tensor:
    """`value` in `dtype` with its strides.

    Shares memory where it can, so that a module that writes into its inputs is seen.  A read-only array is copied, with its
    strides: torch does not know that it may not write.  Contiguous copies of what torch has no strides for: negative ones, and
    ones that are no whole number of elements.
    """
    array = np.asarray(value)
    if any(s < 0 or s % array.itemsize for s in array.strides):
        array = np.array(array, order="C")
    if array.flags.writeable:
        return in_dtype_as_laid(torch.from_numpy(array), dtype)
    once = array[tuple(slice(1) if stride == 0 else slice(None) for stride in array.strides)]
    own = torch.from_numpy(np.array(once, order="C"))
    return laid(own, dtype, tuple(array.shape), tuple(stride // array.itemsize for stride in array.strides))


def in_dtype_as_laid(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`value` itself in its own dtype, else a copy with the strides of `value`."""
    return value if value.dtype is dtype else copied(value, dtype)


def copied(value: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A copy with the same strides; Tensor.clone keeps those of tensors without gaps and overlaps only."""
    return laid(value, dtype or value.dtype, tuple(value.shape), value.stride())


def copied_with_room(value: torch.Tensor, dtype: torch.dtype, device: str) -> torch.Tensor:
    """A copy with the same strides, where Tensor.to would lay what is expanded, or a slice, in order.

    Whoever reads it as if it were in order meets NaN, and stays within its memory.
    """
    reach = 1 + sum((n - 1) * step for n, step in zip(value.shape, value.stride(), strict=True)) if value.numel() else 0
    room = value.new_full((max(reach, value.numel()),), float("nan") if dtype.is_floating_point or dtype.is_complex else 0)
    room[:reach] = value.as_strided((reach,), (1,))
    return room.to(device, dtype).as_strided(value.shape, value.stride())


def laid(value: torch.Tensor, dtype: torch.dtype, shape: tuple[int, ...], strides: tuple[int, ...]) -> torch.Tensor:
    """A new tensor of `shape` and `strides` with the numbers of `value`, which has `shape`, or 1 for axes of stride zero."""
    once = tuple(1 if stride == 0 else size for size, stride in zip(shape, strides, strict=True))
    source = value.detach()[tuple(slice(size) for size in once)]
    own = torch.empty_strided(once, strides, dtype=dtype).copy_(source)
    return own if once == shape else own.expand(shape)


class _Laid(torch.autograd.Function):
    """The same numbers with given strides; the gradient goes through as it is.

    A module may write into what comes out, which autograd forbids on leaves and their views.
    """

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, strides: tuple[int, ...]) -> torch.Tensor:
        return laid(value, value.dtype, tuple(value.shape), strides)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grads[0], None


def from_leaf(leaf: torch.Tensor) -> torch.Tensor:
    """What a module is given in place of `leaf`: the same numbers and strides, and it may write into it."""
    dense = leaf.is_contiguous() or torch.empty_like(leaf).stride() == leaf.stride()
    if dense or not leaf.requires_grad:
        return leaf.clone() if dense else copied(leaf)
    out: torch.Tensor = _Laid.apply(leaf, leaf.stride())  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return out
