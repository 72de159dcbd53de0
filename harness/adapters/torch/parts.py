"""Complex tensors as pairs of real ones: "B.re" and "B.im", so that every check runs on real numbers.

torch's gradient of a real L with respect to a complex z is dL/dRe z + i dL/dIm z, so its parts are those of the pair.
A backward that has lost a conjugate has the sign of one of them wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from bptt.harness.subject import Array

RE, IM = ".re", ".im"
#: The complex dtype whose parts are of a real one.
COMPLEX = {torch.float16: torch.complex32, torch.float32: torch.complex64, torch.float64: torch.complex128}


def split(name: str, value: Array) -> dict[str, Array]:
    """The array itself under its name, or its two parts."""
    if value.dtype.kind != "c":
        return {name: value}
    return {name + RE: np.array(value.real), name + IM: np.array(value.imag)}


def joined(name: str, values: Mapping[str, Array]) -> Array:
    """The inverse of `split`."""
    if name in values:
        return values[name]
    return np.asarray(values[name + RE] + 1j * values[name + IM])


def has(name: str, values: Mapping[str, object]) -> bool:
    return name in values or name + RE in values


def base(name: str) -> str:
    """The name of the tensor that a part is of."""
    return name.removesuffix(RE).removesuffix(IM)


def names_of(name: str, is_complex: bool) -> tuple[str, ...]:
    return (name + RE, name + IM) if is_complex else (name,)


def join_tensors(names: Iterable[str], parts: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors by the names that the module knows them by; a complex one is made of its parts."""
    return {name: parts[name] if name in parts else torch.complex(parts[name + RE], parts[name + IM]) for name in names}


def split_tensors(values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Their parts, by which gradients flow back into both."""
    found: dict[str, torch.Tensor] = {}
    for name, value in values.items():
        found |= {name + RE: value.real, name + IM: value.imag} if value.is_complex() else {name: value}
    return found


def real(value: torch.Tensor) -> torch.Tensor:
    """Real and imaginary parts side by side along the last axis; a real tensor as it is."""
    return torch.cat([value.real, value.imag], -1) if value.is_complex() else value


def is_complex(module: torch.nn.Module) -> bool:
    return any(p.is_complex() for p in module.parameters())
