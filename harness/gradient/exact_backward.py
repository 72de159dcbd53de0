"""The same forward pass with its exact derivative for a backward: what gradients would be if nobody had made a mistake in them.

step by step, in the oracle's derivative of the forward pass:   dL/dX = J' v      J from complex steps, forward mode or differences
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bptt.harness.cases import Case, Cotangent, Data
from bptt.harness.gradient.certificate import examine
from bptt.harness.gradient.derivatives.blocks import blocks
from bptt.harness.gradient.derivatives.distance import relative_distance
from bptt.harness.gradient.derivatives.every_entry import exact_gradients
from bptt.harness.gradient.derivatives.oracle import choose
from bptt.harness.subject import Array, Arrays, Subject


@dataclass(frozen=True)
class OneStep:
    """One step's vector-Jacobian product that is not the exact one.   error: largest relative distance   wrong: names of tensors"""

    error: float
    wrong: tuple[str, ...]

    @property
    def words(self) -> str:
        names = ", ".join(f"dL/d{name}" for name in self.wrong)
        return f"your gradient of a single step is wrong in {names}"


def one_step(subject: Subject, case: Case) -> OneStep | None:
    """The certificate of one step at a case; None where nothing is wrong with it.  Raises as `examine`."""
    found = examine(subject, replace(case, T=1))
    if not found.wrong:
        return None
    exact = exact_gradients(found.oracle, found.data, found.cotangents, [j.block for j in found.judged], np.random.default_rng(0))
    apart: dict[str, float] = {}
    for mine, right in zip(found.gradients, exact, strict=True):
        pairs = [(name, g, right.params.get(name)) for name, g in mine.params.items()]
        pairs += [(f"{name}0", g, right.state.get(name)) for name, g in mine.state.items()]
        pairs += [] if mine.xs is None else [("xs", mine.xs, right.xs)]
        for name, yours, wanted in pairs:
            if wanted is not None:
                apart[name] = max(apart.get(name, 0.0), float(np.nan_to_num(relative_distance(yours, wanted), nan=np.inf)))
    wrong = {"xs" if j.block.source == "xs" else j.block.tensor + "0" * (j.block.source == "state") for j in found.wrong}
    return OneStep(max((apart.get(name, 0.0) for name in wrong), default=0.0), tuple(sorted(wrong)))


def with_exact_backward(subject: Subject) -> Subject:
    """`subject` with the exact derivative of its own forward pass in the place of its backward."""
    return replace(subject, implementation=_Exact(subject), capabilities=subject.capabilities | {"backward"})


@dataclass(frozen=True)
class _Exact:
    subject: Subject

    def __getattr__(self, name: str) -> Any:
        if name == "subject":  # before it is set, as while it is copied
            raise AttributeError(name)
        return getattr(self.subject.implementation, name)

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays
    ) -> tuple[dict[str, Array], Array | None, dict[str, Array]]:
        data = Data(dict(params), xs, dict(state))
        case = Case(T=len(xs), N=xs.shape[1], D=xs.shape[-1], H=dys.shape[-1], dtype=xs.dtype.name)
        oracle = choose(self.subject, case, data)
        cotangent = Cotangent("given", np.asarray(dys), {name: np.asarray(d) for name, d in dfinal.items()})
        (g,) = exact_gradients(oracle, data, [cotangent], blocks(case, data, ()), np.random.default_rng(0))
        return g.params, g.xs, g.state
