"""Gradient checkers, ours and others', as one question: does it find anything wrong with this NumPy cell, in this case?

Each of the others sees what its users would show it: a function of parameters, inputs and initial state, with the cell's own backward
as its derivative, and is called with its defaults.  All get the same numbers.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bptt.harness.call.cell import backward, run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, Cotangent, Data, generator
from bptt.harness.checks.registry import load
from bptt.harness.gradient.certificate import examine
from bptt.harness.gradient.exhaustive import exhaust
from bptt.harness.run.detection import first_failure
from bptt.harness.run.events import Options
from bptt.harness.subject import Array, Subject

#: Of the naive check that comes with a tutorial on the subject: central differences, step 1e-3, |a - b| / (|a| + |b|) <= 0.01.
_STEP, _SLACK = 1e-3, 0.01


@dataclass(frozen=True)
class Peer:
    """`finds(subject, case)` is whether it calls the cell wrong; `needs` is the package that must be there."""

    name: str
    finds: Callable[[Subject, Case], bool]
    needs: str | None = None

    @property
    def is_here(self) -> bool:
        return self.needs is None or importlib.util.find_spec(self.needs) is not None


@dataclass(frozen=True)
class AsFunction:
    """A cell at one case as (ys, *final) of a list of arrays: the parameters, then xs, then the initial state."""

    subject: Subject
    data: Data

    @property
    def inputs(self) -> list[Array]:
        return [*self.data.params.values(), self.data.xs, *self.data.state.values()]

    def at(self, inputs: Sequence[Array]) -> Data:
        P = len(self.data.params)
        params, state = dict(zip(self.data.params, inputs[:P], strict=True)), dict(zip(self.data.state, inputs[P + 1 :], strict=True))
        return Data(params, np.asarray(inputs[P]), state)

    def outputs(self, inputs: Sequence[Array]) -> list[Array]:
        ys, final = run(self.subject, self.at(inputs))
        return [ys, *(final[name] for name in self.data.state)]

    def pullback(self, inputs: Sequence[Array], dys: Array, *dfinal: Array) -> list[Array]:
        data = self.at(inputs)
        g = backward(self.subject, data, Cotangent("given", dys, dict(zip(data.state, dfinal, strict=True))))
        dxs = np.zeros_like(data.xs) if g.xs is None else g.xs
        return [*(g.params[name] for name in data.params), dxs, *(g.state[name] for name in data.state)]

    def flat(self) -> tuple[Array, Callable[[Array], Array], Callable[[Array, Array], Array]]:
        """The same on one vector: the inputs, the function, and (inputs, cotangent) -> gradient."""
        inputs, outputs = self.inputs, self.outputs(self.inputs)

        def parts(vector: Array, like: Sequence[Array]) -> list[Array]:
            cuts = np.cumsum([a.size for a in like])[:-1]
            return [part.reshape(a.shape) for part, a in zip(np.split(np.asarray(vector), cuts), like, strict=True)]

        def whole(arrays: Sequence[Array]) -> Array:
            return np.concatenate([a.ravel() for a in arrays])

        return (
            whole(inputs),
            lambda vector: whole(self.outputs(parts(vector, inputs))),
            lambda vector, v: whole(self.pullback(parts(vector, inputs), *parts(v, outputs))),
        )


def as_function(subject: Subject, case: Case) -> AsFunction:
    subject = replace(subject, dtype=case.dtype)
    return AsFunction(subject, draw(subject, case))


def standard(subject: Subject, case: Case) -> bool:
    """The gradient checks of the standard level, at its own cases, with the seed of this one."""
    asked = Options(seed=case.seed, select=("linearity", "gradient"))
    return first_failure(replace(subject, dtype=case.dtype), load(), asked) is not None


def certificate(subject: Subject, case: Case) -> bool:
    return bool(examine(replace(subject, dtype=case.dtype), case).wrong)


def exhaustive(subject: Subject, case: Case) -> bool:
    return bool(exhaust(replace(subject, dtype=case.dtype), case, lambda params: ()).wrong)


def naive(subject: Subject, case: Case) -> bool:
    """Every entry of every parameter by one central difference; 0 / 0 counts as right."""
    f = as_function(subject, case)
    rng = generator(case, "naive")
    vs = [np.asarray(rng.normal(size=out.shape), out.dtype) for out in f.outputs(f.inputs)]

    def loss(inputs: Sequence[Array]) -> float:
        return float(sum(np.sum(v * out) for v, out in zip(vs, f.outputs(inputs), strict=True)))

    gradients = f.pullback(f.inputs, *vs)
    for k in range(len(f.data.params)):
        for index in np.ndindex(f.inputs[k].shape):
            moved = [[a.copy() for a in f.inputs] for _ in range(2)]
            moved[0][k][index] += _STEP
            moved[1][k][index] -= _STEP
            numeric, given = (loss(moved[0]) - loss(moved[1])) / (2 * _STEP), float(gradients[k][index])
            if abs(numeric - given) > _SLACK * (abs(numeric) + abs(given)):
                return True
    return False


def _gradcheck(subject: Subject, case: Case, fast: bool) -> bool:
    import torch

    f = as_function(subject, case)

    class Cell(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            ctx.save_for_backward(*inputs)
            return tuple(torch.from_numpy(out) for out in f.outputs([a.numpy() for a in inputs]))

        @staticmethod
        def backward(ctx: Any, *vs: Any) -> Any:
            given = f.pullback([a.detach().numpy() for a in ctx.saved_tensors], *(v.numpy() for v in vs))
            return tuple(torch.from_numpy(np.ascontiguousarray(g)) for g in given)

    leaves = [torch.from_numpy(a.copy()).requires_grad_() for a in f.inputs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return not torch.autograd.gradcheck(Cell.apply, leaves, fast_mode=fast, raise_exception=False)


def gradcheck(subject: Subject, case: Case) -> bool:
    return _gradcheck(subject, case, False)


def gradcheck_fast(subject: Subject, case: Case) -> bool:
    return _gradcheck(subject, case, True)


def jax_check_grads(subject: Subject, case: Case) -> bool:
    import jax
    from jax.test_util import check_grads

    with jax.enable_x64(case.dtype == "float64"):
        vector, function, pullback = as_function(subject, case).flat()
        like = jax.ShapeDtypeStruct(function(vector).shape, vector.dtype)

        @jax.custom_vjp
        def cell(x: Any) -> Any:
            return jax.pure_callback(function, like, x)

        def back(x: Any, v: Any) -> Any:
            return (jax.pure_callback(pullback, jax.ShapeDtypeStruct(vector.shape, vector.dtype), x, v),)

        cell.defvjp(lambda x: (cell(x), x), back)
        return _asserts(lambda: check_grads(cell, (jax.numpy.asarray(vector),), order=1, modes=["rev"]))


def autograd_check_grads(subject: Subject, case: Case) -> bool:
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    vector, function, pullback = as_function(subject, case).flat()
    cell = primitive(function)
    defvjp(cell, lambda _, x: lambda v: pullback(x, v))
    np.random.seed(case.seed)  # noqa: NPY002  # it draws from NumPy's global generator
    return _asserts(lambda: check_grads(cell, modes=["rev"], order=1)(vector))


def _asserts(check: Callable[[], object]) -> bool:
    try:
        check()
    except AssertionError:
        return True
    return False


PEERS = (
    Peer("bptt, standard level", standard),
    Peer("bptt, every entry of this case", exhaustive),
    Peer("bptt, certificate of this case", certificate),
    Peer("torch.autograd.gradcheck, slow", gradcheck, "torch"),
    Peer("torch.autograd.gradcheck, fast", gradcheck_fast, "torch"),
    Peer("jax check_grads", jax_check_grads, "jax"),
    Peer("autograd check_grads", autograd_check_grads, "autograd"),
    Peer("naive differences, 1e-3", naive),
)
