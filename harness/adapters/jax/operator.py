"""A function of JAX over arrays alone, as one call: a scan with a rule of its own, a kernel.   See functions/calling.py"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from bptt.harness.adapters.functions.calling import Call, Kept
from bptt.harness.adapters.jax.run import Program, compiled, wide
from bptt.harness.subject import Array


@dataclass(frozen=True)
class JaxCall(Call):
    """Its gradients are jax.vjp's, the author's own where there is a rule.   Each shape is compiled once"""

    _compiled: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def differentiates(self) -> bool:
        return True

    @property
    def framework(self) -> str:
        return "jax"

    def results(self, arrays: Mapping[str, Array | None], touched: set[str] | None = None) -> list[Array]:
        """Every array that it returns, in order; where it is asked what it looks at, zeros in their place: shapes need no numbers."""
        with wide():
            if touched is not None:
                return [np.zeros(found.shape, found.dtype) for found in jax.eval_shape(self._flat, dict(arrays))]
            return [np.array(value) for value in self._quick("run", self._flat)(dict(arrays))]

    def kept(self, arrays: Mapping[str, Array | None]) -> tuple[list[Array], Kept]:
        found = self.results(arrays)
        return found, Kept(dict(arrays), tuple(found))

    def gradients(self, kept: Kept, cotangents: Sequence[Array | None]) -> dict[str, Array]:
        """Of the sum of <cotangent, result>."""
        vs = [
            np.zeros_like(r) if v is None else np.asarray(v, r.dtype).reshape(r.shape)
            for r, v in zip(kept.results, cotangents, strict=True)
        ]
        with wide():
            found = self._quick("pull", self._pull)(dict(kept.given), vs)
        return {name: np.array(value) for name, value in found.items() if value is not None}

    def program(self, arrays: Mapping[str, Array | None], results: Sequence[str]) -> Program:
        """The call as JAX writes it down, its results under these names."""
        names = [name for name, value in arrays.items() if value is not None]
        values = tuple(value for value in arrays.values() if value is not None)
        absent = {name: None for name, value in arrays.items() if value is None}
        with wide(), jax.disable_jit():
            jaxpr = jax.make_jaxpr(lambda *given: self._flat(absent | dict(zip(names, given, strict=True))))(*values)
        return Program(jaxpr, tuple(("params", name) for name in names), values, tuple(("final", name) for name in results))

    def _pull(self, arrays: dict[str, Any], vs: list[Any]) -> dict[str, Any]:
        return dict(jax.vjp(self._flat, arrays)[1](vs)[0])

    def _flat(self, arrays: dict[str, Any]) -> list[Any]:
        given = {a.name: arrays.get(a.name) if a.is_array else a.value for a in self.arguments}
        returned = self.function(*given.values()) if self.positional else self.function(**given)
        return [leaf for leaf in jax.tree_util.tree_leaves(returned) if jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact)]

    def _quick(self, name: str, function: Any) -> Any:
        if name not in self._compiled:
            self._compiled[name] = compiled(function)
        return self._compiled[name]
