"""One case of a cell with random everything, and the proof of its backward pass at 50 digits.

L = <dys, ys> + <dfinal, final_state> is a scalar function of the parameters, the inputs and the initial state.  Its gradient as
`unroll.backward` returns it is held, entry by entry, against a central difference quotient with step 1e-20 in numbers of 70
digits: the quotient's own error is of the order of 1e-40.  At a kink (relu, the clips) a quotient has no meaning: a case
has to keep a distance from them that is far longer than the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from bptt.refimpl import unroll
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.types import Array
from tests.refimpl.multiprecision import Number, exact

Group = Literal["params", "xs", "state"]
Key = tuple[Group, str]
#: A change of one input: where it is, in words; the input's name; what is added to it, times the step.
Direction = tuple[str, str, Array]


@dataclass(frozen=True)
class Case:
    """Inputs of a run and the cotangents of its results."""

    params: dict[str, Array]
    xs: Array
    state: dict[str, Array]
    dys: Array
    dfinal: dict[str, Array]

    def map(self, f: Callable[[Array], Array]) -> Case:
        def each(arrays: dict[str, Array]) -> dict[str, Array]:
            return {name: f(a) for name, a in arrays.items()}

        return Case(each(self.params), f(self.xs), each(self.state), f(self.dys), each(self.dfinal))

    def inputs(self) -> Iterator[tuple[Group, str, Array]]:
        """Every array with respect to which L has a gradient."""
        yield from (("params", name, a) for name, a in self.params.items())
        yield "xs", "xs", self.xs
        yield from (("state", name, a) for name, a in self.state.items())

    def with_input(self, group: Group, name: str, a: Array) -> Case:
        if group == "xs":
            return replace(self, xs=a)
        if group == "params":
            return replace(self, params={**self.params, name: a})
        return replace(self, state={**self.state, name: a})


def random_case(cell: Cell, rng: np.random.Generator, T: int, N: int, D: int, H: int, scale: float = 1.0) -> Case:
    """Everything random and nothing zero; `scale` multiplies the parameters (20 saturates the gates)."""
    params = {name: scale * p for name, p in cell.init(rng, D, H).items()}
    state = {name: np.asarray(rng.normal(size=s.shape)) for name, s in cell.zero_state(params, N).items()}
    dfinal = {name: np.asarray(rng.normal(size=s.shape)) for name, s in state.items()}
    return Case(params, rng.normal(size=(T, N, D)), state, rng.normal(size=(T, *state["h"].shape)), dfinal)


def loss(cell: Cell, case: Case) -> Any:
    """<dys, ys> + <dfinal, final_state>"""
    ys, final, _ = unroll.forward(cell, case.params, case.xs, case.state)
    return (case.dys * ys).sum() + sum((case.dfinal[name] * final[name]).sum() for name in final)


def gradients(cell: Cell, case: Case) -> dict[Key, Array]:
    """What `unroll.backward` says, under the keys (group, name) of `Case.inputs`."""
    _, _, tapes = unroll.forward(cell, case.params, case.xs, case.state)
    return keyed(*unroll.backward(cell, case.params, case.xs, tapes, case.dys, case.dfinal))


def keyed(dparams: dict[str, Array], dxs: Array, dstate: dict[str, Array]) -> dict[Key, Array]:
    keys: dict[Key, Array] = {("params", name): d for name, d in dparams.items()}
    keys["xs", "xs"] = dxs
    keys.update({("state", name): d for name, d in dstate.items()})
    return keys


def worst_error(cell: Cell, case: Case, step: str = "1e-20") -> tuple[float, str]:
    """The largest relative error of a gradient at 50 digits, and where it is.   |hand - difference| / max(|difference|, 1e-3)"""
    case = case.map(exact)
    hand = gradients(cell, case)
    h = Number(step)
    worst, where = 0.0, ""
    for group, name, a in case.inputs():
        for index in np.ndindex(a.shape):
            ahead, behind = a.copy(), a.copy()
            ahead[index] = a[index] + h
            behind[index] = a[index] - h
            rise = loss(cell, case.with_input(group, name, ahead)) - loss(cell, case.with_input(group, name, behind))
            quotient = rise / (2 * h)
            floor = max(abs(float(quotient)), 1e-3)
            error = abs(float(hand[group, name][index] - quotient)) / floor
            if not error <= worst:
                worst, where = error, f"dL/d{name}{list(index)}"
    return worst, where


def worst_along(
    directions: Iterator[Direction],
    loss: Callable[[dict[str, Array]], Any],
    inputs: Mapping[str, Array],
    hand: Mapping[str, Array],
    step: str = "1e-20",
) -> tuple[float, str]:
    """The largest relative error of <hand, v> against L's quotient along each v, and where it is; inputs and hand are exact arrays."""
    h = Number(step)
    worst, where = 0.0, ""
    for place, name, v in directions:
        v = exact(v)
        rise = loss({**inputs, name: inputs[name] + v * h}) - loss({**inputs, name: inputs[name] - v * h})
        quotient = rise / (2 * h)
        error = abs(float((hand[name] * v).sum() - quotient)) / max(abs(float(quotient)), 1e-3)
        if not error <= worst:
            worst, where = error, f"dL/d{place}"
    return worst, where


def each_entry(inputs: Mapping[str, Array]) -> Iterator[Direction]:
    for name, a in inputs.items():
        for index in np.ndindex(a.shape):
            v = np.zeros(a.shape)
            v[index] = 1
            yield f"{name}{list(index)}", name, v


def one_random_direction(inputs: Mapping[str, Array], rng: np.random.Generator) -> Iterator[Direction]:
    """One for each input: a wrong entry shows in it, because every entry has its own random weight."""
    for name, a in inputs.items():
        yield name, name, np.asarray(rng.normal(size=a.shape))


def complex_step(cell: Cell, case: Case, group: Group, name: str, h: float = 1e-30) -> Array:
    """dL/d(input) by complex step: Im L(x + ih) / h, without any subtraction."""
    a = next(a for g, n, a in case.inputs() if (g, n) == (group, name))
    derivative = np.empty(a.shape)
    for index in np.ndindex(a.shape):
        z = a.astype(np.complex128)
        z[index] += 1j * h
        derivative[index] = loss(cell, case.with_input(group, name, z)).imag / h
    return derivative


__all__ = [
    "Case",
    "Direction",
    "Key",
    "complex_step",
    "each_entry",
    "gradients",
    "keyed",
    "loss",
    "one_random_direction",
    "random_case",
    "worst_along",
    "worst_error",
]
