"""Any subject as a model that can be trained: its last output through a dense layer, squared error, its own backward.

ys = run(xs), y = y_T @ W + b, L = mean of (y - target)^2
dy = 2 (y - target) / (N O)      dW = y_T.T @ dy      db = sum over N of dy      dy_T = dy @ W.T      the rest: the subject's backward
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bptt.harness.call.cell import backward, run
from bptt.harness.call.drawing import init, zero_state
from bptt.harness.cases import Case, Cotangent, Data, admissible
from bptt.harness.errors import ContractError
from bptt.harness.subject import Array, Subject
from bptt.refimpl.training.model import Loss
from bptt.refimpl.types import Params, State

#: Names of the dense layer's parameters: the others are the subject's.
W, B = "readout.W", "readout.b"


@dataclass(frozen=True)
class SubjectRegressor:
    """subject   a cell with a backward        output_size   how many values are predicted at once, O"""

    subject: Subject
    output_size: int = 1

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
        """y (N, O)"""
        ys, _ = run(self.subject, self._data(params, inputs))
        return ys[-1] @ params[W] + params[B], {}

    def loss(self, params: Params, inputs: Array, targets: Array, state: State, masks: None = None) -> Loss:
        data = self._data(params, inputs)
        ys, final = run(self.subject, data)
        apart = ys[-1] @ params[W] + params[B] - targets
        dy = 2 * apart / apart.size
        dys = np.zeros_like(ys)
        dys[-1] = dy @ params[W].T
        given = backward(
            self.subject, data, Cotangent("last output only", dys, {name: np.zeros_like(s) for name, s in final.items()})
        ).params
        missing = data.params.keys() - given.keys()
        if missing:
            raise ContractError(f"{self.subject.name}.backward gives no gradient for {min(missing)!r}, wanted one for every parameter")
        return float(np.mean(apart**2)), {**given, W: ys[-1].T @ dy, B: dy.sum(axis=0)}, {}

    def _data(self, params: Params, inputs: Array) -> Data:
        own = {name: p for name, p in params.items() if name not in (W, B)}
        return Data(own, inputs, zero_state(self.subject, own, inputs.shape[1]))
