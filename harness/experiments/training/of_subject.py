"""Any subject as a model that can be trained: its outputs through a dense layer, a loss, and its own backward.

ys = run(xs)      z_t = y_t @ W + b
value     L = mean of (z_T - target)^2                        dz = 2 (z_T - target) / (N O)
classes   L = mean cross-entropy of each step, or of the last      dz = (softmax(z) - onehot) / count
dW = sum of y_t.T @ dz_t      db = sum of dz_t      dy_t = dz_t @ W.T      the rest: the subject's backward
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bptt.harness.call.cell import backward, run
from bptt.harness.call.drawing import init, zero_state
from bptt.harness.cases import Case, Cotangent, Data, admissible
from bptt.harness.errors import ContractError
from bptt.harness.subject import Array, Subject
from bptt.refimpl.layers import cross_entropy, cross_entropy_backward
from bptt.refimpl.training.model import Loss
from bptt.refimpl.types import Params, State

#: Names of the dense layer's parameters: the others are the subject's.
W, B = "readout.W", "readout.b"


@dataclass(frozen=True)
class SubjectModel:
    """subject       a cell with a backward
    output_size   values that are predicted, or classes
    last_only     of the last step alone; else of every step
    """

    subject: Subject
    output_size: int = 1
    last_only: bool = True

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        """The subject's own start; W and b from (-1/sqrt(width), 1/sqrt(width)).

        Raises ContractError where it has no backward, or does not take inputs of that size.
        """
        case = admissible(self.subject, Case(1, 1, input_size, hidden_size, "initial"))
        if "backward" not in self.subject.capabilities:
            raise ContractError(f"{self.subject.name} has no backward, wanted one to train it")
        if input_size != case.D:
            raise ContractError(f"{self.subject.name} takes inputs of size {case.D}, wanted {input_size} for this task")
        own = init(self.subject, rng, case)
        ys, _ = run(self.subject, Data(own, np.zeros((1, case.N, case.D), case.dtype), zero_state(self.subject, own, case.N)))
        bound = ys.shape[-1] ** -0.5
        head = {W: rng.uniform(-bound, bound, (ys.shape[-1], self.output_size)), B: rng.uniform(-bound, bound, self.output_size)}
        return {**own, **{name: p.astype(case.dtype) for name, p in head.items()}}

    def zero_state(self, params: Params, batch_size: int) -> dict[str, Array]:
        """Every batch begins anew."""
        return {}

    def masks(self, rng: np.random.Generator, params: Params, T: int, N: int) -> None:
        """No dropout."""

    def predict(self, params: Params, inputs: Array, state: State) -> tuple[Array, dict[str, Array]]:
        """z (T, N, O), or (1, N, O)"""
        ys, _ = run(self.subject, self._data(params, inputs))
        return self._read(ys) @ params[W] + params[B], {}

    def loss(self, params: Params, inputs: Array, targets: Array, state: State, masks: None = None) -> Loss:
        data = self._data(params, inputs)
        ys, final = run(self.subject, data)
        read = self._read(ys)
        value, dz = self._judged(read @ params[W] + params[B], targets)
        dys = np.zeros_like(ys)
        self._read(dys)[...] = dz @ params[W].T
        none = {name: np.zeros_like(s) for name, s in final.items()}
        given = backward(self.subject, data, Cotangent("a training's own", dys, none)).params
        missing = data.params.keys() - given.keys()
        if missing:
            raise ContractError(f"{self.subject.name}.backward gives no gradient for {min(missing)!r}, wanted one for every parameter")
        return value, {**given, W: np.einsum("tnh,tno->ho", read, dz), B: dz.sum(axis=(0, 1))}, {}

    def _judged(self, z: Array, targets: Array) -> tuple[float, Array]:
        """The loss, and dL/dz.   z (T, N, O)"""
        if targets.dtype.kind == "f":
            apart = z - targets[None]
            return float(np.mean(apart**2)), 2 * apart / apart.size
        losses, tape = cross_entropy(z, targets.reshape(z.shape[:2]))
        return float(np.mean(losses)), cross_entropy_backward(tape, np.full_like(losses, 1 / losses.size))

    def _read(self, ys: Array) -> Array:
        return ys[-1:] if self.last_only else ys

    def _data(self, params: Params, inputs: Array) -> Data:
        own = {name: p for name, p in params.items() if name not in (W, B)}
        return Data(own, inputs, zero_state(self.subject, own, inputs.shape[1]))


def trainable(target_cell: Subject, N: int) -> int:
    """The batch size nearest to N that the subject takes."""
    return N if target_cell.batch_sizes is None or N in target_cell.batch_sizes else max(target_cell.batch_sizes)
