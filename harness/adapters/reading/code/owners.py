"""Where the weights are: in an object, in a module's globals, or among the arguments of functions.

An owner makes a root object that holds the weights as attributes (or deeper), and calls a function or method beside them. The same
slots (weights.py) then say where a weight and its gradient stand, whatever the author's form is.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import re
import sys
import types
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, cast

import numpy as np

from bptt.harness.adapters.frameworks import speaks_of
from bptt.harness.adapters.functions import documented
from bptt.harness.adapters.objects import raised_at
from bptt.harness.adapters.reading.code import source, words
from bptt.harness.adapters.reading.code.layout import Sizes
from bptt.harness.adapters.reading.code.sizings import shapes_of, sizings
from bptt.harness.adapters.reading.code.things import Descent, Letter
from bptt.harness.adapters.reading.code.weights import Slot, arrays_in, seeded
from bptt.harness.subject import Array


@dataclass(frozen=True)
class Owner:
    """One way to have the weights.

    make(rng, sizes) -> root        words: how, for `describe`
    methods     names that can be called on a root, with the functions behind them
    handed      weights that are arguments of the functions: {argument: names of the weights in it}; an argument that is a weight
                itself has the one name of its own
    fixed       sizes that cannot be chosen, by letter            extents     of the arrays of an object made already
    recipe      the expression that makes the root, or the weights that are handed over, from D, H and the user's code `user`
    names       numbers of the user's file that are sizes: name -> letter
    among       the attributes of a root among which weights are looked for, None for all of them
    unseen      weights that backward alone is handed (an embedding that stands before forward): they are not judged
    tables      arrays that are made the same at each time and get no gradient (a mask, positions): they stay what they are
    truncation  the number of steps after which its author stops BPTT, where the constructor says one
    square      one size for inputs and units: D == H
    given       the arguments of the constructor that its user has said
    called      what the author calls the weights at these slots, where a constructor is handed them
    """

    name: str
    words: str
    make: Callable[[np.random.Generator, Sizes], Any]
    methods: Mapping[str, Any]
    handed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    fixed: Mapping[str, int] = field(default_factory=dict)
    extents: frozenset[int] = frozenset()
    truncation: int | None = None
    unlikely: int = 0
    among: frozenset[str] | None = None
    unseen: frozenset[Any] = frozenset()
    tables: frozenset[str] = frozenset()
    recipe: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    square: bool = False
    called: Mapping[Slot, str] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)

    def call(self, root: Any, method: str, values: Mapping[str, Any]) -> Any:
        return called(self.function(root, method), values)

    def function(self, root: Any, method: str) -> Any:
        return getattr(root, method)

    def space(self, root: Any, method: str) -> dict[str, Any]:
        """The globals of a method on a root."""
        function = self.function(root, method)
        return getattr(getattr(function, "__func__", function), "__globals__", {})


def called(function: Any, values: Mapping[str, Any]) -> Any:
    """`function(**values)`; a value that is none of its arguments is a global that it reads, for this call.

    Raises what the function raises, RuntimeError where it ends the process.
    """
    try:
        plain = getattr(function, "__func__", function)
        if over_tensors(plain):
            return _each(_called(function, _each(values, _tensor)), _array)
        if over_jax(plain):
            return _in_jax(function, values)
        return _called(function, values)
    except SystemExit as error:
        raise RuntimeError("it called exit()") from error


@lru_cache(maxsize=256)
def over_tensors(function: Any) -> bool:
    """Whether a function of a file that knows torch and no NumPy is written over tensors: a backward pass by hand, without autograd."""
    there = getattr(function, "__globals__", {}).values()
    packages = {v.__name__ for v in there if isinstance(v, types.ModuleType)}
    return "torch" in packages and "numpy" not in packages


@lru_cache(maxsize=256)
def over_jax(function: Any) -> bool:
    """Whether a function computes with JAX: a backward pass by hand, without its gradients."""
    return "jax" in sys.modules and speaks_of(function, "jax")


def _in_jax(function: Any, values: Mapping[str, Any]) -> Any:
    from bptt.harness.adapters.jax.run import by_hand, numpy_of, wide  # imports jax

    with wide():
        return _each(_called(function, _each(values, by_hand)), numpy_of)


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """`value` with each array or tensor in it, in dicts, lists and tuples, as `change` gives it."""
    if isinstance(value, Mapping):
        return {k: _each(v, change) for k, v in value.items()}
    if isinstance(value, list):
        return [_each(v, change) for v in value]
    if isinstance(value, tuple):
        parts = [_each(v, change) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return change(value)


def _tensor(value: Any) -> Any:
    import torch

    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value


def _array(value: Any) -> Any:
    import torch

    return value.detach().resolve_conj().numpy() if isinstance(value, torch.Tensor) else value


def _called(function: Any, values: Mapping[str, Any]) -> Any:
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is None or code.co_flags & inspect.CO_VARKEYWORDS or hasattr(function, "__wrapped__"):
        return function(**values)
    named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    if values.keys() <= set(named):
        return function(**values)
    beside = {n: v for n, v in values.items() if n not in named}
    space = getattr(function, "__func__", function).__globals__
    space.update(beside)
    try:
        return function(**{n: v for n, v in values.items() if n not in beside})
    finally:
        for name in beside:
            space.pop(name, None)


def watched(function: Any, thunk: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
    """What `thunk` returns, and the local variables of `function` as its last call left them."""
    code, found = getattr(function, "__func__", function).__code__, dict[str, Any]()

    def note(frame: types.FrameType, event: str, _: Any) -> None:
        if event == "return" and frame.f_code is code:
            found.clear()
            found.update(frame.f_locals)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        return thunk(), found
    finally:
        sys.setprofile(before)


def follow(holder: Any, T: int, N: int, rate: float, keep: Collection[str] = ()) -> None:
    """Numbers of an object, of its class, or of globals made anew, that say how long a sequence, how large a batch or a step is.

    keep   names of the object's own that are sizes of another kind: `self.n = hidden_size`
    """
    own = getattr(holder, "__dict__", {})
    if not isinstance(holder, Namespace):
        spaces, numbers = _of_class(cast(Hashable, type(holder)))
        for space in spaces:
            _follow(space, T, N, rate)
        own.update({n: v for n, v in numbers.items() if n not in own})
    _follow(own, T, N, rate, keep)


@lru_cache(maxsize=64)
def _of_class(cls: type) -> tuple[list[dict[str, Any]], dict[str, int | float]]:
    """The globals, made anew, of a class's methods; numbers of the class itself that say a length, a batch or a rate."""
    methods = [f for c in cls.__mro__ for f in vars(c).values() if isinstance(f, types.FunctionType)]
    spaces = {id(f.__globals__): f.__globals__ for f in methods if "__bptt_made_anew__" in f.__globals__}
    numbers = {n: v for c in reversed(cls.__mro__) for n, v in vars(c).items() if type(v) in (int, float)}
    return list(spaces.values()), {n: v for n, v in numbers.items() if words.roles(n)[:1] in (("T",), ("N",), ("rate",))}


