"""The two loops: the NumPy reference and torch.  Each yields, for every batch, its loss and the parameters after the step.

loss, dparams = of the batch, from the carried state or from zeros
dparams       = dparams * min(1, clip / (||dparams|| + 1e-6))          where there is a clip
params        = optimiser's step
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bptt.harness.errors import UsageError
from bptt.harness.lockstep.models import Batch, Settings
from bptt.refimpl.models.language_model import LanguageModel
from bptt.refimpl.seq2seq import Seq2Seq
from bptt.refimpl.training.clipping import clip_by_global_norm_torch, unclipped
from bptt.refimpl.training.optimisers import SGD, Adam, Momentum, Optimiser
from bptt.refimpl.training.rounding import Rounding, exact
from bptt.refimpl.types import Array, Params, State

if TYPE_CHECKING:
    from bptt.harness.torch_models.networks import LanguageNetwork, Seq2SeqNetwork

Step = tuple[float, Params]


def numpy_loop(model: Any, params: Params, batches: Sequence[Batch], settings: Settings, rounding: Rounding = exact) -> Iterator[Step]:
    """The reference.   rounding: what is done to weights and gradients before each step of the optimiser"""
    optimiser, clip = _optimiser(settings), _clip(settings)
    slots = optimiser.start(params)
    dparams: Params
    carried: State = {}
    for k, batch in enumerate(batches):
        if k == 0 or not settings.carried:
            carried = _zeros(model, params, batch)
        loss, dparams, carried = _loss(model, params, batch, carried)
        params, dparams = rounding(params, dparams)
        clipped, _ = clip(dparams)
        params, slots = optimiser.step(params, clipped, slots, settings.learning_rate)
        yield float(loss), params


def numpy_gradients(model: Any, params: Params, batch: Batch) -> dict[str, Array]:
    """The gradients of one batch from a zero state, not clipped."""
    _, dparams, _ = _loss(model, params, batch, _zeros(model, params, batch))
    return dict(dparams)


def torch_loop(model: Any, params: Params, batches: Sequence[Batch], settings: Settings) -> Iterator[Step]:
    """torch.nn's modules, its differentiation, its clipping and its optimisers."""
    from bptt.harness.torch_models.trainer import trainer

    network = _network(model, params)
    theirs = trainer(network, _optimiser(settings), _clip(settings))
    state = None
    for batch in batches:
        loss, _, after = theirs.step(settings.learning_rate, batch.inputs, batch.targets, state, batch.masks, batch.lengths)
        state = after if settings.carried else None
        yield loss, network.values()


def torch_gradients(model: Any, params: Params, batch: Batch) -> dict[str, Array]:
    """As numpy_gradients."""
    network = _network(model, params)
    loss, _ = network.loss(batch.inputs, batch.targets, None, batch.masks, batch.lengths)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own
    return network.gradients()


def _network(model: Any, params: Params) -> LanguageNetwork | Seq2SeqNetwork:
    from bptt.harness.torch_models.networks import network

    if not isinstance(model, LanguageModel | Seq2Seq):
        raise UsageError(f"lockstep: no torch model for a {type(model).__name__}, wanted a LanguageModel or a Seq2Seq")
    made: LanguageNetwork | Seq2SeqNetwork = network(model, params)
    return made


def _loss(model: Any, params: Params, batch: Batch, state: State) -> tuple[Array, dict[str, Array], dict[str, Array]]:
    lengths = {} if batch.lengths is None else {"lengths": batch.lengths}
    result: tuple[Array, dict[str, Array], dict[str, Array]] = model.loss(
        params, batch.inputs, batch.targets, state, batch.masks, **lengths
    )
    return result


def _zeros(model: Any, params: Params, batch: Batch) -> State:
    symbols = batch.inputs if isinstance(batch.inputs, np.ndarray) else batch.inputs.sources
    zeros: State = model.zero_state(params, symbols.shape[1])
    return zeros


def _optimiser(settings: Settings) -> Optimiser:
    if settings.optimizer == "adam":
        return Adam(*settings.betas, settings.epsilon)
    return Momentum(settings.momentum) if settings.optimizer == "momentum" else SGD()


def _clip(settings: Settings) -> Callable[[Params], tuple[dict[str, Array], float]]:
    return unclipped if settings.clip is None else partial(clip_by_global_norm_torch, theta=settings.clip)
