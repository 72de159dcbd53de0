"""A Flax cell or nn.RNN, of linen or of nnx, as a Subject."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx, traverse_util

from bptt.harness.adapters.frameworks import one_line, recipe_of, unwrapped
from bptt.harness.adapters.jax.run import Built, Carry, JaxModule, Steps, Whole, abilities, carry_names, compiled, drawing, glimpsed, wide
from bptt.harness.adapters.objects import short_name, source_of
from bptt.harness.errors import UsageError
from bptt.harness.subject import Detection, Subject

_PUBLISHED = {
    getattr(module, name): f"flax.{where}.{name}"
    for module, where in ((linen, "linen"), (nnx, "nnx"))
    for name in ("LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell")
}
_PROBED = (11, 13)


@dataclass(frozen=True)
class _Pure:
    """A module taken apart.   draw(seed) -> its parameters by name;   call(params, *inputs, **options): its own call, pure"""

    draw: Callable[[int], dict[str, Any]]
    call: Callable[..., Any]


def subject_of(obj: object, spec: str, args: Mapping[str, object] | None) -> Subject:
    """See `bptt.harness.adapters.jax.flax.adapt`."""
    make, label, D_of, H_of = _maker(obj, spec, args)
    D, H = D_of or _PROBED[0], H_of or _PROBED[1]
    with wide():
        module = glimpsed(lambda: make(jax.random.key(0), D, H))
        layer, cell = _kind(module, spec, label)
        if H_of is None and _hidden(glimpsed(lambda: make(jax.random.key(0), D, H + 1))) == _hidden(module):
            H_of = _hidden(module)  # a factory that has its own
        if isinstance(module, nnx.Module):
            own_D = getattr(cell, "in_features", None)
            D_of = D_of or (own_D if isinstance(own_D, int) and own_D != D else None)
        D, H = D_of or D, H_of or H

    implementation = JaxModule(label, lambda D, H: _built(make, D, H), _PUBLISHED.get(type(cell)), "cell/" if layer else "")
    try:
        able = abilities(implementation, D, H)
    except Exception as error:  # a first run is the user's code
        raise UsageError(f"{spec}: a first run of {label} raised {one_line(error)}, wanted a cell(carry, x) or nn.RNN") from error
    backwards = layer and bool(module.reverse)
    like = getattr(cell, "like", None)
    return Subject(
        name=_name(module, cell, layer, label),
        spec=spec,
        framework="flax",
        kind="cell",
        implementation=implementation,
        like=like if isinstance(like, str) else None,
        capabilities=frozenset({"backward", "forward_ad"} if able.forward_ad else {"backward"}),
        detected=(*_detected(module, cell, layer, implementation), *able.detected),
        input_sizes=None if D_of is None else (D_of,),
        hidden_sizes=None if H_of is None else (H_of,),
        bidirectional=backwards,
        dtype=able.dtype,
        lengths=layer and not backwards,
        source=None if type(cell) in _PUBLISHED else source_of(inspect.unwrap(type(cell).__call__), "__call__"),
        regions=implementation.regions,
    )


def _maker(obj: object, spec: str, args: Mapping[str, object] | None) -> tuple[Callable[[Any, int, int], Any], str, int | None, int | None]:
    """(key, D, H) -> a module, its label, and the sizes that are fixed."""
    if isinstance(obj, linen.Module | nnx.Module):
        if args:
            raise UsageError(f"{spec}: got args {sorted(args)} for an instance, wanted none (its sizes are fixed)")
        cell = getattr(obj, "cell", obj)
        D_of = getattr(cell, "in_features", None)
        return (lambda key, D, H: obj), short_name(obj), D_of if isinstance(D_of, int) else None, _hidden(obj)
    made, _, _ = unwrapped(obj)
    if isinstance(made, type) and issubclass(made, linen.RNN | nnx.RNN):
        return _rnn_maker(made, obj, spec, args)
    fill = ("rngs", "dtype", "parent", "name")
    recipe = recipe_of(obj, spec, args, fill)

    def make(key: Any, D: int, H: int) -> Any:
        return recipe.build(D, H, rngs=nnx.Rngs(key), dtype=None)

    return make, recipe.label, recipe.D, recipe.H


def _rnn_maker(
    cls: type[Any], obj: object, spec: str, args: Mapping[str, object] | None
) -> tuple[Callable[[Any, int, int], Any], str, int | None, int | None]:
    """RNN around a cell of its own library: {"cell": "GRUCell"}, LSTMCell where nothing is said; the other args are RNN's."""
    recipe = recipe_of(obj, spec, args, fill=("cell", "rngs"))
    library: Any = linen if issubclass(cls, linen.RNN) else nnx
    name = recipe.kwargs.get("cell", "LSTMCell")
    inner = getattr(library, name, None) if isinstance(name, str) else name
    if not (isinstance(inner, type) and issubclass(inner, library.RNNCellBase)):
        raise UsageError(f"{spec}: cell is {name!r}, wanted a cell class of flax, such as 'LSTMCell'")
    sizes = {name: recipe.kwargs[name] for name in ("features", "in_features", "hidden_features") if name in recipe.kwargs}
    cell_recipe = recipe_of(inner, spec, sizes, ("rngs", "dtype", "parent", "name"))
    others = {name: value for name, value in recipe.kwargs.items() if name not in {"cell", *sizes}}

    def make(key: Any, D: int, H: int) -> Any:
        cell = cell_recipe.build(D, H, rngs=nnx.Rngs(key), dtype=None)
        try:
            return recipe.make(cell, **others)
        except Exception as error:  # as Recipe.build
            raise UsageError(f"{spec}: {recipe.label}(cell, {others}) raised {one_line(error)}, wanted a layer") from error

    return make, recipe.label, cell_recipe.D, cell_recipe.H


