"""A language model: words or characters in, recurrent layers, a softmax over the next one.

Equations    e_t = E[x_t]                               with an embedding;  without: the one-hot row of x_t
             v_t^0 = e_t * m^0                          dropout masks m of 0 and 1/(1-p), one after the embedding and after each layer
             v_t^l = m^l * layer_l(v_t^(l-1), state)    l = 1 .. L, any published cells (their own files)
             z_t = v_t^L @ W_y + b_y                    tied: W_y = E.T, the embedding's own weight
             L   = 1/n sum of -log softmax(z_t)[y_t]    over the n = sum of lengths targets that are counted (T N without lengths)
Shapes       x y (T, N) integers below C, the number of words     e v^0 (T, N, E)     v^l m^l (T, N, H), 2H in both directions
             z (T, N, C)     E (C, E)     W_y (H, C)     b_y (C,)     W_x_l0, W_h_l0, ... of the layers as in refimpl/stack.py
Derivation   L = 1/n sum of L_t        dz_t = (softmax(z_t) - y_t) / n     y_t as a one-hot row; 0 at padding
             z = v^L @ W_y + b_y       dW_y = sum of v_t^L.T @ dz_t        db_y = sum of dz_t        dv^L = dz @ W_y.T
             v^l = m^l * u^l           du^l = m^l * dv^l                   the same masks as forward
             u^l = layer_l(v^(l-1))    BPTT of the stack: the layers' own gradients, and dv^0
             e = E[x]                  dE[w] = sum of de_t over the steps with x_t = w
             one-hot                   dW_x[w] = sum of da_t over the same steps: a row lookup and its backward, no product
             tied                      E enters twice, as rows and as columns, and its gradient is the sum of both shares:
                                       dE = sum of dz_t.T @ v_t^L  +  the rows above
State        The last state is returned as plain arrays: the gradient stops there (truncated BPTT over chunks).
Dropout      between layers only, never along time: the recurrent path inside a layer has no mask.  None in evaluation (`predict`, or
             masks=None), and no scaling there, because 1/(1-p) keeps the mean.
Source       Mikolov et al. 2010, Interspeech; dropout: Zaremba, Sutskever and Vinyals 2014, arXiv:1409.2329; tied weights: Inan, Khosravi
             and Socher 2017, arXiv:1611.01462, and Press and Wolf 2017, arXiv:1608.05859.

A bidirectional language model leaks the future: its backward direction has read x_{t+1}, which is the target y_t, before z_t is made.
It learns to copy, its perplexity goes to 1, and it cannot generate.  It is here because people build it, and a check has to find it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bptt.refimpl import layers, stack, unroll
from bptt.refimpl.cells._common import dtype_of
from bptt.refimpl.models._common import Batch, Loss, head, ones, words, zero_final
from bptt.refimpl.models._stacked import Stacked, of_layer
from bptt.refimpl.types import Array, Params, State

Masks = tuple[Array, ...]


@dataclass(frozen=True)
class LanguageModel(Stacked):
    """cells         names of published cells, bottom first
    bidirectional  both directions in every layer: it leaks the future
    embedding      embedded words, else one-hot ones
    width          of the embedding; None: as wide as the top layer's outputs
    tied           the affine layer on top has the embedding's weight
    dropout        the part of the values that the masks set to zero
    """

    embedding: bool = False
    width: int | None = None
    tied: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tied and not self.embedding:
            raise ValueError("LanguageModel: tied=True, but there is no embedding to share its weight, wanted embedding=True")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"LanguageModel: dropout is {self.dropout}, wanted a number from 0 to below 1")

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        """The cells' own start, E from (-0.1, 0.1), W_y and b_y from (-1/sqrt(H), 1/sqrt(H)).   input_size: the number of words

        Raises ValueError where tied weights do not fit.
        """
        C, H = input_size, hidden_size
        E = (self.width or H * self.directions) if self.embedding else C
        params = stack.init(self.stack, rng, E, H)
        width = self.widths(params)[-1]
        if self.tied and width != E:
            raise ValueError(f"LanguageModel: tied weights need an embedding as wide as the top layer's outputs: {E} and {width}")
        if self.embedding:
            params = {"E": rng.uniform(-0.1, 0.1, (C, E)), **params}
        params.update(head(rng, width, C))
        if self.tied:
            del params["W_y"]
        return params

    def batch(self, rng: np.random.Generator, params: Params, T: int, N: int) -> Batch:
        """Random words, and the words that follow them."""
        return words(rng, len(params["b_y"]), T, N)

    def masks(self, rng: np.random.Generator, params: Params, T: int, N: int) -> Masks | None:
        """One mask after the embedding (where there is one) and one after each layer; None without dropout."""
        if self.dropout == 0:
            return None
        widths = ([params["E"].shape[1]] if self.embedding else []) + self.widths(params)
        return tuple(layers.dropout_mask(rng, (T, N, width), self.dropout, dtype_of(params)) for width in widths)

    def predict(self, params: Params, inputs: Array, state: State) -> tuple[Array, dict[str, Array]]:
        """Scores z (T, N, C) of the next word, and the last state.  No dropout."""
        tops, final, _ = self._forward(params, inputs, state, None, None)
        return layers.affine(self._head(params), params["b_y"], tops), final

    def loss(
        self,
        params: Params,
        inputs: Array,
        targets: Array,
        state: State,
        masks: Masks | None = None,
        lengths: Array | None = None,
    ) -> Loss:
        """L; the gradients of all parameters; the last state.   lengths (N,): targets from there on do not count"""
        tops, final, tape = self._forward(params, inputs, state, masks, lengths)
        losses, loss_tape = layers.cross_entropy(layers.affine(self._head(params), params["b_y"], tops), targets, lengths)
        n = max(targets.size if lengths is None else int(lengths.sum()), 1)
        dscores = layers.cross_entropy_backward(loss_tape, ones(losses) / n)
        dparams = self._backward(params, inputs, masks, tape, tops, dscores, final)
        return losses.sum() / n, dparams, final

    def _head(self, params: Params) -> Array:
        """W_y."""
        return params["E"].T if self.tied else params["W_y"]

    def _forward(
        self, params: Params, inputs: Array, state: State, masks: Masks | None, lengths: Array | None
    ) -> tuple[Array, dict[str, Array], stack.StackTape]:
        """Outputs of the top layer after their dropout, v^L; the last state; the stack's tape."""
        first, between, top = self._split(masks)
        if self.embedding:
            vs = layers.dropout(layers.embedding(params["E"], inputs), first)
            ys, final, tape = stack.forward(self.stack, params, vs, state, lengths, between)
        else:
            cell, suffixes = self.stack.cells[0], self.stack.suffixes(0)
            axs = tuple(layers.project_indices(cell, of_layer(params, suffix), inputs) for suffix in suffixes)
            ys, final, tape = stack.forward_projected(self.stack, params, axs, state, lengths, between)
        return layers.dropout(ys, top), final, tape

    def _backward(
        self, params: Params, inputs: Array, masks: Masks | None, tape: stack.StackTape, tops: Array, dscores: Array, final: State
    ) -> dict[str, Array]:
        """The gradients of all parameters from those of the scores."""
        first, _, top = self._split(masks)
        dW_y, db_y, dtops = _head_backward(self._head(params), tops, dscores)
        dys, dfinal = layers.dropout_backward(top, dtops), zero_final(final)
        if not self.embedding:
            dparams, daxs, _ = stack.backward_projected(self.stack, params, tape, dys, dfinal)
            return {**unroll.summed(dparams, self._one_hot_backward(params, inputs, daxs)), "W_y": dW_y, "b_y": db_y}
        dparams, dvs, _ = stack.backward(self.stack, params, tape, dys, dfinal)
        dE = layers.embedding_backward(params["E"], inputs, layers.dropout_backward(first, dvs))
        if self.tied:
            dE += dW_y.T
            return {"E": dE, **dparams, "b_y": db_y}
        return {"E": dE, **dparams, "W_y": dW_y, "b_y": db_y}

    def _one_hot_backward(self, params: Params, inputs: Array, daxs: Array | tuple[Array, ...]) -> dict[str, Array]:
        """The share of the bottom layer's projection."""
        cell, dparams = self.stack.cells[0], {}
        for suffix, daxs_d in zip(self.stack.suffixes(0), daxs if isinstance(daxs, tuple) else (daxs,), strict=True):
            share = layers.project_indices_backward(cell, of_layer(params, suffix), inputs, daxs_d)
            dparams.update({name + suffix: d for name, d in share.items()})
        return dparams

    def _split(self, masks: Masks | None) -> tuple[Array | None, Masks | None, Array | None]:
        """The masks after the embedding, between the layers, and on top.  Raises ValueError where their number is another."""
        if masks is None:
            return None, None, None
        wanted = len(self.cells) + self.embedding
        if len(masks) != wanted:
            raise ValueError(f"LanguageModel: got {len(masks)} dropout masks, wanted {wanted}: one after each of its layers")
        return (masks[0] if self.embedding else None), masks[self.embedding : -1], masks[-1]


def _head_backward(W: Array, xs: Array, dys: Array) -> tuple[Array, Array, Array]:
    """`layers.affine_backward`, but dW lies in memory as W does: what is added to the gradient of tied weights is then contiguous."""
    if W.flags.c_contiguous:
        return layers.affine_backward(W, xs, dys)
    rows = dys.reshape(-1, W.shape[1])
    return (rows.T @ xs.reshape(-1, W.shape[0])).T, rows.sum(axis=0), (rows @ W.T).reshape(xs.shape)
