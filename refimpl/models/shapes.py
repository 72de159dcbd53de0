"""The shapes of sequence problems, each with its loss inside, on any stack of recurrent layers.

    one to one          one step: ManyToMany at T = 1
    one to many         OneToMany       a vector in at the first step, a value out at every step
    many to one         ManyToOne       a sequence in, a class of all of it out          (a value out: regressor.py)
    many to many        ManyToMany      a class out at every step, aligned with the inputs
    many to many        the targets are the inputs shifted by one: language_model.py; another length: seq2seq.py

Equations    u = stack(x_1 .. x_T, state)        any published cells, bottom first, both directions where asked for
             one to many     x_t = x at the first step, else 0      y_t = u_t @ W_y + b_y       L = mean of (y - target)**2
             many to one     h   = the top layer's last state (both directions' side by side: each has read all of the sequence)
                             z   = h @ W_y + b_y       L = mean over N of -log softmax(z)[k]
             many to many    z_t = u_t @ W_y + b_y     L = mean over the steps that count of -log softmax(z_t)[k_t]
Shapes       x (T, N, D), one to many (N, D)     u (T, N, H), 2H in both directions     y target (T, N, O)
             z (T, N, O), many to one (N, O)     k (T, N) or (N,), integers below O     W_y (H, O)   b_y (O,)     lengths (N,)
Derivation   L = mean over n terms    dy = 2 (y - target) / n      dz = (softmax(z) - k) / n, k as a one-hot row, 0 at padding
             z = u @ W_y + b_y        dW_y = sum of u_t.T @ dz_t   db_y = sum of dz_t     du = dz @ W_y.T
             u = stack(x, state)      BPTT of the stack (refimpl/stack.py) from the du_t, or, many to one, from dh in the last state alone
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bptt.refimpl import layers, stack
from bptt.refimpl.cells._common import dtype_of
from bptt.refimpl.models._common import Batch, Loss, head, ones, zero_final
from bptt.refimpl.models._stacked import Stacked
from bptt.refimpl.types import Array, Params, State


@dataclass(frozen=True)
class Shaped(Stacked):
    """cells, bidirectional  the stack          output_size  O: how many classes, or how many values at once"""

    output_size: int = 3

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        """The cells' own start; W_y and b_y from (-1/sqrt(H), 1/sqrt(H))."""
        params = stack.init(self.stack, rng, input_size, hidden_size)
        return {**params, **head(rng, self.widths(params)[-1], self.output_size)}

    def masks(self, rng: np.random.Generator, params: Params, T: int, N: int) -> None:
        """No dropout."""


@dataclass(frozen=True)
class ManyToMany(Shaped):
    """A class at every step, for tagging."""

    def batch(self, rng: np.random.Generator, params: Params, T: int, N: int) -> Batch:
        """Normal inputs (T, N, D), random classes (T, N)."""
        return normal(rng, params, (T, N, len(params["W_x_l0"]))), rng.integers(self.output_size, size=(T, N))

    def predict(self, params: Params, inputs: Array, state: State) -> tuple[Array, dict[str, Array]]:
        """Scores z (T, N, O), and the last state."""
        us, final, _ = stack.forward(self.stack, params, inputs, state)
        return layers.affine(params["W_y"], params["b_y"], us), final

    def loss(self, params: Params, inputs: Array, targets: Array, state: State, masks: None = None, lengths: Array | None = None) -> Loss:
        """L; the gradients of all parameters; the last state.   lengths (N,): steps from there on do not count"""
        us, final, tape = stack.forward(self.stack, params, inputs, state, lengths)
        losses, loss_tape = layers.cross_entropy(layers.affine(params["W_y"], params["b_y"], us), targets, lengths)
        n = max(targets.size if lengths is None else int(lengths.sum()), 1)
        dz = layers.cross_entropy_backward(loss_tape, ones(losses) / n)
        dW_y, db_y, dus = layers.affine_backward(params["W_y"], us, dz)
        dparams, _, _ = stack.backward(self.stack, params, tape, dus, zero_final(final))
        return losses.sum() / n, {**dparams, "W_y": dW_y, "b_y": db_y}, final


