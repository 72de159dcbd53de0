"""Keras layers of the sizes and the dtype asked for, from a class, a factory or an instance."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
import torch

from bptt.harness.adapters.frameworks import Recipe, one_line
from bptt.harness.adapters.keras.layer import Layer, LayerModule, precision, python_random_seeded
from bptt.harness.adapters.torch import build
from bptt.harness.errors import UsageError

#: What RNN and Bidirectional are made of where --args says nothing.
DEFAULT_INSIDE = {"cell": "LSTMCell", "layer": "LSTM"}


@dataclass(frozen=True)
class LayerRecipe(build.Recipe):
    """A recipe whose modules are Keras layers (see `LayerModule`).   sequences(D, H) -> a layer over sequences that is not built yet"""

    sequences: Callable[[int, int], Layer] | None = None
    values: tuple[Any, ...] = ()  # an instance's own, in the order of its variables
    plain: Callable[[int, int], Layer] | None = None  # a layer as its user makes it, with nothing set

    def build(self, D: int, H: int) -> torch.nn.Module:
        """Raises UsageError where the layer cannot be made or built."""

        @functools.cache
        def layer_of(dtype: str) -> Layer:
            return self.layer(D, H, dtype)

        with python_random_seeded(torch.initial_seed()):
            module = LayerModule(layer_of, "float64")
        for p, value in zip(module.parameters(), self.values, strict=False):
            with torch.no_grad():
                p.copy_(torch.as_tensor(value))
        return module.eval()

    def layer(self, D: int, H: int, dtype: str) -> Layer:
        """A new layer, built.  Raises UsageError where the layer cannot be made or built."""
        assert self.sequences is not None
        with precision(dtype):
            layer = self.sequences(D, H)
            try:
                layer.build((None, None, D))
                layer.built = True
            except Exception as error:  # a cell's own build is the user's code
                raise UsageError(f"{self.spec}: {self.label}.build raised {one_line(error)}, wanted a layer for D={D}, H={H}") from error
        return layer


def over_sequences(made: object, spec: str, label: str) -> Layer:
    """`made`, which is nobody else's, as a layer over whole sequences that returns all outputs and its final states.

    Raises UsageError where it is no recurrent layer and no cell.
    """
    if isinstance(made, keras.layers.Bidirectional):
        if made.merge_mode is None:
            raise UsageError(f"{spec}: {label} has merge_mode None, which gives two outputs, wanted concat, sum, mul or ave")
        for layer in (made.forward_layer, made.backward_layer):
            over_sequences(layer, spec, label)
        _open(made)
        return made
    if isinstance(made, keras.layers.RNN):
        axes = _axes(made)
        if axes not in (None, 3):
            raise UsageError(f"{spec}: {label} is over images, its inputs have {axes} axes, wanted a layer over sequences (N, T, D)")
        _open(made)
        return made
    if isinstance(made, keras.layers.Layer) and hasattr(made, "state_size"):
        return keras.layers.RNN(made, return_sequences=True, return_state=True)
    raise UsageError(f"{spec}: {label} is a {type(made).__name__}, wanted a recurrent Keras layer, or a cell with state_size")


def _axes(layer: Layer) -> int | None:
    """How many axes its inputs have, where it says so."""
    said = layer.input_spec[0] if isinstance(layer.input_spec, list | tuple) and layer.input_spec else layer.input_spec
    return None if said is None else said.ndim


def wrapped(made: Layer) -> Layer:
    """A cell as a layer with Keras's own defaults, a layer as it is."""
    return made if isinstance(made, keras.layers.RNN | keras.layers.Bidirectional) else keras.layers.RNN(made)


def _open(layer: Layer) -> None:
    layer.return_sequences, layer.return_state, layer.stateful = True, True, False
    if hasattr(layer, "zero_output_for_mask"):
        layer.zero_output_for_mask = True


def copied(layer: Layer, spec: str, own_dtype: bool = False) -> Layer:
    """A new layer like `layer`, made of its configuration, in the dtype of the moment or its own.  Raises UsageError where Keras cannot."""
    try:
        if isinstance(layer, keras.layers.Bidirectional):
            return type(layer)(
                copied(layer.forward_layer, spec, own_dtype),
                merge_mode=layer.merge_mode,
                backward_layer=copied(layer.backward_layer, spec, own_dtype),
            )
        if type(layer) is keras.layers.RNN:
            options = {} if not own_dtype else {"return_sequences": layer.return_sequences, "return_state": layer.return_state}
            return keras.layers.RNN(copied(layer.cell, spec, own_dtype), go_backwards=layer.go_backwards, unroll=layer.unroll, **options)
        config = layer.get_config()
        return type(layer).from_config(config if own_dtype else _without_dtypes(config))
    except UsageError:
        raise
    except Exception as error:  # get_config and from_config may be the user's own
        wanted = "a layer with get_config, or its class or a function that makes it"
        raise UsageError(f"{spec}: copying {type(layer).__name__} raised {one_line(error)}, wanted {wanted}") from error


def _without_dtypes(config: Any) -> Any:
    """A configuration in which neither the layer nor those inside of it say a dtype."""
    if isinstance(config, dict):
        return {key: _without_dtypes(value) for key, value in config.items() if key != "dtype"}
    return [_without_dtypes(each) for each in config] if isinstance(config, list | tuple) else config


def inside(recipe: Recipe, name: str, D: int, H: int) -> Layer:
    """What RNN(cell) or Bidirectional(layer) is made around: a class of keras.layers by its name, of H units, or a configuration."""
    given = recipe.kwargs.get(name, DEFAULT_INSIDE[name])
    if isinstance(given, str):
        cls = getattr(keras.layers, given, None)
        if not (isinstance(cls, type) and issubclass(cls, keras.layers.Layer)):
            raise UsageError(f"{recipe.spec}: {name} is {given!r}, wanted a class of keras.layers, such as {DEFAULT_INSIDE[name]!r}")
        return cls(recipe.H or H)
    if isinstance(given, list | tuple):
        return keras.layers.StackedRNNCells([inside(replace(recipe, kwargs={name: each}), name, D, H) for each in given])
    if isinstance(given, dict):
        config = dict(given.get("config", {}))
        config.setdefault("units", recipe.H or H)
        return keras.layers.deserialize({"class_name": given.get("class_name"), "config": config})
    raise UsageError(f"{recipe.spec}: {name} is {given!r}, wanted the name of a class of keras.layers")
