"""Frameworks that a machine may lack: imported here, and what the tests of their adapters ask of every subject."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from bptt.harness.call.cell import Gradients, backward, run
from bptt.harness.cases import Cotangent, Data
from bptt.harness.subject import Array, Subject
from bptt.refimpl.cells import CELLS
from bptt.refimpl.unroll import forward


def keras_on_torch() -> Any:
    """keras, on its torch backend; the test module is skipped where it is missing, or runs on another one already."""
    pytest.importorskip("torch", reason="Keras is read on its torch backend")
    if find_spec("keras") is None:
        pytest.skip("keras is not installed", allow_module_level=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        keras = importlib.import_module("keras")
    if keras.config.backend() != "torch":
        pytest.skip(f"keras runs on {keras.config.backend()} here", allow_module_level=True)
    return keras


def drawn(subject: Subject, D: int = 3, H: int = 5, T: int = 4, N: int = 2, seed: int = 0) -> Data:
    """Random parameters, none zero, inputs and states in the subject's dtype, at sizes that it can take."""
    rng = np.random.default_rng(seed)
    D, H = (subject.input_sizes or (D,))[0], (subject.hidden_sizes or (H,))[0]
    params = subject.implementation.init(rng, D, H)
    params = {name: value + 0.3 * rng.normal(size=value.shape).astype(value.dtype) for name, value in params.items()}
    state = {name: rng.normal(size=value.shape).astype(value.dtype) for name, value in subject.implementation.zero_state(params, N).items()}
    return Data(params, rng.normal(size=(T, N, D)).astype(subject.dtype), state)


def dot_error(subject: Subject, data: Data) -> float:
    """|v'Ju - u'g| / the sum of both, J by the framework's forward mode, g by its reverse mode."""
    rng = np.random.default_rng(3)
    ys, final = run(subject, data)

    def normal(value: Array) -> Array:
        return np.asarray(rng.normal(size=value.shape), value.dtype)

    v = Cotangent("all", normal(ys), {name: normal(value) for name, value in final.items()})
    u = Data({k: normal(a) for k, a in data.params.items()}, normal(data.xs), {k: normal(a) for k, a in data.state.items()})
    ys_dot, final_dot = subject.implementation.run_tangent(data.params, data.xs, data.state, u.params, u.xs, u.state)
    forward_ = float(np.sum(v.dys * ys_dot) + sum(np.sum(v.dfinal[k] * final_dot[k]) for k in final))
    backward_ = _dot(u, backward(subject, data, v))
    return abs(forward_ - backward_) / (abs(forward_) + abs(backward_))


def _dot(u: Data, g: Gradients) -> float:
    assert g.xs is not None
    pairs = [*((u.params[k], a) for k, a in g.params.items()), (u.xs, g.xs), *((u.state[k], a) for k, a in g.state.items())]
    return float(sum(np.sum(a * b) for a, b in pairs))


def reference_outputs(cell: str, canonical: dict[str, Array], data: Data) -> Array:
    """ys (T, N, H) of a reference cell from the states of `data`, which are called h and c."""
    state = {name: data.state[name].astype(np.float64) for name in CELLS[cell].zero_state(canonical, data.xs.shape[1])}
    return forward(CELLS[cell], canonical, data.xs.astype(np.float64), state)[0]
