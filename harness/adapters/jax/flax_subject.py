"""A Flax cell, RNN, Bidirectional, or a whole model with one inside, of linen or of nnx, as a Subject."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx, traverse_util

from bptt.harness.adapters.frameworks import one_line, recipe_of, unwrapped
from bptt.harness.adapters.jax import flax_options
from bptt.harness.adapters.jax.as_made import as_made, narrow
from bptt.harness.adapters.jax.dtypes import computing_dtype, own_dtypes, without_dtypes
from bptt.harness.adapters.jax.run import Built, Carry, JaxModule, Steps, Whole, abilities, carry_names, compiled, drawing, glimpsed, wide
from bptt.harness.adapters.jax.sequence import FEW_HIDDEN, FEW_INPUTS, Pure, model_subject
from bptt.harness.adapters.objects import attribute, short_name, source_of
from bptt.harness.adapters.undriven import undriven
from bptt.harness.errors import UsageError
from bptt.harness.subject import Detection, Pair, Subject

_PUBLISHED = {
    getattr(module, name): f"flax.{where}.{name}"
    for module, where in ((linen, "linen"), (nnx, "nnx"))
    for name in ("LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell")
}
_LAYERS = (linen.RNN, nnx.RNN, linen.Bidirectional, nnx.Bidirectional)
_BOTH = (linen.Bidirectional, nnx.Bidirectional)
_PROBED = (11, 13)
Make = Callable[[Any, int, int], Any]


@dataclass(frozen=True)
class _Made:
    """A way to modules: (key, D, H) -> a module, a label, the sizes that are fixed, and what is called; None for an instance."""

    make: Make
    label: str
    D: int | None
    H: int | None
    callable: object = None
    sizes: tuple[str, ...] = ()

    def wide(self, key: Any, D: int, H: int) -> Any:
        """The same with the module's own dtypes taken off: it computes in the dtype of what it is given."""
        return without_dtypes(self.make(key, D, H))


def subject_of(obj: object, spec: str, args: Mapping[str, object] | None) -> Subject:
    """See `bptt.harness.adapters.jax.flax.adapt`."""
    made = _maker(obj, spec, args)
    D, H = made.D or _PROBED[0], made.H or _PROBED[1]
    with wide():
        module = glimpsed(lambda: made.wide(jax.random.key(0), D, H))
        if not isinstance(module, linen.Module | nnx.Module):
            raise UsageError(f"{spec}: {made.label} is a {type(module).__name__}, wanted a flax module")
        if not isinstance(module, _LAYERS) and not hasattr(type(module), "initialize_carry"):
            return _model(made, module, spec, made.D or 3, made.H or 7)
        H_of = made.H
        if H_of is None and _hidden(glimpsed(lambda: made.make(jax.random.key(0), D, H + 1))) == _hidden(module):
            H_of = _hidden(module)  # a factory that has its own
        D_of = made.D
        if isinstance(module, nnx.Module):
            own_D = attribute(_cells(module)[0], "in_features")
            D_of = D_of or (own_D if isinstance(own_D, int) and own_D != D else None)
        D, H = D_of or D, H_of or H
    layer, cell = isinstance(module, _LAYERS), _cells(module)[0]
    both = isinstance(module, _BOTH)
    published = None if both else _PUBLISHED.get(type(cell))
    implementation = JaxModule(made.label, lambda D, H: _built(made.wide, D, H), published, "cell/" if layer else "")
    try:
        able = abilities(implementation, D, H)
    except Exception as error:  # a first run is the user's code
        wanted = "wanted a cell(carry, x) or nn.RNN"
        raise UsageError(f"{spec}: a first run of {made.label} raised {one_line(error)}, {wanted}") from error
    backwards = layer and not both and bool(module.reverse)
    like = attribute(cell, "like")
    with narrow():
        plain = glimpsed(lambda: made.make(jax.random.key(0), D, H))
        taken_off, computes = own_dtypes(plain), computing_dtype(plain)
    given = ("carry", "inputs") if not layer else ("inputs", "initial_carry", "return_carry", "seq_lengths")
    return Subject(
        name=_name(module, cell, layer, made.label),
        spec=spec,
        framework="flax",
        kind="cell",
        implementation=implementation,
        like=like if isinstance(like, str) else None,
        capabilities=frozenset({"backward", "forward_ad"} if able.forward_ad else {"backward"}),
        detected=(*_detected(module, cell, layer, implementation), *able.detected),
        input_sizes=FEW_INPUTS if D_of is None else (D_of,),
        hidden_sizes=FEW_HIDDEN if H_of is None else (H_of,),
        bidirectional=backwards or both,
        dtype=able.dtype,
        lengths=layer and not backwards and not both,
        source=None if type(cell) in _PUBLISHED else source_of(inspect.unwrap(type(cell).__call__), "__call__"),
        regions=implementation.regions,
        ways=(("unroll=3", JaxModule(made.label, lambda D, H: _built(_unrolled(made), D, H), published, "cell/")),)
        if layer and not both
        else (),
        combinations=functools.partial(_combinations, made, D, H) if layer else None,
        varied=flax_options.VARIED if layer else frozenset(),
        as_made=as_made(implementation, lambda D, H: _built(made.make, D, H), D, H, taken_off, computes),
        undriven=undriven(made.callable or type(module), made.sizes, type(module).__call__, ("self", *given)),
    )


