"""A Keras layer on Keras's JAX backend as the implementation of a subject: its stateless call is a pure function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from bptt.harness.adapters.frameworks import one_line
from bptt.harness.adapters.jax.run import Built, Carry, JaxModule, Whole, abilities, wide
from bptt.harness.adapters.keras.build import LayerRecipe
from bptt.harness.adapters.keras.layer import Layer, layer_regions, precision, python_random_seeded, state_tree, variable_names
from bptt.harness.adapters.torch.form import slots
from bptt.harness.errors import UsageError
from bptt.harness.subject import Arrays, Detection, Region


@dataclass
class KerasOnJax(JaxModule):
    """The implementation object of a Keras subject on JAX.   layer  one of its layers, at any sizes"""

    layer: Layer = None

    def regions(self, params: Arrays) -> tuple[Region, ...]:
        """The gates' blocks of Keras's own cells; () for others."""
        return layer_regions(self.layer, params)


def taken(recipe: LayerRecipe, D: int, H: int) -> tuple[KerasOnJax, Layer, bool, tuple[Detection, ...]]:
    """The implementation, a layer of it, whether it has forward mode, and what a first run showed.   Raises UsageError."""
    with wide():
        layer = recipe.layer(D, H, "float64")
    implementation = KerasOnJax(recipe.label, lambda D, H: _built(recipe, D, H), layer=layer)
    try:
        able = abilities(implementation, D, H)
    except UsageError:
        raise
    except Exception as error:  # a first run is the user's code
        raise UsageError(f"{recipe.spec}: a first run of {recipe.label} raised {one_line(error)}, wanted a recurrent layer") from error
    return implementation, layer, able.forward_ad, able.detected


def _built(recipe: LayerRecipe, D: int, H: int) -> Built:
    layers = {dtype: recipe.layer(D, H, dtype) for dtype in ("float32", "float64")}
    names = tuple(variable_names(layers["float64"]))
    tree = state_tree(layers["float64"], D, H)
    each = tuple(slots(tree))
    structure = jax.tree_util.tree_structure(tree)
    carry = Carry(structure, tuple(slot.names[0] for slot in each), tuple((slot.width.at(D, H),) for slot in each))

    def draw(seed: int) -> Mapping[str, Any]:
        if recipe.values:
            return dict(zip(names, recipe.values, strict=True))
        with python_random_seeded(seed):
            drawn = recipe.layer(D, H, "float64")
        return {name: variable.value for name, variable in zip(names, drawn.trainable_variables, strict=True)}

    def call(params: Mapping[str, Any], xs: Any, first: Any, lengths: Any) -> tuple[Any, Any]:
        dtype = str(xs.dtype)
        if dtype not in layers:
            raise TypeError(f"Keras makes no layers of {dtype} here, wanted {' or '.join(layers)}")
        layer = layers[dtype]
        mask = None if lengths is None else jnp.arange(xs.shape[0]) < lengths[:, None]
        with precision(dtype):
            fixed = [variable.value for variable in layer.non_trainable_variables]
            weights = [params[name] for name in names]
            batch_first = jnp.swapaxes(xs, 0, 1)
            (ys, *final), _ = layer.stateless_call(weights, fixed, batch_first, initial_state=first, mask=mask, training=False)
        return jnp.swapaxes(ys, 0, 1), jax.tree_util.tree_unflatten(structure, jax.tree_util.tree_leaves(final))

    return Built(draw, carry, Whole(call))
