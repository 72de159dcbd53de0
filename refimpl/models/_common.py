"""What the models share: the start of their weights, a cell whose inputs are projected already, and means in every number system."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.types import Array, Params, State

Batch = tuple[Array, Array]
Loss = tuple[Array, dict[str, Array], dict[str, Array]]


def uniform(rng: np.random.Generator, shape: tuple[int, ...], n: int) -> Array:
    """Every entry from (-1/sqrt(n), 1/sqrt(n))."""
    bound = max(n, 1) ** -0.5
    return rng.uniform(-bound, bound, shape)


def words(rng: np.random.Generator, vocabulary_size: int, T: int, N: int) -> Batch:
    """Random words and, as their targets, the words that follow them.   (T, N) each"""
    ids = rng.integers(vocabulary_size, size=(T + 1, N))
    return ids[:-1], ids[1:]


def _given(params: Params, axs: Array) -> Array:
    return axs


def _given_backward(params: Params, axs: Array, daxs: Array) -> tuple[dict[str, Array], Array]:
    return {}, daxs


def projected(cell: Cell) -> Cell:
    """The same cell for inputs that are projected already: its xs are the axs (T, N, G*H), and it needs W_h alone of the elman cells'."""
    return replace(cell, project_inputs=_given, project_inputs_backward=_given_backward)


def ones(like: Array) -> Array:
    """1 everywhere, in the number system of `like`."""
    return np.asarray(1 + 0 * like) if like.dtype.kind == "O" else np.ones_like(like)


def zero_final(final: State) -> dict[str, Array]:
    """No error in the last state."""
    return {name: np.zeros_like(s) for name, s in final.items()}


def head(rng: np.random.Generator, width: int, output_size: int) -> dict[str, Array]:
    """The dense layer on top: W_y (width, O) and b_y (O,) from (-1/sqrt(width), 1/sqrt(width))."""
    return {"W_y": uniform(rng, (width, output_size), width), "b_y": uniform(rng, (output_size,), width)}