def _combinations(made: _Made, D: int, H: int, rng: np.random.Generator) -> Iterator[Pair]:
    """Of the object as it is: a carry of its own is of float32."""
    with narrow():
        sample = glimpsed(lambda: made.make(jax.random.key(0), D, H))
        pure = _nnx(made.make, D, H) if isinstance(sample, nnx.Module) else _linen(sample, D, True)
        both = isinstance(sample, _BOTH)
        own = {name: bool(getattr(sample, name)) for name in (("time_major",) if both else ("reverse", "keep_order", "time_major"))}
        carries = tuple(_first_carry(cell, 3, D) for cell in _cells(sample))
        yield from flax_options.combinations(pure.call, pure.draw(0), carries if both else carries[0], own, D)(rng)


def _unrolled(made: _Made) -> Make:
    """Its layers with three steps of the scan at a time."""

    def make(key: Any, D: int, H: int) -> Any:
        layer = made.wide(key, D, H)
        if isinstance(layer, linen.Module):
            return layer.clone(unroll=3)
        layer.unroll = 3
        return layer

    return make


def _model(made: _Made, module: Any, spec: str, D: int, H: int) -> Subject:
    """Anything else that is called with a sequence."""

    def pure(make: Make) -> Callable[[int, int], Pure]:
        def of(D: int, H: int) -> Pure:
            sample = glimpsed(lambda: make(jax.random.key(0), D, H))
            taken = _nnx(make, D, H) if isinstance(sample, nnx.Module) else _linen_model(sample, D)
            options = _quiet(type(sample))
            return Pure(taken.draw, lambda params, xs: taken.call(params, xs, **options))

        return of

    fixed = made.callable is None
    candidates = [D, *_widths(module)] if not fixed else [*_widths(module), D]
    return model_subject(
        pure(made.wide),
        made.label,
        spec,
        "flax",
        candidates,
        H,
        hidden_sizes=(H,),
        narrow=pure(made.make),
        source=source_of(module, "__call__"),
        undriven=undriven(made.callable or type(module), made.sizes, type(module).__call__, 2),
        detected=(Detection("flax model", f"{type(module).__name__} called with a whole sequence"),),
    )


def _widths(module: Any) -> list[int]:
    """Sizes that its input may have: of an nnx module the axes of its parameters."""
    if not isinstance(module, nnx.Module):
        return []
    leaves = jax.tree_util.tree_leaves(nnx.state(module, nnx.Param))
    return list(dict.fromkeys(int(leaf.shape[0]) for leaf in leaves if getattr(leaf, "ndim", 0) == 2))


def _quiet(cls: type) -> dict[str, bool]:
    """Arguments that turn dropout off, where the call has them."""
    names = inspect.signature(cls.__call__).parameters
    return {name: value for name, value in (("train", False), ("training", False), ("deterministic", True)) if name in names}


