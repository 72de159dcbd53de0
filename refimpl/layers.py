"""What stands around the recurrent layers: embedding, projection of indices, affine, dropout, and the losses over time.

Each layer is two functions: one that computes, and its backward, with the derivation.  dX is dL/dX and has the shape of X.
All run in every number system (see bptt.refimpl.activations).  A result has the common dtype of what goes in; integers (ids, targets)
do not count.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.lengths import valid_steps
from bptt.refimpl.types import Array, Params


def embedding(W: Array, ids: Array) -> Array:
    """A row of W for each index.

    Equation    xs[t, n] = W[ids[t, n]]
    Shapes      W (V, E)   ids (T, N), integers from 0 to V - 1   xs (T, N, E)
    """
    _check_indices("ids", ids, len(W))
    return W[ids]


def embedding_backward(W: Array, ids: Array, dys: Array) -> Array:
    """dW of `embedding`: each row is the sum of the dys that were read from it, zero where none was.

    Derivation  xs[t, n] = W[ids[t, n]]      dW[v] = sum of dys[t, n] over all t, n with ids[t, n] = v
    """
    _check_indices("ids", ids, len(W))
    return _scatter_rows(ids.ravel(), dys.reshape(ids.size, W.shape[1]), len(W), np.result_type(W, dys))


def _scatter_rows(ids: Array, rows: Array, V: int, dtype: np.dtype[np.generic]) -> Array:
    """sums (V, J): the sum of those rows that have the same index.   ids (M,)   rows (M, J)"""
    sums = np.zeros((V, rows.shape[1]), dtype)
    for v, row in zip(ids.tolist(), rows, strict=True):  # faster than np.add.at, than sorting and reduceat, than a one-hot product
        total = sums[v]
        total += row
    return sums


def project_indices(cell: Cell, params: Params, ids: Array) -> Array:
    """What `cell.project_inputs` gives for one-hot inputs, without the product: a row of W_x for each index, and the bias.

    Equation    axs[t, n] = W_x[ids[t, n]] + b       with the biases that the cell adds outside of the loop for b
    Shapes      ids (T, N), integers from 0 to V - 1   W_x (V, G*H)   axs (T, N, G*H)
    """
    W_x = params["W_x"]
    _check_indices("ids", ids, len(W_x))
    dtype = np.result_type(*params.values())
    zero = np.zeros((1, W_x.shape[1]), dtype)
    b = cell.project_inputs({**params, "W_x": zero}, np.zeros((1, 1, 1), dtype))  # of an input 0 the bias alone is left
    axs = W_x.astype(dtype, copy=False)[ids]
    axs += b
    return axs


def project_indices_backward(cell: Cell, params: Params, ids: Array, daxs: Array) -> dict[str, Array]:
    """dW_x and the biases' share of `project_indices`.

    Derivation  axs[t, n] = W_x[ids[t, n]] + b      dW_x[v] = sum of daxs[t, n] over all t, n with ids[t, n] = v
                                                    db      = sum of all daxs, as the cell's own backward has it
    """
    W_x = params["W_x"]
    _check_indices("ids", ids, len(W_x))
    no_inputs = np.zeros((*ids.shape, 0), daxs.dtype)
    dparams, _ = cell.project_inputs_backward({**params, "W_x": W_x[:0]}, no_inputs, daxs)  # inputs of no width: biases only
    rows = daxs.reshape(ids.size, W_x.shape[1])
    return {**dparams, "W_x": _scatter_rows(ids.ravel(), rows, len(W_x), np.result_type(W_x, daxs))}


def affine(W: Array, b: Array | None, xs: Array) -> Array:
    """One product for all steps.

    Equation    ys = xs @ W + b          (without b where it is None)
    Shapes      xs (T, N, I)   W (I, O)   b (O,)   ys (T, N, O)
    """
    dtype = np.result_type(W, xs) if b is None else np.result_type(W, xs, b)
    ys = _rows(xs).astype(dtype, copy=False) @ W
    if b is not None:
        ys += b
    return np.asarray(ys.reshape(*xs.shape[:-1], W.shape[1]))


def affine_backward(W: Array, xs: Array, dys: Array) -> tuple[Array, Array, Array]:
    """dW, db, dxs of `affine`.

    Derivation  ys = xs @ W + b      dW  = xs.T @ dys       with the rows of all steps in one matrix
                                     db  = sum of dys over T and N
                                     dxs = dys @ W.T
    """
    rows = _rows(dys)
    return _rows(xs).T @ rows, rows.sum(axis=0), (rows @ W.T).reshape(xs.shape)


def _rows(xs: Array) -> Array:
    """(T, N, I) as (T*N, I)"""
    return xs.reshape(math.prod(xs.shape[:-1]), xs.shape[-1])


def dropout_mask(rng: np.random.Generator, shape: tuple[int, ...], p: float, dtype: DTypeLike = np.float64) -> Array:
    """0 with probability p, else 1 / (1 - p): inverted scaling, so that its mean is 1 and evaluation needs no factor.

    A generator in the same state drops the same entries in every dtype.  Raises ValueError for a p outside of [0, 1).
    Source      Srivastava et al. 2014, Dropout, JMLR 15.
    """
    if not 0 <= p < 1:
        raise ValueError(f"dropout's p is {p}, but should be at least 0 and below 1")
    mask = (rng.random(shape) >= p).astype(dtype)
    mask /= 1 - p
    return mask


def dropout(xs: Array, mask: Array | None) -> Array:
    """ys = xs * mask, or xs itself where the mask is None (evaluation).   mask of the shape of xs, scaled already"""
    return xs if mask is None else xs * mask


def dropout_backward(mask: Array | None, dys: Array) -> Array:
    """Derivation  ys = xs * mask      dxs = dys * mask"""
    return dys if mask is None else dys * mask


class SoftmaxTape(NamedTuple):
    """Of the M valid steps e (M, V) with 0 for the target's, Z, Z_rest and targets (M,); which steps they are (T, N), or None: all."""

    e: Array
    Z: Array
    Z_rest: Array
    targets: Array
    valid: Array | None
    T: int
    N: int


