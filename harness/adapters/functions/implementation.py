"""A function that is understood, under the contract's methods for operators."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bptt.harness.adapters.functions import numbers
from bptt.harness.adapters.functions.axes import extent
from bptt.harness.adapters.functions.calling import Call, Kept
from bptt.harness.adapters.functions.carried import Watched
from bptt.harness.subject import Array, Arrays

FINAL = "final "
#: The name of results that are not judged.
PASSED_OVER = ""


@dataclass(frozen=True)
class FunctionOperator:
    """layout, sizes, derived, optional, exempt, chunks, multiple, dtypes, direction   as an operator says them (harness/subject.py)

    kinds     {array: which random numbers it takes}
    states    arguments that are initial states, each with a final one among the results
    results   the name of each array that it returns: "y", "final s" for the final state s, or PASSED_OVER
    finals    the axes of a final state as it is returned, where they are not those of the initial one: {"final s": "N heads I"}
    """

    call: Call
    layout: Mapping[str, str]
    sizes: Mapping[str, tuple[int, ...]]
    kinds: Mapping[str, str]
    states: tuple[str, ...]
    results: tuple[str, ...]
    optional: tuple[str, ...] = ()
    exempt: Mapping[str, str] = field(default_factory=dict)
    chunks: tuple[int, ...] = ()
    multiple: int = 1
    dtypes: tuple[str, ...] = ("float64", "float32")
    direction: str = "forward"
    finals: Mapping[str, str] = field(default_factory=dict)
    derived: Mapping[str, str] = field(default_factory=dict)

    @property
    def inputs_of_call(self) -> list[str]:
        return [a.name for a in self.call.arguments if a.is_array and a.name in self.kinds and a.name not in self.states]

    def init(self, rng: np.random.Generator, sizes: Mapping[str, int]) -> dict[str, Array]:
        return {}

    def inputs(self, rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
        words = {**sizes, "T": T, "N": N}
        return {name: numbers.KINDS[self.kinds[name]](rng, self._shape(name, words)) for name in self.inputs_of_call}

    def zero_state(self, params: Arrays, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
        words = {**sizes, "N": N}
        return {name: np.zeros(self._shape(name, words), self._dtype(name)) for name in self.states}

    def _dtype(self, name: str) -> type:
        return complex if self.kinds.get(name) in numbers.IN_COMPLEX.values() else float

    def run(self, params: Arrays, inputs: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array], Kept]:
        found, kept = self.call.kept({**inputs, **state})
        named = {name: self._in_axes(name, value) for name, value in zip(self.results, found, strict=False) if name != PASSED_OVER}
        outputs = {name: value for name, value in named.items() if not name.startswith(FINAL)}
        return outputs, {name.removeprefix(FINAL): value for name, value in named.items() if name.startswith(FINAL)}, kept

    def _in_axes(self, name: str, value: Array) -> Array:
        """A final state in the axes of the initial one: those of one entry may stand elsewhere, or not at all."""
        if name not in self.finals:
            return value
        sizes = dict(zip(self.finals[name].split(), value.shape, strict=True)) | {"I": 1}
        return value.reshape([sizes[word] for word in self.layout[name.removeprefix(FINAL)].split()])

    def _shape(self, name: str, words: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(extent(words, w) for w in self.layout[name].split())


@dataclass(frozen=True)
class Differentiated(FunctionOperator):
    """The same with the gradients that its call has.   given: arrays of which one came where it was tried; where none comes it is zero"""

    given: frozenset[str] = frozenset()

    def backward(
        self, params: Arrays, inputs: Arrays, state: Arrays, doutputs: Arrays, dfinal: Arrays, tape: Kept | None = None
    ) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
        kept: Any = tape if tape is not None else self.run(params, inputs, state)[2]
        named = {**doutputs, **{FINAL + name: v for name, v in dfinal.items()}}
        found = self.call.gradients(kept, [named.get(name) for name in self.results])
        found |= {k: np.zeros_like(v) for k, v in (*inputs.items(), *state.items()) if v is not None and k in self.given and k not in found}
        return {}, {k: g for k, g in found.items() if k in inputs}, {k: g for k, g in found.items() if k in state}


@dataclass(frozen=True)
class DifferentiatedByAutograd(Differentiated):
    """The same by torch's autograd, in shorter types too."""

    def in_type(self, dtype: str) -> DifferentiatedByAutograd:
        """The same, computing in a shorter type."""
        return replace(self, call=replace(self.call, dtype=dtype, wide=False))

    def rounded_to(self, dtype: str) -> DifferentiatedByAutograd:
        """The same in float64, every operation rounded to a shorter type."""
        return replace(self, call=replace(self.call, rounding=dtype, wide=bool(self.call.claims)))

    def watched(self) -> Watched:
        """Within it every operation is written down, with what it rounds."""
        return Watched()


@dataclass(frozen=True)
class DifferentiatedByItsOtherHalf(FunctionOperator):
    """The same with the gradients of a function beside it, whose arguments are known by their names.

    other   takes arrays by their own names, cotangents as `dy` or `grad_y` in the order of the results, and what else run gave
    """

    other: Any = None

    def backward(
        self, params: Arrays, inputs: Arrays, state: Arrays, doutputs: Arrays, dfinal: Arrays, tape: Kept | None = None
    ) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
        kept = tape if tape is not None else self.run(params, inputs, state)[2]
        named = {**doutputs, **{FINAL + name: v for name, v in dfinal.items()}}
        cotangents, rest = iter([named[name] for name in self.results]), iter(kept.rest)
        given: list[Any] = []
        for p in inspect.signature(self.other).parameters.values():
            if p.name in kept.given:
                given.append(kept.given[p.name])
            elif COTANGENT.match(p.name):
                given.append(next(cotangents, None))
            else:
                given.append(next(rest, None if p.default is p.empty else p.default))
        found = self.other(*given)
        named_ones = {k.removeprefix("d"): v for k, v in found.items()} if isinstance(found, Mapping) else None
        pairs = dict(zip([*inputs, *state], _several(found), strict=False)) if named_ones is None else named_ones
        return {}, {k: pairs[k] for k in inputs if k in pairs}, {k: pairs[k] for k in state if k in pairs}


COTANGENT = re.compile(r"d[a-zA-Z_]\w*$|grad_|g_out")


def _several(found: Any) -> tuple[Any, ...]:
    return tuple(found) if isinstance(found, tuple | list) else (found,)
