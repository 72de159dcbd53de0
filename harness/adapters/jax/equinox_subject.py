"""An Equinox cell as a Subject."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from bptt.harness.adapters.frameworks import HIDDEN_NAMES, INPUT_NAMES, one_line, recipe_of
from bptt.harness.adapters.jax.as_made import as_made
from bptt.harness.adapters.jax.run import Built, Carry, JaxModule, Steps, abilities, carry_names, drawing, glimpsed, named_leaves, wide
from bptt.harness.adapters.jax.sequence import FEW_HIDDEN, FEW_INPUTS, Pure, model_subject
from bptt.harness.adapters.objects import short_name, source_of
from bptt.harness.adapters.undriven import undriven
from bptt.harness.errors import UsageError
from bptt.harness.subject import Detection, Subject

_PUBLISHED = {eqx.nn.LSTMCell: "equinox.nn.LSTMCell", eqx.nn.GRUCell: "equinox.nn.GRUCell"}
_PROBED = (11, 13)


def subject_of(obj: object, spec: str, args: Mapping[str, object] | None) -> Subject:
    """See `bptt.harness.adapters.jax.equinox.adapt`."""
    make, label, D_of, H_of = _maker(obj, spec, args)
    D, H = D_of or _PROBED[0], H_of or _PROBED[1]
    with wide():
        module = glimpsed(lambda: make(jax.random.key(0), D, H))
        if not isinstance(module, eqx.Module):
            raise UsageError(f"{spec}: {label} made a {type(module).__name__}, wanted an equinox.Module")
        wider = module if H_of else glimpsed(lambda: make(jax.random.key(0), D, H + 1))
        pairs = [(D, H)]
        if H_of is None and _shapes(wider) == _shapes(module):  # an instance, or a factory that has its own sizes
            pairs = _sizes_inside(module)
            if not pairs:
                raise UsageError(f"{spec}: {label} does not say its sizes, wanted attributes input_size and hidden_size, or its class")
            D_of, H_of = pairs[0]
        found, no_cell = None, ""
        for D, H in pairs:
            try:
                found = _form(module, D, H, spec, label)
                break
            except UsageError as error:
                no_cell = no_cell or str(error)
        if found is None:
            try:
                return _model(make, module, spec, label, [D for D, _ in pairs] if D_of else [3], H_of)
            except UsageError as no_model:
                raise UsageError(f"{no_cell}; {str(no_model).removeprefix(f'{spec}: ')}") from None
        D_of, H_of = (D, H) if len(pairs) > 1 else (D_of, H_of)
        call, shapes, returned = found

    def build(D: int, H: int) -> Built:
        static: list[Any] = []

        def arrays_of(key: Any) -> Any:
            arrays, rest = eqx.partition(make(key, D, H), eqx.is_array)
            static[:] = [rest]
            return arrays

        draw_arrays = drawing(arrays_of)
        trained, fixed = eqx.partition(draw_arrays(0), eqx.is_inexact_array)
        structure, names = jax.tree_util.tree_structure(trained), tuple(named_leaves(trained))
        rest = eqx.combine(fixed, static[0])

        def step(params: Mapping[str, Any], state: Any, x: Any) -> tuple[Any, Any]:
            cell = eqx.combine(jax.tree_util.tree_unflatten(structure, [params[name] for name in names]), rest)
            both: tuple[Any, Any] = jax.vmap(lambda one, now: call(cell, one, now))(x, state)
            return both

        structure_of = jax.tree_util.tree_structure(0 if len(shapes) == 1 else (0,) * len(shapes))
        carry = Carry(structure_of, carry_names(len(shapes), 0), tuple(tuple(H for _ in shape) for shape in shapes))
        return Built(lambda seed: named_leaves(eqx.filter(draw_arrays(seed), eqx.is_inexact_array)), carry, Steps(step))

    implementation = JaxModule(label, build, _PUBLISHED.get(type(module)))
    try:
        able = abilities(implementation, D, H)
    except Exception as error:  # a first run is the user's code
        raise UsageError(f"{spec}: a first run of {label} raised {one_line(error)}, wanted a cell over x (D,) and its state") from error
    own = type(module) in _PUBLISHED
    like = getattr(module, "like", None)
    return Subject(
        name=f"eqx.{type(module).__name__}" if own else label,
        spec=spec,
        framework="equinox",
        kind="cell",
        implementation=implementation,
        like=like if isinstance(like, str) else None,
        capabilities=frozenset({"backward", "forward_ad"} if able.forward_ad else {"backward"}),
        detected=(
            Detection("equinox cell", f"{label} called as cell(x (D,), state) returns {returned}; batches by jax.vmap"),
            Detection(f"state {', '.join(implementation.state_names())}", "named by position"),
            *able.detected,
        ),
        input_sizes=FEW_INPUTS if D_of is None else (D_of,),
        hidden_sizes=FEW_HIDDEN if H_of is None else (H_of,),
        dtype=able.dtype,
        source=None if own else source_of(module, "__call__"),
        regions=implementation.regions,
        as_made=as_made(implementation, build, D, H),
        undriven=undriven(type(module), ("input_size", "hidden_size"), type(module).__call__, 3),
    )


def _model(make: Any, module: Any, spec: str, label: str, widths: Sequence[int], H_of: int | None) -> Subject:
    """A module over one whole sequence (T, D), batches by jax.vmap."""

    def pure(D: int, H: int) -> Pure:
        static: list[Any] = []

        def arrays_of(key: Any) -> Any:
            arrays, rest = eqx.partition(make(key, D, H), eqx.is_inexact_array)
            static[:] = [rest, jax.tree_util.tree_structure(arrays)]
            return arrays

        draw = drawing(arrays_of)
        names = tuple(named_leaves(draw(0)))

        def call(params: Mapping[str, Any], xs: Any) -> Any:
            tree = jax.tree_util.tree_unflatten(static[1], [params[name] for name in names])
            return jax.vmap(eqx.combine(tree, static[0]))(xs)

        return Pure(lambda seed: named_leaves(draw(seed)), call)

    detected = (Detection("equinox model", f"{label} called with one sequence xs (T, D); batches by jax.vmap"),)
    H = H_of or 7
    source = source_of(module, "__call__")
    return model_subject(pure, label, spec, "equinox", widths, H, hidden_sizes=(H,), detected=detected, source=source)


def _maker(obj: object, spec: str, args: Mapping[str, object] | None) -> tuple[Callable[[Any, int, int], Any], str, int | None, int | None]:
    """(key, D, H) -> a module, its label, and the sizes that are fixed."""
    inner = getattr(obj, "__wrapped__", None)  # of eqx.filter_jit
    obj = inner if isinstance(inner, eqx.Module) else obj
    if isinstance(obj, eqx.Module):
        if args:
            raise UsageError(f"{spec}: got args {sorted(args)} for an instance, wanted none (its sizes are fixed)")
        return (lambda key, D, H: obj), short_name(obj), None, None
    recipe = recipe_of(obj, spec, args, fill=("key",))
    return (lambda key, D, H: recipe.build(D, H, key=key)), recipe.label, recipe.D, recipe.H


def _sizes_inside(module: Any) -> list[tuple[int, int]]:
    """Pairs of D and H that a module may have: what it says itself, else what the modules inside say, and the axes of its arrays."""

    def said(names: Sequence[str], by: Any) -> list[int]:
        values = (getattr(by, name, None) for name in names)
        return [v for v in values if isinstance(v, int) and not isinstance(v, bool) and v > 0]

    inputs, hidden = (said(names, module) for names in (INPUT_NAMES, HIDDEN_NAMES))
    inner = jax.tree_util.tree_leaves(module, is_leaf=lambda each: isinstance(each, eqx.Module) and each is not module)
    axes = [size for shape in _shapes(module) for size in shape[::-1]]
    if not inputs:
        inputs = [size for each in inner for size in said((*INPUT_NAMES, "in_features"), each)] + axes
    if not hidden:
        hidden = [size for each in inner for size in said((*HIDDEN_NAMES, "out_features"), each)] + axes
    few, many = (list(dict.fromkeys(sizes))[:_MOST] for sizes in (inputs, hidden))
    return list(itertools.product(few, many))


#: Sizes of each kind that are tried.
_MOST = 6


def _shapes(module: Any) -> list[tuple[int, ...]]:
    return [leaf.shape for leaf in jax.tree_util.tree_leaves(eqx.filter(module, eqx.is_array))]


#: Axes of each array of a state: one vector, two, a matrix, a matrix and what normalises it.
_STATES = (("H",), ("H", "H"), ("HH",), ("HH", "H"))


def _form(module: Any, D: int, H: int, spec: str, label: str) -> tuple[Callable[..., tuple[Any, Any]], tuple[str, ...], str]:
    """How the module is called, the axes of each array in its state, and what it returns, found by calling it.

    Raises UsageError with the first failure.
    """
    first = ""
    for shapes in _STATES:
        arrays = tuple(jnp.ones(tuple(H for _ in shape)) for shape in shapes)
        state: Any = arrays[0] if len(arrays) == 1 else arrays
        try:
            returned = jax.eval_shape(module, jnp.ones(D), state)
        except Exception as error:  # trial and error: the first failure is told
            first = first or one_line(error)
            continue
        split = _split(returned, jax.eval_shape(lambda s: s, state))
        if split is not None:
            return functools.partial(_called, split=split), shapes, split
        first = first or f"it returned {returned}"
    raise UsageError(f"{spec}: {label} called as cell(x ({D},), state ({H},)): {first}, wanted the new state, or an output and the state")


def _called(cell: Any, x: Any, state: Any, split: str) -> tuple[Any, Any]:
    """y and the new state."""
    returned = cell(x, state)
    if split == "the new state":
        return jax.tree_util.tree_leaves(returned)[0], returned
    return returned if split == "(y, state)" else (returned[1], returned[0])


def _split(returned: Any, state: Any) -> str | None:
    def same(value: Any) -> bool:
        shapes = [jax.tree_util.tree_map(lambda leaf: leaf.shape, each) for each in (value, state)]
        return bool(shapes[0] == shapes[1])

    def vector(value: Any) -> bool:
        return getattr(value, "ndim", None) == 1

    if same(returned) and vector(jax.tree_util.tree_leaves(returned)[0]):
        return "the new state"
    if isinstance(returned, tuple) and len(returned) == 2:
        if same(returned[1]) and vector(returned[0]):
            return "(y, state)"
        if same(returned[0]) and vector(returned[1]):
            return "(state, y)"
    return None
