"""Haiku's recurrent cores (hk.RNNCore), which live only inside of a transform: a class with its sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from bptt.harness.adapters.frameworks import one_line, recipe_of, unwrapped
from bptt.harness.adapters.jax.as_made import as_made
from bptt.harness.adapters.jax.run import Built, Carry, JaxModule, Steps, abilities, carry_names, drawing, named_leaves, wide
from bptt.harness.adapters.jax.sequence import FEW_HIDDEN, FEW_INPUTS
from bptt.harness.adapters.objects import source_of
from bptt.harness.adapters.undriven import undriven
from bptt.harness.errors import UsageError
from bptt.harness.subject import Detection, Subject

_PROBED = (11, 13)


def core_subject(obj: object, spec: str, args: Mapping[str, object] | None) -> Subject | None:
    """A class of recurrent core as a Subject, None for any other class of Haiku."""
    cls: Any = unwrapped(obj)[0]
    if not issubclass(cls, hk.RNNCore):
        return None
    recipe = recipe_of(obj, spec, args, ("name",))
    if recipe.hidden_name is None:
        raise UsageError(f"{spec}: {recipe.label} is made around other modules, wanted a core with hidden_size, or a transform of it")

    def build(D: int, H: int) -> Built:
        def step(x: Any, state: Any) -> Any:
            return recipe.build(D, H)(x, state)

        def first(N: int) -> Any:
            return recipe.build(D, H).initial_state(N)

        start = hk.without_apply_rng(hk.transform(first))
        blank = jax.tree_util.tree_map(jnp.zeros_like, start.apply({}, 2))
        leaves, structure = jax.tree_util.tree_flatten(blank)
        net = hk.without_apply_rng(hk.transform(step))
        trees: list[Any] = []

        def variables(key: Any) -> Any:
            made = net.init(key, jnp.ones((2, D), leaves[0].dtype), blank)
            trees[:] = [jax.tree_util.tree_structure(made)]
            return made

        draw = drawing(variables)
        names = tuple(named_leaves(draw(0)))

        def called(params: Mapping[str, Any], state: Any, x: Any) -> tuple[Any, Any]:
            tree = jax.tree_util.tree_unflatten(trees[0], [params[name] for name in names])
            y, new = net.apply(tree, x, state)
            return y, new

        carry = Carry(structure, carry_names(len(leaves), 0), tuple(tuple(leaf.shape[1:]) for leaf in leaves))
        return Built(lambda seed: named_leaves(draw(seed)), carry, Steps(called))

    D, H = recipe.D or _PROBED[0], recipe.H or _PROBED[1]
    implementation = JaxModule(recipe.label, build)
    try:
        with wide():
            able = abilities(implementation, D, H)
    except Exception as error:  # a first run is the user's code
        raise UsageError(f"{spec}: a first run of {recipe.label} raised {one_line(error)}, wanted a core over x (N, D)") from error
    sizes = tuple(name for name in (recipe.input_name, recipe.hidden_name) if name)
    own = cls.__module__.startswith("haiku.")
    return Subject(
        name=f"hk.{cls.__name__}" if own else recipe.label,
        spec=spec,
        framework="haiku",
        kind="cell",
        implementation=implementation,
        capabilities=frozenset({"backward", "forward_ad"} if able.forward_ad else {"backward"}),
        detected=(Detection("haiku core", f"{recipe.label} called as core(x (N, D), state) inside of hk.transform"), *able.detected),
        input_sizes=FEW_INPUTS if recipe.D is None else (recipe.D,),
        hidden_sizes=FEW_HIDDEN if recipe.H is None else (recipe.H,),
        dtype=able.dtype,
        source=None if own else source_of(cls, "__call__"),
        as_made=as_made(implementation, build, D, H),
        undriven=undriven(cls, sizes, cls.__call__, 3),
    )
