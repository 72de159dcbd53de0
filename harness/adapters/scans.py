"""Reference recurrences as operators, so that every check also runs on what it compares with."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bptt.harness.adapters import operator
from bptt.harness.errors import UsageError
from bptt.harness.subject import Array, Arrays, Detection, Subject


def adapt(obj: object, spec: str, args: Mapping[str, object] | None) -> Subject | None:
    """A `bptt.refimpl.scans.scan.Scan`."""
    if type(obj).__name__ != "Scan":
        return None
    from bptt.refimpl.scans.scan import Scan

    if not isinstance(obj, Scan):
        return None
    if args:
        raise UsageError(f"{spec}: --args given, wanted none: a reference recurrence has no options")
    return subject(obj.name, spec)


def subject(name: str, spec: str | None = None) -> Subject:
    """The recurrence of this name as a Subject that claims to be itself."""
    scan = ReferenceScan(name)
    made = operator.subject(scan, spec or f"refimpl:{name}", name)
    file = inspect.getsourcefile(scan.scan.step_backward)
    return replace(
        made,
        framework="reference",
        detected=(Detection("form", f"a reference recurrence: {scan.scan.summary}"), Detection("like", f"it is the reference's {name}")),
        source=(file, inspect.getsourcelines(scan.scan.step_backward)[1]) if file else None,
    )


@dataclass(frozen=True)
class ReferenceScan:
    """A reference recurrence by name (so that it travels to worker processes), with the contract's methods."""

    name: str
    dtypes = ("float64", "float32")

    @cached_property
    def scan(self) -> Any:
        from bptt.refimpl.scans import SCANS

        return SCANS[self.name]

    @property
    def like(self) -> str:
        return self.name

    @property
    def layout(self) -> Mapping[str, str]:
        return self.scan.layout  # type: ignore[no-any-return]  # a Scan; its module is imported only when it is used

    @property
    def sizes(self) -> Mapping[str, tuple[int, ...]]:
        return self.scan.sizes  # type: ignore[no-any-return]  # as above

    def init(self, rng: np.random.Generator, sizes: Mapping[str, int]) -> dict[str, Array]:
        return dict(self.scan.init(rng, sizes))

    def inputs(self, rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
        return dict(self.scan.draw(rng, params, T, N, sizes))

    def zero_state(self, params: Arrays, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
        from bptt.refimpl.scans.scan import zero_state

        return zero_state(self.scan, N, sizes)

    def run(self, params: Arrays, inputs: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array], Any]:
        from bptt.refimpl.scans.scan import forward

        return forward(self.scan, params, inputs, state)

    def backward(
        self, params: Arrays, inputs: Arrays, state: Arrays, doutputs: Arrays, dfinal: Arrays, tape: Any
    ) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
        from bptt.refimpl.scans.scan import backward

        return backward(self.scan, params, tape, doutputs, dfinal)