@dataclass(frozen=True)
class ManyToOne(Shaped):
    """A class for a whole sequence."""

    def batch(self, rng: np.random.Generator, params: Params, T: int, N: int) -> Batch:
        """Normal inputs (T, N, D), random classes (N,)."""
        return normal(rng, params, (T, N, len(params["W_x_l0"]))), rng.integers(self.output_size, size=N)

    def predict(self, params: Params, inputs: Array, state: State, lengths: Array | None = None) -> tuple[Array, dict[str, Array]]:
        """Scores z (N, O), and the last state."""
        _, final, _ = stack.forward(self.stack, params, inputs, state, lengths)
        return layers.affine(params["W_y"], params["b_y"], self._last(final))[0], final

    def loss(self, params: Params, inputs: Array, targets: Array, state: State, masks: None = None, lengths: Array | None = None) -> Loss:
        """L; the gradients of all parameters; the last state.   lengths (N,): a sequence ends there"""
        us, final, tape = stack.forward(self.stack, params, inputs, state, lengths)
        h = self._last(final)
        losses, loss_tape = layers.cross_entropy(layers.affine(params["W_y"], params["b_y"], h), targets[None])
        n = max(targets.size, 1)
        dW_y, db_y, dh = layers.affine_backward(params["W_y"], h, layers.cross_entropy_backward(loss_tape, ones(losses) / n))
        dfinal = zero_final(final) | dict(zip(self._tops, np.split(dh[0], self.directions, axis=1), strict=True))
        dparams, _, _ = stack.backward(self.stack, params, tape, np.zeros_like(us), dfinal)
        return losses.sum() / n, {**dparams, "W_y": dW_y, "b_y": db_y}, final

    @property
    def _tops(self) -> list[str]:
        """The names of the top layer's states, one a direction."""
        return [f"h_l{len(self.cells) - 1}{direction}" for direction in ("", "_reverse")[: self.directions]]

    def _last(self, final: State) -> Array:
        """What the top layer has in the end, both directions side by side.   (1, N, H or 2H)"""
        return np.concatenate([final[name] for name in self._tops], axis=1)[None]


@dataclass(frozen=True)
class OneToMany(Shaped):
    """A sequence of values from one vector."""

    def batch(self, rng: np.random.Generator, params: Params, T: int, N: int) -> Batch:
        """Normal inputs (N, D), normal targets (T, N, O)."""
        return normal(rng, params, (N, len(params["W_x_l0"]))), normal(rng, params, (T, N, self.output_size))

    def predict(self, params: Params, inputs: Array, state: State, steps: int) -> tuple[Array, dict[str, Array]]:
        """Values y (steps, N, O), and the last state."""
        us, final, _ = stack.forward(self.stack, params, self._spread(inputs, steps), state)
        return layers.affine(params["W_y"], params["b_y"], us), final

    def loss(self, params: Params, inputs: Array, targets: Array, state: State, masks: None = None) -> Loss:
        """L; the gradients of all parameters; the last state.  There are as many steps as targets."""
        us, final, tape = stack.forward(self.stack, params, self._spread(inputs, len(targets)), state)
        y = layers.affine(params["W_y"], params["b_y"], us)
        losses = layers.squared_error(y, targets)
        n = max(losses.size, 1)
        dy = layers.squared_error_backward(y, targets, ones(losses) / n)
        dW_y, db_y, dus = layers.affine_backward(params["W_y"], us, dy)
        dparams, _, _ = stack.backward(self.stack, params, tape, dus, zero_final(final))
        return losses.sum() / n, {**dparams, "W_y": dW_y, "b_y": db_y}, final

    def _spread(self, inputs: Array, T: int) -> Array:
        """(T, N, D): the vector at the first step, zeros after it."""
        xs = np.repeat(np.asarray(0 * inputs)[None], T, axis=0)
        xs[:1] = inputs
        return xs


def normal(rng: np.random.Generator, params: Params, shape: tuple[int, ...]) -> Array:
    """Normal numbers in the parameters' dtype."""
    return rng.normal(size=shape).astype(dtype_of(params))
