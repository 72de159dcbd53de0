"""The reference is the cell that torch has: outputs, final states and gradients of every input agree in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.refimpl import CELLS, unroll
from bptt.refimpl.types import Array
from tests.refimpl.proof import Case, keyed, random_case

torch = pytest.importorskip("torch", reason="needs torch")

T, N, D, H = 5, 2, 3, 7


def layer_of(name: str) -> Any:
    """The torch layer of this cell, float64."""
    make = {
        "elman": lambda: torch.nn.RNN(D, H, nonlinearity="tanh"),
        "elman_relu": lambda: torch.nn.RNN(D, H, nonlinearity="relu"),
        "lstm": lambda: torch.nn.LSTM(D, H),
        "lstm_projected": lambda: torch.nn.LSTM(D, H, proj_size=(H + 1) // 2),
        "gru_reset_after": lambda: torch.nn.GRU(D, H),
    }
    return make[name]().double()


def fill(layer: Any, params: dict[str, Array]) -> dict[str, Any]:
    """Copies our parameters into the layer, and returns its tensor for each of ours (their weights are transposed).

    torch has two biases everywhere: where the cell has one, each of them is half of it, and both have its gradient.
    """
    tensors = dict(layer.named_parameters())
    values = {"weight_ih_l0": params["W_x"].T, "weight_hh_l0": params["W_h"].T}
    if "W_p" in params:
        values["weight_hr_l0"] = params["W_p"].T
    values["bias_ih_l0"] = params["b_x"] if "b_x" in params else params["b"] / 2
    values["bias_hh_l0"] = params["b_h"] if "b_h" in params else params["b"] / 2
    with torch.no_grad():
        for name, value in values.items():
            tensors[name].copy_(torch.tensor(value))
    names = {
        "W_x": "weight_ih_l0",
        "W_h": "weight_hh_l0",
        "W_p": "weight_hr_l0",
        "b": "bias_ih_l0",
        "b_x": "bias_ih_l0",
        "b_h": "bias_hh_l0",
    }
    return {ours: tensors[names[ours]] for ours in params}


def torch_results(name: str, case: Case) -> tuple[Array, dict[str, Array], dict[Any, Array]]:
    layer = layer_of(name)
    tensors = fill(layer, case.params)
    xs = torch.tensor(case.xs, requires_grad=True)
    state = {k: torch.tensor(s[None], requires_grad=True) for k, s in case.state.items()}
    ys, final = layer(xs, (state["h"], state["c"]) if "c" in state else state["h"])
    final = dict(zip(state, final if "c" in state else (final,), strict=True))
    loss = (ys * torch.tensor(case.dys)).sum() + sum((final[k][0] * torch.tensor(d)).sum() for k, d in case.dfinal.items())
    loss.backward()
    grads = {("params", k): p.grad.numpy().T for k, p in tensors.items()}
    grads["xs", "xs"] = xs.grad.numpy()
    grads.update({("state", k): s.grad[0].numpy() for k, s in state.items()})
    return ys.detach().numpy(), {k: s[0].detach().numpy() for k, s in final.items()}, grads


@pytest.mark.parametrize("name", ["elman", "elman_relu", "lstm", "lstm_projected", "gru_reset_after"])
@pytest.mark.parametrize("scale", [1.0, 20.0], ids=["ordinary", "saturated"])
def test_outputs_and_gradients_agree_with_torch(name: str, scale: float) -> None:
    cell = CELLS[name]
    case = random_case(cell, np.random.default_rng(8), T, N, D, H, scale=scale if name != "elman_relu" else 1.0)
    ys, final, grads = torch_results(name, case)
    our_ys, our_final, tapes = unroll.forward(cell, case.params, case.xs, case.state)
    np.testing.assert_allclose(our_ys, ys, rtol=0, atol=1e-12 * np.abs(ys).max())
    for key in final:
        np.testing.assert_allclose(our_final[key], final[key], rtol=0, atol=1e-12 * np.abs(final[key]).max())
    ours = keyed(*unroll.backward(cell, case.params, case.xs, tapes, case.dys, case.dfinal))
    for key, d in grads.items():
        np.testing.assert_allclose(ours[key], d, rtol=0, atol=1e-12 * np.abs(d).max(), err_msg=str(key))