def _kind(module: Any, spec: str, label: str) -> tuple[bool, Any]:
    """Whether it is a layer over sequences, and its cell.  Raises UsageError where it is neither that nor a cell."""
    if isinstance(module, linen.RNN | nnx.RNN):
        return True, module.cell
    if isinstance(module, linen.Module | nnx.Module) and hasattr(module, "initialize_carry"):
        return False, module
    wanted = "a cell with initialize_carry and __call__(carry, x), or nn.RNN"
    raise UsageError(f"{spec}: {label} is a {type(module).__name__} without initialize_carry, wanted {wanted}")


def _hidden(module: Any) -> int:
    """The width of the (last) array of the carry."""
    cell = getattr(module, "cell", module)
    for name in ("features", "hidden_features", "hidden_size"):
        if isinstance(getattr(cell, name, None), int):
            return int(getattr(cell, name))
    return int(jax.tree_util.tree_leaves(_first_carry(cell, 1, _PROBED[0]))[-1].shape[-1])


def _first_carry(cell: Any, N: int, D: int) -> Any:
    if isinstance(cell, nnx.Module):
        return cell.initialize_carry((N, D), nnx.Rngs(0))
    return cell.initialize_carry(jax.random.PRNGKey(0), (N, D))


def _built(make: Callable[[Any, int, int], Any], D: int, H: int) -> Built:
    sample = glimpsed(lambda: make(jax.random.key(0), D, H))
    layer = isinstance(sample, linen.RNN | nnx.RNN)
    pure = _nnx(make, D, H) if isinstance(sample, nnx.Module) else _linen(sample, D, layer)
    leaves, structure = jax.tree_util.tree_flatten(_first_carry(sample.cell if layer else sample, 2, D))
    names = carry_names(len(leaves), _hidden_at(pure, leaves, structure, layer, D))
    carry = Carry(structure, names, tuple(int(leaf.shape[-1]) for leaf in leaves))
    return Built(pure.draw, carry, _whole(pure, sample) if layer else Steps(lambda p, now, x: pure.call(p, now, x)[::-1]))


