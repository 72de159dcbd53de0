"""Weights in every form in which people hold them: the same numbers each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.errors import UsageError
from bptt.harness.subject import Array
from bptt.harness.weights.convert import convert
from tests.harness.adapters.frameworks import keras_on_torch

RNG = np.random.default_rng(0)
LSTM = {
    "weight_ih_l0": RNG.normal(size=(28, 3)),
    "weight_hh_l0": RNG.normal(size=(28, 7)),
    "bias_ih_l0": RNG.normal(size=28),
    "bias_hh_l0": RNG.normal(size=28),
}
KERAS = convert(LSTM, "torch.nn.LSTM", "keras.layers.LSTM")


def same(found: dict[str, Array], wanted: dict[str, Array], rtol: float = 0.0) -> None:
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=rtol, atol=rtol, err_msg=name)


@pytest.mark.parametrize("between", [".", "/"])
@pytest.mark.parametrize("beside", [{}, {"head.weight": np.zeros((2, 7))}], ids=["alone", "beside others"])
def test_a_part_of_a_model_is_found_by_its_names(between: str, beside: dict[str, Array]) -> None:
    same(convert(beside | {f"encoder{between}rnn{between}{k}": v for k, v in LSTM.items()}, "torch.nn.LSTM", "keras.layers.LSTM"), KERAS)


def test_of_two_parts_one_is_named() -> None:
    both = {f"encoder.rnn.{k}": v for k, v in LSTM.items()} | {f"decoder.rnn.{k}": 2 * v for k, v in LSTM.items()}
    with pytest.raises(UsageError, match=r"stand in 2 places, 'decoder.rnn', 'encoder.rnn'; wanted one of them: within="):
        convert(both, "torch.nn.LSTM", "keras.layers.LSTM")
    same(convert(both, "torch.nn.LSTM", "keras.layers.LSTM", within="encoder"), KERAS)
    with pytest.raises(UsageError, match=r"nothing within 'coder', there are 'decoder\.rnn', 'encoder\.rnn'"):
        convert(both, "torch.nn.LSTM", "keras.layers.LSTM", within="coder")


@pytest.mark.parametrize("part", ["", "rnn."])
def test_what_stands_beside_them_and_is_none_of_theirs_is_not_lost(part: str) -> None:
    handed = {f"{part}{k}": v for k, v in LSTM.items()} | {f"{part}peephole": np.zeros(7), "head.rng": object()}
    with pytest.raises(UsageError, match="peephole"):
        convert(handed, "torch.nn.LSTM", "keras.layers.LSTM")
    del handed[f"{part}peephole"]
    same(convert(handed, "torch.nn.LSTM", "keras.layers.LSTM"), KERAS)


def test_nested_variables_and_lists() -> None:
    nested = {"params": {"lstm": {"lstm_cell": dict(KERAS)}}}
    there = convert(KERAS, "keras.layers.LSTM", "lstm")
    same(convert(nested, "keras.layers.LSTM", "lstm"), there)
    same(convert(list(KERAS.values()), "keras.layers.LSTM", "lstm"), there)
    same(convert({f"lstm/{k}:0": v for k, v in KERAS.items()}, "keras.layers.LSTM", "lstm"), there)
    with pytest.raises(UsageError, match="got a list of 1, wanted 2 to 3 in the order kernel, recurrent_kernel, bias"):
        convert([KERAS["kernel"]], "keras.layers.LSTM", "lstm")


def test_a_name_that_is_the_end_of_another_is_told_from_it() -> None:
    tf1 = convert({"W_x": np.ones((3, 20)), "W_h": np.ones((2, 20)), "b": np.ones(20), "W_p": np.ones((5, 2))}, "lstm", "tf1.LSTMCell")
    assert {"kernel", "projection/kernel"} <= set(tf1)
    same(convert({f"rnn/lstm_cell/{k}": v for k, v in tf1.items()}, "tf1.LSTMCell", "tf1.LSTMCell"), tf1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_said(bad: float) -> None:
    broken = LSTM | {"bias_ih_l0": np.where(np.arange(28) == 5, bad, 0.0)}
    with pytest.raises(UsageError, match=r"bias_ih_l0 is not finite in 1 of 28 entries, the first at \[5\]"):
        convert(broken, "torch.nn.LSTM", "keras.layers.LSTM")


def test_half_a_bias_is_a_loss_and_said() -> None:
    with pytest.raises(UsageError, match="bias_ih without bias_hh in layer 0, wanted all of them or none"):
        convert({k: v for k, v in LSTM.items() if k != "bias_hh_l0"}, "torch.nn.LSTM", "keras.layers.LSTM")


def test_one_layer_of_several_goes_where_one_is_held() -> None:
    second = {k.replace("_l0", "_l1"): v for k, v in LSTM.items()}
    same(convert(second, "torch.nn.LSTM", "keras.layers.LSTM"), KERAS)


@pytest.mark.parametrize(
    "handed", [3, None, object(), {"weight_ih_l0": "text"}, {"weight_ih_l0": object()}], ids=["number", "None", "object", "text", "objects"]
)
def test_what_holds_no_weights_is_one_clear_error(handed: object) -> None:
    with pytest.raises(UsageError, match="weights"):
        convert(handed, "torch.nn.LSTM", "keras.layers.LSTM")


def test_files(tmp_path: Path) -> None:
    named: dict[str, Any] = {f"rnn.{k}": v for k, v in LSTM.items()}
    np.savez(tmp_path / "w.npz", **named)
    same(convert(tmp_path / "w.npz", "torch.nn.LSTM", "keras.layers.LSTM"), KERAS)
    with pytest.raises(UsageError, match=r"ends in '\.h5', wanted \.npz, .safetensors, .pt, .pth, .onnx"):
        convert("w.h5", "torch.nn.LSTM", "keras.layers.LSTM")


def test_torch_modules_and_what_they_save(tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch", reason="torch is not installed")
    rnn = torch.nn.LSTM(3, 7).double()
    rnn.load_state_dict({k: torch.from_numpy(v) for k, v in LSTM.items()})
    model = torch.nn.ModuleDict({"rnn": rnn, "head": torch.nn.Linear(7, 2).double()})
    torch.save({"model": model.state_dict()}, tmp_path / "w.pt")
    for handed in (rnn, rnn.state_dict(), model, model.state_dict(), tmp_path / "w.pt"):
        same(convert(handed, "torch.nn.LSTM", "keras.layers.LSTM"), KERAS)
    same(convert(rnn.bfloat16(), "torch.nn.LSTM", "keras.layers.LSTM"), KERAS, rtol=2e-2)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
def test_keras_layers_variables_and_paths() -> None:
    keras: Any = keras_on_torch()

    layer = keras.layers.LSTM(7, dtype="float64")
    model = keras.Sequential([keras.Input((4, 3)), layer, keras.layers.Dense(2)])
    layer.set_weights(list(KERAS.values()))
    there = convert(KERAS, "keras.layers.LSTM", "lstm")
    paths = {variable.path: np.asarray(variable) for variable in model.weights}
    for handed in (layer, layer.weights, layer.get_weights(), model, paths):
        same(convert(handed, "keras.layers.LSTM", "lstm"), there)


def test_flax_equinox_and_nnx() -> None:
    jax: Any = pytest.importorskip("jax", reason="jax is not installed")
    nn: Any = pytest.importorskip("flax.linen", reason="flax is not installed")
    nnx: Any = pytest.importorskip("flax.nnx", reason="flax is not installed")
    cell, key = nn.OptimizedLSTMCell(7), jax.random.key(0)
    variables = cell.init(key, cell.initialize_carry(key, (1, 3)), np.zeros((1, 3)))
    flat = {f"{dense}/{leaf}": np.asarray(v) for dense, leaves in variables["params"].items() for leaf, v in leaves.items()}
    there = convert(flat, "flax.linen.OptimizedLSTMCell", "lstm")
    rnn = nn.RNN(nn.OptimizedLSTMCell(7))
    for handed in (variables, variables["params"], {"params": {"encoder": variables["params"]}}):
        same(convert(handed, "flax.linen.OptimizedLSTMCell", "lstm"), there)
    assert set(convert(rnn.init(key, np.zeros((1, 4, 3))), "flax.linen.OptimizedLSTMCell", "lstm")) == set(there)
    theirs = nnx.OptimizedLSTMCell(3, 7, rngs=nnx.Rngs(0))
    found = convert(theirs, "flax.nnx.OptimizedLSTMCell", "lstm")
    assert found["W_x"].shape == (3, 28)
    assert np.any(found["W_h"] != 0)
    eqx: Any = pytest.importorskip("equinox", reason="equinox is not installed")
    module = eqx.nn.LSTMCell(3, 7, key=key)
    np.testing.assert_array_equal(convert(module, "equinox.nn.LSTMCell", "equinox.nn.LSTMCell")["weight_hh"], module.weight_hh)


def test_an_onnx_file(tmp_path: Path) -> None:
    onnx: Any = pytest.importorskip("onnx", reason="onnx is not installed")
    from onnx import TensorProto, helper, numpy_helper

    there = convert(LSTM, "torch.nn.LSTM", "onnx.LSTM")
    ports = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in ("X", "Y")]
    node = helper.make_node("LSTM", ["X", "weights", "recurrent", "bias"], ["Y"], hidden_size=7, name="/rnn/LSTM")
    held = [numpy_helper.from_array(there[of], name) for of, name in (("W", "weights"), ("R", "recurrent"), ("B", "bias"))]
    onnx.save(helper.make_model(helper.make_graph([node], "g", ports[:1], ports[1:], held)), str(tmp_path / "m.onnx"))
    same(convert(tmp_path / "m.onnx", "onnx.LSTM", "keras.layers.LSTM"), KERAS)
