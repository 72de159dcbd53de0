"""One call of a function: arrays in, arrays out, and what autograd gives for them."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bptt.harness.adapters.functions.arguments import Argument
from bptt.harness.adapters.functions.rounding import rounded
from bptt.harness.adapters.functions.wide import widened
from bptt.harness.subject import Array, Device

#: Types that NumPy does not have, carried in arrays of the shortest type that holds them.
CARRIED = {"bfloat16": "float32"}


@dataclass(frozen=True)
class Kept:
    """What a call has left for its gradients: what went in, the arrays that came out, and what else came with them (a cache)."""

    given: Mapping[str, Any]
    results: tuple[Any, ...]
    rest: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Call:
    """A function with what each of its arguments is.

    torch        tensors in and out; else arrays of NumPy
    positional   its arguments have no names for a caller (`apply`)
    wide         casts to float32 are made casts to float64
    claims       while they are, tensors say that they are of this type ("bfloat16"): it takes no other
    dtype        computes in this type whatever it is given ("bfloat16"); "" in that of its arrays
    rounding     the result of every operation is rounded to this type; "" to none
    device       where its tensors are
    """

    function: Callable[..., Any]
    arguments: tuple[Argument, ...]
    torch: bool
    positional: bool = False
    wide: bool = False
    claims: str = ""
    dtype: str = ""
    rounding: str = ""
    device: Device = "cpu"

    @property
    def differentiates(self) -> bool:
        """Whether it has gradients of its own."""
        return self.torch

    @property
    def framework(self) -> str:
        return "torch" if self.torch else "numpy"

    def results(self, arrays: Mapping[str, Array | None], touched: set[str] | None = None) -> list[Array]:
        """Every array that it returns, in order.   touched: filled with the names of the tensors that it looks at, also where it raises"""
        given = self._tensors(arrays, gradients=False)
        if touched is None or not self.torch:
            return [self._back(value) for value in self._called(given)[0]]
        from bptt.harness.adapters.functions.touched import noting  # imports torch

        with noting(given, touched):
            found = self._called(given)[0]
        return [self._back(value) for value in found]

    def kept(self, arrays: Mapping[str, Array | None]) -> tuple[list[Array], Kept]:
        """The same, with what `gradients` needs."""
        given = self._tensors(arrays, gradients=self.torch)
        found, rest = self._called(given)
        return [self._back(value) for value in found], Kept(given, tuple(found), tuple(rest))

    def gradients(self, kept: Kept, cotangents: Sequence[Array | None]) -> dict[str, Array]:
        """Of the sum of <cotangent, result>, by autograd; absent where autograd gives None.

        A result whose cotangent is zero is left out of the sum, as a loss leaves out what it does not read: a backward of one's own may
        get None for it. What nothing else leads to has a gradient of zero then.
        """
        import torch

        leaves = {name: value for name, value in kept.given.items() if isinstance(value, torch.Tensor) and value.requires_grad}
        pairs = [(r, v) for r, v in zip(kept.results, cotangents, strict=True) if v is not None and r.requires_grad]
        if not leaves or not pairs:
            return {}
        read = [(r, v) for r, v in pairs if np.any(v)] or pairs
        vs = [self._tensor(v).to(r.dtype).reshape(r.shape) for r, v in read]
        with self._around():
            found = torch.autograd.grad([r for r, _ in read], list(leaves.values()), vs, retain_graph=True, allow_unused=True)
        if len(read) < len(pairs):
            found = tuple(torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves.values(), strict=True))
        return {name: self._back(g) for name, g in zip(leaves, found, strict=True) if g is not None}

    def _called(self, given: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        given = {a.name: given.get(a.name) if a.is_array else a.value for a in self.arguments}
        with self._around():
            returned = self.function(*given.values()) if self.positional else self.function(**given)
        values = _flat(returned) if self.torch else list(returned) if isinstance(returned, tuple | list) else [returned]
        return [v for v in values if self._is_array(v)], [v for v in values if v is not None and not self._is_array(v)]

    @contextlib.contextmanager
    def _around(self) -> Any:
        shorter = rounded(self.rounding) if self.rounding else contextlib.nullcontext()
        with warnings.catch_warnings(), widened(self.claims) if self.wide else contextlib.nullcontext(), shorter:
            warnings.simplefilter("ignore")
            yield

    def _tensors(self, arrays: Mapping[str, Array | None], gradients: bool) -> dict[str, Any]:
        truth = {a.name for a in self.arguments if a.truth}
        given = {k: None if v is None else self._tensor(v.real > 0.5 if k in truth else v) for k, v in arrays.items()}
        if not gradients:
            return given
        return {
            name: value.detach().requires_grad_() if value is not None and (value.is_floating_point() or value.is_complex()) else value
            for name, value in given.items()
        }

    def _tensor(self, value: Array) -> Any:
        if not self.torch:
            return value
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of arrays that may not be written to
            found = torch.from_numpy(value if all(s >= 0 for s in value.strides) else value.copy())
        dtype = getattr(torch, self.dtype) if self.dtype and found.is_floating_point() else found.dtype
        if found.is_contiguous():
            return found.to(self.device, dtype)
        from bptt.harness.adapters.torch.layout import copied_with_room  # imports torch

        return copied_with_room(found, dtype, self.device)

    def _back(self, value: Any) -> Array:
        if not self.torch:
            return np.asarray(value)
        value = value.detach().cpu()
        if self.dtype in CARRIED:
            value = value.float()
        return np.asarray(value.resolve_conj().resolve_neg().numpy())

    def _is_array(self, value: Any) -> bool:
        if not self.torch:
            return isinstance(value, np.ndarray | np.generic) and np.asarray(value).dtype.kind in "fc"
        import torch

        return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())


def _flat(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    return [leaf for part in value for leaf in _flat(part)] if isinstance(value, tuple | list) else [value]
