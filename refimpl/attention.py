"""Attention: a mean of the encoder's states, weighted by how well each of them fits a state of the decoder.

Equations    e_s = q . k_s                              dot-product scores
             e_s = v . tanh(q @ W_q + k_s @ W_k)        additive scores
             w_s = exp(e_s) / sum_r exp(e_r)            over the steps s < length;  w_s = 0 at padding
             context = sum_s w_s k_s
Shapes       queries q (T, N, Q)   keys k (S, N, K)   scores e, weights w (T, N, S)   context (T, N, K)   lengths (N,)
             dot-product: Q = K    additive: W_q (Q, A)   W_k (K, A)   v (A,)   a m (T, N, S, A)
Derivation   context = sum_s w_s k_s           dw_s = dcontext . k_s       dk_s += sum over T of w_s dcontext
             w = softmax(e)                    the Jacobian is dw_r/de_s = w_r (1[r = s] - w_s), and so
                                               de_s = sum_r dw_r w_r (1[r = s] - w_s) = w_s (dw_s - sum_r w_r dw_r)
             w_s = 0 at padding                de_s = 0, dk_s = 0: nothing goes there
             e_s = q . k_s                     dq = sum_s de_s k_s         dk_s += sum over T of de_s q
             e_s = m_s . v                     dv = sum of de_s m_s        dm_s = de_s v
             m   = tanh(a)                     da_s = dm_s * tanh'(a_s)
             a_s = q @ W_q + k_s @ W_k         da_q = sum_s da_s           dW_q = q.T @ da_q     dq = da_q @ W_q.T
                                               da_k = sum over T of da_s   dW_k = k.T @ da_k     dk_s += da_k @ W_k.T
Source       additive: Bahdanau, Cho and Bengio 2015, arXiv:1409.0473, appendix A.1.2; dot-product: Luong, Pham and Manning 2015,
             arXiv:1508.04025, section 3.1.
Variant      no scaling of the dot product; keys are values; no coverage and no location.

The weights of one query sum to 1, so a constant added to all its dw_s leaves de_s as it is.  `softmax_backward` takes dw_s at the
heaviest step off: where one weight has reached 1, dw_s - sum_r w_r dw_r would have lost every digit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bptt.refimpl.activations import tanh, tanh_derivative
from bptt.refimpl.lengths import valid_steps
from bptt.refimpl.types import Array, Params, Tape


@dataclass(frozen=True)
class Scorer:
    """How well queries fit keys.

    name             what it is called
    init             (rng, query width Q, key width K) -> params, float64
    scores           (params, queries (T, N, Q), keys (S, N, K)) -> scores (T, N, S), tape
    scores_backward  (params, queries, keys, tape, dscores) -> dparams, dqueries, dkeys
    """

    name: str
    init: Callable[[np.random.Generator, int, int], dict[str, Array]]
    scores: Callable[[Params, Array, Array], tuple[Array, Tape]]
    scores_backward: Callable[[Params, Array, Array, Tape, Array], tuple[dict[str, Array], Array, Array]]


class AttentionTape(NamedTuple):
    queries: Array
    keys: Array
    weights: Array
    scorer: Tape


def attend(scorer: Scorer, params: Params, queries: Array, keys: Array, lengths: Array | None = None) -> tuple[Array, Array, AttentionTape]:
    """Context (T, N, K), weights (T, N, S) and a tape.   What stands in keys at padding does not matter.

    Raises ValueError where shapes or lengths do not fit.
    """
    valid = _valid_steps(queries, keys, lengths)
    if lengths is not None:
        keys = np.where(valid[:, :, None], keys, 0)  # not even nan gets out of padding
    scores, tape = scorer.scores(params, queries, keys)
    weights = softmax(scores, valid)
    return _time_major(_batch_major(weights) @ _batch_major(keys)), weights, AttentionTape(queries, keys, weights, tape)


def attend_backward(
    scorer: Scorer, params: Params, tape: AttentionTape, dcontext: Array, dweights: Array | None = None
) -> tuple[dict[str, Array], Array, Array]:
    """dparams, dqueries and dkeys: the gradients of <dcontext, context> + <dweights, weights>."""
    queries, keys, weights, scorer_tape = tape
    dw = _time_major(_batch_major(dcontext) @ keys.transpose(1, 2, 0))
    if dweights is not None:
        dw = dw + dweights
    dvalues = weights.transpose(1, 2, 0) @ _batch_major(dcontext)
    dparams, dqueries, dkeys = scorer.scores_backward(params, queries, keys, scorer_tape, softmax_backward(weights, dw))
    return dparams, dqueries, dkeys + _time_major(dvalues)


def softmax(scores: Array, valid: Array) -> Array:
    """Weights (T, N, S) that sum to 1 over the steps that are valid (S, N), the first among them, and are exactly 0 at the others."""
    held = np.where(valid.T, scores, scores[:, :, :1])
    e = np.where(valid.T, np.exp(held - held.real.max(axis=2, keepdims=True)), 0)
    return np.asarray(e / e.sum(axis=2, keepdims=True))


def softmax_backward(weights: Array, dweights: Array) -> Array:
    """dscores = w * (d - sum of w * d)   with d = dweights less its entry at the heaviest step (see above)."""
    heaviest = weights.real.argmax(axis=2)[:, :, None]
    d = dweights - np.take_along_axis(dweights, heaviest, axis=2)
    return np.asarray(weights * (d - (weights * d).sum(axis=2, keepdims=True)))


def dot_scores(params: Params, queries: Array, keys: Array) -> tuple[Array, Tape]:
    """e[t, n, s] = q[t, n] . k[s, n]"""
    _check_widths(queries.shape[2], keys.shape[2])
    return _time_major(_batch_major(queries) @ keys.transpose(1, 2, 0)), ()


def dot_scores_backward(params: Params, queries: Array, keys: Array, tape: Tape, dscores: Array) -> tuple[dict[str, Array], Array, Array]:
    dqueries = _batch_major(dscores) @ _batch_major(keys)
    dkeys = dscores.transpose(1, 2, 0) @ _batch_major(queries)
    return {}, _time_major(dqueries), _time_major(dkeys)


def dot_init(rng: np.random.Generator, query_size: int, key_size: int) -> dict[str, Array]:
    """Nothing to learn.   Raises ValueError where Q and K differ."""
    _check_widths(query_size, key_size)
    return {}


def additive_init(rng: np.random.Generator, query_size: int, key_size: int) -> dict[str, Array]:
    """W_q (Q, A), W_k (K, A) and v (A,) with A = Q, each entry from (-1/sqrt(n), 1/sqrt(n)), n the fan-in."""
    A = query_size
    shapes = {"W_q": (query_size, A), "W_k": (key_size, A), "v": (A,)}
    return {name: rng.uniform(-1, 1, shape) * max(shape[0], 1) ** -0.5 for name, shape in shapes.items()}


def additive_scores(params: Params, queries: Array, keys: Array) -> tuple[Array, Tape]:
    """e[t, n, s] = v . tanh(q[t, n] @ W_q + k[s, n] @ W_k)"""
    a_q, a_k = queries @ params["W_q"], keys @ params["W_k"]
    a = a_q[:, :, None, :] + _batch_major(a_k)
    m = tanh(a)
    return (_rows(m) @ params["v"]).reshape(a.shape[:3]), (a, m)


def additive_scores_backward(
    params: Params, queries: Array, keys: Array, tape: Tape, dscores: Array
) -> tuple[dict[str, Array], Array, Array]:
    a, m = tape
    W_q, W_k, v = params["W_q"], params["W_k"], params["v"]
    dv = dscores.reshape(-1) @ _rows(m)
    da = dscores[..., None] * v
    da *= tanh_derivative(a)
    da_q, da_k = da.sum(axis=2), _time_major(da.sum(axis=0))
    dparams = {"W_q": _rows(queries).T @ _rows(da_q), "W_k": _rows(keys).T @ _rows(da_k), "v": dv}
    return dparams, da_q @ W_q.T, da_k @ W_k.T


DOT = Scorer("dot", init=dot_init, scores=dot_scores, scores_backward=dot_scores_backward)
ADDITIVE = Scorer("additive", init=additive_init, scores=additive_scores, scores_backward=additive_scores_backward)


def _valid_steps(queries: Array, keys: Array, lengths: Array | None) -> Array:
    """True at the steps s < lengths[n], as (S, N); everywhere where lengths is None.   Each sequence has to have a step to look at."""
    if queries.ndim != 3 or keys.ndim != 3 or queries.shape[1] != keys.shape[1]:
        raise ValueError(f"attention: queries {queries.shape} and keys {keys.shape}, but should be (T, N, Q) and (S, N, K) with one N")
    S, N = keys.shape[:2]
    valid = np.ones((S, N), dtype=bool) if lengths is None else valid_steps(lengths, S, N)
    if not valid.any(axis=0).all():
        raise ValueError(f"attention: lengths[{valid.any(axis=0).argmin()}] is 0, but should be from 1 to S = {S}: a step to look at")
    return valid


def _check_widths(Q: int, K: int) -> None:
    if Q != K:
        raise ValueError(f"dot-product scores: queries have width {Q} and keys {K}, but should have the same")


def _batch_major(a: Array) -> Array:
    """(T, N, J) -> (N, T, J)"""
    return a.transpose(1, 0, 2)


_time_major = _batch_major  # the same exchange, back


def _rows(a: Array) -> Array:
    """(..., J) -> (rows, J)"""
    return a.reshape(math.prod(a.shape[:-1]), a.shape[-1])
