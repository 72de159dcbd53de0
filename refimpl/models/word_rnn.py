"""A word-level language model: words in, a simple recurrent network without biases, a softmax over the next word.

Equations    a_t = U[x_t] + s_{t-1} @ W                 row x_t of U: what a one-hot input times U gives
             s_t = act(a_t)                             tanh, sigmoid, relu or none
             z_t = s_t @ V          o_t = softmax(z_t)
             E   = sum over t and N of E_t              E_t = -log o_t[y_t]
Shapes       x y (T, N) integers below C, the number of words    a s (T, N, H)    z o (T, N, C)    U (C, H)    W (H, H)    V (H, C)
             Weights lie as everywhere here, rows times matrix.  A text with columns, s_t = act(U x_t + W s_{t-1}) and
             o_t = softmax(V s_t), has the transposes of these three, and reads U[:, x_t].
Derivation   E_t = log(sum of exp z_t) - z_t[y_t]       dz_t = o_t - y_t       y_t written as a one-hot row
             z_t = s_t @ V          dV = sum of s_t.T @ dz_t                   in columns: the sum of (o_t - y_t) s_t^T
                                    ds_t = dz_t @ V.T + da_{t+1} @ W.T         its own word's error, and that of all later ones
             s_t = act(a_t)         da_t = ds_t * act'(a_t)
             a_t = U[x_t] + s_{t-1} @ W
                                    dW = sum of s_{t-1}.T @ da_t
                                    dU[w] = sum of da_t over the steps with x_t = w
Truncation   With a window of k, the error E_t goes back to the steps t, t-1, ..., t-k and no further: the sum over t of the
             gradient of E_t where s_{t-k-1} counts as a constant.  dV is as before.
Source       Mikolov et al. 2010, Recurrent neural network based language model, Interspeech; truncation: Williams and Peng 1990,
             Neural Computation 2(4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bptt.refimpl import layers, unroll
from bptt.refimpl.cells import find
from bptt.refimpl.cells._common import dtype_of
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.models._common import Batch, Loss, ones, projected, uniform, words, zero_final
from bptt.refimpl.types import Array, Params, State, Tape

CELL_OF = {"tanh": "elman", "sigmoid": "elman_sigmoid", "relu": "elman_relu", "identity": "elman_linear"}


@dataclass(frozen=True)
class WordRNN:
    """activation  tanh, sigmoid, relu or identity
    truncation  how many steps back an error goes; None: to the first
    """

    activation: str = "tanh"
    truncation: int | None = None

    def __post_init__(self) -> None:
        if self.activation not in CELL_OF:
            raise ValueError(f"WordRNN: activation is {self.activation!r}, wanted one of {', '.join(CELL_OF)}")

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        """Every weight from (-1/sqrt(n), 1/sqrt(n)), n the number of values that it adds up.   input_size: the number of words"""
        C, H = input_size, hidden_size
        return {"U": uniform(rng, (C, H), C), "W": uniform(rng, (H, H), H), "V": uniform(rng, (H, C), H)}

    def zero_state(self, params: Params, batch_size: int) -> dict[str, Array]:
        return {"h": np.zeros((batch_size, len(params["W"])), dtype_of(params))}

    def batch(self, rng: np.random.Generator, params: Params, T: int, N: int) -> Batch:
        return words(rng, len(params["U"]), T, N)

    def masks(self, rng: np.random.Generator, params: Params, T: int, N: int) -> None:
        """No dropout."""

    def predict(self, params: Params, inputs: Array, state: State) -> tuple[Array, dict[str, Array]]:
        """Scores z (T, N, C) of the next word, and the last state."""
        ss, final, _, _ = self._states(params, inputs, state)
        return layers.affine(params["V"], None, ss), final

    def loss(self, params: Params, inputs: Array, targets: Array, state: State, masks: None = None) -> Loss:
        """E, summed over all words; dU, dW, dV; the last state."""
        V = params["V"]
        ss, final, tapes, axs = self._states(params, inputs, state)
        losses, tape = layers.cross_entropy(layers.affine(V, None, ss), targets, None)
        dV, _, dss = layers.affine_backward(V, ss, layers.cross_entropy_backward(tape, ones(losses)))
        window = len(inputs) if self.truncation is None else self.truncation
        share, daxs, _ = unroll.truncated_backward(self._cell, {"W_h": params["W"]}, axs, tapes, dss, zero_final(final), window)
        return losses.sum(), {"U": layers.embedding_backward(params["U"], inputs, daxs), "W": share["W_h"], "V": dV}, final

    @property
    def _cell(self) -> Cell:
        return projected(find(CELL_OF[self.activation]))

    def _states(self, params: Params, inputs: Array, state: State) -> tuple[Array, dict[str, Array], list[Tape], Array]:
        axs = layers.embedding(params["U"], inputs)
        ss, final, tapes = unroll.forward(self._cell, {"W_h": params["W"]}, axs, state)
        return ss, final, tapes, axs
