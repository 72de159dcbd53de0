"""Language models with one planted mistake each, for the checks of networks over time and of dropout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bptt.harness.cases import Case
from bptt.harness.subject import Array, Arrays
from bptt.refimpl import layers
from bptt.refimpl.models.language_model import LanguageModel
from tests.harness.checks.planted import Plant

P = 0.4


class CleanModel:
    """A language model with dropout: no mistake."""

    bidirectional_layers = False

    def __init__(self) -> None:
        self.model = LanguageModel(("elman",), bidirectional=self.bidirectional_layers, embedding=True, dropout=P)

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return self.model.init(rng, input_size, hidden_size)

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return self.model.zero_state(params, batch_size)

    def batch(self, rng: np.random.Generator, params: Arrays, T: int, N: int) -> Any:
        return self.model.batch(rng, params, T, N)

    def masks(self, rng: np.random.Generator, params: Arrays, T: int, N: int) -> Any:
        return self.model.masks(rng, params, T, N)

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays, masks: Any = None) -> Any:
        return self.model.loss(params, inputs, targets, state, masks)


class ReadsTheFuture(CleanModel):
    """Both directions: the backward one has read the word that is to be predicted."""

    bidirectional_layers = True


class EmbeddingsCentred(CleanModel):
    """The embedding of a step is made to have mean zero over the batch, forward; its gradient is exact."""

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays, masks: Any = None) -> Any:
        # The centred embeddings as rows of a table of their own: the model sees T N different words.
        T, N = inputs.shape
        table = layers.embedding(params["E"], inputs)
        table = table - table.mean(axis=1, keepdims=True)
        own = {**params, "E": table.reshape(T * N, -1)}
        loss, dparams, final = self.model.loss(own, np.arange(T * N).reshape(T, N), targets, state, masks)
        dtable = dparams["E"].reshape(table.shape)
        dtable = dtable - dtable.mean(axis=1, keepdims=True)
        return loss, {**dparams, "E": layers.embedding_backward(params["E"], inputs, dtable)}, final


class MasksNotScaled(CleanModel):
    """Masks of 0 and 1/p: the scale of the dropped part, not of the kept one."""

    def masks(self, rng: np.random.Generator, params: Arrays, T: int, N: int) -> Any:
        return tuple((mask > 0) / P for mask in self.model.masks(rng, params, T, N) or ())


class EvaluationScaled(CleanModel):
    """Without masks the embedding is scaled by 1 - p, as dropout without inverted scaling has it."""

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays, masks: Any = None) -> Any:
        if masks is not None:
            return self.model.loss(params, inputs, targets, state, masks)
        ones = self.masks(np.random.default_rng(0), params, *inputs.shape)
        scaled = (np.full_like(ones[0], 1 - P), *(np.ones_like(mask) for mask in ones[1:]))
        return self.model.loss(params, inputs, targets, state, scaled)


class MaskKept(CleanModel):
    """The backward pass of evaluation multiplies by the masks of the last training call."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: Any = None

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays, masks: Any = None) -> Any:
        if masks is not None:
            if any(np.any(mask == 0) for mask in masks):
                self.kept = masks
            return self.model.loss(params, inputs, targets, state, masks)
        loss, dparams, final = self.model.loss(params, inputs, targets, state)
        if self.kept is not None and self.kept[0].shape[:2] == inputs.shape:
            dparams = self.model.loss(params, inputs, targets, state, self.kept)[1]
        return loss, dparams, final


class MaskForgottenBackward(CleanModel):
    """The backward pass of training leaves the mask of the embedding out."""

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays, masks: Any = None) -> Any:
        loss, dparams, final = self.model.loss(params, inputs, targets, state, masks)
        if masks is not None:
            forgotten = (np.ones_like(masks[0]), *masks[1:])
            dparams = {**dparams, "E": self.model.loss(params, inputs, targets, state, forgotten)[1]["E"]}
        return loss, dparams, final


def numbers(made: CleanModel, case: Case) -> Iterator[Array]:
    """Losses and gradients without and with masks, in turn, and the masks."""
    rng = np.random.default_rng(case.seed)
    params = made.init(rng, case.D, case.H)
    inputs, targets = made.batch(rng, params, case.T, case.N)
    state = made.zero_state(params, case.N)
    drawn = tuple(made.masks(rng, params, case.T, case.N))
    yield from drawn
    for masks in (None, drawn, None):
        loss, dparams, _ = made.loss(params, inputs, targets, state, masks)
        yield from (np.asarray(loss), *dparams.values())


PLANTS: dict[str, Plant] = {
    "TIM200": Plant(
        ReadsTheFuture, "the score at step 0 depends on the input at step 1", where={"tensor": "score", "step": 0}, clean=CleanModel
    ),
    "BAT200": Plant(EmbeddingsCentred, "depends on the input of row 1", clean=CleanModel),
    "OPT100": Plant(MasksNotScaled, "= 1/(1-p) belongs to p = 60.0%", where={"tensor": "masks[0]"}, clean=CleanModel),
    "OPT120": Plant(EvaluationScaled, "the loss without masks differ from that with masks of ones", clean=CleanModel),
    "OPT110": Plant(MaskKept, "without masks, after a call with masks, differ from that before it: a mask is kept", clean=CleanModel),
    "GRD240": Plant(MaskForgottenBackward, "dL/dE is wrong", where={"tensor": "E"}, clean=CleanModel),
}
