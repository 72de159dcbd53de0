"""The smallest model that has everything: integer inputs, a carried state, dropout masks, a mean loss, and a gradient of one line.

c_t = c_{t-1} + 1                                  how many symbols were read: the state
z_t = W[x_t] * m + c_t / 10 * u
L   = mean of -log softmax(z_t)[y_t]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bptt.refimpl import layers
from bptt.refimpl.training import Text, Vocabulary
from bptt.refimpl.types import Array, Params, State


@dataclass(frozen=True)
class TinyModel:
    dropout: float = 0.0

    def init(self, rng: np.random.Generator, V: int) -> dict[str, Array]:
        return {"W": rng.normal(size=(V, V)), "u": rng.normal(size=V)}

    def zero_state(self, params: Params, batch_size: int) -> dict[str, Array]:
        return {"c": np.zeros(batch_size, params["W"].dtype)}

    def masks(self, rng: np.random.Generator, params: Params, T: int, N: int) -> Any:
        return (layers.dropout_mask(rng, (T, N, 1), self.dropout, params["W"].dtype),) if self.dropout else None

    def loss(self, params: Params, inputs: Array, targets: Array, state: State, masks: Any = None) -> Any:
        scores, cs, final = self._scores(params, inputs, state, masks)
        losses, tape = layers.cross_entropy(scores, targets, None)
        dscores = layers.cross_entropy_backward(tape, np.full_like(losses, 1 / losses.size))
        dW = layers.embedding_backward(params["W"], inputs, layers.dropout_backward(masks and masks[0], dscores))
        return losses.mean(), {"W": dW, "u": (cs[:, :, None] / 10 * dscores).sum(axis=(0, 1))}, final

    def predict(self, params: Params, inputs: Array, state: State) -> tuple[Array, dict[str, Array]]:
        scores, _, final = self._scores(params, inputs, state, None)
        return scores, final

    def _scores(self, params: Params, inputs: Array, state: State, masks: Any) -> tuple[Array, Array, dict[str, Array]]:
        cs = state["c"] + np.arange(1, len(inputs) + 1, dtype=params["W"].dtype)[:, None]
        scores = layers.dropout(params["W"][inputs], masks and masks[0]) + cs[:, :, None] / 10 * params["u"]
        return scores, cs, {"c": cs[-1]}


def text_of(ids: Array, V: int | None = None) -> Text:
    """A text of these numbers, its symbols the characters from "a" on."""
    V = int(ids.max()) + 1 if V is None else V
    return Text("a text", ids, Vocabulary(tuple(chr(ord("a") + i) for i in range(V))))


def random_text(seed: int, n: int, V: int) -> Text:
    return text_of(np.random.default_rng(seed).integers(V, size=n).astype(np.int32), V)
