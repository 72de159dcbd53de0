"""What a pass in JAX comes to, written down as the NumPy operations that it amounts to.

JAX writes a function down itself, as a list of operations on named values (a jaxpr), each with the frames of the user's code that asked for
it.  It is gone through once, on traced arrays; what calls another list (jit, scan, a branch) is gone through in its place.

The way back is JAX's own rule for each operation, and the user's for each `custom_vjp`, whose lines are lost where JAX chains the rules
itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.extend.core as core
import numpy as np

from bptt.harness.adapters.jax.run import Program, wide
from bptt.harness.graph.tracing.node import Place
from bptt.harness.graph.tracing.numpy_arrays import (
    Tape,
    Traced,
    Unsupported,
    frame_at,
    is_users,
    moved,
    new,
    node_of,
    plain,
    traced_input,
    users_own,
)
from bptt.harness.graph.tracing.operations import Gather, Scatter, value_of
from bptt.harness.subject import Array

#: Steps of a loop whose end is not said beforehand.
_MOST_TURNS = 1000
_INSIDE = ("jaxpr", "call_jaxpr", "fun_jaxpr")


@dataclass(frozen=True)
class _Done:
    """An operation as it was done.   args, results: the numbers of its values"""

    eqn: Any
    args: tuple[int, ...]
    results: tuple[int, ...]
    place: Place


@dataclass
class _Walk:
    """What is known while a list of operations is gone through.   values: by number;   done: in order"""

    tape: Tape
    values: list[Any] = field(default_factory=list)
    done: list[_Done] = field(default_factory=list)

    def put(self, value: Any) -> int:
        self.values.append(value)
        return len(self.values) - 1

    def through(self, jaxpr: Any, constants: Sequence[int], args: Sequence[int], outer: Place) -> list[int]:
        """The numbers of its results."""
        known: dict[Any, int] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *args), strict=True))

        def number(atom: Any) -> int:
            return self.put(np.asarray(atom.val)) if isinstance(atom, core.Literal) else known[atom]

        for eqn in jaxpr.eqns:
            place = _joined(outer, _frames(eqn))
            results = self.operation(eqn, [number(a) for a in eqn.invars], place)
            known.update(zip(eqn.outvars, results, strict=True))
        return [number(a) for a in jaxpr.outvars]

    def closed(self, inside: Any, args: Sequence[int], place: Place) -> list[int]:
        """The same of a list that brings its constants with it, or has none."""
        constants = [self.put(np.asarray(c)) for c in getattr(inside, "consts", ())]
        return self.through(getattr(inside, "jaxpr", inside), constants, args, place)

    def operation(self, eqn: Any, args: list[int], place: Place) -> list[int]:
        name, settings = eqn.primitive.name, eqn.params
        self.tape.at = place
        if name == "scan":
            return self._scan(settings, args, place)
        if name == "while":
            return self._while(settings, args, place)
        if name == "cond":
            which = int(plain(self.values[args[0]]))
            return self.closed(settings["branches"][min(max(which, 0), len(settings["branches"]) - 1)], args[1:], place)
        inside = next((settings[key] for key in _INSIDE if key in settings), None)
        if inside is not None and not name.startswith("custom_vjp"):
            return self.closed(inside, args, place)
        if inside is not None:
            results = _Walk(self.tape, self.values).closed(inside, args, place)
        else:
            made = _made(eqn, [self.values[a] for a in args])
            results = [self.put(value) for value in made]
        self.done.append(_Done(eqn, tuple(args), tuple(results), place))
        return results

    def _scan(self, settings: Mapping[str, Any], args: list[int], place: Place) -> list[int]:
        n_fixed, n_carried, length = settings["num_consts"], settings["num_carry"], settings["length"]
        fixed, carried, over = args[:n_fixed], args[n_fixed : n_fixed + n_carried], args[n_fixed + n_carried :]
        rows: list[list[int]] = []
        steps = range(length)[::-1] if settings["reverse"] else range(length)
        for t in steps:
            results = self.closed(settings["jaxpr"], [*fixed, *carried, *(self._row(a, t, place) for a in over)], place)
            carried, row = results[:n_carried], results[n_carried:]
            rows.append(row)
        rows = rows[::-1] if settings["reverse"] else rows
        self.tape.at = place
        return [*carried, *(self.put(np.stack([self.values[row[k]] for row in rows])) for k in range(len(rows[0]) if rows else 0))]

    def _row(self, number: int, t: int, place: Place) -> int:
        self.tape.at = place
        return self.put(self.values[number][t])

    def _while(self, settings: Mapping[str, Any], args: list[int], place: Place) -> list[int]:
        n, m = settings["cond_nconsts"], settings["body_nconsts"]
        of_test, of_body, carried = args[:n], args[n : n + m], args[n + m :]
        for _ in range(_MOST_TURNS):
            (goes_on,) = self.closed(settings["cond_jaxpr"], [*of_test, *carried], place)
            if not bool(plain(self.values[goes_on])):
                return carried
            carried = self.closed(settings["body_jaxpr"], [*of_body, *carried], place)
        raise Unsupported(f"a loop of more than {_MOST_TURNS} steps")


def forward(tape: Tape, program: Program) -> dict[tuple[str, str], int]:
    """Write the pass on the tape; the node of each result."""
    walk = _Walk(tape)
    with wide(), np.errstate(all="ignore"):
        results = _begun(walk, program)
        tape.at = ()
        return {name: node_of(walk.values[k]) for name, k in zip(program.outputs, results, strict=True)}


def backward(tape: Tape, program: Program, cotangents: Mapping[tuple[str, str], Array]) -> dict[tuple[str, str], int]:
    """Write the way back of the pass on the tape, from the cotangents of its results; the node of the gradient of each input."""
    walk = _Walk(tape)
    with wide(), jax.disable_jit(), np.errstate(all="ignore"):
        results = _begun(walk, program)
        bars: dict[int, Any] = {}
        for name, k in zip(program.outputs, results, strict=True):
            if name in cotangents:
                _add(bars, k, traced_input(cotangents[name], ("dys", "") if name[0] == "ys" else ("dfinal", name[1])))
        for one in reversed(walk.done):
            given = [bars.get(k) for k in one.results]
            if any(bar is not None for bar in given):
                tape.at = ()
                for k, bar in zip(one.args, _pulled(walk, one, given), strict=True):
                    if bar is not None:
                        _add(bars, k, bar)
        return {(f"d{kind}", name): node_of(bars[k]) for k, (kind, name) in enumerate(program.inputs) if k in bars}


def _begun(walk: _Walk, program: Program) -> list[int]:
    """The pass, with the values of its inputs numbered from zero."""
    args = [walk.put(traced_input(value, name)) for name, value in zip(program.inputs, program.values, strict=True)]
    return walk.closed(program.jaxpr, args, ())


def _add(bars: dict[int, Any], k: int, bar: Any) -> None:
    bars[k] = bars[k] + bar if k in bars else bar


def _pulled(walk: _Walk, one: _Done, given: Sequence[Any]) -> Sequence[Any]:
    """Cotangents of what an operation read, None where there is none."""
    values = [walk.values[a] for a in one.args]
    bars = [np.zeros(np.shape(plain(walk.values[k]))) if bar is None else bar for k, bar in zip(one.results, given, strict=True)]
    if one.eqn.primitive.name.startswith("custom_vjp"):
        return _by_users_rule(walk.tape, one, values, bars)
    smooth = [k for k, v in enumerate(values) if isinstance(v, Traced) and v.dtype.kind == "f"]

    def pull(*numbers: Any) -> Any:
        read, back = numbers[: len(values)], numbers[len(values) :]

        def again(*some: Any) -> Any:
            mine = list(read)
            for k, value in zip(smooth, some, strict=True):
                mine[k] = value
            return _bound(one.eqn, mine)

        return jax.vjp(again, *(read[k] for k in smooth))[1](list(back))

    numbers = [plain(v) for v in (*values, *bars)]
    program = jax.make_jaxpr(pull)(*numbers)
    inner = _Walk(walk.tape, [*values, *bars])
    results = inner.closed(program, range(len(numbers)), ())  # JAX's own rule stands on no line of the user's
    found: list[Any] = [None] * len(values)
    for k, result in zip(smooth, results, strict=True):
        found[k] = inner.values[result]
    return found


def _by_users_rule(tape: Tape, one: _Done, values: list[Any], bars: list[Any]) -> Sequence[Any]:
    """What the two functions of a custom_vjp say: what the first keeps, and the second of it."""
    settings = one.eqn.params
    first = core.ClosedJaxpr(*settings["fwd_jaxpr_thunk"].call_wrapped(*[True] * len(values)))
    walk = _Walk(tape, list(values))
    numbers = walk.closed(first, range(len(values)), one.place)
    _, tree, handed_on = settings["out_trees"]()
    own = iter(numbers[: tree.num_leaves - sum(f is not None for f in handed_on)])
    kept = [values[f] if f is not None else walk.values[next(own)] for f in handed_on]
    is_there: list[bool] = []

    def rule(*given: Any) -> Any:
        back = settings["bwd"].call_wrapped(*given)
        is_there[:] = [hasattr(bar, "dtype") and hasattr(bar, "shape") and not type(bar).__name__.endswith("Zero") for bar in back]
        return [bar for bar, there in zip(back, is_there, strict=True) if there]

    program = jax.make_jaxpr(rule)(*(plain(v) for v in (*kept, *bars)))
    walk = _Walk(tape, [*kept, *bars])
    results = iter(walk.closed(program, range(len(kept) + len(bars)), one.place))
    return [walk.values[next(results)] if there else None for there in is_there]


def _frames(eqn: Any) -> Place:
    """The user's frames, from the outermost to the innermost."""
    traceback = eqn.source_info.traceback
    if traceback is None:
        return ()
    codes, instructions = traceback.raw_frames()
    found = [frame_at(code, at, code.co_firstlineno) for code, at in zip(codes, instructions, strict=True) if is_users(code.co_filename)]
    return users_own(tuple(reversed(found)))


