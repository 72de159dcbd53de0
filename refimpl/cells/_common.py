"""What most cells share: random parameters, zero states, and the projection of the inputs for all steps at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bptt.refimpl.types import Array, Params


def uniform(rng: np.random.Generator, shapes: Mapping[str, tuple[int, ...]], hidden_size: int) -> dict[str, Array]:
    """Every entry from (-1/sqrt(H), 1/sqrt(H)), biases too: a zero bias hides mistakes."""
    bound = max(hidden_size, 1) ** -0.5
    return {name: rng.uniform(-bound, bound, shape) for name, shape in shapes.items()}


def dtype_of(params: Params) -> np.dtype[np.generic]:
    return np.result_type(*params.values())


def zero_h(params: Params, batch_size: int) -> dict[str, Array]:
    """{"h": zeros (N, H)}"""
    return {"h": np.zeros((batch_size, params["W_h"].shape[0]), dtype_of(params))}


def zero_from(params: Params, name: str, batch_size: int) -> dict[str, Array]:
    """{"h": zeros (N, H)} where H is the last axis of the parameter `name`."""
    return {"h": np.zeros((batch_size, params[name].shape[-1]), dtype_of(params))}


def affine(xs: Array, W: Array, b: Array) -> Array:
    """xs @ W + b for all steps in one product.   xs (T, N, D)   W (D, J)   b (J,)   ->   (T, N, J)"""
    T, N, D = xs.shape
    a = xs.reshape(T * N, D) @ W
    a += b
    return a.reshape(T, N, W.shape[1])


def affine_backward(xs: Array, W: Array, da: Array) -> tuple[Array, Array, Array]:
    """dW, db, dxs of `affine`.   da (T, N, J)"""
    T, N, D = xs.shape
    rows = da.reshape(T * N, W.shape[1])
    return xs.reshape(T * N, D).T @ rows, rows.sum(axis=0), (rows @ W.T).reshape(T, N, D)


def project_inputs(params: Params, xs: Array) -> Array:
    """axs = xs @ W_x + b"""
    return affine(xs, params["W_x"], params["b"])


def project_inputs_backward(params: Params, xs: Array, daxs: Array) -> tuple[dict[str, Array], Array]:
    """dW_x = xs.T @ daxs     db = sum of daxs     dxs = daxs @ W_x.T"""
    dW_x, db, dxs = affine_backward(xs, params["W_x"], daxs)
    return {"W_x": dW_x, "b": db}, dxs