def _hidden_at(pure: _Pure, leaves: list[Any], structure: Any, layer: bool, D: int) -> int:
    """Which array of the carry is the output, found by a call: the LSTM cells of Flax carry (c, h)."""
    if len(leaves) != 2:
        return 0
    params = pure.draw(0)
    dtype = jnp.result_type(*params.values())
    first = jax.tree_util.tree_unflatten(structure, [jnp.asarray(leaf, dtype) for leaf in leaves])
    if layer:
        carry, ys = compiled(functools.partial(pure.call, return_carry=True, time_major=False))(
            params, jnp.ones((2, 1, D), dtype), initial_carry=first
        )
        y = ys[:, 0]
    else:
        carry, y = compiled(pure.call)(params, first, jnp.ones((2, D), dtype))
    same = [bool(leaf.shape == y.shape and jnp.array_equal(leaf, y)) for leaf in jax.tree_util.tree_leaves(carry)]
    return same.index(True) if True in same else 0


def _whole(pure: _Pure, module: Any) -> Whole:
    major = bool(module.time_major)

    def layer(params: Any, xs: Any, first: Any, lengths: Any) -> tuple[Any, Any]:
        given = xs if major else jnp.swapaxes(xs, 0, 1)
        final, ys = pure.call(params, given, initial_carry=first, return_carry=True, seq_lengths=lengths)
        return (ys if major else jnp.swapaxes(ys, 0, 1)), final

    return Whole(layer)


def _linen(module: Any, D: int, layer: bool) -> _Pure:
    def variables_of(key: Any) -> Any:
        if layer:  # it makes its carry itself, of the dtype of the parameters to be
            return module.init(key, jnp.ones((1, 2, D) if module.time_major else (2, 1, D), jnp.float32))
        return module.init(key, _first_carry(module, 2, D), jnp.ones((2, D), jnp.float32))

    draw = drawing(variables_of)
    rest = {name: value for name, value in draw(0).items() if name != "params"}

    def call(params: Mapping[str, Any], *given: Any, **options: Any) -> Any:
        return module.apply({"params": traverse_util.unflatten_dict(dict(params), sep="/"), **rest}, *given, **options)

    return _Pure(lambda seed: traverse_util.flatten_dict(draw(seed)["params"], sep="/"), call)


def _nnx(make: Callable[[Any, int, int], Any], D: int, H: int) -> _Pure:
    graph: list[Any] = []

    def state_of(key: Any) -> Any:
        graph[:], state = [], nnx.split(make(key, D, H), nnx.Param, ...)
        graph.append(state[0])
        return state[1:]

    draw = drawing(state_of)
    template, rest = draw(0)

    def named(state: Any) -> dict[str, Any]:
        return {"/".join(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(state)}

    def call(params: Mapping[str, Any], *given: Any, **options: Any) -> Any:
        leaves = [(path, leaf.replace(params["/".join(map(str, path))])) for path, leaf in nnx.to_flat_state(template)]
        return nnx.merge(graph[0], nnx.from_flat_state(leaves), rest)(*given, **options)

    return _Pure(lambda seed: named(draw(seed)[0]), call)


def _name(module: Any, cell: Any, layer: bool, label: str) -> str:
    if type(cell) not in _PUBLISHED:
        return label if not layer else f"RNN({type(cell).__name__})"
    library = "linen" if isinstance(module, linen.Module) else "nnx"
    return f"{library}.RNN({type(cell).__name__})" if layer else f"{library}.{type(cell).__name__}"


def _detected(module: Any, cell: Any, layer: bool, implementation: JaxModule) -> tuple[Detection, ...]:
    library = "flax.linen" if isinstance(module, linen.Module) else "flax.nnx"
    what = f"{library} {'RNN' if layer else 'cell'}"
    found = [
        Detection(what, f"{type(cell).__name__} called as {'layer(xs, initial_carry=...)' if layer else 'cell(carry, x)'}"),
        Detection(f"carry {', '.join(implementation.state_names())}", "h is the part that is the output, in the cell's own order"),
    ]
    if layer:
        found.append(Detection("time major" if module.time_major else "batch first", f"time_major={module.time_major}"))
    return tuple(found)