def _joined(outer: Place, inner: Place) -> Place:
    """The frames of a call and those of what it calls, where JAX has kept the latter alone."""
    if not inner or inner[: len(outer)] == outer:
        return inner or outer
    return users_own((*outer, *(f for f in inner if f not in outer)))


def _bound(eqn: Any, args: Sequence[Any]) -> list[Any]:
    given = eqn.primitive.get_bind_params(eqn.params)
    functions, settings = given if isinstance(given, tuple) else ((), given)  # two, in releases before 0.10
    result = eqn.primitive.bind(*functions, *args, **settings)
    return list(result) if eqn.primitive.multiple_results else [result]


def _made(eqn: Any, args: list[Any]) -> list[Any]:
    """The results of an operation."""
    name = eqn.primitive.name
    if not any(isinstance(a, Traced) for a in args) or name in _WITHOUT_SLOPE:
        return [np.asarray(value) for value in _bound(eqn, [plain(a) for a in args])]
    if name in _MOVES:
        return [_moved(eqn, args, k) for k in range(len(eqn.outvars))]
    if name == "scatter-add":
        return [_added_at_places(eqn, *args)]
    handler = _HANDLERS.get(name)
    if handler is None:
        raise Unsupported(f"jax.lax.{name}")
    return [handler(eqn.params, *args)]


