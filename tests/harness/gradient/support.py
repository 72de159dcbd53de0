"""What the tests of the gradient engine share: reference cells as subjects, functions as subjects, exact gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bptt.harness.adapters.reference import subject as reference_subject
from bptt.harness.call.cell import Gradients, run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, Cotangent, Data, cotangents
from bptt.harness.gradient.derivatives.blocks import Block
from bptt.harness.gradient.precision import Precisions
from bptt.harness.subject import Array, Arrays, Subject
from bptt.refimpl import CELLS
from bptt.refimpl.unroll import backward, forward


def reference(name: str) -> Subject:
    return reference_subject(CELLS[name])


def exact(name: str, data: Data, v: Cotangent) -> Gradients:
    """The reference's own BPTT."""
    _, _, tapes = forward(CELLS[name], data.params, data.xs, data.state)
    return Gradients(*backward(CELLS[name], data.params, data.xs, tapes, v.dys, v.dfinal))


def on(subject: Subject, data: Data, name: str, case: Case | None = None) -> Cotangent:
    """The cotangent of this name."""
    ys, final = run(subject, data)
    return next(v for v in cotangents(subject, case or Case(), ys, final) if v.name == name)


def forgetful_lstm(T: int = 60, seed: int = 0) -> tuple[Subject, Data]:
    """An LSTM whose forget biases are all -2, with small recurrent weights: gradients of about 1e-43 at lag 59."""
    subject = reference("lstm")
    rng = np.random.default_rng(seed)
    D, H = 3, 7
    params = dict(CELLS["lstm"].init(rng, D, H))
    params["W_h"] = 0.5 * params["W_h"]
    params["b"][H : 2 * H] = -2
    return subject, Data(params, 0.5 * rng.normal(size=(T, 1, D)), {k: 0.5 * rng.normal(size=(1, H)) for k in ("h", "c")})


@dataclass(frozen=True)
class Function:
    """ys = f(xs), entry by entry, as an implementation."""

    f: Callable[[Array], Array]

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        return self.f(xs), {}


def function(f: Callable[[Array], Array], dtype: str = "float64") -> Subject:
    return Subject("f", "f", "numpy", "cell", Function(f), dtype=dtype)


def changed(subject: Subject, change: Callable[[Gradients], Gradients]) -> Subject:
    """`subject` with what its backward gives changed."""
    return replace(subject, implementation=Changed(subject.implementation, change))


@dataclass(frozen=True)
class Changed:
    whole: Any
    change: Callable[[Gradients], Gradients]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def backward(self, *args: Any) -> tuple[dict[str, Array], Array | None, dict[str, Array]]:
        g = self.change(Gradients(*self.whole.backward(*args)))
        return g.params, g.xs, g.state


def one_entry(tensor: str, index: tuple[int, ...], factor: float) -> Callable[[Gradients], Gradients]:
    """One entry of dL/d(tensor) times `factor`."""

    def change(g: Gradients) -> Gradients:
        wrong = g.params[tensor].copy()
        wrong[index] *= factor
        return replace(g, params={**g.params, tensor: wrong})

    return change


def drawn(subject: Subject, case: Case | None = None) -> Data:
    return draw(subject, case or Case())


def shrinks_with_precision(subject: Subject, data: Data, cotangent: Cotangent, block: Block, u: Array) -> bool | None:
    """As `Precisions.shrinks`, for one block."""
    return Precisions(subject, data, [cotangent]).shrinks(block, 0, u)
