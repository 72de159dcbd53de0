"""A minimal character-level language model: one simple recurrent layer with biases, carried from chunk to chunk of a text.

Equations    a_t = Wxh[x_t] + bh + h_{t-1} @ Whh        row x_t of Wxh: what a one-hot input times Wxh gives
             h_t = tanh(a_t)
             y_t = h_t @ Why + by       p_t = softmax(y_t)
             E   = sum over t and N of E_t              E_t = -log p_t[k_t], k_t the character that follows x_t
Shapes       x k (T, N) integers below C, the number of characters     a h (T, N, H)     y p (T, N, C)     N is 1 where one text is read
             Wxh (C, H)   Whh (H, H)   Why (H, C)   bh (H,)   by (C,): rows times matrix; a text with column vectors has the transposes
State        The last h is returned, and whoever calls hands it to the next call.  It is a plain array: the gradient stops there.

Derivation of dE/dWhy
    E_t = log(sum of exp y_t) - y_t[k_t]    so  dE_t/dy_t[c] = p_t[c] - (1 where c = k_t, else 0)             dy_t = p_t - one-hot(k_t)
    y_t[c] = sum over j of h_t[j] Why[j, c] + by[c]    so  dE_t/dWhy[j, c] = h_t[j] dy_t[c]
    Each E_t has a y_t of its own:          dWhy = sum over t of h_t.T @ dy_t         dby = sum over t of dy_t
    With V for Why this is dE/dV = sum of (p_t - k_t) h_t^T in columns.  No earlier step enters.

Derivation of dE/dWhh
    Whh enters every step.  Let a Whh of its own stand at each step k: E_t depends on that of step k <= t through h_k, ..., h_t alone,
        dE_t/dWhh = sum over k <= t of  h_{k-1}.T @ (dE_t/dh_k * tanh'(a_k))
    and from h_k to h_t the chain rule multiplies the Jacobians of the steps between:
        dE_t/dh_k = dE_t/dh_t  dh_t/dh_k       dh_t/dh_k = J_t J_{t-1} ... J_{k+1}       J_i = dh_i/dh_{i-1} = diag(tanh'(a_i)) Whh.T
    A product of t - k matrices: its norm is at most (max tanh' * sigma_max(Whh)) to the power t - k, so a gradient vanishes where
    that base is below 1, and it can explode only where sigma_max(Whh), the largest singular value, is above 1.
    The double sum over t and k is not computed as it stands: all errors that pass through h_k add up on their way back,
        dh_k = dE/dh_k = sum over t >= k of dE_t/dh_k = dy_k @ Why.T + dh_{k+1} J_{k+1}          BPTT: one product a step
    Then, in rows:
        da_k = dh_k * tanh'(a_k)        dh_k = dy_k @ Why.T + da_{k+1} @ Whh.T
        dWhh = sum over k of h_{k-1}.T @ da_k      dbh = sum over k of da_k      dWxh[c] = sum of da_k over the steps with x_k = c

Source       Elman 1990, Finding structure in time, Cognitive Science 14; the product of Jacobians: Bengio, Simard and Frasconi 1994,
             IEEE Transactions on Neural Networks 5(2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bptt.refimpl import layers, unroll
from bptt.refimpl.cells import find
from bptt.refimpl.cells._common import dtype_of
from bptt.refimpl.models._common import Batch, Loss, ones, projected, uniform, words, zero_final
from bptt.refimpl.types import Array, Params, State, Tape

CELL = projected(find("elman"))


@dataclass(frozen=True)
class CharRNN:
    """It has no options."""

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        """Every entry from (-1/sqrt(H), 1/sqrt(H)), biases too.   input_size: the number of characters"""
        C, H = input_size, hidden_size
        shapes: dict[str, tuple[int, ...]] = {"Wxh": (C, H), "Whh": (H, H), "Why": (H, C), "bh": (H,), "by": (C,)}
        return {name: uniform(rng, shape, H) for name, shape in shapes.items()}

    def zero_state(self, params: Params, batch_size: int) -> dict[str, Array]:
        return {"h": np.zeros((batch_size, len(params["Whh"])), dtype_of(params))}

    def batch(self, rng: np.random.Generator, params: Params, T: int, N: int) -> Batch:
        return words(rng, len(params["Wxh"]), T, N)

    def masks(self, rng: np.random.Generator, params: Params, T: int, N: int) -> None:
        """No dropout."""

    def predict(self, params: Params, inputs: Array, state: State) -> tuple[Array, dict[str, Array]]:
        """Scores y (T, N, C) of the next character, and the last state."""
        hs, final, _, _ = self._states(params, inputs, state)
        return layers.affine(params["Why"], params["by"], hs), final

    def loss(self, params: Params, inputs: Array, targets: Array, state: State, masks: None = None) -> Loss:
        """E, summed over time; dWxh, dWhh, dWhy, dbh, dby; the last state."""
        Why = params["Why"]
        hs, final, tapes, axs = self._states(params, inputs, state)
        losses, tape = layers.cross_entropy(layers.affine(Why, params["by"], hs), targets, None)
        dWhy, dby, dhs = layers.affine_backward(Why, hs, layers.cross_entropy_backward(tape, ones(losses)))
        share, daxs, _ = unroll.backward(CELL, {"W_h": params["Whh"]}, axs, tapes, dhs, zero_final(final))
        dparams = {
            "Wxh": layers.embedding_backward(params["Wxh"], inputs, daxs),
            "Whh": share["W_h"],
            "Why": dWhy,
            "bh": daxs.sum(axis=(0, 1)),
            "by": dby,
        }
        return losses.sum(), dparams, final

    def _states(self, params: Params, inputs: Array, state: State) -> tuple[Array, dict[str, Array], list[Tape], Array]:
        axs = layers.embedding(params["Wxh"], inputs) + params["bh"]
        hs, final, tapes = unroll.forward(CELL, {"W_h": params["Whh"]}, axs, state)
        return hs, final, tapes, axs
