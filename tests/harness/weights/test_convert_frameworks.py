"""Weights of real layers, converted: the reference computes what the framework's layer computes, and the way back gives its weights."""

from __future__ import annotations

import functools
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

import bptt
from bptt.harness.cases import Data
from bptt.harness.errors import UsageError
from bptt.harness.subject import Subject
from bptt.harness.targets import load
from bptt.harness.weights.conventions import CONVENTIONS
from tests.harness.adapters.frameworks import drawn, keras_on_torch, reference_outputs

#: convention -> framework, target, its arguments
REAL: dict[str, tuple[str, str, dict[str, object]]] = {
    "torch.nn.LSTM": ("torch", "torch.nn:LSTM", {}),
    "torch.nn.GRU": ("torch", "torch.nn:GRU", {}),
    "torch.nn.RNN": ("torch", "torch.nn:RNN", {}),
    "keras.layers.LSTM": ("keras", "keras.layers:LSTM", {}),
    "keras.layers.GRU": ("keras", "keras.layers:GRU", {}),
    "keras.layers.GRU(reset_after=False)": ("keras", "keras.layers:GRU", {"reset_after": False}),
    "keras.layers.SimpleRNN": ("keras", "keras.layers:SimpleRNN", {}),
    **{
        f"flax.{library}.{name}": ("flax", f"flax.{library}:{name}", {})
        for library in ("linen", "nnx")
        for name in ("LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell")
    },
    "equinox.nn.LSTMCell": ("equinox", "equinox.nn:LSTMCell", {}),
    "equinox.nn.GRUCell": ("equinox", "equinox.nn:GRUCell", {}),
}


@functools.cache
def loaded(name: str) -> Subject:
    framework, target, args = REAL[name]
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    if framework == "keras":
        keras_on_torch()
    return load(target, args or None)[0]


@pytest.mark.parametrize("name", REAL)
def test_the_reference_computes_what_the_layer_computes(name: str) -> None:
    subject = loaded(name)
    data = drawn(subject)
    ys, _ = subject.implementation.run(data.params, data.xs, data.state)
    cell = CONVENTIONS[name].cell
    canonical = bptt.convert(data.params, name, cell)
    assert subject.dtype == "float64"
    np.testing.assert_allclose(ys, reference_outputs(cell, canonical, data), rtol=0, atol=1e-12)
    back = bptt.convert(canonical, cell, name)
    assert back.keys() == data.params.keys()
    again, _ = subject.implementation.run(back, data.xs, data.state)
    np.testing.assert_allclose(again, ys, rtol=0, atol=1e-12)


@pytest.mark.parametrize("target", [name for name in REAL if CONVENTIONS[name].cell == "lstm"])
def test_weights_of_torch_run_in_every_other_lstm(target: str) -> None:
    source, other = loaded("torch.nn.LSTM"), loaded(target)
    data = drawn(source)
    other.implementation.init(np.random.default_rng(0), 3, 5)  # it takes parameters of the shapes that it has made
    ys, _ = source.implementation.run(data.params, data.xs, data.state)
    theirs, _ = other.implementation.run(bptt.convert(data.params, "torch.nn.LSTM", target), data.xs, data.state)
    np.testing.assert_allclose(theirs, ys, rtol=0, atol=1e-12)


def test_a_gru_with_a_bias_on_h_has_no_place_in_nnx() -> None:
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(3, 15)), "recurrent_kernel": rng.normal(size=(5, 15)), "bias": rng.normal(size=(2, 15))}
    with pytest.raises(UsageError, match=r"flax\.nnx\.GRUCell has no place for it"):
        bptt.convert(params, "keras.layers.GRU", "flax.nnx.GRUCell")


@pytest.mark.parametrize(("name", "convention"), [("LSTM", "haiku.LSTM"), ("GRU", "haiku.GRU"), ("VanillaRNN", "haiku.VanillaRNN")])
def test_haiku_cells(name: str, convention: str) -> None:
    hk: Any = pytest.importorskip("haiku", reason="haiku is not installed")
    import jax

    rng = np.random.default_rng(0)
    xs, states = rng.normal(size=(4, 2, 3)), {letter: rng.normal(size=(2, 5)) for letter in "hc"}

    def unroll(xs: Any, h: Any, c: Any) -> Any:
        core = getattr(hk, name)(5)
        state, ys = (hk.LSTMState(h, c) if name == "LSTM" else h), []
        for x in xs:
            y, state = core(x, state)
            ys.append(y)
        return ys

    with jax.enable_x64(True):
        made = hk.without_apply_rng(hk.transform(unroll))
        tree = jax.tree_util.tree_map(lambda a: rng.normal(size=a.shape), made.init(jax.random.PRNGKey(0), xs, states["h"], states["c"]))
        ys = np.stack(made.apply(tree, xs, states["h"], states["c"]))
    own = {f"{module}/{leaf}": value for module, leaves in tree.items() for leaf, value in leaves.items()}
    params = {full.partition("/")[2].removeprefix("~/"): value for full, value in own.items()}
    cell = CONVENTIONS[convention].cell
    canonical = bptt.convert(params, convention, cell)
    np.testing.assert_allclose(ys, reference_outputs(cell, canonical, Data({}, xs, states)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("op", "attributes", "convention"),
    [
        ("LSTM", {}, "onnx.LSTM"),
        ("GRU", {}, "onnx.GRU"),
        ("GRU", {"linear_before_reset": 1}, "onnx.GRU(linear_before_reset=1)"),
        ("RNN", {}, "onnx.RNN"),
    ],
)
def test_onnx_models(op: str, attributes: dict[str, Any], convention: str) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    from bptt.harness.adapters.onnx.adapt import adapt
    from tests.harness.adapters.onnx.test_onnx import model

    subject = adapt(model(op, **attributes), "m.onnx")
    assert subject is not None
    data = drawn(subject)
    cell = CONVENTIONS[convention].cell
    ys, _ = subject.implementation.run(data.params, data.xs, data.state)
    canonical = bptt.convert(data.params, convention, cell)
    np.testing.assert_allclose(ys, reference_outputs(cell, canonical, data), rtol=0, atol=1e-12)
    again, _ = subject.implementation.run(bptt.convert(canonical, cell, convention), data.xs, data.state)
    np.testing.assert_allclose(again, ys, rtol=0, atol=1e-12)
