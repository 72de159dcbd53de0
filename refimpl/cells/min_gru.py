"""Minimal GRU (minGRU): gate and candidate depend on the input alone, so that all steps can be computed in one scan.

Equations    z  = sigmoid(a_z)     n = a_n     a = x @ W_x + b
             h' = z_bar * h + z * n            with z_bar = 1 - z      y = h'
Shapes       x (N, D)   h z n (N, H)   W_x (D, 2H)   b (2H,)   blocks z n
Derivation   h' = z_bar * h + z * n    dz = dh' * (n - h)     dn = dh' * z     dh = dh' * z_bar
             n  = a_n                  da_n = dn
             z  = sigmoid(a_z)         da_z = dz * z * z_bar
             x's share of a is all of it: dax = da
Source       Feng, Tung, Ahmed, Bengio and Hajimirsadeghi 2024, Were RNNs all we needed?, arXiv:2410.01201, section 3.1.
Variant      the candidate is linear, as in section 3.1; the form on logarithms makes it positive by another activation.
"""

from __future__ import annotations

import numpy as np

from bptt.refimpl.activations import sigmoid_pair
from bptt.refimpl.cells._common import dtype_of, project_inputs, project_inputs_backward, uniform
from bptt.refimpl.cells.cell import Cell, Complement, Parameter, Share
from bptt.refimpl.types import Array, Params, State, Tape


def init(rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
    D, H = input_size, hidden_size
    return uniform(rng, {"W_x": (D, 2 * H), "b": (2 * H,)}, H)


def zero_state(params: Params, batch_size: int) -> dict[str, Array]:
    return {"h": np.zeros((batch_size, len(params["b"]) // 2), dtype_of(params))}


def step(params: Params, ax: Array, state: State) -> tuple[Array, dict[str, Array], Tape]:
    h_prev = state["h"]
    H = h_prev.shape[1]
    z, z_bar = sigmoid_pair(ax[:, :H])
    n = ax[:, H:]
    h = z_bar * h_prev + z * n
    return h, {"h": h}, (h_prev, z, z_bar, n)


def step_backward(params: Params, tape: Tape, dy: Array, dstate: State) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    h_prev, z, z_bar, n = tape
    dh = dy + dstate["h"]
    dz = dh * (n - h_prev)
    dn = dh * z
    da_z = dz * z * z_bar
    return np.concatenate([da_z, dn], axis=1), {"h": dh * z_bar}, {}


CELL = Cell(
    name="min_gru",
    gates=("z", "n"),
    init=init,
    zero_state=zero_state,
    project_inputs=project_inputs,
    project_inputs_backward=project_inputs_backward,
    step=step,
    step_backward=step_backward,
    summary="minGRU: gate and linear candidate of the input alone; z opens the new",
    parameters=(Parameter("W_x", "input", ("z", "n")), Parameter("b", "bias", ("z", "n"))),
    kind="a minGRU",
    complements=(Complement("z", "z opens the new one", "z keeps the old state"),),
)
