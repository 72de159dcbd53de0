"""Keras layers as users call them.  Keras is imported on its torch backend; without it nothing here runs."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bptt
from bptt.harness.adapters.keras.adapt import adapt
from bptt.harness.errors import UsageError
from bptt.harness.identify.published_cell import identify
from bptt.harness.subject import Subject
from tests.harness.adapters.frameworks import dot_error, drawn, keras_on_torch

keras = keras_on_torch()
import torch  # noqa: E402
from keras import ops  # noqa: E402

layers = keras.layers


class ElmanCell(layers.Layer):  # type: ignore[misc]  # keras has no types
    """A cell of one's own, with a layer inside."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = self.state_size = units
        self.project = layers.Dense(units, use_bias=False)

    def build(self, shape: tuple[int, ...]) -> None:
        self.project.build(shape)
        self.recurrent_kernel = self.add_weight(shape=(self.units, self.units), name="recurrent_kernel")
        self.bias = self.add_weight(shape=(self.units,), name="bias")

    def preactivation(self, inputs: Any, states: Any) -> Any:
        return self.project(inputs) + ops.matmul(states[0], self.recurrent_kernel) + self.bias

    def call(self, inputs: Any, states: Any) -> Any:
        h = ops.tanh(self.preactivation(inputs, states))
        return h, [h]


class TanhWithoutSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(a)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> torch.Tensor:
        (y,) = ctx.saved_tensors
        return dy * (1 - y)


class WrongBackward(ElmanCell):
    def call(self, inputs: Any, states: Any) -> Any:
        h = TanhWithoutSquare.apply(self.preactivation(inputs, states))
        return h, [h]


class HalfState(ElmanCell):
    """Wrong forwards: it halves what it hands on."""

    like = "elman"

    def call(self, inputs: Any, states: Any) -> Any:
        h = ops.tanh(self.preactivation(inputs, states))
        return h, [0.5 * h]


def subject_of(obj: object, args: dict[str, object] | None = None) -> Subject:
    subject = adapt(obj, "x", args)
    assert subject is not None
    return subject


RIGHT: list[tuple[Any, dict[str, object], str | None, str]] = [
    (layers.SimpleRNN, {}, "elman", "weights as columns (D, H), one bias"),
    (layers.LSTM, {}, "lstm", "blocks i f g o, weights as columns (D, 4H), one bias"),
    (layers.GRU, {}, "gru_reset_after", "reset after the product, z keeps the old state, blocks z r n"),
    (layers.GRU, {"reset_after": False}, "gru_reset_before", "reset before the product, z keeps the old state, blocks z r n"),
    (layers.LSTMCell, {}, "lstm", "blocks i f g o"),
    (layers.RNN, {"cell": "GRUCell"}, "gru_reset_after", "blocks z r n"),
    (ElmanCell, {}, "elman", "an Elman cell (tanh)"),
    (layers.Bidirectional, {}, "lstm", "a bidirectional LSTM layer"),
    (layers.Bidirectional, {"layer": "GRU", "merge_mode": "sum"}, None, ""),
    (layers.RNN, {"cell": ["LSTMCell", "GRUCell"]}, "lstm+gru_reset_after", "a stack of 2 LSTM and GRU layers"),
]


@pytest.mark.parametrize(("obj", "args", "cell", "words"), RIGHT, ids=lambda v: getattr(v, "__name__", None))
def test_right_layers_conform_and_are_known(obj: Any, args: dict[str, object], cell: str | None, words: str) -> None:
    run = bptt.check(obj, args=args or None, level="smoke", isolate=False)
    assert run.ok, run.text()
    identified = run.run.targets[0].identified
    if cell is None:
        assert identified is None
    else:
        assert identified is not None and identified.cell == cell and words in identified.convention


def test_a_wrong_backward_is_found_named_and_located() -> None:
    run = bptt.check(WrongBackward, isolate=False, select=["contract", "gradient"])
    finding = run["GRD110"].finding
    assert finding is not None
    assert finding.code == "BUG"
    assert "derivative of the tanh is 1 - h" in finding.causes[0].hypothesis


