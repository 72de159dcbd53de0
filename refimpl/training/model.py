"""What training asks of a model: the methods of bptt.refimpl.models, and of any other that has them."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from bptt.refimpl.types import Array, Params, State

Loss = tuple[Any, dict[str, Array], dict[str, Array]]


class Predictor(Protocol):
    """A model that is read and not trained."""

    def zero_state(self, params: Params, batch_size: int) -> dict[str, Array]:
        """The state before the first symbol; {} where there is none to carry."""

    def predict(self, params: Params, inputs: Any, state: State) -> tuple[Array, dict[str, Array]]:
        """scores (T, N, V) without dropout, and the state after the last step."""


class Model(Predictor, Protocol):
    """A model with its loss inside."""

    def masks(self, rng: np.random.Generator, params: Params, T: int, N: int) -> Any:
        """Dropout masks for one batch, or None."""

    def loss(self, params: Params, inputs: Any, targets: Any, state: State, masks: Any = None) -> Loss:
        """loss (a number), dparams, and the state after the last step."""
