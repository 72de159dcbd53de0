"""A function of JAX, with its parameters, as a Subject: a step, or a whole sequence; a pair of init and apply."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from bptt.harness.adapters.frameworks import HIDDEN_NAMES, INPUT_NAMES, one_line, unwrapped
from bptt.harness.adapters.jax.as_made import as_made
from bptt.harness.adapters.jax.run import Built, Carry, JaxModule, Steps, abilities, carry_names, drawing, named_leaves, wide
from bptt.harness.adapters.jax.sequence import Pure, model_subject
from bptt.harness.adapters.objects import short_name, source_of
from bptt.harness.errors import UsageError
from bptt.harness.subject import Detection, Subject

_PARAMS = frozenset({"params", "p", "weights", "theta", "w", "variables", "parameters", "model"})
_STATES = frozenset({"h", "state", "carry", "hidden", "h_prev", "prev_h", "s", "hx", "h0", "init_state", "initial_state", "prev", "h_t"})
_INPUTS = frozenset({"x", "xs", "inputs", "input", "x_t", "xt", "inp", "seq", "sequence", "u"})
_SEQUENCES = frozenset({"xs", "inputs", "seq", "sequence"})
_INITS = ("init_params", "initialize_params", "init_parameters", "make_params", "init_weights", "init")
_N = 2


class NoParametersError(UsageError):
    """A function beside which nothing makes parameters: it may be one over arrays alone."""


def transform_subject(init: Any, apply: Any, spec: str) -> Subject:
    """init(key, xs) -> params, apply(params[, key], xs) -> ys, as Haiku's transforms and others have them."""
    takes_key = len(_required(apply)) >= 3
    label = short_name(init).removesuffix("_fn") if inspect.isfunction(init) else "transform"
    label = "transform" if label in ("init", "<lambda>", "lambda") else label

    def pure(D: int, H: int) -> Pure:
        trees: list[Any] = []

        def variables(key: Any) -> Any:
            made = init(key, jnp.ones((5, 9, D), jnp.float32))
            params, rest = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
            trees[:] = [jax.tree_util.tree_structure(params), rest]
            return params

        draw = drawing(variables)
        names = tuple(named_leaves(draw(0)))
        structure, rest = trees

        def call(params: Mapping[str, Any], xs: Any) -> Any:
            tree = jax.tree_util.tree_unflatten(structure, [params[name] for name in names])
            given = [tree] if rest is None else [tree, rest]
            returned = apply(*given, *([None] if takes_key else []), xs)
            return returned if rest is None else returned[0]

        return Pure(lambda seed: named_leaves(draw(seed)), call)

    detected = (Detection("init and apply", "init(key, xs) gives the parameters, apply(params, xs) the outputs"),)
    return model_subject(pure, label, spec, "jax", (3, 11), 7, hidden_sizes=(7,), detected=detected, source=source_of(apply))


@dataclass(frozen=True)
class _Call:
    """How a function is called: the places of params (None where they are bound), state (None where it takes none) and x."""

    function: Callable[..., Any]
    params: int | None
    state: int | None
    x: int
    count: int
    mapped: bool = False

    def __call__(self, params: Any, state: Any, x: Any) -> Any:
        def once(params: Any, state: Any, x: Any) -> Any:
            given: list[Any] = [None] * self.count
            for place, value in ((self.params, params), (self.state, state), (self.x, x)):
                if place is not None:
                    given[place] = value
            return self.function(*given)

        return jax.vmap(once, (None, 0, 0))(params, state, x) if self.mapped else once(params, state, x)