def test_a_wrong_forward_pass_is_found() -> None:
    run = bptt.check(HalfState, isolate=False, select=["PAR100"])
    assert [r.check for r in run.failed] == ["PAR100"]


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])
def test_outputs_are_those_of_the_layer_itself(name: str) -> None:
    subject = subject_of(getattr(layers, name))
    data = drawn(subject)
    layer = getattr(layers, name)(5, return_sequences=True, return_state=True)
    layer.build((None, None, 3))
    layer.set_weights([data.params[key] for key in ("kernel", "recurrent_kernel", "bias")])
    xs, states = torch.from_numpy(data.xs).float().transpose(0, 1), [torch.from_numpy(s).float() for s in data.state.values()]
    ys, *final = layer(xs, initial_state=states)
    mine, mine_final = subject.implementation.run(data.params, data.xs, data.state)
    np.testing.assert_allclose(mine, ys.detach().transpose(0, 1).numpy(), atol=1e-6)
    for got, wanted in zip(mine_final.values(), final, strict=True):
        np.testing.assert_allclose(got, wanted.detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU", "Bidirectional"])
def test_float64_is_float64_inside_and_both_modes_agree(name: str) -> None:
    subject = subject_of(getattr(layers, name))
    assert subject.dtype == "float64" and "forward_ad" in subject.capabilities
    assert dot_error(subject, drawn(subject)) < 1e-12


def test_names_are_those_of_the_variables() -> None:
    assert list(drawn(subject_of(layers.GRU)).params) == ["kernel", "recurrent_kernel", "bias"]
    both = drawn(subject_of(layers.Bidirectional))
    assert list(both.params) == [f"{d}/{name}" for d in ("forward", "backward") for name in ("kernel", "recurrent_kernel", "bias")]
    assert list(both.state) == ["h_l0", "c_l0", "h_l0_reverse", "c_l0_reverse"]
    for _ in range(2):  # whatever else Keras has counted in between
        assert set(drawn(subject_of(ElmanCell)).params) == {"dense/kernel", "recurrent_kernel", "bias"}


def test_the_gates_of_both_directions_are_known() -> None:
    subject = subject_of(layers.Bidirectional)
    params = drawn(subject).params
    found = {(r.gate, r.direction) for r in subject.implementation.regions(params)}
    assert found == {(gate, direction) for gate in "ifgo" for direction in ("forward", "reverse")}
    covered = {name: np.zeros(value.shape) for name, value in params.items()}
    for region in subject.implementation.regions(params):
        covered[region.tensor][region.index] += 1
    assert all(np.all(count == 1) for count in covered.values())


def test_nothing_of_keras_or_python_is_left_changed() -> None:
    keras.config.set_floatx("float32")
    before = keras.config.floatx(), keras.config.dtype_policy().name, random.getstate(), torch.get_rng_state().tolist()
    widths = keras.backend.result_type("float64", "float64")
    subject = subject_of(layers.LSTM)
    data = drawn(subject)
    subject.implementation.backward(data.params, data.xs, data.state, *subject.implementation.run(data.params, data.xs, data.state))
    assert (keras.config.floatx(), keras.config.dtype_policy().name, random.getstate(), torch.get_rng_state().tolist()) == before
    assert keras.backend.result_type("float64", "float64") == widths


def test_init_follows_the_generator() -> None:
    subject = subject_of(layers.GRU)
    first, again, other = (subject.implementation.init(np.random.default_rng(seed), 3, 5) for seed in (1, 1, 2))
    for name in ("kernel", "recurrent_kernel"):
        np.testing.assert_array_equal(first[name], again[name])
        assert not np.array_equal(first[name], other[name])


def test_an_instance_has_its_sizes_and_values_and_stays_as_it_is() -> None:
    layer = layers.GRU(4)
    layer.build((None, None, 3))
    subject = subject_of(layer)
    assert (subject.input_sizes, subject.hidden_sizes) == ((3,), (4,))
    params = subject.implementation.init(np.random.default_rng(0), 3, 4)
    for value, variable in zip(params.values(), layer.trainable_variables, strict=True):
        np.testing.assert_array_equal(value, variable.value.detach().numpy().astype(float))
    assert not layer.return_sequences and not layer.return_state
    with pytest.raises(UsageError, match=r"got args \['units'\] for an instance"):
        adapt(layer, "x", {"units": 3})


def test_args_and_factories_fix_sizes() -> None:
    assert subject_of(layers.LSTM, {"units": 5}).hidden_sizes == (5,)
    fixed = subject_of(lambda: layers.GRU(6))
    assert (fixed.hidden_sizes, fixed.input_sizes) == ((6,), None)
    free = subject_of(lambda units: layers.GRU(units, reset_after=False))
    assert free.hidden_sizes is None
    found = identify(free)
    assert found is not None and found.cell == "gru_reset_before"


@pytest.mark.parametrize(
    ("obj", "args", "words"),
    [
        (layers.Dense, None, "is a Dense, wanted a recurrent Keras layer, or a cell with state_size"),
        (layers.LSTM, {"unit": 3}, "raised"),
        (layers.LSTM, {"units": "big"}, "got units = 'big', wanted a whole number"),
        (layers.RNN, {"cell": "Nothing"}, "cell is 'Nothing', wanted a class of keras.layers, such as 'LSTMCell'"),
        (layers.Bidirectional, {"merge_mode": None}, "merge_mode None"),
    ],
    ids=str,
)
def test_what_cannot_be_taken_is_one_clear_line(obj: Any, args: dict[str, object] | None, words: str) -> None:
    with pytest.raises(UsageError, match=words) as told:
        adapt(obj, "x", args)
    assert "\n" not in str(told.value)


def test_the_jax_backend_does_the_same() -> None:
    """In a process of its own: Keras has one backend a process."""
    pytest.importorskip("jax", reason="jax is not installed")
    command = [sys.executable, "-W", "error", "-m", "tests.harness.adapters.keras.keras_on_jax"]
    root = Path(__file__).parents[4]
    done = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": "jax"}, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.config, "backend", lambda: "numpy")
    with pytest.raises(UsageError, match=r"Keras runs on numpy here, wanted its torch or its jax backend: .*KERAS_BACKEND=torch"):
        adapt(layers.GRU, "x")


@pytest.mark.parametrize("obj", [3, dict, np.tanh, torch.nn.GRU, lambda a: {}], ids=str)
def test_other_things_are_not_mine(obj: object) -> None:
    assert adapt(obj, "x") is None


def test_keras_is_not_imported_for_other_things() -> None:
    code = "import sys; from bptt.harness.adapters.keras.adapt import adapt; "
    code += "assert adapt(dict, 'x') is None; assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("layer", [layers.GRU, layers.SimpleRNN(7, unroll=True, go_backwards=True)], ids=["GRU", "SimpleRNN"])
def test_a_loop_that_is_unrolled_gives_what_one_gives_that_is_not(layer: Any) -> None:
    result = bptt.check(layer, level="full", select=["OPT300"], isolate=False)["OPT300"]
    assert result.status == "passed", result.finding
    unrolled = adapt(layer, "layer").ways[0][0]  # type: ignore[union-attr]  # it is a layer
    assert unrolled == ("unroll=True" if layer is layers.GRU else "unroll=False")


class HoldsNothing(layers.GRU):  # type: ignore[misc]  # keras has no types
    """A masked step counts where the loop is unrolled."""

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        return super().call(sequences, initial_state=initial_state, mask=None if self.unroll else mask, training=training)


def masks_of(layer: Any) -> Any:
    return bptt.check(layer, level="full", select=("OPT310",), isolate=False, block=False)["OPT310"]


@pytest.mark.slow
@pytest.mark.parametrize("layer", [layers.SimpleRNN, layers.LSTM, layers.GRU])
def test_every_combination_of_options_and_masks_is_what_its_cell_gives_step_by_step(layer: Any) -> None:
    """But for one that raises in Keras 3.15 on torch: a mask, turned around and unrolled."""
    found = masks_of(layer)
    assert found.status == "passed"
    assert found.finding is None or found.finding.headline.startswith("with unroll=True, go_backwards=True, ")


@pytest.mark.slow
def test_a_mask_that_one_combination_forgets_is_found() -> None:
    ours = masks_of(lambda units=4: HoldsNothing(units, unroll=True))
    assert (ours.status, ours.finding.code) == ("failed", "BUG")
    assert "differ from what its cell gives step by step" in ours.finding.headline
    assert "with unroll=True, padding on the right" in ours.finding.headline
    others = masks_of(lambda units=4: HoldsNothing(units))
    assert (others.status, others.finding.code) == ("passed", "BUG")


@keras.saving.register_keras_serializable()  # type: ignore[untyped-decorator]  # keras has no types
class ForgetsInReverse(layers.GRU):  # type: ignore[misc]  # keras has no types
    """A masked step counts in the reverse direction."""

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        return super().call(sequences, initial_state=initial_state, mask=None if self.go_backwards else mask, training=training)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["concat", "ave"])
def test_masks_of_two_directions_are_held_against_the_steps_of_both(mode: str) -> None:
    """What raises in Keras 3.15 is a warning: a mask, turned around and unrolled; a stateful one that gives its states."""
    right = masks_of(lambda units=4: layers.Bidirectional(layers.GRU(units, return_sequences=True), merge_mode=mode))
    assert (right.status, right.finding.code) == ("passed", "CONTRACT")
    wrong = masks_of(lambda units=4: layers.Bidirectional(ForgetsInReverse(units, return_sequences=True), merge_mode=mode))
    assert (wrong.status, wrong.finding.code, wrong.finding.where.tensor) == ("failed", "BUG", "ys")
    assert "padding on the right differ from what its cell gives step by step" in wrong.finding.headline


