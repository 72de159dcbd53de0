"""A run as a chain of single steps: the Jacobian of every step, all of them at once, and the chain rule over them.

A cell carries everything in its state, so a run over T steps is T runs over one step; and rows of a batch do not mix, so the T * N
single steps are the rows of one batch with one time step. One complex step of that batch is one column of every step's Jacobian:

    J_t = d(y_t, s_(t+1)) / d(x_t, s_t)          lambda_t = [(dys_t, lambda_(t+1)) J_t]_s          dxs_t = [(dys_t, lambda_(t+1)) J_t]_x

Nothing of this is taken for granted. That the run is its single steps is held against the subject's outputs (`single_steps`), and
what the chain gives against derivatives of whole runs in random directions (`columns`). The products are of real numbers, so a
gradient of 1e-200 keeps its digits. Nothing is asked of the subject's backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bptt.harness.call.cell import run
from bptt.harness.cases import Cotangent, Data
from bptt.harness.errors import BpttError
from bptt.harness.gradient.derivatives.complex_step import CANNOT_TAKE_COMPLEX
from bptt.harness.gradient.derivatives.slopes import Differentiate, side
from bptt.harness.gradient.derivatives.tangent import Direction
from bptt.harness.subject import Array, Subject

#: Numbers in all Jacobians together: 160 MB.
MOST_NUMBERS = 20_000_000


class NoChain(BpttError):
    """This run is no chain of single steps, or its Jacobians are too large; the text is the reason."""


@dataclass(frozen=True)
class Steps:
    """Every single step of a run.

    here     the steps as rows of one batch: xs (1, T*N, D), states (T*N, ...)
    D        inputs that can move: none where they are whole numbers
    O        width of the outputs
    S        width of all states side by side, `widths` of each
    """

    here: Data
    T: int
    N: int
    D: int
    O: int  # noqa: E741  # as T, N, D and H
    S: int
    widths: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """In all Jacobians together."""
        return self.T * self.N * (self.O + self.S) * (self.D + self.S)


@dataclass(frozen=True)
class Chain:
    """The steps with their Jacobians.   jacobians (T, N, O+S, D+S); errors alike, or None where they are rounding only"""

    steps: Steps
    jacobians: Array
    errors: Array | None


@dataclass(frozen=True)
class Adjoints:
    """What each cotangent is when it arrives at a step's outputs, and at the inputs.

    outputs   (V, T, N, O+S): dys_t and lambda_(t+1) side by side      xs (V, T, N, D)      state (V, N, S)
    """

    outputs: Array
    xs: Array
    state: Array


def single_steps(subject: Subject, data: Data) -> Steps:
    """The steps of a run.  Raises NoChain where the run is not made of them."""
    if subject.bidirectional or subject.batch_sizes is not None or any(v.dtype.kind != "f" for v in data.state.values()):
        raise NoChain("it reads its inputs both ways, takes no batch of any size, or has a state of whole numbers")
    if subject.lengths_of_sequence is not None:
        raise NoChain("it takes sequences of some lengths only")
    T, N = data.xs.shape[:2]
    ys, final = run(subject, data)
    states, seen = [data.state], []
    for t in range(T):
        y, state = run(subject, Data(data.params, data.xs[t : t + 1], states[-1]))
        if y.shape != (1, *ys.shape[1:]) or {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in data.state.items()}:
            raise NoChain("a run over one step gives outputs or a state of another form")
        seen.append(y[0])
        states.append({k: state[k] for k in data.state})
    tolerance = 1e-4 if data.xs.dtype == np.float32 else 1e-10
    outputs = np.stack(seen)
    if not close(outputs, ys, tolerance) or any(not close(states[-1][k], final[k], tolerance) for k in data.state):
        raise NoChain("a run over all steps gives other outputs than one step after the other")
    here = Data(
        data.params,
        np.ascontiguousarray(data.xs.reshape(1, T * N, *data.xs.shape[2:])),
        {k: np.concatenate([s[k] for s in states[:-1]]) for k in data.state},
    )
    together, after = run(subject, here)
    expected = np.concatenate([side(outputs[t : t + 1], states[t + 1], data.state) for t in range(T)])
    if together.shape != (1, T * N, ys.shape[2]) or not close(side(together, after, data.state), expected, tolerance):
        raise NoChain("rows of a batch do not give what they give alone")
    widths = tuple(v[0].size for v in data.state.values())
    return Steps(here, T, N, data.xs.shape[2] if data.xs.dtype.kind == "f" else 0, ys.shape[2], sum(widths), widths)


def chain_of(subject: Subject, data: Data, differentiate: Differentiate) -> Chain:
    """The chain of a run.  Raises NoChain."""
    try:
        steps = single_steps(subject, data)
        if steps.numbers > MOST_NUMBERS:
            raise NoChain(f"its Jacobians have {steps.numbers} entries")
        return jacobians(steps, differentiate)
    except CANNOT_TAKE_COMPLEX as error:
        raise error if isinstance(error, NoChain) else NoChain(str(error)) from error


def jacobians(steps: Steps, differentiate: Differentiate) -> Chain:
    """Every step with its Jacobian."""
    found = differentiate(steps.here, _unit_directions(steps))

    def by_step(columns: Array) -> Array:
        return np.ascontiguousarray(np.moveaxis(columns, 0, -1).reshape(steps.T, steps.N, steps.O + steps.S, steps.D + steps.S))

    return Chain(steps, by_step(found.values), None if found.errors is None else by_step(found.errors))


def _unit_directions(steps: Steps) -> list[Direction]:
    """Each input and each unit of the state, at every step and in every row at once."""
    here = steps.here
    rows = steps.T * steps.N
    found = []
    for d in range(steps.D):
        xs = np.zeros(here.xs.shape)
        xs[..., d] = 1
        found.append(Direction(xs=xs))
    for (name, value), width in zip(here.state.items(), steps.widths, strict=True):
        for k in range(width):
            unit = np.zeros((rows, width))
            unit[:, k] = 1
            found.append(Direction(state={name: unit.reshape(value.shape)}))
    return found


def adjoints(chain: Chain, cotangents: Sequence[Cotangent]) -> Adjoints:
    """Every cotangent carried back to the first step."""
    steps, V = chain.steps, len(cotangents)
    O, D = steps.O, steps.D  # noqa: E741  # as above
    outputs = np.zeros((V, steps.T, steps.N, O + steps.S))
    outputs[..., :O] = [v.dys for v in cotangents]
    xs = np.zeros((V, steps.T, steps.N, D))
    names = list(steps.here.state)
    arriving = np.zeros((V, steps.N, steps.S))
    for k, v in enumerate(cotangents):
        arriving[k] = np.concatenate([np.zeros((steps.N, 0)), *(v.dfinal[n].reshape(steps.N, -1) for n in names)], axis=1)
    for t in reversed(range(steps.T)):
        outputs[:, t, :, O:] = arriving
        back = np.swapaxes(np.swapaxes(outputs[:, t], 0, 1) @ chain.jacobians[t], 0, 1)  # (N, V, O+S) @ (N, O+S, D+S)
        xs[:, t], arriving = back[..., :D], back[..., D:]
    return Adjoints(outputs, xs, arriving)


def moved_by_errors(chain: Chain, rng: np.random.Generator) -> Chain:
    """The chain with every entry moved by its error, up or down: how far what comes out may be wrong."""
    if chain.errors is None:
        return chain
    return replace(chain, jacobians=chain.jacobians + chain.errors * rng.choice([-1.0, 1.0], size=chain.errors.shape))


def close(a: Array, b: Array, tolerance: float) -> bool:
    """Whether `a` equals `b` within `tolerance` times the largest entry.   False for other shapes"""
    if a.shape != b.shape:
        return False
    size = float(np.max(np.abs(b))) if b.size else 0.0
    return bool(np.all(np.abs(a - b) <= tolerance * max(size, 1e-300)) or not b.size)
