"""A value predicted from a window: one recurrent layer over the window, its last output through a dense layer, squared error.

Equations    s_t = step(x_t, s_{t-1})          any published cell, or the minimal one:  h_t = x_t @ W_x + h_{t-1} @ W_h
             y   = h_T @ W_y + b_y             h_T: the last output, which is h of the last state
             L   = mean over N and O of (y - target)**2
Shapes       x (T, N, D)     h (N, H)     y target (N, O)     W_y (H, O)   b_y (O,)     the cell's parameters under their own names
Derivation   L = mean of (y - target)**2    dy = 2 (y - target) / (N O)
             y = h_T @ W_y + b_y            dW_y = h_T.T @ dy      db_y = sum over N of dy      dh_T = dy @ W_y.T
             s_T, ..., s_0                  BPTT of the cell (its own file) from dh_T alone: no other output enters L
             The minimal cell is linear, so all of it can be written out:
             h_T = x_T W_x + x_{T-1} W_x W_h + ... + x_1 W_x W_h^(T-1) + h_0 W_h^T
             dh_t = dh_T (W_h.T)^(T-t)      dW_x = sum of x_t.T @ dh_t     dW_h = sum of h_{t-1}.T @ dh_t     db: it has none
Rollout      The prediction becomes the window's last value, the first one leaves it, and so on: each from the zero state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bptt.refimpl import layers, unroll
from bptt.refimpl.cells import find
from bptt.refimpl.cells._common import dtype_of
from bptt.refimpl.cells._common import uniform as uniform_of
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.models._common import Batch, Loss, head, ones, zero_final
from bptt.refimpl.types import Array, Params, State


def _init(rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
    return uniform_of(rng, {"W_x": (input_size, hidden_size), "W_h": (hidden_size, hidden_size)}, hidden_size)


def _project(params: Params, xs: Array) -> Array:
    return layers.affine(params["W_x"], None, xs)


def _project_backward(params: Params, xs: Array, daxs: Array) -> tuple[dict[str, Array], Array]:
    dW_x, _, dxs = layers.affine_backward(params["W_x"], xs, daxs)
    return {"W_x": dW_x}, dxs


MINIMAL = replace(
    find("elman_linear"),
    name="minimal",
    init=_init,
    project_inputs=_project,
    project_inputs_backward=_project_backward,
    summary="linear recurrent network, no activation and no bias",
)


@dataclass(frozen=True)
class Regressor:
    """cell         "minimal", or the name of a published cell
    output_size  how many values are predicted at once, O
    """

    cell: str = MINIMAL.name
    output_size: int = 1

    def __post_init__(self) -> None:
        _cell(self.cell)

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        """The cell's own start; W_y and b_y from (-1/sqrt(H), 1/sqrt(H))."""
        params = _cell(self.cell).init(rng, input_size, hidden_size)
        return {**params, **head(rng, self.zero_state(params, 1)["h"].shape[1], self.output_size)}

    def zero_state(self, params: Params, batch_size: int) -> dict[str, Array]:
        return _cell(self.cell).zero_state(_own(params), batch_size)

    def batch(self, rng: np.random.Generator, params: Params, T: int, N: int) -> Batch:
        """Normal numbers.   inputs (T, N, D)   targets (N, O)"""
        inputs, targets = rng.normal(size=(T, N, len(params["W_x"]))), rng.normal(size=(N, self.output_size))
        return inputs.astype(dtype_of(params)), targets.astype(dtype_of(params))

    def masks(self, rng: np.random.Generator, params: Params, T: int, N: int) -> None:
        """No dropout."""

    def predict(self, params: Params, inputs: Array, state: State) -> tuple[Array, dict[str, Array]]:
        """One prediction a window, y (N, O), and the last state."""
        _, final, _ = unroll.forward(_cell(self.cell), _own(params), inputs, state)
        return layers.affine(params["W_y"], params["b_y"], final["h"][None])[0], final

    def loss(self, params: Params, inputs: Array, targets: Array, state: State, masks: None = None) -> Loss:
        """L; the gradients of all parameters; the last state."""
        cell, own = _cell(self.cell), _own(params)
        ys, final, tapes = unroll.forward(cell, own, inputs, state)
        h_T = final["h"][None]
        y = layers.affine(params["W_y"], params["b_y"], h_T)
        losses = layers.squared_error(y, targets[None])
        dy = layers.squared_error_backward(y, targets[None], ones(losses) / losses.size)
        dW_y, db_y, dh_T = layers.affine_backward(params["W_y"], h_T, dy)
        dfinal = zero_final(final) | {"h": dh_T[0]}
        dparams, _, _ = unroll.backward(cell, own, inputs, tapes, np.zeros_like(ys), dfinal)
        return losses.sum() / losses.size, {**dparams, "W_y": dW_y, "b_y": db_y}, final

    def rollout(self, params: Params, window: Array, steps: int) -> Array:
        """The next `steps` values as the model goes on from its own predictions.   window (T, N, D) with D = O   ->   (steps, N, D)

        Raises ValueError where the predictions cannot be the inputs.
        """
        if window.shape[2] != self.output_size:
            raise ValueError(f"rollout: the window has {window.shape[2]} values a step, wanted {self.output_size}, as many as it predicts")
        predictions = np.empty((steps, *window.shape[1:]), np.result_type(window, dtype_of(params)))
        for k in range(steps):
            y, _ = self.predict(params, window, self.zero_state(params, window.shape[1]))
            predictions[k] = y
            window = np.concatenate([window[1:], y[None]])
        return predictions


def windows(series: Array, T: int) -> Batch:
    """All windows of a series and the value after each.   series (S,)   ->   inputs (T, S - T, 1), targets (S - T, 1)

    Raises ValueError where the series is too short for one.
    """
    if len(series) <= T:
        raise ValueError(f"windows: the series has {len(series)} values, wanted at least {T + 1}: a window of {T} and its target")
    return np.stack([series[t : len(series) - T + t] for t in range(T)])[:, :, None], series[T:, None]


def _cell(name: str) -> Cell:
    return MINIMAL if name == MINIMAL.name else find(name)


def _own(params: Params) -> dict[str, Array]:
    """The cell's parameters alone."""
    return {name: p for name, p in params.items() if name not in ("W_y", "b_y")}
