"""A network with its loss inside, seen as a cell whose only output is its loss, so that one engine certifies both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from bptt.harness.call.drawing import init
from bptt.harness.call.guard import called, called_as, named_arrays
from bptt.harness.cases import Case, generator
from bptt.harness.errors import ContractError
from bptt.harness.subject import Array, Arrays, Subject

#: Dropout masks as a network makes them and takes them: one array, or several by name or in a row, with None where nothing is dropped.
Masks = Array | Mapping[str, Array | None] | Sequence[Array | None]


@dataclass(frozen=True)
class LossAsOutput:
    """run gives ys (1, 1, 1) = loss on fixed inputs and targets; backward gives dys * dparams.   The xs handed in are not used."""

    network: Any
    name: str
    inputs: Any
    targets: Any
    masks: Masks | None = None

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> Any:
        return self.network.init(rng, input_size, hidden_size)

    def zero_state(self, params: Arrays, batch_size: int) -> Any:
        return self.network.zero_state(params, batch_size)

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        alone = getattr(self.network, "loss_alone", None) if self.masks is None else None
        if alone is not None:  # of an adapter of ours, which need not go back for it
            loss = called_as(f"{self.name}.loss", alone, params, self.inputs, self.targets, dict(state))
        else:
            loss, _ = loss_and_gradients(self.network, self.name, params, self.inputs, self.targets, state, self.masks)
        return loss.reshape(1, 1, 1), {}

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays
    ) -> tuple[dict[str, Array], None, dict[str, Array]]:
        _, dparams = loss_and_gradients(self.network, self.name, params, self.inputs, self.targets, state, self.masks)
        factor = dys.reshape(())
        return {name: factor * g for name, g in dparams.items()}, None, {}


def as_cell(subject: Subject, case: Case) -> Subject:
    """`subject`, a network, on one random batch of its own kind of `case`'s T and N."""
    rng = generator(case, "batch")
    params = init(subject, rng, case)
    batch = called(subject, "batch", subject.implementation.batch, rng, params, case.T, case.N)
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise ContractError(f"{subject.name}.batch returned a {type(batch).__name__}, wanted a pair (inputs, targets)")
    return replace(subject, kind="cell", implementation=LossAsOutput(subject.implementation, subject.name, *batch))


def with_masks(subject: Subject, masks: Masks) -> Subject:
    """A network as a cell, with these dropout masks in every call."""
    return replace(subject, implementation=replace(subject.implementation, masks=masks))


def named_masks(masks: Masks) -> dict[str, Array]:
    """The masks by what a user calls them: masks['h'], masks[0], or masks for one alone; None among them is no mask."""
    if isinstance(masks, np.ndarray):
        return {"masks": masks}
    pairs = masks.items() if isinstance(masks, Mapping) else enumerate(masks)
    return {f"masks[{key!r}]": np.asarray(mask) for key, mask in pairs if mask is not None}


def each_mask(change: Callable[[Array], Array], masks: Masks) -> Masks:
    """The masks in the form in which they were given, with `change` made to each."""
    if isinstance(masks, np.ndarray):
        return change(masks)
    if isinstance(masks, Mapping):
        return {key: None if mask is None else change(np.asarray(mask)) for key, mask in masks.items()}
    return tuple(None if mask is None else change(np.asarray(mask)) for mask in masks)


def loss_and_gradients(
    network: Any,
    name: str,
    params: Arrays,
    inputs: Any,
    targets: Any,
    state: Arrays,
    masks: Masks | None = None,
) -> tuple[Array, dict[str, Array]]:
    """The network's loss () and its gradients.  Raises ContractError where `loss` returns something else, SubjectError where it raises."""
    given = (params, inputs, targets, dict(state))
    loss_of = network.loss if masks is None else partial(network.loss, masks=masks)
    returned = called_as(f"{name}.loss", loss_of, *given)
    if not isinstance(returned, tuple | list) or len(returned) < 2 or not isinstance(returned[1], Mapping):
        raise ContractError(f"{name}.loss returned a {type(returned).__name__}, wanted a pair (loss, dparams)")
    loss = np.asarray(returned[0])
    if loss.size != 1:
        raise ContractError(f"{name}.loss: the loss has shape {loss.shape}, wanted one number")
    return loss.reshape(()), named_arrays({k: v for k, v in returned[1].items() if v is not None}, f"{name}.loss: dparams")
