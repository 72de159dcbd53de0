"""The reference is TensorFlow's cell too: its outputs and gradients in seven configurations, frozen in tests/data/tf1_cells.npz.

TensorFlow keeps one kernel on [x, h] with LSTM blocks i g f o (it calls g "j") and GRU gate blocks r u.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bptt.refimpl import CELLS, unroll
from bptt.refimpl.cells.lstm_tf1 import Options, make
from bptt.refimpl.types import Array

ARCHIVE = Path(__file__).parents[1] / "data" / "tf1_cells.npz"
D, H = 4, 5
CONFIGURATIONS = {
    "plain": Options(forget_bias=0.0),
    "forget_bias": Options(forget_bias=1.0),
    "peephole": Options(forget_bias=1.0, peepholes=True),
    "cell_clip": Options(forget_bias=1.0, peepholes=True, cell_clip=0.4),
    "projection": Options(forget_bias=1.0, projected=True),
    "projection_clip": Options(forget_bias=1.0, peepholes=True, cell_clip=0.6, projected=True, proj_clip=0.25),
}


def load(configuration: str) -> dict[str, Array]:
    with np.load(ARCHIVE) as archive:
        return {key.split("/")[1]: archive[key] for key in archive.files if key.startswith(configuration + "/")}


def ifgo(columns: Array) -> Array:
    """Blocks i g f o -> i f g o, along the last axis."""
    i, g, f, o = np.split(columns, 4, axis=-1)
    return np.concatenate([i, f, g, o], axis=-1)


def lstm_params(data: dict[str, Array], prefix: str = "") -> dict[str, Array]:
    """TensorFlow's variables (or, with the prefix d_, their gradients) in our layout."""
    kernel = ifgo(data[prefix + "kernel"])
    params = {"W_x": kernel[:D], "W_h": kernel[D:], "b": ifgo(data[prefix + "bias"])}
    if prefix + "w_i_diag" in data:
        params["p"] = np.stack([data[f"{prefix}w_{gate}_diag"] for gate in "ifo"])
    if prefix + "projection_kernel" in data:
        params["W_p"] = data[prefix + "projection_kernel"]
    return params


def gru_params(data: dict[str, Array], prefix: str = "") -> dict[str, Array]:
    kernel = np.concatenate([data[prefix + "gates_kernel"], data[prefix + "candidate_kernel"]], axis=1)
    bias = np.concatenate([data[prefix + "gates_bias"], data[prefix + "candidate_bias"]])
    return {"W_x": kernel[:D], "W_h": kernel[D:], "b_x": bias}


def agree(got: Array, expected: Array, what: str) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * np.abs(expected).max(), err_msg=what)


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_lstm_outputs_and_gradients_are_those_of_tensorflow(configuration: str) -> None:
    data, cell = load(configuration), make(CONFIGURATIONS[configuration])
    params, state = lstm_params(data), {"h": data["h0"], "c": data["c0"]}
    ys, final, tapes = unroll.forward(cell, params, data["xs"], state)
    agree(ys, data["ys"], "ys")
    agree(final["h"], data["h_T"], "h_T")
    agree(final["c"], data["c_T"], "c_T")
    dfinal = {"h": data["dh_T"], "c": data["dc_T"]}
    dparams, dxs, dstate = unroll.backward(cell, params, data["xs"], tapes, data["dys"], dfinal)
    for name, expected in lstm_params(data, "d_").items():
        agree(dparams[name], expected, f"dL/d{name}")
    agree(dxs, data["dxs"], "dL/dxs")
    agree(dstate["h"], data["dh0"], "dL/dh0")
    agree(dstate["c"], data["dc0"], "dL/dc0")


def test_gru_outputs_and_gradients_are_those_of_tensorflow() -> None:
    data, cell = load("gru"), CELLS["gru_reset_before"]
    params = gru_params(data) | {"b_h": np.zeros(3 * H)}
    ys, final, tapes = unroll.forward(cell, params, data["xs"], {"h": data["h0"]})
    agree(ys, data["ys"], "ys")
    agree(final["h"], data["h_T"], "h_T")
    dparams, dxs, dstate = unroll.backward(cell, params, data["xs"], tapes, data["dys"], {"h": data["dh_T"]})
    for name, expected in gru_params(data, "d_").items():
        agree(dparams[name], expected, f"dL/d{name}")
    agree(dxs, data["dxs"], "dL/dxs")
    agree(dstate["h"], data["dh0"], "dL/dh0")