def _moved(eqn: Any, args: list[Any], k: int) -> Any:
    """Result k of an operation that only moves entries: numbers of floating point move, whole numbers say where."""
    moving = [n for n, a in enumerate(args) if plain(a).dtype.kind == "f"]

    def done(given: Sequence[Any]) -> Array:
        mine = [plain(a) for a in args]
        for n, value in zip(moving, given, strict=True):
            mine[n] = value
        return np.asarray(_bound(eqn, mine)[k])

    return moved(done, [args[n] for n in moving], joined=True)


def _added_at_places(eqn: Any, a: Any, places: Any, updates: Any) -> Any:
    """a with each of the updates added at a place, which the slopes of the sum tell.   Raises Unsupported where one falls beside it."""
    value = _bound(eqn, [plain(a), plain(places), plain(updates)])[0]
    slopes = jax.jacobian(lambda u: _bound(eqn, [plain(a), plain(places), u])[0])(plain(updates))
    columns = np.asarray(slopes).reshape(np.size(value), np.size(plain(updates)))
    if not np.all(columns.sum(axis=0) == 1):
        raise Unsupported("jax.lax.scatter_add beside its array")
    index = columns.argmax(axis=0).reshape(np.shape(plain(updates)))
    return new("scatter", [node_of(a), node_of(updates)], Scatter(index, add=True), value)


_MOVES = frozenset(
    ("reshape", "broadcast_in_dim", "transpose", "squeeze", "expand_dims", "slice", "dynamic_slice", "dynamic_update_slice", "rev",
     "concatenate", "stack", "unstack", "tile", "split", "copy", "copy_p", "gather", "scatter", "broadcast"),
)  # fmt: skip
_WITHOUT_SLOPE = frozenset(("argmax", "argmin", "reduce_and", "reduce_or"))


