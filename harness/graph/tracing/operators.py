"""An operator as a cell whose parameters are all of its arrays, called so that what is traced stays traced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bptt.harness.call import operator
from bptt.harness.cases import Case, Data
from bptt.harness.subject import Array, Subject


@dataclass(frozen=True)
class Passes:
    """run and backward of a cell without sequences, straight through to the operator's own."""

    operator: Any
    point: operator.Point

    def run(self, params: Mapping[str, Any], xs: Array, state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        outputs, final, *_ = self.operator.run(*self._parts(params))
        named = {**outputs, **{f"final {name}": value for name, value in (final or {}).items()}}
        return np.zeros((1, 1, 0)), {name: value for name, value in named.items() if value.dtype.kind == "f"}

    def backward(
        self, params: Mapping[str, Any], xs: Array, state: Mapping[str, Any], dys: Array, dfinal: Mapping[str, Any]
    ) -> tuple[dict[str, Any], None, dict[str, Any]]:
        parts = self._parts(params)
        outputs, final, *tape = self.operator.run(*parts)
        doutputs = {name: dfinal.get(name, np.zeros(np.shape(value))) for name, value in outputs.items()}
        dstates = {name: dfinal.get(f"final {name}", np.zeros(np.shape(value))) for name, value in (final or {}).items()}
        kept = {"tape": tape[0]} if tape else {}
        groups = self.operator.backward(*parts, doutputs, dstates, **kept)
        return {name: value for group in groups for name, value in (group or {}).items() if value is not None}, None, {}

    def _parts(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        own = self.point
        params_, inputs, state = ({k: params.get(k, v) for k, v in some.items()} for some in (own.params, own.inputs, own.state))
        return params_, inputs, state


@dataclass(frozen=True)
class JaxPasses(Passes):
    """The same of a function of JAX, which is followed in its own way."""

    def program(self, params: Mapping[str, Any], xs: Array, state: Mapping[str, Any]) -> Any:
        """See adapters/jax/run.Program."""
        parts = [part for some in self._parts(params) for part in some.items()]
        return self.operator.call.program(dict(parts), self.operator.results)


def as_cell(subject: Subject, case: Case) -> tuple[Subject, Data]:
    """The operator at `case` as a cell, and its arrays as that cell's data.   Raises what its own calls raise."""
    at = operator.draw(subject, case)
    cell, data = operator.as_cell(subject, at)
    passes = JaxPasses if hasattr(getattr(subject.implementation, "call", None), "program") else Passes
    return replace(cell, implementation=passes(subject.implementation, at)), data