@pytest.mark.slow
def test_cells_on_top_of_each_other_are_held_against_their_steps() -> None:
    cells = [layers.LSTMCell(4), layers.GRUCell(3)]
    right = masks_of(layers.RNN(cells, return_sequences=True))
    assert (right.status, right.finding.code) == ("passed", "CONTRACT")  # reset_state of a stateful one raises in Keras 3.15
    assert right.finding.headline.startswith("with stateful=True, no mask it raises AttributeError")


def of_three() -> Any:
    return keras.Sequential([keras.Input((None, 3)), layers.TimeDistributed(layers.Dense(4)), layers.GRU(5, return_sequences=True)])


def test_a_function_that_makes_a_model_of_its_own_sizes_is_taken_at_these() -> None:
    subject = adapt(of_three, "m")
    assert subject is not None
    assert (subject.name, subject.input_sizes) == ("of_three", (3,))


class Multiplied(layers.Layer):  # type: ignore[misc]  # keras has no types
    """A cell whose call raises: its weights are of other sizes."""

    state_size = 4

    def call(self, x: Any, states: Any, training: bool = False) -> Any:
        return ops.matmul(x, ops.ones((2, 2))), states


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (lambda: layers.ConvLSTM1D(3, 3), "is over images, its inputs have 4 axes, wanted a layer over sequences"),
        (lambda: layers.Bidirectional(layers.ConvLSTM1D(3, 3)), "is over images"),
        (lambda: layers.RNN(Multiplied()), "a first run of .* raised RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
        (lambda units=4: keras.Sequential([layers.GRU(units), layers.Reshape((7, 9))]), "called with .* raised"),
    ],
)
def test_what_cannot_be_driven_is_refused_in_its_own_words(layer: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        adapt(layer, "m")


def test_how_both_directions_are_merged_is_part_of_the_name() -> None:
    subject = adapt(layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode="mul"), "m")
    assert subject is not None and subject.name == "keras.Bidirectional(GRU)[merged by mul]"
