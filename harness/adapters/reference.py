"""Reference cells as subjects, so that every check also runs on what it compares with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bptt.harness.adapters.objects import is_torch
from bptt.harness.errors import UsageError
from bptt.harness.subject import Array, Arrays, Detection, Region, Subject


def adapt(obj: object, spec: str, args: Mapping[str, object] | None) -> Subject | None:
    """A `bptt.refimpl.cells.cell.Cell`, or a `bptt.refimpl.stack.Stack` of them: made already, or the class with args."""
    if is_torch(obj):
        return None
    if getattr(obj, "__module__", "") == "bptt.refimpl.stack" and "Stack" in (type(obj).__name__, getattr(obj, "__name__", "")):
        return _stack(obj, spec, args)
    if type(obj).__name__ != "Cell":
        return None
    from bptt.refimpl.cells.cell import Cell

    if not isinstance(obj, Cell):
        return None
    if args:
        raise UsageError(f"{spec}: --args given, wanted none: a reference cell has no options")
    return subject(obj, spec)


def subject(cell: object, spec: str | None = None) -> Subject:
    """`cell` as a Subject that claims to be itself."""
    from bptt.refimpl.cells.cell import Cell

    assert isinstance(cell, Cell)
    import inspect

    backward = getattr(cell.step_backward, "func", cell.step_backward)  # a cell with options is a partial
    file = inspect.getsourcefile(backward)
    implementation = ReferenceCell(cell.name)
    return Subject(
        name=cell.name,
        spec=spec or f"refimpl:{cell.name}",
        framework="reference",
        kind="cell",
        implementation=implementation,
        like=cell.name,
        capabilities=frozenset({"backward"}),
        detected=(
            Detection("form", f"a reference cell: {cell.summary}"),
            Detection("like", f"it is the reference's {cell.name}"),
        ),
        source=(file, inspect.getsourcelines(backward)[1]) if file else None,
        regions=implementation.regions,
    )


def _stack(obj: object, spec: str, args: Mapping[str, object] | None) -> Subject:
    """A Stack, or the class made with {"cells": ["lstm", "lstm"], "bidirectional": true}."""
    from bptt.refimpl.cells import find
    from bptt.refimpl.stack import Stack

    if isinstance(obj, Stack):
        names, both = tuple(cell.name for cell in obj.cells), obj.bidirectional
    else:
        given = dict(args or {"cells": ["lstm", "lstm"]})
        cells = given.pop("cells", None)
        both = bool(given.pop("bidirectional", False))
        if given or not isinstance(cells, list | tuple) or not cells:
            raise UsageError(f'{spec}: --args {args}, wanted {{"cells": ["lstm", ...], "bidirectional": true or false}}')
        try:
            names = tuple(find(str(name)).name for name in cells)
        except LookupError as error:
            raise UsageError(f"{spec}: {error}") from None
    words = f"{len(names)} layer{'s' if len(names) > 1 else ''} ({', '.join(names)}){', in both directions' if both else ''}"
    return Subject(
        name=f"Stack({', '.join(names)}{', bidirectional' if both else ''})",
        spec=spec,
        framework="reference",
        kind="cell",
        implementation=ReferenceStack(names, both),
        capabilities=frozenset({"backward"}),
        detected=(Detection("form", f"the reference's stack: {words}"),),
        bidirectional=both,
        lengths=True,
    )


@dataclass(frozen=True)
class ReferenceStack:
    """The reference's stack by the names of its cells, with the contract's methods."""

    names: tuple[str, ...]
    bidirectional: bool

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        from bptt.refimpl.stack import init

        return init(self._stack, rng, input_size, hidden_size)

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        from bptt.refimpl.stack import zero_state

        return zero_state(self._stack, params, batch_size)

    def run(self, params: Arrays, xs: Array, state: Arrays, lengths: Array | None = None) -> tuple[Array, dict[str, Array]]:
        from bptt.refimpl.stack import forward

        ys, final, _ = forward(self._stack, params, xs, state, lengths)
        return ys, final

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays, lengths: Array | None = None
    ) -> tuple[dict[str, Array], Array, dict[str, Array]]:
        from bptt.refimpl.stack import backward, forward

        _, _, tape = forward(self._stack, params, xs, state, lengths)
        return backward(self._stack, params, tape, dys, dfinal)

    @property
    def _stack(self):  # type: ignore[no-untyped-def]  # a Stack; its module is imported only when it is used
        from bptt.refimpl import CELLS
        from bptt.refimpl.stack import Stack

        return Stack(tuple(CELLS[name] for name in self.names), self.bidirectional)


@dataclass(frozen=True)
class ReferenceCell:
    """A reference cell by name (so that it travels to worker processes), with the contract's methods."""

    name: str

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return dict(self._cell.init(rng, input_size, hidden_size))

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return dict(self._cell.zero_state(params, batch_size))

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        from bptt.refimpl.unroll import forward

        ys, final, _ = forward(self._cell, params, xs, state)
        return ys, dict(final)

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays
    ) -> tuple[dict[str, Array], Array, dict[str, Array]]:
        from bptt.refimpl.unroll import backward, forward

        _, _, tapes = forward(self._cell, params, xs, state)
        dparams, dxs, dstate = backward(self._cell, params, xs, tapes, dys, dfinal)
        return dict(dparams), dxs, dict(dstate)

    def regions(self, params: Arrays) -> tuple[Region, ...]:
        """The gates' blocks, at the sizes of `params`: columns of W_* (., G*H) and b* (G*H,), rows of a peephole p (3, H)."""
        gates, found = self._cell.gates, []
        H = params["W_x"].shape[1] // max(len(gates), 1)
        for tensor, value in params.items():
            if value.shape[-1] == len(gates) * H and len(gates) > 1:
                rows = (slice(None),) * (value.ndim - 1)
                found += [Region(tensor, (*rows, slice(k * H, (k + 1) * H)), gate) for k, gate in enumerate(gates)]
            elif tensor == "p" and value.ndim == 2:
                found += [Region(tensor, (slice(k, k + 1),), gate) for k, gate in enumerate("ifo")]
        return tuple(found)

    @property
    def _cell(self):  # type: ignore[no-untyped-def]  # a Cell; its module is imported only when the cell is used
        from bptt.refimpl import CELLS

        return CELLS[self.name]
