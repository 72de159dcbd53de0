"""Two implementations on the same numbers, the weights of the one carried to the other: each quantity of both, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bptt.harness.call.cell import backward, run
from bptt.harness.call.drawing import draw, zero_state
from bptt.harness.cases import Case, Cotangent, Data, admissible, cotangents
from bptt.harness.errors import UsageError
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.weights.map import Identification
from bptt.harness.weights.transfer import Carried, carry

#: Largest difference, relative to the largest value of the tensor, that rounding explains after some saturated steps.
ROUNDING = {"float64": 1e-9, "float32": 1e-4}


@dataclass(frozen=True)
class Way:
    """How numbers get from the first subject to the second and back."""

    a: Subject
    b: Subject
    found_a: Identification | None
    found_b: Identification | None

    @property
    def rounding(self) -> float:
        return ROUNDING["float32" if "float32" in (self.a.dtype, self.b.dtype) else "float64"]

    @property
    def words(self) -> str:
        if self.found_a and self.found_b:
            return f"carried through {self.found_a.mapping.cell.name}"
        return "carried by name: names and shapes are the same"

    def carried(self, params: Arrays, case: Case) -> Carried:
        theirs = draw(self.b, case).params
        if self.found_a and self.found_b:
            return carry(params, self.found_a.mapping, self.found_b.mapping, (self.a.name, self.b.name))
        if {k: v.shape for k, v in theirs.items()} != {k: np.shape(v) for k, v in params.items()}:
            unknown = " and ".join(s.name for s, f in ((self.a, self.found_a), (self.b, self.found_b)) if f is None)
            raise UsageError(
                f"{unknown} {'are' if ' and ' in unknown else 'is'} none of the published cells that we know, and the parameters "
                f"differ in name or shape ({shapes_of(params)} against {shapes_of(theirs)}), so no weights can be carried"
            )
        return Carried({k: np.array(v) for k, v in params.items()}, lambda gradients: dict(gradients))

    def state_names(self, state_a: Arrays, state_b: Arrays) -> dict[str, str]:
        """The second's name of each state of the first, where both have it."""
        if self.found_a and self.found_b:
            back = {canonical: name for name, canonical in self.found_b.mapping.state.items()}
            return {name: back[canonical] for name, canonical in self.found_a.mapping.state.items() if canonical in back}
        return {name: name for name in state_a if name in state_b}

    def quantities(self, case: Case, left_out: dict[str, None]) -> Iterator[tuple[str, Array, Array]]:
        """Each quantity of both at one case, as arrays of the same shape."""
        case = admissible(self.b, admissible(self.a, case))
        if case != admissible(self.a, case):
            raise UsageError(f"{self.a.name} and {self.b.name} take no common size, got {case}")
        data = draw(self.a, replace(case, dtype=self.a.dtype))
        there = self.carried(data.params, case)
        start = zero_state(self.b, there.params, case.N)
        names = self.state_names(data.state, start)
        state_a = {k: v if k in names else np.zeros_like(v) for k, v in data.state.items()}
        state_b = start | {theirs: data.state[mine].astype(self.b.dtype) for mine, theirs in names.items()}
        params_b = {k: v.astype(self.b.dtype) if v.dtype.kind == "f" else v for k, v in there.params.items()}
        at_a = Data(data.params, data.xs, state_a)
        at_b = Data(params_b, data.xs.astype(self.b.dtype), state_b)
        ys_a, final_a = run(self.a, at_a)
        ys_b, final_b = run(self.b, at_b)
        if ys_a.shape != ys_b.shape:
            raise UsageError(f"{self.a.name} gives outputs {ys_a.shape} and {self.b.name} {ys_b.shape} at {case}")
        yield "outputs ys", ys_a, ys_b
        for mine, theirs in names.items():
            if mine in final_a and theirs in final_b:
                yield f"final state {mine}", final_a[mine], final_b[theirs]
        without = [s.name for s in (self.a, self.b) if "backward" not in s.capabilities]
        if without:
            left_out[f"gradients, {' and '.join(without)} has no backward"] = None
            return
        v = cotangents(self.a, case, ys_a, {k: x for k, x in final_a.items() if k in names})[0]
        yield from self._gradients(at_a, at_b, v, names, there.pull_back, left_out)

    def _gradients(
        self,
        at_a: Data,
        at_b: Data,
        v: Cotangent,
        names: Mapping[str, str],
        pull_back: Callable[[Arrays], dict[str, Array]],
        left_out: dict[str, None],
    ) -> Iterator[tuple[str, Array, Array]]:
        to_b = Cotangent(v.name, v.dys.astype(self.b.dtype), {names[k]: d.astype(self.b.dtype) for k, d in v.dfinal.items()})
        g_a, g_b = backward(self.a, at_a, v), backward(self.b, at_b, to_b)
        if set(at_b.params) <= set(g_b.params):
            back = pull_back(g_b.params)
            for name in at_a.params:
                if name in g_a.params:
                    yield f"dL/d{name}", g_a.params[name], back[name]
                else:
                    left_out[f"dL/d{name}, {self.a.name} does not give it"] = None
        else:
            left_out[f"gradients of parameters, {self.b.name} gives only {', '.join(g_b.params) or 'none'}"] = None
        if g_a.xs is not None and g_b.xs is not None:
            yield "dL/dxs", g_a.xs, g_b.xs
        else:
            left_out["dL/dxs, not given by both"] = None
        for mine, theirs in names.items():
            if mine in g_a.state and theirs in g_b.state:
                yield f"dL/d(initial {mine})", g_a.state[mine], g_b.state[theirs]


def shapes_of(params: Arrays) -> str:
    return ", ".join(f"{name} {np.shape(value)}" for name, value in params.items())
