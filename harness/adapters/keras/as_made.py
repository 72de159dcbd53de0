"""A Keras layer as its user made it: its own dtype policy, its own return_sequences and zero_output_for_mask, called as users call it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from bptt.harness.adapters.keras.layer import Layer, directions, python_random_seeded
from bptt.harness.adapters.torch.form import Tree, pack, slots
from bptt.harness.subject import Array, Arrays, AsMade

_DTYPES = ("float16", "bfloat16", "float32", "float64")
Named = tuple[dict[str, Array], dict[str, str]]


def as_made(build: Callable[[int, int], Layer], names: tuple[str, ...], tree: list[Tree], D: int, H: int) -> AsMade | None:
    """The layers of `build` as they are.

    build    (D, H) -> a built layer, made with nothing set
    names    of its trainable variables, in order;   tree   its state, as the layer takes it
    None where its dtype is none that float64 holds.
    """
    with python_random_seeded(0):
        layer = build(D, H)
    dtype = str(layer.compute_dtype)
    if dtype not in _DTYPES:
        return None
    made = _Made(build, names, tree, dtype)
    made.layers[D, H] = layer
    if isinstance(layer, keras.layers.Bidirectional) and not layer.forward_layer.return_sequences and layer.merge_mode != "concat":
        why = f"it gives the last outputs of both directions as one ({layer.merge_mode}): they are not held against the formula"
        return AsMade(dtype, made.run, replaced=replaced_of(layer), refused=why)
    return AsMade(dtype, made.run, replaced=replaced_of(layer))


def replaced_of(layer: Layer) -> tuple[str, ...]:
    """Options that the judged formula sets otherwise than the layer has them."""
    inner = directions(layer)[0][1]
    wanted = {"return_sequences": True, "return_state": True, "stateful": False, "zero_output_for_mask": True}
    told = [f"{name}={value}" for name, value in wanted.items() if getattr(inner, name, value) != value]
    policy = layer.dtype_policy.name
    return tuple(f"{each} in place of {not each.endswith('True')}" for each in told) + (
        () if policy in ("float32", "float64") else (f"float64 in place of its policy {policy}",)
    )


@dataclass
class _Made:
    build: Callable[[int, int], Layer]
    names: tuple[str, ...]
    tree: list[Tree]
    dtype: str
    layers: dict[tuple[int, int], Layer] = field(default_factory=dict, repr=False)

    @property
    def states(self) -> list[str]:
        return [slot.names[0] for slot in slots(self.tree)]

    def run(self, params: Arrays, xs: Array, state: Arrays) -> Named:
        with keras.device("cpu"):
            layer = self._loaded(params, xs, state)
            x = keras.ops.convert_to_tensor(np.swapaxes(xs, 0, 1), dtype=self.dtype)
            first = pack(self.tree, {name: keras.ops.convert_to_tensor(state[name], dtype=self.dtype) for name in self.states})
            returned = layer(x, initial_state=first, training=False)
        outputs = list(_leaves(returned))
        ys, *final = [keras.ops.convert_to_numpy(keras.ops.cast(value, "float64")) for value in outputs]
        both = isinstance(layer, keras.layers.Bidirectional)  # the last output of its backward layer is that of the first step
        key = "ys" if ys.ndim == 3 else "last outputs of both directions" if both else "last output"
        dtypes = {key: keras.backend.standardize_dtype(outputs[0].dtype)}
        found = {key: np.swapaxes(ys, 0, 1) if ys.ndim == 3 else ys}
        for name, value, tensor in zip(self.states, final, outputs[1:], strict=False):
            found[f"final {name}"] = value
            dtypes[f"final {name}"] = keras.backend.standardize_dtype(tensor.dtype)
        return found, dtypes

    def _loaded(self, params: Arrays, xs: Array, state: Arrays) -> Layer:
        shapes = tuple(tuple(params[name].shape) for name in self.names)
        for layer in self.layers.values():
            if tuple(tuple(v.shape) for v in layer.trainable_variables) == shapes:
                break
        else:
            D, H = int(xs.shape[-1]), int(state[self.states[0]].shape[-1])
            with python_random_seeded(0):
                layer = self.layers[D, H] = self.build(D, H)
        for variable, name in zip(layer.trainable_variables, self.names, strict=True):
            variable.assign(np.asarray(params[name]))
        return layer


def _leaves(value: Any) -> Iterator[Any]:
    """The arrays of what a layer returned: outputs, then states, those of stacked cells in lists of their own."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def built(layer: Any, D: int) -> Layer:
    """The layer, built for inputs of width D where it is not."""
    if not layer.built:
        layer.build((None, None, D))
        layer.built = True
    return layer