def _maker(obj: object, spec: str, args: Mapping[str, object] | None) -> _Made:
    if isinstance(obj, linen.Module | nnx.Module):
        if args:
            raise UsageError(f"{spec}: got args {sorted(args)} for an instance, wanted none (its sizes are fixed)")
        recurrent = isinstance(obj, _LAYERS) or hasattr(type(obj), "initialize_carry")
        D_of = attribute(_cells(obj)[0], "in_features") if recurrent else None
        return _Made(lambda key, D, H: obj, short_name(obj), D_of if isinstance(D_of, int) else None, _hidden(obj) if recurrent else None)
    made, _, _ = unwrapped(obj)
    if isinstance(made, type) and issubclass(made, linen.RNN | nnx.RNN):
        return _rnn_maker(made, obj, spec, args)
    if isinstance(made, type) and issubclass(made, linen.Bidirectional | nnx.Bidirectional) and not args:
        return _both_maker(made, obj, spec)
    recipe = recipe_of(obj, spec, args, ("rngs", "parent", "name"))

    def make(key: Any, D: int, H: int) -> Any:
        return recipe.build(D, H, rngs=nnx.Rngs(key))

    sizes = tuple(name for name in (recipe.input_name, recipe.hidden_name) if name)
    return _Made(make, recipe.label, recipe.D, recipe.H, recipe.make, sizes)


def _rnn_maker(cls: type[Any], obj: object, spec: str, args: Mapping[str, object] | None) -> _Made:
    """RNN around a cell of its own library: {"cell": "GRUCell"}, LSTMCell where nothing is said; the other args are RNN's."""
    recipe = recipe_of(obj, spec, args, fill=("cell", "rngs"))
    library: Any = linen if issubclass(cls, linen.RNN) else nnx
    name = recipe.kwargs.get("cell", "LSTMCell")
    inner = getattr(library, name, None) if isinstance(name, str) else name
    if not (isinstance(inner, type) and issubclass(inner, library.RNNCellBase)):
        raise UsageError(f"{spec}: cell is {name!r}, wanted a cell class of flax, such as 'LSTMCell'")
    sizes = {name: recipe.kwargs[name] for name in ("features", "in_features", "hidden_features") if name in recipe.kwargs}
    cell_recipe = recipe_of(inner, spec, sizes, ("rngs", "parent", "name"))
    others = {name: value for name, value in recipe.kwargs.items() if name not in {"cell", *sizes}}

    def make(key: Any, D: int, H: int) -> Any:
        cell = cell_recipe.build(D, H, rngs=nnx.Rngs(key))
        try:
            return recipe.make(cell, **others)
        except Exception as error:  # as Recipe.build
            raise UsageError(f"{spec}: {recipe.label}(cell, {others}) raised {one_line(error)}, wanted a layer") from error

    return _Made(make, recipe.label, cell_recipe.D, cell_recipe.H, recipe.make, ("cell",))


def _both_maker(cls: type[Any], obj: object, spec: str) -> _Made:
    """Bidirectional around two RNNs of LSTM cells."""
    library: Any = linen if issubclass(cls, linen.Bidirectional) else nnx

    def make(key: Any, D: int, H: int) -> Any:
        rngs = nnx.Rngs(key)
        sizes = (H,) if library is linen else (D, H)
        filled = {} if library is linen else {"rngs": rngs}
        return cls(*(library.RNN(library.LSTMCell(*sizes, **filled)) for _ in range(2)))

    return _Made(make, short_name(obj), None, None, obj, ("forward_rnn", "backward_rnn"))


def _cells(module: Any) -> tuple[Any, ...]:
    """The cell, or both of them where there are two directions."""
    if isinstance(module, _BOTH):
        return module.forward_rnn.cell, module.backward_rnn.cell
    return (getattr(module, "cell", module),) if isinstance(module, _LAYERS) else (module,)


def _hidden(module: Any) -> int:
    """The width of the (last) array of the carry."""
    cell = _cells(module)[0]
    for name in ("features", "hidden_features", "hidden_size"):
        if isinstance(attribute(cell, name), int):
            return int(getattr(cell, name))
    return int(jax.tree_util.tree_leaves(_first_carry(cell, 1, _PROBED[0]))[-1].shape[-1])


