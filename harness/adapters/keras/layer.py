"""A Keras layer taken apart, and as a torch module: its trainable variables are the module's parameters, its call is stateless."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import torch
from keras.src.backend.common import dtypes as promotions

from bptt.harness.adapters.frameworks import published_regions
from bptt.harness.adapters.torch.form import Slot, Tree, Width
from bptt.harness.subject import Array, Arrays, Region

Layer = Any  # keras has no types
#: The cells that Keras has itself -> the published convention of their weights.
_PUBLISHED = {
    keras.layers.SimpleRNNCell: "keras.layers.SimpleRNN",
    keras.layers.LSTMCell: "keras.layers.LSTM",
    keras.layers.GRUCell: "keras.layers.GRU",
}


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Layers are made in `dtype`, on the processor, and ops make tensors of it; Keras's own settings come back afterwards.

    On every backend but TensorFlow, Keras's ops make float32 of float64 (their type promotion follows JAX's default), so that its
    cells would be float32 inside: for this time the promotion leaves float64 as it is, as jax_enable_x64 does.
    """
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    narrowed = promotions.BIT64_TO_BIT32_DTYPE["float64"]
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    promotions.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    try:
        with keras.device("cpu"):
            yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)
        promotions.BIT64_TO_BIT32_DTYPE["float64"] = narrowed


@contextmanager
def python_random_seeded(seed: int) -> Iterator[None]:
    """Keras draws the seeds of its initializers from Python's own generator, which is left as it was."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


class LayerModule(torch.nn.Module):
    """module(xs (N, T, D), states, mask) -> (ys, *states): the layer of `layer_of` with this module's parameters in its variables.

    layer_of(dtype name) -> a built layer that returns sequences and states; only its call is used, its own values never change
    """

    def __init__(self, layer_of: Callable[[str], Layer], dtype: str) -> None:
        super().__init__()
        self.layer_of = layer_of
        layer = layer_of(dtype)
        self.names = tuple(variable_names(layer))
        for name, variable in zip(self.names, layer.trainable_variables, strict=True):
            self.register_parameter(name, torch.nn.Parameter(variable.value.detach().clone()))

    def forward(self, xs: torch.Tensor, state: list[Any], mask: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        if xs.is_complex():
            raise TypeError("Keras makes no layers of complex numbers")
        name = str(xs.dtype).removeprefix("torch.")
        layer = self.layer_of(name)
        weights = [self._parameters[each] for each in self.names]
        with precision(name):
            fixed = [variable.value for variable in layer.non_trainable_variables]
            outputs, _ = layer.stateless_call(weights, fixed, xs, initial_state=list(state), mask=mask, training=False)
        return tuple(outputs)


def directions(layer: Layer) -> tuple[tuple[str, Layer], ...]:
    """The recurrent layers inside, with the prefix of their parameters."""
    if isinstance(layer, keras.layers.Bidirectional):
        return ("forward/", layer.forward_layer), ("backward/", layer.backward_layer)
    return (("", layer),)


def variable_names(layer: Layer) -> list[str]:
    """A name for each trainable variable, in order: its path without what all have in common, and without Keras's running numbers.

    Source: the variables' paths, "bidirectional/forward_gru_7/gru_cell/kernel" becomes "forward/kernel".
    """
    found: dict[int, str] = {}
    for prefix, one in directions(layer):
        variables = one.trainable_variables
        paths = _without_common([str(v.path).replace(".", "_").split("/") for v in variables])
        for variable, name in zip(variables, renumbered(paths), strict=True):
            found[id(variable)] = prefix + name
    names = [found.get(id(v), str(v.path).replace(".", "_")) for v in layer.trainable_variables]
    return [name if names.index(name) == k else f"{name}_{names[:k].count(name)}" for k, name in enumerate(names)]


def _without_common(paths: list[list[str]]) -> list[list[str]]:
    while paths and all(len(path) > 1 and path[0] == paths[0][0] for path in paths):
        paths = [path[1:] for path in paths]
    return paths


def renumbered(paths: list[list[str]]) -> list[str]:
    """Layers inside are numbered from their first appearance: Keras counts all that were ever made in the process."""
    seen: dict[str, list[str]] = {}

    def own(component: str) -> str:
        stem, _, number = component.rpartition("_")
        base = stem if number.isdigit() and stem else component
        known = seen.setdefault(base, [])
        if component not in known:
            known.append(component)
        place = known.index(component)
        return f"{base}_{place}" if place else base

    return ["/".join([*(own(component) for component in path[:-1]), path[-1]]) for path in paths]


def own_value(variable: Any) -> Array:
    """A copy of a variable's numbers, on either backend."""
    value = variable.value
    return value.detach().cpu().numpy().copy() if isinstance(value, torch.Tensor) else np.array(value)


def state_tree(layer: Layer, D: int, H: int) -> list[Tree]:
    """The state as the layer takes it: a slot for each tensor, named h and c by position, with layer and direction if there are several."""
    tree: list[Tree] = []
    both = isinstance(layer, keras.layers.Bidirectional)
    for (_, one), suffix in zip(directions(layer), ("_l0" if both else "", "_l0_reverse"), strict=False):
        stacked = any(isinstance(size, list | tuple) for size in one.state_size)
        for k, size in enumerate(one.state_size):
            if stacked:
                tree.append(_slots(size if isinstance(size, list | tuple) else [size], f"_l{k}", D, H))
        if not stacked:
            tree.extend(_slots(one.state_size, suffix, D, H))
    return tree


def _slots(sizes: Any, suffix: str, D: int, H: int) -> list[Tree]:
    letters = ("h", "c") if len(sizes) < 3 else tuple(f"s{k}" for k in range(len(sizes)))
    return [Slot((f"{letter}{suffix}",), Width.of(int(size), D, H)) for letter, size in zip(letters, sizes, strict=False)]


def output_width(layer: Layer) -> int:
    widths = [_output_of(one) for _, one in directions(layer)]
    return sum(widths) if getattr(layer, "merge_mode", None) == "concat" else widths[0]


def _output_of(layer: Layer) -> int:
    size = getattr(layer.cell, "output_size", None)
    return int(layer.state_size[0] if size is None else size)


def layer_regions(layer: Layer, params: Arrays) -> tuple[Region, ...]:
    """The gates' blocks of Keras's own cells; () for others."""
    found: list[Region] = []
    both = isinstance(layer, keras.layers.Bidirectional)
    for (prefix, one), direction in zip(directions(layer), ("forward", "reverse"), strict=False):
        convention = _PUBLISHED.get(type(one.cell))
        if convention is not None:
            convention += "" if getattr(one.cell, "reset_after", True) else "(reset_after=False)"
            found += published_regions(convention, params, prefix, 0 if both else None, direction if both else None)
    return tuple(found)