def _pad(settings: Mapping[str, Any], a: Any, fill: Any) -> Any:
    value = np.asarray(jax.lax.pad(plain(a), np.asarray(plain(fill), a.dtype), settings["padding_config"]))
    counted = np.arange(1, a.size + 1).reshape(a.shape)
    index = np.asarray(jax.lax.pad(counted, np.asarray(0, counted.dtype), settings["padding_config"])) - 1
    return new("gather", [node_of(a)], Gather(index, fill=float(plain(fill))), value)


def _dot(settings: Mapping[str, Any], a: Any, b: Any) -> Any:
    """Sums of products over pairs of axes, side by side over others."""
    (over_a, over_b), (side_a, side_b) = settings["dimension_numbers"]
    if not side_a and np.ndim(a) == np.ndim(b) == 2 and len(over_a) == 1:
        return np.matmul(a if over_a[0] == 1 else a.T, b if over_b[0] == 0 else b.T)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    of_a = [next(letters) for _ in range(np.ndim(a))]
    shared = {k: of_a[j] for j, k in (*zip(over_a, over_b, strict=True), *zip(side_a, side_b, strict=True))}
    of_b = [shared.get(k) or next(letters) for k in range(np.ndim(b))]
    summed = {of_a[j] for j in over_a}
    sides = [of_a[j] for j in side_a]
    rest = [x for x in (*of_a, *of_b) if x not in summed and x not in sides]
    return np.einsum(f"{''.join(of_a)},{''.join(of_b)}->{''.join(dict.fromkeys((*sides, *rest)))}", a, b)


def _power(settings: Mapping[str, Any], a: Any) -> Any:
    return np.square(a) if settings["y"] == 2 else np.power(a, float(settings["y"]))


def _cast(settings: Mapping[str, Any], a: Any) -> Any:
    return a.astype(np.dtype(settings["new_dtype"]))


def _select(settings: Mapping[str, Any], which: Any, *cases: Any) -> Any:
    found = cases[-1]
    for k, case in enumerate(cases[:-1]):
        found = np.where(np.equal(plain(which), k) if plain(which).dtype.kind != "b" else ~plain(which), case, found)
    return found


def _sums(settings: Mapping[str, Any], a: Any) -> Any:
    axis = settings["axis"]
    return np.flip(np.cumsum(np.flip(a, axis), axis=axis), axis) if settings["reverse"] else np.cumsum(a, axis=axis)


def _special(name: str) -> Callable[..., Any]:
    return lambda settings, a: new(name, [node_of(a)], None, value_of(name, None, [plain(a)]))


def _plain(name: str) -> Callable[..., Any]:
    ufunc = getattr(np, name)
    return lambda settings, *args: ufunc(*args)


def _reduced(name: str) -> Callable[..., Any]:
    return lambda settings, a: getattr(a, name)(axis=tuple(settings["axes"]))


_HANDLERS: Mapping[str, Callable[..., Any]] = {
    **{mine: _plain(theirs) for mine, theirs in {
        "add": "add", "add_any": "add", "sub": "subtract", "mul": "multiply", "div": "divide", "neg": "negative", "max": "maximum",
        "min": "minimum", "exp": "exp", "exp2": "exp2", "log": "log", "log1p": "log1p", "expm1": "expm1", "tanh": "tanh", "sin": "sin",
        "cos": "cos", "tan": "tan", "sinh": "sinh", "cosh": "cosh", "atan": "arctan", "asinh": "arcsinh", "atanh": "arctanh",
        "sqrt": "sqrt", "cbrt": "cbrt", "abs": "absolute", "pow": "power", "square": "square", "rem": "fmod", "eq": "equal",
        "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "and": "logical_and",
        "or": "logical_or", "not": "logical_not", "floor": "floor", "ceil": "ceil", "round": "rint", "sign": "sign",
        "is_finite": "isfinite",
    }.items()},
    "logistic": _special("sigmoid"),
    "erf": _special("erf"),
    "rsqrt": lambda settings, a: 1 / np.sqrt(a),
    "integer_pow": _power,
    "convert_element_type": _cast,
    "stop_gradient": lambda settings, a: a.copy(),
    "optimization_barrier": lambda settings, a: a.copy(),
    "select_n": _select,
    "clamp": lambda settings, low, a, high: np.minimum(np.maximum(a, low), high),
    "dot_general": _dot,
    "reduce_sum": _reduced("sum"),
    "reduce_max": _reduced("max"),
    "reduce_min": _reduced("min"),
    "reduce_prod": _reduced("prod"),
    "cumsum": _sums,
    "pad": _pad,
}  # fmt: skip