def _first_carry(cell: Any, N: int, D: int) -> Any:
    if isinstance(cell, nnx.Module):
        return cell.initialize_carry((N, D), nnx.Rngs(0))
    return cell.initialize_carry(jax.random.PRNGKey(0), (N, D))


def _built(make: Make, D: int, H: int) -> Built:
    sample = glimpsed(lambda: make(jax.random.key(0), D, H))
    layer, both = isinstance(sample, _LAYERS), isinstance(sample, _BOTH)
    pure = _nnx(make, D, H) if isinstance(sample, nnx.Module) else _linen(sample, D, layer)
    firsts = tuple(_first_carry(cell, 2, D) for cell in _cells(sample))
    leaves, structure = jax.tree_util.tree_flatten(firsts if both else firsts[0])
    if both:
        per = len(leaves) // 2
        letters = carry_names(per, 1 if per == 2 else 0)
        names = tuple(f"{letter}{suffix}" for suffix in ("_l0", "_l0_reverse") for letter in letters)
    else:
        names = carry_names(len(leaves), _hidden_at(pure, leaves, structure, layer, D))
    carry = Carry(structure, names, tuple(tuple(leaf.shape[1:]) for leaf in leaves))
    return Built(pure.draw, carry, _whole(pure, sample) if layer else Steps(lambda p, now, x: pure.call(p, now, x)[::-1]))


@dataclass(frozen=True)
class _Pure:
    """A module taken apart.   draw(seed) -> its parameters by name;   call(params, *inputs, **options): its own call, pure"""

    draw: Callable[[int], dict[str, Any]]
    call: Callable[..., Any]


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

    return _linen_of(module, variables_of)


def _linen_model(module: Any, D: int) -> _Pure:
    options = _quiet(type(module))
    return _linen_of(module, lambda key: module.init(key, jnp.ones((2, 3, D), jnp.float32), **options))


def _linen_of(module: Any, variables_of: Callable[[Any], Any]) -> _Pure:
    draw = drawing(variables_of)
    rest = {name: value for name, value in draw(0).items() if name != "params"}

    def call(params: Mapping[str, Any], *given: Any, **options: Any) -> Any:
        return module.apply({"params": traverse_util.unflatten_dict(dict(params), sep="/"), **rest}, *given, **options)

    return _Pure(lambda seed: traverse_util.flatten_dict(draw(seed)["params"], sep="/"), call)


def _nnx(make: Make, D: int, H: int) -> _Pure:
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
        own = jax.tree_util.tree_map(lambda leaf: leaf, rest)  # counters of random numbers may be changed only where they were made
        return nnx.merge(graph[0], nnx.from_flat_state(leaves), own)(*given, **options)

    return _Pure(lambda seed: named(draw(seed)[0]), call)


def _name(module: Any, cell: Any, layer: bool, label: str) -> str:
    library = "linen" if isinstance(module, linen.Module) else "nnx"
    if isinstance(module, _BOTH):
        return f"{library}.Bidirectional({type(cell).__name__})"
    if type(cell) not in _PUBLISHED:
        return label if not layer else f"RNN({type(cell).__name__})"
    return f"{library}.RNN({type(cell).__name__})" if layer else f"{library}.{type(cell).__name__}"


def _detected(module: Any, cell: Any, layer: bool, implementation: JaxModule) -> tuple[Detection, ...]:
    library = "flax.linen" if isinstance(module, linen.Module) else "flax.nnx"
    what = f"{library} {type(module).__name__ if layer else 'cell'}"
    found = [
        Detection(what, f"{type(cell).__name__} called as {'layer(xs, initial_carry=...)' if layer else 'cell(carry, x)'}"),
        Detection(f"carry {', '.join(implementation.state_names())}", "h is the part that is the output, in the cell's own order"),
    ]
    if layer:
        found.append(Detection("time major" if module.time_major else "batch first", f"time_major={module.time_major}"))
    return tuple(found)
