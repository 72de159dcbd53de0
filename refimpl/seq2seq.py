"""Sequence to sequence: an encoder reads the source, its last state starts the decoder, which writes the target symbol by symbol.

Equations    xs = E_source[sources]                      ks, final = encoder(xs) from a zero state
             start = final                               of an encoder in both directions: [forward, reverse], layer by layer
             us = E_target[givens]                       qs = decoder(us) from start
             context, w = attend(qs, ks)                 w = 0 at the padding of the source
             a = [context, q] @ W_c + b_c                s = tanh(a)                         (without attention: s = q)
             z = s @ W_y + b_y                           o = softmax(z)
             loss = sum of -log o[target] / count        over the count of target symbols that are not padding
             givens_0 = the start symbol                 givens_t = target_{t-1}             teacher forcing
Shapes       sources (S, N)   givens targets (T, N)   E_source (U, E)   E_target (V + 1, E)   ks (S, N, K)   qs (T, N, Q)
             W_c (K + Q, Q)   b_c (Q,)   W_y (Q, V)   b_y (V,)   with U source and V target symbols; the start symbol is number V
Derivation   loss, o = softmax(z)      dz = (o - one-hot target) / count, 0 at padding
             z = s @ W_y + b_y         dW_y = s.T @ dz     db_y = sum of dz     ds = dz @ W_y.T
             s = tanh(a)               da = ds * tanh'(a)
             a = [context, q] @ W_c    dW_c = [context, q].T @ da     db_c = sum of da     [dcontext, dq] = da @ W_c.T
             context = attend(q, k)    dk, dq += ...                            bptt.refimpl.attention
             qs = decoder(us, start)   dus, dstart                              back through the target: bptt.refimpl.stack
             start = final             dfinal = dstart
             ks, final = encoder(xs)   dxs                                      back through the source from dk and dfinal
             us, xs                    rows of dE_target, dE_source: the sums of dus and dxs over where the symbol was read
Source       Sutskever, Vinyals and Le 2014, arXiv:1409.3215; Cho et al. 2014, arXiv:1406.1078.  Attention after the decoder's step:
             Luong, Pham and Manning 2015, arXiv:1508.04025, section 3.1, here with a bias b_c.
Variant      the context does not go back into the decoder (no input feeding); the start symbol has an embedding but is never predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bptt.refimpl import layers, stack
from bptt.refimpl.activations import tanh, tanh_derivative
from bptt.refimpl.attention import ADDITIVE, AttentionTape, Scorer, attend, attend_backward
from bptt.refimpl.cells import CELLS
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.stack import Stack, StackTape
from bptt.refimpl.types import Array, Params, State


class Inputs(NamedTuple):
    """sources (S, N)   lengths (N,) of the sources, or None where all are S   givens (T, N): what the decoder reads at each step"""

    sources: Array
    lengths: Array | None
    givens: Array


class Targets(NamedTuple):
    """symbols (T, N)   lengths (N,), or None where all are T"""

    symbols: Array
    lengths: Array | None


class Translation(NamedTuple):
    """symbols (T, N), the end symbol from the first end on   weights (T, N, S) of the attention, 0 after the end; None without it"""

    symbols: Array
    weights: Array | None


class _Encoded(NamedTuple):
    keys: Array
    start: dict[str, Array]
    tape: StackTape


class _HeadTape(NamedTuple):
    attention: AttentionTape
    joined: Array
    a: Array


class _Decoded(NamedTuple):
    scores: Array
    final: dict[str, Array]
    tape: StackTape
    s: Array
    head: _HeadTape | None


@dataclass(frozen=True)
class Seq2Seq:
    """encoder, decoder   a cell, or a stack of layers; the encoder's states have the names and sizes of the decoder's
    attention          how the decoder's states look at the encoder's; None: its last state is all that the decoder gets
    target_size        number of target symbols; None: that of the source
    embedding_size     None: the hidden size
    end                the target symbol that ends a translation
    """

    encoder: Cell | Stack = CELLS["gru_reset_after"]
    decoder: Cell | Stack = CELLS["gru_reset_after"]
    attention: Scorer | None = ADDITIVE
    target_size: int | None = None
    embedding_size: int | None = None
    end: int = 0

    def __post_init__(self) -> None:
        if self._decoder.bidirectional:
            raise ValueError("Seq2Seq: the decoder is bidirectional, but should read one way: what comes next is not known yet")

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        """input_size: number of source symbols.   A decoder after an encoder in both directions is twice as wide.

        Raises ValueError where the encoder's last state does not fit the decoder, or `end` is no target symbol.
        """
        U, V, H = input_size, self.target_size or input_size, hidden_size
        if not 0 <= self.end < V:
            raise ValueError(f"Seq2Seq: end is {self.end}, but should be from 0 to {V - 1}, one of the target symbols")
        E = self.embedding_size or hidden_size
        encoder = stack.init(self._encoder, rng, E, H)
        decoder = stack.init(self._decoder, rng, E, 2 * H if self._encoder.bidirectional else H)
        top = f"h_l{len(self._decoder.cells) - 1}"
        start = self._start(stack.zero_state(self._encoder, encoder, 1), stack.zero_state(self._decoder, decoder, 1))
        Q = K = start[top].shape[1]
        params = {"E_source": rng.normal(size=(U, E)), "E_target": rng.normal(size=(V + 1, E))}
        params |= {f"encoder_{name}": p for name, p in encoder.items()} | {f"decoder_{name}": p for name, p in decoder.items()}
        if self.attention is not None:
            params |= {f"attention_{name}": p for name, p in self.attention.init(rng, Q, K).items()}
            params |= {"W_c": _uniform(rng, (K + Q, Q), K + Q), "b_c": _uniform(rng, (Q,), K + Q)}
        return params | {"W_y": _uniform(rng, (Q, V), Q), "b_y": _uniform(rng, (V,), Q)}

    def zero_state(self, params: Params, batch_size: int) -> dict[str, Array]:
        """{}: the encoder always starts from zeros."""
        return {}

    def masks(self, rng: np.random.Generator, params: Params, T: int, N: int) -> None:
        """No dropout."""

    def batch(self, rng: np.random.Generator, params: Params, T: int, N: int) -> tuple[Inputs, Targets]:
        """Random symbols with random lengths; sources have up to T + 2 of them, targets up to T."""
        sources = rng.integers(len(params["E_source"]), size=(T + 2, N))
        targets = rng.integers(len(params["b_y"]), size=(T, N))
        return self.pairs(params, sources, rng.integers(1, T + 3, size=N), targets, rng.integers(min(T, 1), T + 1, size=N))

    def pairs(
        self, params: Params, sources: Array, source_lengths: Array | None, targets: Array, target_lengths: Array | None
    ) -> tuple[Inputs, Targets]:
        """The inputs and targets of `loss` with teacher forcing: the decoder is given the start symbol and then the targets."""
        start = np.full_like(targets[:1], len(params["b_y"]))
        return Inputs(sources, source_lengths, np.concatenate([start, targets[:-1]])), Targets(targets, target_lengths)

    def predict(self, params: Params, inputs: Inputs, state: State) -> tuple[Array, dict[str, Array]]:
        """Scores z (T, N, V) of each target symbol, where the decoder reads `inputs.givens`."""
        encoded = self._encode(params, inputs)
        return self._decode(params, inputs, encoded.keys, encoded.start).scores, {}

    def loss(
        self, params: Params, inputs: Inputs, targets: Targets, state: State, masks: None = None
    ) -> tuple[Array, dict[str, Array], dict[str, Array]]:
        """The mean cross-entropy of a target symbol, its gradients, and {}."""
        encoded = self._encode(params, inputs)
        decoded = self._decode(params, inputs, encoded.keys, encoded.start)
        losses, tape = layers.cross_entropy(decoded.scores, *targets)
        count = losses.size if targets.lengths is None else int(targets.lengths.sum())
        if count == 0:
            raise ValueError(f"Seq2Seq: targets {losses.shape} have no symbol that counts, but should have 1 or more")
        one = 1 + 0 * losses if losses.dtype.kind == "O" else np.ones_like(losses)
        dz = layers.cross_entropy_backward(tape, one / count)
        return np.asarray(losses.sum() / count), self._backward(params, inputs, encoded, decoded, dz), {}

    def translate(self, params: Params, sources: Array, source_lengths: Array | None, longest: int) -> Translation:
        """Greedy decoding of `longest` steps: each step's most probable symbol is what the next step is given."""
        S, N = sources.shape
        givens = np.full((1, N), len(params["b_y"]))
        inputs = Inputs(sources, source_lengths, givens)
        keys, state, _ = self._encode(params, inputs)
        symbols = np.full((longest, N), self.end)
        weights = np.zeros((longest, N, S), keys.dtype)
        running = np.ones(N, dtype=bool)
        for t in range(longest):
            step = self._decode(params, inputs._replace(givens=givens), keys, state)
            symbols[t, running] = step.scores[0].real.argmax(axis=1)[running]
            if step.head is not None:
                weights[t, running] = step.head.attention.weights[0, running]
            running &= symbols[t] != self.end
            if not running.any():
                break
            givens, state = symbols[t : t + 1], step.final
        return Translation(symbols, None if self.attention is None else weights)

    @property
    def _encoder(self) -> Stack:
        return self.encoder if isinstance(self.encoder, Stack) else Stack((self.encoder,))

    @property
    def _decoder(self) -> Stack:
        return self.decoder if isinstance(self.decoder, Stack) else Stack((self.decoder,))

    def _encode(self, params: Params, inputs: Inputs) -> _Encoded:
        _check_symbols("sources", inputs.sources, len(params["E_source"]))
        own, N = _part(params, "encoder_"), inputs.sources.shape[1]
        xs = layers.embedding(params["E_source"], inputs.sources)
        ks, final, tape = stack.forward(self._encoder, own, xs, stack.zero_state(self._encoder, own, N), inputs.lengths)
        return _Encoded(ks, self._start(final, stack.zero_state(self._decoder, _part(params, "decoder_"), N)), tape)

    def _start(self, final: State, zero: State) -> dict[str, Array]:
        """The decoder's first state, from the encoder's last."""
        start = dict(final)
        if self._encoder.bidirectional:
            names = [name for name in final if not name.endswith("_reverse")]
            start = {name: np.concatenate([final[name], final[f"{name}_reverse"]], axis=1) for name in names}
        if {name: s.shape for name, s in start.items()} != {name: s.shape for name, s in zero.items()}:
            raise ValueError(f"Seq2Seq: the encoder ends with {_shapes(start)}, but the decoder starts from {_shapes(zero)}")
        return start

    def _decode(self, params: Params, inputs: Inputs, keys: Array, state: State) -> _Decoded:
        _check_symbols("givens", inputs.givens, len(params["E_target"]))
        if inputs.givens.shape[1] != inputs.sources.shape[1]:
            raise ValueError(f"Seq2Seq: givens {inputs.givens.shape} and sources {inputs.sources.shape}, but should have one N")
        us = layers.embedding(params["E_target"], inputs.givens)
        qs, final, tape = stack.forward(self._decoder, _part(params, "decoder_"), us, state)
        s, head = (qs, None) if self.attention is None else _head(self.attention, params, qs, keys, inputs.lengths)
        return _Decoded(layers.affine(params["W_y"], params["b_y"], s), final, tape, s, head)

    def _backward(self, params: Params, inputs: Inputs, encoded: _Encoded, decoded: _Decoded, dz: Array) -> dict[str, Array]:
        dW_y, db_y, ds = layers.affine_backward(params["W_y"], decoded.s, dz)
        dparams = {"W_y": dW_y, "b_y": db_y}
        dqs, dks = ds, np.zeros_like(encoded.keys)
        if self.attention is not None and decoded.head is not None:
            dhead, dqs, dks = _head_backward(self.attention, params, decoded.head, ds)
            dparams |= dhead
        no_dfinal = {name: np.zeros_like(s) for name, s in decoded.final.items()}
        ddecoder, dus, dstart = stack.backward(self._decoder, _part(params, "decoder_"), decoded.tape, dqs, no_dfinal)
        dencoder, dxs, _ = stack.backward(self._encoder, _part(params, "encoder_"), encoded.tape, dks, self._dfinal(dstart))
        dparams |= {f"encoder_{name}": d for name, d in dencoder.items()} | {f"decoder_{name}": d for name, d in ddecoder.items()}
        dparams["E_source"] = layers.embedding_backward(params["E_source"], inputs.sources, dxs)
        dparams["E_target"] = layers.embedding_backward(params["E_target"], inputs.givens, dus)
        return {name: dparams[name] for name in params}

    def _dfinal(self, dstart: State) -> dict[str, Array]:
        """The other way of `_start`: each direction's half."""
        if not self._encoder.bidirectional:
            return dict(dstart)
        halves = {name: np.split(d, 2, axis=1) for name, d in dstart.items()}
        return {name: d[0] for name, d in halves.items()} | {f"{name}_reverse": d[1] for name, d in halves.items()}


