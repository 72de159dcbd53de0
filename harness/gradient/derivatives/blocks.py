"""The blocks in which a gradient is certified: tensor x gate for parameters, time slices for xs, each tensor of the state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import Case, Data
from bptt.harness.gradient.derivatives.tangent import Direction
from bptt.harness.subject import Array, Region


@dataclass(frozen=True)
class Block:
    """Part of an input.   `source` says of which; `index` cuts the block out of the tensor."""

    source: Literal["params", "xs", "state"]
    tensor: str
    index: tuple[slice | int, ...] = ()
    gate: str | None = None
    step: int | None = None
    layer: int | None = None
    direction: str | None = None

    def of(self, gradients: Gradients) -> Array | None:
        """The block of a gradient, or None where that gradient was not given."""
        whole = self.whole(gradients)
        return None if whole is None else whole[self.index]

    def whole(self, gradients: Gradients) -> Array | None:
        """The tensor of a gradient that this block lies in."""
        if self.source == "xs":
            return gradients.xs
        return getattr(gradients, self.source).get(self.tensor)  # type: ignore[no-any-return]  # getattr is untyped

    def input(self, data: Data) -> Array:
        """The tensor of the input that this block lies in."""
        return data.xs if self.source == "xs" else np.asarray(getattr(data, self.source)[self.tensor])

    def direction_along(self, data: Data, u: Array) -> Direction:
        """The direction that moves this block by `u` and nothing else."""
        whole = np.zeros_like(self.input(data))
        whole[self.index] = u
        if self.source == "xs":
            return Direction(xs=whole)
        return Direction(**{self.source: {self.tensor: whole}})  # type: ignore[arg-type]  # one of two keywords, both dicts


def blocks(case: Case, data: Data, regions: Sequence[Region], most_steps: int = 64) -> list[Block]:
    """Every block of every floating input.  Where no gate is known, equal parts of size H stand in ('block 2 of 4')."""
    found: list[Block] = []
    for name, value in data.params.items():
        if value.dtype.kind == "f" and value.size:
            found += _of_parameter(name, value, case, [r for r in regions if r.tensor == name])
    if data.xs.dtype.kind == "f" and data.xs.size:
        found += [Block("xs", "xs", (slice(t, t + 1),), step=t) for t in _chosen_steps(case.T, most_steps)]
    found += [Block("state", name) for name, value in data.state.items() if value.size and value.dtype.kind == "f"]
    return found


def _of_parameter(name: str, value: Array, case: Case, regions: list[Region]) -> list[Block]:
    if regions and sum(value[r.index].size for r in regions) == value.size:
        return [Block("params", name, r.index, r.gate, layer=r.layer, direction=r.direction) for r in regions]
    for axis in (-1, 0):
        parts, rest = divmod(value.shape[axis] if value.ndim else 0, case.H)
        if value.ndim and rest == 0 and 2 <= parts <= 4 and value.shape[axis] != case.D:
            cuts = [slice(k * case.H, (k + 1) * case.H) for k in range(parts)]
            full = (slice(None),) * (value.ndim - 1)
            return [
                Block("params", name, (*full, cut) if axis == -1 else (cut, *full), f"block {k + 1} of {parts}")
                for k, cut in enumerate(cuts)
            ]
    return [Block("params", name, (slice(None),) * value.ndim)]


def _chosen_steps(T: int, most: int) -> list[int]:
    """All steps, or the first and last ones and some between."""
    if most >= T:
        return list(range(T))
    return sorted({round(float(t)) for t in np.linspace(0, T - 1, most)})
