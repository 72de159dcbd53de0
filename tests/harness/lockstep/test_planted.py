"""Each planted mistake in a training loop is seen, at the step and in the tensor where it is; a right loop is not accused."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from bptt.harness.lockstep.compare import Parting
from bptt.harness.lockstep.lockstep import lockstep
from bptt.harness.lockstep.models import NAMED, OPTIMIZERS, Named
from bptt.harness.lockstep.trainers import numpy_gradients
from bptt.refimpl.training.clipping import global_norm
from tests.harness.lockstep import ownloops as own
from tests.harness.lockstep.ownloops import Fault, Own, small

ALL = "W_x_l0 W_h_l0 b_l0 W_y b_y"


def parting_of(fault: Fault, named: Named, optimizer: str, steps: int = 8) -> Parting:
    one = lockstep(fault(named), named, steps=steps, optimizer=optimizer).runs[0]
    assert one.exit_code == 1
    assert one.held.parting is not None
    return one.held.parting


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NAMED)
def test_a_right_loop_of_ones_own_stays_with_the_reference(name: str, optimizer: str) -> None:
    found = lockstep(Own(small(name)), small(name), steps=8, optimizer=optimizer)
    assert found.ok, found.text()


#: mistake, model, optimizer -> first step, "loss" or the parameters that part there, words
PLANTED: list[tuple[Fault, Named, str, int, str, str]] = [
    (own.NoBiasCorrection, small("lstm"), "adam", 1, ALL, ""),
    (own.EpsilonInTheRoot, small("lstm"), "adam", 1, ALL, ""),
    (own.DampenedMomentum, small("gru"), "momentum", 2, "W_x_l0 W_h_l0 b_x_l0 b_h_l0 W_y b_y", ""),
    (own.GradientsNotAveraged, small("lstm"), "sgd", 1, ALL, "every parameter moved 15 times as far"),
    (own.MaskRedrawn, small("better-rnnlm"), "adam", 4, "loss", "masks"),
    (own.TiedGradientOnce, small("better-rnnlm", clip=None), "sgd", 1, "E", "all others agree"),
    (own.StateNotCarried, small("rnn"), "sgd", 2, "loss", "the state it starts from"),
    (own.StateNotCarried, small("lstm"), "adam", 2, "loss", "the state it starts from"),
    (own.RateAMillionthOff, small("lstm"), "sgd", 1, ALL, "every parameter moved 1.000001 times as far"),
    (own.RateAMillionthOff, small("rnn"), "adam", 1, ALL, "every parameter moved 1.000001 times as far"),
    (own.RateAMillionthOff, small("bigru"), "momentum", 1, "", "every parameter moved 1.000001 times as far"),
    (own.WeightDecay, small("lstm"), "sgd", 1, ALL, ""),
    (own.WeightDecay, small("gru"), "adam", 1, "", ""),
    (own.OneNotUpdated, small("lstm"), "sgd", 1, "b_y", "it did not move; all others agree"),
    (own.OneNotUpdated, small("seq2seq-additive"), "adam", 1, "b_y", "it did not move; all others agree"),
    (own.SecondFromTheFirst, small("lstm"), "sgd", 1, "W_h_l0", "all others agree"),
    (own.OneGateTwice, small("lstm"), "sgd", 3, "W_h_l0", "all others agree"),
    (own.LossAfterTheStep, small("gru"), "sgd", 1, "loss", "with the same weights"),
    (own.BatchesInAnotherOrder, small("seq2seq-dot"), "adam", 3, "loss", "which batch it is"),
]


@pytest.mark.parametrize(
    ("fault", "named", "optimizer", "step", "tensors", "words"),
    PLANTED,
    ids=[f"{fault.__name__}-{named.name}-{optimizer}" for fault, named, optimizer, *_ in PLANTED],  # type: ignore[attr-defined]
)
def test_a_planted_mistake_is_seen_where_it_is(fault: Fault, named: Named, optimizer: str, step: int, tensors: str, words: str) -> None:
    parting = parting_of(fault, named, optimizer)
    assert parting.step == step
    assert words in parting.words
    if tensors:
        assert {parting.tensor, *parting.others} == set(tensors.split())
    assert parting.mine != parting.reference
    assert parting.gap.relative > parting.gap.tolerance


def test_clipping_after_the_step_is_seen_at_the_first_gradient_that_is_too_large() -> None:
    named, norms = small("rnn", clip=0.6), []

    class Noting(Own):
        def clipped(self, grads: Any, settings: Any) -> Any:
            norms.append(global_norm(grads))
            return super().clipped(grads, settings)

    assert lockstep(Noting(named), named, steps=8, optimizer="sgd").ok
    first = next(t for t, norm in enumerate(norms, 1) if norm > 0.6)
    assert first > 1
    parting = parting_of(own.ClippedAfterTheStep, named, "sgd")
    assert parting.step == first
    assert parting.words.startswith("every parameter moved 1.")


@pytest.mark.parametrize("name", ["rnn", "lstm"])
def test_a_state_that_is_not_detached_is_seen_in_the_second_step(name: str) -> None:
    """torch with `retain_graph=True` and weights that are moved behind its back: no error, and gradients through all batches so far."""
    pytest.importorskip("torch", reason="needs torch")
    from bptt.harness.torch_models.networks import network as built

    def loop(params: Any, batches: Any, settings: Any) -> Any:
        network, state = built(small(name).model, params), None
        for batch in batches:
            network.zero_grad()
            loss, state = network.loss(batch.inputs, batch.targets, state)
            loss.backward(retain_graph=True)
            for p in network.ours.values():
                p.data -= settings.learning_rate * p.grad
            yield loss, network.values()

    parting = parting_of(cast(Any, lambda named: loop), small(name), "sgd")
    assert parting.step == 2
    assert {parting.tensor, *parting.others} == {"W_x_l0", "W_h_l0", "b_l0"}


def test_the_gate_is_named_where_one_parts_alone() -> None:
    assert parting_of(own.OneGateTwice, small("lstm"), "sgd").gates == ("f",)
    assert parting_of(own.RateAMillionthOff, small("lstm"), "sgd").gates == ()


def test_the_entry_and_both_values_are_those_of_the_loops() -> None:
    named = small("rnn")
    parting = parting_of(own.OneNotUpdated, named, "sgd")
    start = named.begin("sgd", 8, 0)
    gradient = numpy_gradients(named.model, start.params, start.batches[0])["b_y"]
    (k,) = parting.index
    assert k == np.abs(gradient).argmax()
    assert parting.mine == start.params["b_y"][k]
    assert parting.reference == start.params["b_y"][k] - start.settings.learning_rate * gradient[k]


@pytest.mark.parametrize("seed", range(3))
def test_a_mistake_is_seen_with_other_weights_and_batches_too(seed: int) -> None:
    def rate_off(params: Any, batches: Any, settings: Any) -> Any:
        return own.RateAMillionthOff(small("gru"))(params, batches, settings)

    one = lockstep(rate_off, small("gru"), steps=3, optimizer="adam", seed=seed).runs[0]
    assert one.held.parting is not None
    assert one.held.parting.step == 1