def _head(scorer: Scorer, params: Params, qs: Array, keys: Array, lengths: Array | None) -> tuple[Array, _HeadTape]:
    """s = tanh([context, q] @ W_c + b_c)"""
    context, _, tape = attend(scorer, _part(params, "attention_"), qs, keys, lengths)
    joined = np.concatenate([context, qs], axis=2)
    a = layers.affine(params["W_c"], params["b_c"], joined)
    return tanh(a), _HeadTape(tape, joined, a)


def _head_backward(scorer: Scorer, params: Params, tape: _HeadTape, ds: Array) -> tuple[dict[str, Array], Array, Array]:
    """dparams, dqs, dkeys"""
    da = ds * tanh_derivative(tape.a)
    dW_c, db_c, djoined = layers.affine_backward(params["W_c"], tape.joined, da)
    K = tape.attention.keys.shape[2]
    dscorer, dqs, dkeys = attend_backward(scorer, _part(params, "attention_"), tape.attention, djoined[:, :, :K])
    dparams = {"W_c": dW_c, "b_c": db_c} | {f"attention_{name}": d for name, d in dscorer.items()}
    return dparams, djoined[:, :, K:] + dqs, dkeys


def _part(params: Params, prefix: str) -> dict[str, Array]:
    """The parameters of one part, under their names there."""
    return {name.removeprefix(prefix): p for name, p in params.items() if name.startswith(prefix)}


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], n: int) -> Array:
    """Every entry from (-1/sqrt(n), 1/sqrt(n)), n the number of values that are added up."""
    bound = max(n, 1) ** -0.5
    return rng.uniform(-bound, bound, shape)


def _shapes(state: State) -> str:
    return ", ".join(f"{name} {s.shape}" for name, s in state.items())


def _check_symbols(name: str, symbols: Array, size: int) -> None:
    if symbols.ndim != 2 or symbols.dtype.kind not in "iu":
        raise ValueError(f"Seq2Seq: {name} are {symbols.dtype} {symbols.shape}, but should be integers (steps, N)")
    for where in np.argwhere((symbols < 0) | (symbols >= size)):
        raise ValueError(f"Seq2Seq: {name}{where.tolist()} is {symbols[tuple(where)]}, but should be from 0 to {size - 1}")