def cross_entropy(scores: Array, targets: Array, lengths: Array | None = None) -> tuple[Array, SoftmaxTape]:
    """Softmax cross-entropy of each step, 0 at padding, and the tape.

    Equations   p_j  = exp(s_j) / sum of exp(s_i)      loss = -log p_k     for the scores s and the target k of a step
                m    = max of Re s_i                   a_j = s_j - m: m cancels
                e_j  = exp(a_j)                        Z = sum of e_j = Z_rest + e_k
                loss = log Z - a_k
    Shapes      scores (T, N, V)   targets (T, N), integers from 0 to V - 1   lengths (N,) or None   losses (T, N)
                Scores and targets at padding may be anything: they are not read.
    In floats   No exponential overflows: no a_j is above 0.  Z_rest is summed without the target's e_k, because where p_k has
                reached 1 a sum Z, and 1 - p_k too, have lost what is left: log Z = log1p(Z_rest + (e_k - 1)) with e_k = 1 keeps
                every digit of it, and so does the gradient.
    """
    T, N, V = scores.shape
    if targets.shape != (T, N):
        raise ValueError(f"targets have shape {targets.shape}, but should have {(T, N)}, one for each step's scores")
    valid = None if lengths is None else valid_steps(lengths, T, N)
    _check_indices("targets", targets if valid is None else np.where(valid, targets, 0), V)
    s = scores.reshape(T * N, V) if valid is None else scores[valid]
    k = targets.reshape(T * N) if valid is None else targets[valid]
    each = np.arange(len(k))
    e = s - s.real.max(axis=1, keepdims=True)
    a_k = e[each, k]
    np.exp(e, out=e)
    e_k = e[each, k]
    e[each, k] = 0
    Z_rest = e.sum(axis=1)
    losses = _log1p(Z_rest + (e_k - 1)) - a_k
    tape = SoftmaxTape(e, Z_rest + e_k, Z_rest, k, valid, T, N)
    return _in_place(losses, tape), tape


def cross_entropy_backward(tape: SoftmaxTape, dlosses: Array) -> Array:
    """dscores (T, N, V) of `cross_entropy`, zero at padding.   dlosses (T, N)

    Derivation  loss = log Z - a_k       da_j = dloss * e_j / Z = dloss * p_j                  for j other than k
                                         da_k = dloss * (p_k - 1) = -dloss * Z_rest / Z        without a difference
                a_j  = s_j - m           ds_j = da_j: the loss does not depend on m, so dm = 0
    """
    k = tape.targets
    dloss = dlosses.reshape(len(k)) if tape.valid is None else dlosses[tape.valid]
    ds = tape.e * (dloss / tape.Z)[:, None]
    ds[np.arange(len(k)), k] = -dloss * (tape.Z_rest / tape.Z)
    return _in_place(ds, tape)


def _in_place(rows: Array, tape: SoftmaxTape) -> Array:
    """Rows of valid steps (M, ...) where they belong in (T, N, ...), with zeros at padding."""
    shape = (tape.T, tape.N, *rows.shape[1:])
    if tape.valid is None:
        return rows.reshape(shape)
    whole = np.zeros(shape, rows.dtype)
    whole[tape.valid] = rows
    return whole


def _log1p(a: Array) -> Array:
    """log(1 + a), which numbers in an object array need not have: it is where exp(y) = x, found from the float's logarithm.

    y + 2 (x - exp(y)) / (x + exp(y)) has three times the right digits of y (Halley): 16, 48, 144, 432.
    """
    if a.dtype.kind != "O":
        return np.asarray(np.log1p(a))
    x = 1 + a
    y = np.log(x.astype(float)).astype(object)
    for _ in range(3):
        e = np.exp(y * (x / x))  # numbers like those of x, also where y is a float still
        y = y + 2 * (x - e) / (x + e)
    return np.asarray(y)


def squared_error(ys: Array, targets: Array) -> Array:
    """Entry by entry, of two arrays of one shape (one that only broadcasts is a mistake).

    Equation    loss = (y - target)**2
    """
    d = _difference(ys, targets)
    d *= d
    return d


def squared_error_backward(ys: Array, targets: Array, dlosses: Array) -> Array:
    """dys of `squared_error`.

    Derivation  loss = (y - target)**2      dy = dloss * 2 * (y - target)
    """
    d = _difference(ys, targets)
    d *= 2
    return np.asarray(dlosses * d)


def _difference(ys: Array, targets: Array) -> Array:
    """ys - targets, a new array."""
    if ys.shape != targets.shape:
        raise ValueError(f"targets have shape {targets.shape}, but should have {ys.shape}, that of the outputs")
    return np.asarray(ys - (targets.astype(ys.dtype) if targets.dtype.kind in "iu" else targets))


def _check_indices(name: str, ids: Array, size: int) -> None:
    """Raises ValueError unless they are integers from 0 to size - 1: a negative one would count from the end."""
    if ids.dtype.kind not in "iu":
        raise ValueError(f"{name} are {ids.dtype}, but should be integers from 0 to {size - 1}")
    if ids.size and (ids.min() < 0 or ids.max() >= size):
        where = tuple(int(i) for i in np.argwhere((ids < 0) | (ids >= size))[0])
        raise ValueError(f"{name}{list(where)} is {ids[where]}, but should be from 0 to {size - 1}")