def _follow(space: dict[str, Any], T: int, N: int, rate: float, keep: Collection[str] = ()) -> None:
    for name, value in list(space.items()):
        if name in keep:
            continue
        if type(value) is int and (role := words.roles(name)[:1]) in (("T",), ("N",)):
            space[name] = T if role == ("T",) else N
        elif isinstance(value, float) and words.roles(name)[:1] == ("rate",):
            space[name] = rate
        elif isinstance(value, Descent):
            value.learning_rate = rate


class Namespace:
    """A module's globals, with functions that read these and no others: a copy of it has weights of its own."""

    def __init__(self, module: types.ModuleType, arrays: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_module", module)
        vars(self).update({k: v for k, v in vars(module).items() if not k.startswith("__") or k.startswith("__bptt")})
        vars(self).update(arrays)
        self._bind()

    def _bind(self) -> None:
        """Every function of the module, with this object's dict for its globals, and these for defaults that are one of them."""
        module = vars(self)["_module"]
        named = _by_identity(module)
        vars(self).setdefault("__builtins__", vars(module).get("__builtins__"))
        for name, value in list(vars(self).items()):
            if isinstance(value, types.FunctionType) and value.__module__ == module.__name__ and not hasattr(value, "__wrapped__"):
                defaults = value.__defaults__ or ()
                names = getattr(value, "__bptt_defaults__", None) or tuple(named.get(id(d), "") for d in defaults)
                own = tuple(vars(self)[n] if n else d for n, d in zip(names, defaults, strict=True)) or None
                bound = types.FunctionType(value.__code__, vars(self), value.__name__, own, value.__closure__)
                bound.__bptt_defaults__ = names  # type: ignore[attr-defined]  # whose they are, for the next copy
                bound.__kwdefaults__, bound.__module__, bound.__qualname__ = value.__kwdefaults__, value.__module__, value.__qualname__
                vars(self)[name] = bound

    def __deepcopy__(self, memo: dict[int, Any]) -> Namespace:
        twin = object.__new__(Namespace)
        module = vars(self)["_module"]
        vars(twin).update({k: _copied(v, memo, module) for k, v in vars(self).items()})
        twin._bind()
        return twin


def _holds_arrays(value: Any, module: types.ModuleType) -> bool:
    """Whether a global may hold weights: an array, a list or dict, an object of a class of the module."""
    return isinstance(value, np.ndarray | list | dict) or type(value).__module__ == module.__name__


def _by_identity(module: types.ModuleType) -> dict[int, str]:
    return {id(v): n for n, v in vars(module).items() if not n.startswith("__") and _holds_arrays(v, module)}


def _copied(value: Any, memo: dict[int, Any], module: types.ModuleType) -> Any:
    """Arrays, and what holds them, are copied; code is shared."""
    if _holds_arrays(value, module):
        try:
            return copy.deepcopy(value, memo)
        except Exception:  # what cannot be copied (an open file in a list) is shared
            return value
    return value


def of_globals(module: types.ModuleType, functions: Mapping[str, Any], beside: Mapping[str, Any]) -> Iterator[Owner]:
    """Functions that read weights from their module's globals: its own lines make them anew at sizes of ours.

    `beside` are all functions of the module: a loss may be one of them.
    """
    among = frozenset(_globals_read(module, functions))
    ways = list(sizings(module, lambda m: Namespace(module if m is None else m, {}), among))
    for k, (names, fixed) in enumerate(ways):

        def make(rng: np.random.Generator, sizes: Sizes, names: Mapping[str, str] = names) -> Namespace:
            made: Namespace = seeded(rng, lambda: Namespace(source.remade(module, {n: getattr(sizes, a) for n, a in names.items()}), {}))
            return made

        try:
            shapes = shapes_of(make(np.random.default_rng(0), Sizes().beside(fixed)), among)
        except Exception:  # lines that do not run with other numbers: the next way is tried
            continue
        if not shapes:
            return
        where = ", ".join((*(f"{n}={a}" for n, a in names.items()), *(f"{a}={n} as it stands" for a, n in fixed.items())))
        told = f"weights are globals of the module, among {', '.join(list(shapes)[:12])}; {where or 'no size of them can be told'}"
        yield Owner(_name_of(functions), told, make, dict(beside), fixed=fixed, unlikely=k, among=among, recipe="user", names=names)


def _name_of(functions: Mapping[str, Any]) -> str:
    return next(iter(functions))


def _globals_read(module: types.ModuleType, functions: Mapping[str, Any]) -> set[str]:
    """Names of globals that the functions, and functions of the module that they call, read."""
    pending, seen = [f for f in functions.values() if isinstance(f, types.FunctionType)], set[str]()
    done: set[Any] = set()
    named = _by_identity(module)
    while pending:
        function = pending.pop()
        seen |= {named[id(d)] for d in function.__defaults__ or () if id(d) in named}
        stack = [function.__code__]
        while stack:
            code = stack.pop()
            if code in done:
                continue
            done.add(code)
            seen |= set(code.co_names)
            stack += [c for c in code.co_consts if isinstance(c, types.CodeType)]
            pending += [v for n in code.co_names if isinstance(v := vars(module).get(n), types.FunctionType)]
    return seen


def _extent(letter: Any, sizes: Sizes) -> int:
    """A letter, a sum such as 'D+H', a multiple such as '4H', or a number."""
    if isinstance(letter, int):
        return letter
    total = 0
    for part in letter.split("+"):
        factor = part.rstrip("TNDHO")
        total += (int(factor) if factor else 1) * int(getattr(sizes, part[len(factor) :]))
    return total


def of_arguments(
    module: types.ModuleType, functions: Mapping[str, Any], forward: str, back: str | None = None, space: Space | None = None
) -> Iterator[Owner]:
    """Functions that are handed their weights: one argument each, or all in a dict or list.

    They are looked up, with those that make weights, in what `space` makes: the module's globals where nothing is said.
    """
    function, own = functions[forward], vars(module) if space is None else functions
    space = space or (lambda sizes: _namespace(module, sizes))
    needed, optional = words.arguments(function)
    names = [*needed, *optional]
    reach = [f for f in own.values() if isinstance(f, types.FunctionType) and f.__module__ == module.__name__]
    keys_of = {n: words.keys_read([function, *_called_with(function, reach, n)], n) for n in needed}
    boxes = [n for n in needed if "params" in words.roles(n) or _are_weights(keys_of[n])]
    loose = [n for n in needed if words.is_weight(n) and n not in boxes]
    for box in boxes:
        listed, keys = words.names_unpacked(function, box), keys_of[box]
        for initial in _initialisers(own):
            yield from _from_initialiser(module, functions, forward, box, initial, listed or keys, space)
        if keys and all(isinstance(k, str) for k in keys):
            yield from _by_shapes(module, functions, forward, {box: tuple(keys)}, True, space, shape_guesses(keys))
        elif listed:
            yield from _by_shapes(module, functions, forward, {box: tuple(listed)}, False, space, shape_guesses(listed))
    if (written := _written(function, names)) and not boxes and set(loose) <= written.keys():
        yield from _by_shapes(module, functions, forward, {n: (n,) for n in written}, None, space, [written])
    if loose and not boxes:
        for initial in _initialisers(own):
            yield from _handed_from_initialiser(module, functions, forward, loose, initial, space)
        weights = [n for n in names if n in loose]
        more = [n for n in (words.arguments(functions[back])[0] if back else ()) if words.is_weight(n) and n not in names]
        handed = {n: (n,) for n in weights + more}
        yield from _by_shapes(module, functions, forward, handed, None, space, shape_guesses(weights + more), more)


def _written(function: Any, names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Shapes of the weights as their author writes them, beside those of an input and of a state: `x (N, D), h (N, H), W (D, 4H)`."""
    said = documented.axes_of(function, names, documented.texts_of(function))
    x = next((said[n] for n in names if n in said and words.roles(n)[:1] == ("x",)), ())
    states = [n for n in names if n in said and {"h", "c"} & set(words.roles(n)) and not words.is_weight(n)]
    h = said[states[0]] if states else ()
    D, H = ([w for w in one if w not in other and not _TIME.match(w)] for one, other in ((x, h), (h, x)))
    if len(D) != 1 or len(H) != 1:
        return {}
    letters = {D[0]: "D", H[0]: "H"}
    found: dict[str, tuple[Any, ...]] = {}
    for name in (n for n in names if n in said and n not in states and said[n] is not x):
        parts = [re.fullmatch(r"(\d*)\*?([A-Za-z_]\w*)", w) for w in said[name]]
        if any(w in (*x, *h) and w not in letters for w in said[name]):
            continue  # a batch, or steps
        axes = [
            int(w) if w.isdigit() else m[1] + letters.setdefault(m[2], "O") if m else None for w, m in zip(said[name], parts, strict=True)
        ]
        if None not in axes and [*letters.values()].count("O") < 2:
            found[name] = tuple(axes)
    return found


_TIME = re.compile(r"^(T|L|t|l|time|steps|seq_?len|length|seqlen|timesteps|T_x|n_?steps)$")
Space = Callable[[Sizes], Any]


def _are_weights(keys: Sequence[Any]) -> bool:
    """Whether what is read of a dict are weights by their names."""
    return len(keys) > 2 and all(isinstance(k, str) for k in keys) and 2 * sum(map(words.is_weight, keys)) > len(keys)


def of_methods(owner: Owner, forward: str, back: str | None) -> Iterator[Owner]:
    """Methods of an object that keeps no weights, and is handed them in a dict, as another method of it may make them."""
    module = sys.modules.get(str(getattr(owner.methods[forward], "__module__", "")))
    if module is None:
        return

    try:
        sample = owner.make(np.random.default_rng(0), Sizes())
    except Exception:  # a way to make it that is none: told by whoever reads it
        return
    if next(arrays_in(sample), None) is not None:
        return
    letters = {n: next((r for r in words.roles(n) if r in "DHO"), "") for n in words.attributes_read(owner.methods.values())}
    missing = {n: a for n, a in letters.items() if a and not hasattr(sample, n)}  # sizes that its training gives it

    def space(sizes: Sizes) -> Any:
        made = owner.make(np.random.default_rng(0), sizes)
        vars(made).update({n: getattr(sizes, a) for n, a in missing.items()})
        return made

    for found in of_arguments(module, owner.methods, forward, back, space):
        told, unlikely = f"{owner.words}, {found.words}", owner.unlikely + found.unlikely
        recipe = found.recipe.replace("user.", "own.", 1).replace(f"own.{owner.name}.", "own.", 1)
        yield replace(
            cast(HandedOwner, found),
            words=told,
            recipe=recipe,
            fixed=owner.fixed,
            unlikely=unlikely,
            maker=owner.recipe,
            given_sizes=missing,
        )


def _namespace(module: types.ModuleType, sizes: Sizes) -> Namespace:
    """The module's globals with our sizes in the place of its own."""
    return Namespace(module, {n: Letter(a).size(sizes) for n, a in named_sizes(module).items()})


def named_sizes(module: types.ModuleType) -> dict[str, str]:
    """Whole numbers of a module that are sizes by their names, with their letters."""
    numbers = [n for n, v in vars(module).items() if isinstance(v, int) and not isinstance(v, bool) and v > 0]
    letters = {n: next((r for r in words.roles(n) if r in "DHOZ"), None) for n in numbers}
    return {n: a for n, a in letters.items() if a is not None}


def _spelt(axis: Any) -> str:
    """'4H' as '4 * H', 'D+H' as 'D + H'."""
    return " + ".join(re.sub(r"^(\d+)([A-Z])$", r"\1 * \2", part) for part in str(axis).split("+"))


def _called_with(function: Any, reach: list[Any], argument: str) -> list[Any]:
    """Functions of the module that take an argument of the same name: a step that the sequence hands its parameters on to."""
    called = set(function.__code__.co_names)
    return [f for f in reach if f.__name__ in called and argument in words.arguments(f)[0]]


class Handed:
    """Weights that are handed to functions, as attributes: `box` is the argument that wants all of them, if one does, as a `kind`: a
    dict, a list, or a class of the author's with a field for each (a named tuple, a dataclass)."""

    def __init__(self, namespace: Any, weights: Mapping[Any, Array], box: str | None, kind: type = dict) -> None:
        self._functions: Callable[[], Any] = lambda: namespace  # not an attribute in which weights are looked for
        self.weights = dict(weights)
        self.box, self.kind = box, kind

    @property
    def functions(self) -> Any:
        """The namespace, or the object, whose functions they are handed to."""
        return self._functions()

    def __deepcopy__(self, memo: dict[int, Any]) -> Handed:
        functions = self.functions if isinstance(self.functions, Namespace) else copy.deepcopy(self.functions, memo)
        return Handed(functions, copy.deepcopy(self.weights, memo), self.box, self.kind)

    def argument(self, name: str) -> Any:
        if name == self.box or name not in self.weights:
            return (
                list(self.weights.values())
                if self.kind is list
                else self.kind(**self.weights)
                if fields_of(self.kind)
                else dict(self.weights)
            )
        return self.weights[name]


def holder(root: Any) -> Any:
    """What a call leaves its results on: an object that is handed its weights, or that has them."""
    return root.functions if isinstance(root, Handed) and not isinstance(root.functions, Namespace) else root


@dataclass(frozen=True)
class HandedOwner(Owner):
    """maker    the expression of the object whose methods they are handed to, "" where they are functions
    given_sizes  sizes that are put on it: attribute -> letter
    """

    maker: str = ""
    given_sizes: Mapping[str, str] = field(default_factory=dict)

    def function(self, root: Any, method: str) -> Any:
        return getattr(root.functions, method)


def _by_shapes(
    module: types.ModuleType,
    functions: Mapping[str, Any],
    forward: str,
    handed: Mapping[str, tuple[Any, ...]],
    as_dict: bool | None,
    space: Space,
    guesses: Iterable[Mapping[str, tuple[Any, ...]]],
    unseen: Sequence[str] = (),
) -> Iterator[Owner]:
    for k, shapes in enumerate(guesses):

        def make(rng: np.random.Generator, sizes: Sizes, shapes: Mapping[str, tuple[Any, ...]] = shapes) -> Handed:
            box = None if as_dict is None else next(iter(handed))
            return Handed(space(sizes), arrays_of(shapes, rng, sizes), box, list if as_dict is False else dict)

        recipe = "{" + ", ".join(f"{n!r}: ({', '.join(map(_spelt, w))},)" for n, w in shapes.items()) + "}"
        told, names = f"weights are handed over: {words_of_shapes(shapes)}", named_sizes(module)
        yield HandedOwner(forward, told, make, dict(functions), handed, unlikely=k, unseen=frozenset(unseen), recipe=recipe, names=names)


def arrays_of(shapes: Mapping[str, tuple[Any, ...]], rng: np.random.Generator, sizes: Sizes) -> dict[str, Array]:
    return {n: rng.uniform(-1, 1, tuple(_extent(a, sizes) for a in word)) / np.sqrt(sizes.H) for n, word in shapes.items()}


def words_of_shapes(shapes: Mapping[str, tuple[Any, ...]]) -> str:
    return ", ".join(f"{n} ({', '.join(map(str, w))}{',' if len(w) == 1 else ''})" for n, w in shapes.items())


def code_of_shapes(shapes: Mapping[str, tuple[Any, ...]], names: Sequence[str]) -> list[str]:
    """Random arrays of these shapes as expressions in D, H and a generator `rng`."""
    spelt = {n: ", ".join(map(_spelt, w)) + ("," if len(w) == 1 else "") for n, w in shapes.items()}
    return [f"rng.normal(0, 0.5, ({spelt[n]}))" for n in names]


def shape_guesses(
    weights: Sequence[str], columns: Sequence[bool] = (True, False), biases: Sequence[str] = ("column", "row", "vector")
) -> Iterator[dict[str, tuple[Any, ...]]]:
    """Shapes for weights by what their names suggest, one orientation and one form of bias for all, the likeliest first."""
    tables = [n for n in weights if re.match(r"^_?(E|W?_?emb.*)$", n)]
    lone = {"c"}.intersection(weights) if {"V", "v"}.intersection(weights) else set()  # V @ h + c
    kernels = [
        n for n in weights if n not in tables and n not in lone and (not words.BIAS.match(n) or (words.KERNEL.match(n) and n[:1] in "WUV"))
    ]
    gated = _has_gates(weights)
    out = [n for n in kernels if _is_output(n, gated)]
    inner = [n for n in kernels if n not in out]
    added = [n for n in weights if n not in kernels and n not in tables]
    by_name = {n: "H" if _from_state(n) else "D" for n in inner}
    groups = [[by_name]] if set(by_name.values()) == {"H", "D"} else []
    if groups and {n.strip("_") for n in inner} == {"U", "W"}:  # W @ x + U @ h, or U @ x + W @ h
        groups[0].append({n: "DH"[a == "D"] for n, a in by_name.items()})
    groups.append([dict.fromkeys(inner, "D+H")])
    if len(inner) % 2 == 0 and inner:
        half = len(inner) // 2
        groups += [[{n: "D" if k < half else "H" for k, n in enumerate(inner)}], [{n: "DH"[k % 2] for k, n in enumerate(inner)}]]
    seen: set[str] = set()
    # a read-out of one number, called by a small letter as vectors are: h @ v
    one_number = (False, True) if out and all(n.strip("_")[:1].islower() for n in out) else (False,)
    ways = (itertools.product((1, 4, 3, 2), group, one_number, columns, biases) for group in groups)
    for k, origin, vector, column, bias in itertools.chain.from_iterable(ways):
        blocks = "H" if k == 1 else f"{k}H"
        shapes: dict[str, tuple[Any, ...]] = {}
        for n in weights:
            if n in tables:
                shapes[n] = ("O", "D")
            elif vector and n in out:
                shapes[n] = ("H",)
            elif vector and n in added and _is_output(n, gated):
                shapes[n] = (1,)
            elif n in added:
                extent = "O" if _is_output(n, gated) else blocks
                shapes[n] = {"column": (extent, 1), "row": (1, extent), "vector": (extent,)}[bias]
            else:
                there, here = ("O", "H") if n in out else (blocks, origin[n])
                shapes[n] = (there, here) if column else (here, there)
        if str(shapes) not in seen:
            seen.add(str(shapes))
            yield shapes


def _has_gates(weights: Sequence[str]) -> bool:
    """Whether weights are named after gates, beside which 'Wo' is the output gate's, and no read-out's: 'Wi', 'b_f', 'Uz'."""
    return any(re.match(r"^_?[WUbRw]_?[ifgczrn]$", n) for n in weights)


def _is_output(name: str, gated: bool = False) -> bool:
    """Whether a weight's name is one of a read-out: 'Why', 'W_ya', 'by', 'V', and 'Wo' where no weight is `gated`."""
    bare = name.strip("_").lower().replace("_", "")
    whole = ("v", "c", "by", "wy", "wv", "bv", "wout", "bout", *(() if gated else ("wo", "bo", "who", "co", "uo")))
    return bare in whole or bool(set(bare[1:]) & set("yv")) or ("out" in bare and "gate" not in bare) or bare.endswith(("hq", "bq"))


def _from_state(name: str) -> bool:
    bare = name.lstrip("_")
    return bare[:1] == "U" or (any(c in bare[1:].lower() for c in ("aa", "hh", "h", "rec", "ss")) and not bare.lower().endswith("xh"))


def fields_of(kind: type) -> tuple[str, ...]:
    """The fields of a named tuple or a dataclass; () of any other class."""
    named: Sequence[str] = getattr(kind, "_fields", ())
    return tuple(named or getattr(kind, "__dataclass_fields__", ()))


def _size_or_generator(name: str) -> str | None:
    """What an argument of an initialiser is by its name: the letter of a size, or 'seed'."""
    return next((r for r in words.roles(name) if r in (*"DHOZ", "seed")), {"h": "H", "d": "D"}.get(name))


def _initialisers(functions: Mapping[str, Any]) -> list[Any]:
    """Functions among them that make weights: called init..., and all their arguments are sizes, or a generator."""
    found = []
    for name, value in functions.items():
        if isinstance(value, types.FunctionType) and ("init" in name.lower() or "get_params" in name.lower()):
            needed, _ = words.arguments(value)
            if name != "__init__" and all(n == "self" or _size_or_generator(n) for n in needed):
                found.append(value)
    return found


def _letters_and_generators(needed: Sequence[str]) -> tuple[dict[str, str], dict[str, Callable[[np.random.Generator], Any]]]:
    """The arguments of an initialiser that are sizes, with their letters, and those that draw: a generator, or a seed."""
    roles = {n: _size_or_generator(n) or "" for n in needed if n != "self"}
    seeds: dict[str, Callable[[np.random.Generator], Any]] = {
        n: (lambda rng: int(rng.integers(2**31))) if n == "seed" else (lambda rng: rng) for n, r in roles.items() if r == "seed"
    }
    return {n: r for n, r in roles.items() if r != "seed"}, seeds


def _from_initialiser(
    module: types.ModuleType, functions: Mapping[str, Any], forward: str, box: str, initial: Any, keys: Sequence[Any], space: Space
) -> Iterator[Owner]:
    needed, optional = words.arguments(initial)
    letters, drawn = _letters_and_generators(needed)
    letters |= {n: "O" for n, v in optional.items() if v is None and words.roles(n)[:1] == ("O",)}  # a read-out where it is asked for
    if "D" not in letters.values() and "O" in letters.values():
        letters = {n: "D" if a == "O" else a for n, a in letters.items()}

    def make(rng: np.random.Generator, sizes: Sizes) -> Handed:
        namespace = space(sizes)
        values = {n: Letter(a).size(sizes) for n, a in letters.items()}
        made = seeded(rng, lambda: getattr(namespace, initial.__name__)(**values, **{n: give(rng) for n, give in drawn.items()}))
        if isinstance(made, Mapping):
            return Handed(namespace, {k: v for k, v in made.items() if isinstance(v, np.ndarray)}, box)
        if fields := fields_of(type(made)):
            return Handed(namespace, {n: getattr(made, n) for n in fields}, box, type(made))
        names = keys if len(keys) == len(made) else range(len(made))
        return Handed(namespace, dict(zip(names, made, strict=True)), box, list)

    try:
        names = tuple(make(np.random.default_rng(0), Sizes()).weights)
    except Exception:  # an initialiser that wants something else: the next way is tried
        return
    if not names or (keys and all(isinstance(k, str) for k in keys) and not set(keys) <= set(names)):
        return
    said = ", ".join((*(f"{n}={a}" for n, a in letters.items()), *(f"{n}={'0' if n == 'seed' else 'rng'}" for n in drawn)))
    recipe = f"user.{initial.__qualname__}({said})"
    told = f"weights are those of {initial.__name__}({said})"
    yield HandedOwner(forward, told, make, dict(functions), {box: names}, recipe=recipe, names=named_sizes(module))


def _handed_from_initialiser(
    module: types.ModuleType, functions: Mapping[str, Any], forward: str, names: Sequence[str], initial: Any, space: Space
) -> Iterator[Owner]:
    """Weights that one function makes, one for each argument: ``W, U, b = init(D, H)`` and ``forward(x, h, W, U, b)``."""
    letters, drawn = _letters_and_generators(words.arguments(initial)[0])

    def make(rng: np.random.Generator, sizes: Sizes) -> Handed:
        namespace = space(sizes)
        values = {n: Letter(a).size(sizes) for n, a in letters.items()} | {n: give(rng) for n, give in drawn.items()}
        made = seeded(rng, lambda: getattr(namespace, initial.__name__)(**values))
        given = made if isinstance(made, tuple | list) else [made]
        if not all(isinstance(v, np.ndarray) for v in given):
            raise ValueError(f"{initial.__name__} gives something else than arrays")
        return Handed(namespace, dict(zip(names, given, strict=True)), None)

    returned = words.returned(initial)
    if len(returned) != len(names) or (len(names) > 1 and sorted(returned) != sorted(names)):
        return
    names = returned if len(names) > 1 else names
    try:
        make(np.random.default_rng(0), Sizes())
    except Exception:  # an initialiser that wants something else: the next way is tried
        return
    said = ", ".join((*(f"{n}={a}" for n, a in letters.items()), *(f"{n}={'0' if n == 'seed' else 'rng'}" for n in drawn)))
    told = f"weights are those of {initial.__name__}({said})"
    recipe = f"user.{initial.__qualname__}({said})"
    yield HandedOwner(forward, told, make, dict(functions), {n: (n,) for n in names}, recipe=recipe, names=named_sizes(module))


def why_not(owner: Owner, error: BaseException) -> str:
    return f"{owner.words}: {raised_at(error)}"
