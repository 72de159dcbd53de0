"""Keras layers on its JAX backend, in a process of their own: test_keras.py starts it with KERAS_BACKEND=jax."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

import bptt
from bptt.harness.adapters.keras.adapt import adapt
from bptt.harness.subject import Subject
from bptt.harness.weights.conventions import CONVENTIONS
from tests.harness.adapters.frameworks import dot_error, drawn, reference_outputs

layers = keras.layers

PUBLISHED: list[tuple[Any, dict[str, object], str]] = [
    (layers.LSTM, {}, "keras.layers.LSTM"),
    (layers.GRU, {"reset_after": False}, "keras.layers.GRU(reset_after=False)"),
]


@jax.custom_vjp
def tanh_without_square(a: Any) -> Any:
    return jnp.tanh(a)


tanh_without_square.defvjp(lambda a: (jnp.tanh(a), jnp.tanh(a)), lambda y, dy: (dy * (1 - y),))


class WrongBackward(layers.SimpleRNNCell):  # type: ignore[misc]  # keras has no types
    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        h = tanh_without_square(inputs @ self.kernel + states[0] @ self.recurrent_kernel + self.bias)
        return h, [h]


def subject_of(obj: object, args: dict[str, object] | None = None) -> Subject:
    subject = adapt(obj, "x", args)
    assert subject is not None
    return subject


def published_layers_are_what_their_convention_says() -> None:
    for obj, args, name in PUBLISHED:
        subject = subject_of(obj, args)
        assert subject.dtype == "float64" and "forward_ad" in subject.capabilities, name
        cell, data = CONVENTIONS[name].cell, drawn(subject)
        ys, _ = subject.implementation.run(data.params, data.xs, data.state)
        wanted = reference_outputs(cell, bptt.convert(data.params, name, cell), data)
        np.testing.assert_allclose(ys, wanted, rtol=0, atol=1e-12)
        short, _ = subject.implementation.run(data.params, data.xs, data.state, lengths=np.array([4, 2]))
        np.testing.assert_allclose(short[:2], ys[:2], rtol=0, atol=1e-14)
        assert not short[2:, 1].any(), name


def both_directions_have_their_names() -> None:
    subject = subject_of(layers.Bidirectional)
    assert subject.bidirectional
    data = drawn(subject)
    assert list(data.state) == ["h_l0", "c_l0", "h_l0_reverse", "c_l0_reverse"]
    assert {(r.gate, r.direction) for r in subject.implementation.regions(data.params)} == {
        (gate, direction) for gate in "ifgo" for direction in ("forward", "reverse")
    }
    assert dot_error(subject, data) < 1e-12


def an_instance_keeps_its_values() -> None:
    layer = layers.GRU(4)
    layer.build((None, None, 3))
    params = subject_of(layer).implementation.init(np.random.default_rng(0), 3, 4)
    for value, variable in zip(params.values(), layer.trainable_variables, strict=True):
        np.testing.assert_array_equal(value, np.asarray(variable.value, float))


def a_right_layer_conforms_and_a_wrong_custom_vjp_is_found() -> None:
    run = bptt.check(layers.SimpleRNN, level="smoke", isolate=False)
    assert run.ok, run.text()
    identified = run.run.targets[0].identified
    assert identified is not None and identified.cell == "elman"
    finding = bptt.check(WrongBackward, isolate=False, level="smoke", select=["contract", "GRD110"])["GRD110"].finding
    assert finding is not None and finding.code == "BUG"
    assert "derivative of the tanh is 1 - h" in finding.causes[0].hypothesis


if __name__ == "__main__":
    assert keras.config.backend() == "jax"
    before = jax.config.jax_enable_x64, keras.config.floatx()
    published_layers_are_what_their_convention_says()
    both_directions_have_their_names()
    an_instance_keeps_its_values()
    a_right_layer_conforms_and_a_wrong_custom_vjp_is_found()
    assert (jax.config.jax_enable_x64, keras.config.floatx()) == before