def function_subject(obj: object, inner: Any, spec: str, args: Mapping[str, object] | None) -> Subject:
    """See `bptt.harness.adapters.jax.function.adapt`."""
    function, keywords, positional = unwrapped(obj)
    assert callable(function)
    label = short_name(inner)
    names = [p.name for p in inspect.signature(inner).parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    names = [name for name in names if name not in keywords]
    draw = _drawing(inner, positional, spec, label, args)
    place = _placed(names, spec, label)

    def called(*given: Any) -> Any:
        return function(*given, **keywords)

    with wide():
        leaves = named_leaves(draw(0))
        widths = list(dict.fromkeys(size for leaf in leaves.values() for size in reversed(leaf.shape) if size > 0)) or [1]
    structure = jax.tree_util.tree_structure(draw(0))
    order = tuple(leaves)

    def tree(params: Mapping[str, Any]) -> Any:
        return jax.tree_util.tree_unflatten(structure, [params[name] for name in order])

    call = _Call(called, place["params"], place["state"], place["x"] or 0, len(names))
    fits = None
    if place["state"] is not None and names[call.x] not in _SEQUENCES:
        with wide():  # as the parameters were drawn: else JAX warns of what it cuts
            fits, trouble = _step_form(call, leaves, tree, widths)
    if fits is None:
        if place["state"] is not None and names[call.x] not in _SEQUENCES:
            raise UsageError(f"{spec}: {label} called as a step: {trouble}, wanted the new state, or an output and the state")
        return _whole(call, draw, tree, widths, label, spec, inner)
    call, count, split, D, H = fits

    def build(_: int, __: int) -> Built:
        def step(params: Mapping[str, Any], state: Any, x: Any) -> tuple[Any, Any]:
            return _split(call(tree(params), state, x), split)

        carry_tree = 0 if count == 1 else (0,) * count
        carry = Carry(jax.tree_util.tree_structure(carry_tree), carry_names(count, 0), ((H,),) * count)
        return Built(lambda seed: named_leaves(draw(seed)), carry, Steps(step))

    implementation = JaxModule(label, build)
    try:
        able = abilities(implementation, D, H)
    except Exception as error:  # a first run is the user's code
        raise UsageError(f"{spec}: a first run of {label} raised {one_line(error)}, wanted a step over x (N, D) and its state") from error
    return Subject(
        name=label,
        spec=spec,
        framework="jax",
        kind="cell",
        implementation=implementation,
        like=getattr(inner, "like", None) if isinstance(getattr(inner, "like", None), str) else None,
        capabilities=frozenset({"backward", "forward_ad"} if able.forward_ad else {"backward"}),
        detected=(
            Detection("function of JAX", f"{label}({', '.join(names)}) returns {split}" + ("; batches by jax.vmap" if call.mapped else "")),
            *able.detected,
        ),
        input_sizes=(D,),
        hidden_sizes=(H,),
        dtype=able.dtype,
        source=source_of(inner),
        as_made=as_made(implementation, build, D, H),
    )


def _whole(call: _Call, draw: Any, tree: Any, widths: list[int], label: str, spec: str, inner: Any) -> Subject:
    def pure(D: int, H: int) -> Pure:
        return Pure(lambda seed: named_leaves(draw(seed)), lambda params, xs: call(tree(params), _zeros(call, xs, widths), xs))

    return model_subject(
        pure, label, spec, "jax", widths, max(widths), hidden_sizes=(max(widths),), source=source_of(inner),
        undriven=() if call.state is None else ("call: the initial state (zeros)",),
    )  # fmt: skip


def _zeros(call: _Call, xs: Any, widths: list[int]) -> Any:
    return None if call.state is None else jnp.zeros((xs.shape[1], max(widths)), xs.dtype)


def _step_form(call: _Call, leaves: Mapping[str, Any], tree: Any, widths: list[int]) -> tuple[tuple[Any, ...] | None, str]:
    """The call, the number of arrays in its state, what it returns, D and H; or None and the first failure."""
    trouble = ""
    params = tree(leaves)
    for mapped, H, D, count in itertools.product((False, True), widths, widths, (1, 2)):
        tried = _Call(call.function, call.params, call.state, call.x, call.count, mapped)
        state: Any = jnp.ones((_N, H)) if count == 1 else (jnp.ones((_N, H)),) * count
        try:
            returned = jax.eval_shape(tried, params, state, jnp.ones((_N, D)))
        except Exception as error:  # trial and error: the first failure is told
            trouble = trouble or one_line(error)
            continue
        split = _form(returned, jax.eval_shape(lambda s: s, state))
        if split is not None:
            return (tried, count, split, D, H), ""
        trouble = trouble or f"it returned {jax.tree_util.tree_map(lambda leaf: leaf.shape, returned)}"
    return None, trouble


def _form(returned: Any, state: Any) -> str | None:
    def same(value: Any) -> bool:
        return bool(jax.tree_util.tree_map(lambda a: a.shape, value) == jax.tree_util.tree_map(lambda a: a.shape, state))

    if isinstance(returned, tuple) and len(returned) == 2:
        if same(returned[0]) and getattr(returned[1], "ndim", 0) == 2:
            return "(state, y)"
        if same(returned[1]) and getattr(returned[0], "ndim", 0) == 2:
            return "(y, state)"
    return "the new state" if same(returned) else None


def _split(returned: Any, split: str) -> tuple[Any, Any]:
    if split == "the new state":
        return jax.tree_util.tree_leaves(returned)[0], returned
    return (returned[1], returned[0]) if split == "(state, y)" else (returned[0], returned[1])


def _placed(names: list[str], spec: str, label: str) -> dict[str, int | None]:
    """Where params, state and x stand among the arguments: by their names, else in that order."""
    place: dict[str, int | None] = {"params": None, "state": None, "x": None}
    for role, known in (("params", _PARAMS), ("state", _STATES), ("x", _INPUTS)):
        place[role] = next((k for k, name in enumerate(names) if name.lower() in known), None)
    free = [k for k in range(len(names)) if k not in place.values()]
    for role in ("params", "x", "state") if len(names) < 3 else ("params", "state", "x"):
        if place[role] is None and free:
            place[role] = free.pop(0)
    if place["x"] is None or place["params"] is None or free:
        raise UsageError(f"{spec}: {label}({', '.join(names)}): wanted step(params, state, x) or layer(params, xs)")
    return place


def _drawing(inner: Any, positional: tuple[object, ...], spec: str, label: str, args: Mapping[str, object] | None) -> Callable[[int], Any]:
    """(seed) -> the tree of parameters: the one that was bound, or what a function beside it makes."""
    if positional:
        tree = positional[0]
        return lambda seed: tree
    beside: Any = getattr(inner, "init_params", None) or next(
        (inner.__globals__[n] for n in _INITS if callable(inner.__globals__.get(n)) and inner.__globals__[n] is not inner), None
    )
    if beside is None:
        raise NoParametersError(
            f"{spec}: {label} has no parameters with it, wanted functools.partial({label}, params), "
            "or a function init_params(key, ...) in its module"
        )
    filled = dict(_filled(beside, args or {}, spec))
    first = next(iter(inspect.signature(beside).parameters), None)
    takes_key = first is not None and first.lower() in ("key", "rng", "rng_key", "prng", "seed")

    def draw(seed: int) -> Any:
        key = jax.random.PRNGKey(seed)
        return beside(seed if first == "seed" else key, **filled) if takes_key else beside(**filled)

    return draw


def _filled(beside: Any, args: Mapping[str, object], spec: str) -> Iterator[tuple[str, object]]:
    """Sizes for what a function that makes parameters asks for: its own defaults, else D = 3, H = 7."""
    for k, p in enumerate(inspect.signature(beside).parameters.values()):
        if p.name in args:
            yield p.name, args[p.name]
        elif p.default is p.empty and k > 0 and p.kind is not p.VAR_KEYWORD:
            if p.name in INPUT_NAMES or p.name.startswith(("n_in", "in_", "d_in", "input")):
                yield p.name, 3
            elif p.name in HIDDEN_NAMES or p.name.startswith(("n_h", "hid", "d_h")):
                yield p.name, 7
            elif p.name.startswith(("n_out", "out", "d_out")):
                yield p.name, 5
            else:
                raise UsageError(f"{spec}: init_params needs {p.name!r}, wanted it in --args")


def _required(function: Any) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ["params", "x"]
    return [p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
