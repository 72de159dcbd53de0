"""Ways to make the object that holds the weights: of a class, by a function that makes one, or one that is made already."""

from __future__ import annotations

import copy
import inspect
import itertools
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from bptt.harness.adapters.objects import is_factory, parts_read, raised_at, short_name, words_for
from bptt.harness.adapters.reading.code import source, things, words
from bptt.harness.adapters.reading.code.layout import Sizes
from bptt.harness.adapters.reading.code.owners import Owner, arrays_of, code_of_shapes, shape_guesses, words_of_shapes
from bptt.harness.adapters.reading.code.sizings import sizings
from bptt.harness.adapters.reading.code.things import Letter
from bptt.harness.adapters.reading.code.weights import Slot, arrays_in, find_parameters, seeded


class CannotMakeError(Exception):
    """No object can be made; the message says why."""


def of_class(obj: Any, args: Mapping[str, object] | None) -> Iterator[Owner]:
    """Ways to make an object, the likeliest first.  Raises CannotMakeError."""
    if not isinstance(obj, type) and not is_factory(obj):
        yield from _made_already(obj)
        return
    given = dict(args or {})
    _refuse_unknown(obj, given)
    plan, truncation, unclear = _plan(obj, given)
    handed = _weights_among(obj, plan, unclear)
    if handed:
        yield from _of_arrays(obj, plan, handed)
    fixed = {a: v for n, v in given.items() if isinstance(v, int) and not isinstance(v, bool) and (a := _size_role(n)) is not None}
    letters = {v.letter for v in plan.values() if isinstance(v, Letter)} | fixed.keys()
    guesses = [g | other for other in _otherwise(plan) for g in _guesses(obj, unclear, sys.modules.get(obj.__module__))]
    if not guesses and not handed:
        raise CannotMakeError(f"its constructor wants {', '.join(unclear)}, neither a size nor a weight by name (give it with --args)")
    methods = _methods(obj, [plan | guess for guess in guesses]) if guesses else {}
    for k, guess in enumerate(guesses, len(guesses) if handed else 0):
        values = plan | guess
        said = _said(values)
        one = {"D": 1} if things.NUMBERS in values.values() else {}
        sized = (letters | {a for v in guess.values() for a in _letters_of(v)}) & set("DHZO")
        if not sized - {"O"}:
            yield from _sized_class(obj, values, methods, said, k, truncation)
            continue
        owner = Owner(
            short_name(obj), f"constructed as {short_name(obj)}({said})", partial(_construct, obj, values), methods,
            given=given, fixed=fixed | one, truncation=truncation, unlikely=k, recipe=_recipe(obj, values),
        )  # fmt: skip
        yield owner
        if (joined := {n for n, v in values.items() if isinstance(v, Letter) and v.letter == "D"}) and {"D", "H"} <= sized:
            yield _of_both(obj, owner, values | dict.fromkeys(joined, Letter("Z")))
        if unclear and sized == {"H"}:  # one size for inputs and units
            yield replace(owner, square=True, unlikely=k + 1)


def _of_both(obj: Any, owner: Owner, values: Mapping[str, Any]) -> Owner:
    """`owner` whose number of inputs is that of [h, x] together."""
    told, recipe = f"constructed as {short_name(obj)}({_said(values)})", _recipe(obj, values)
    return replace(owner, words=told, make=partial(_construct, obj, values), unlikely=owner.unlikely + 1, recipe=recipe)


def _refuse_unknown(obj: Any, given: Mapping[str, Any]) -> None:
    try:
        parameters = inspect.signature(obj).parameters
    except (TypeError, ValueError) as error:
        raise CannotMakeError(f"its constructor's arguments cannot be read ({error})") from error
    unknown = [n for n in given if n not in parameters]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        raise CannotMakeError(f"--args names {', '.join(unknown)}, but its constructor takes {', '.join(parameters) or 'nothing'}")


def _size_role(name: str) -> str | None:
    return next((r for r in words.roles(name) if r in "DHN"), None)


def _made_already(obj: Any) -> Iterator[Owner]:
    """An object at each pair of sizes that its attributes and arrays admit."""
    methods = methods_of(type(obj))
    extents = frozenset(n for _, a in arrays_in(obj) for n in a.shape)
    for k, (D, H) in enumerate(dict.fromkeys(_sizes_admitted(obj))):
        fixed = {"D": D, "H": H}
        yield Owner(
            short_name(obj),
            "an object made already",
            lambda rng, sizes: copy.deepcopy(obj),
            methods,
            fixed=fixed,
            extents=extents,
            unlikely=k,
        )


def _sizes_admitted(obj: Any) -> Iterator[tuple[int, int]]:
    """Pairs (D, H): those of its attributes first, then those of its shapes."""
    numbers = {
        n: v for n, v in getattr(obj, "__dict__", {}).items() if isinstance(v, int | np.integer) and not isinstance(v, bool) and v > 0
    }
    named = {a: sorted({int(v) for n, v in numbers.items() if _size_role(n) == a}) for a in "DH"}
    extents = sorted({n for _, a in arrays_in(obj) for n in a.shape})
    divided = sorted({n // k for n in extents for k in (1, 2, 3, 4) if n % k == 0})
    for H in [*named["H"], *(n for n in divided if n not in named["H"])]:
        inputs = named["D"] or sorted({*extents, *(n - H for n in extents if n > H)}, key=lambda n: (n == H, n))
        yield from ((D, H) for D in inputs)


def _weights_among(obj: Any, plan: Mapping[str, Any], unclear: Sequence[str]) -> list[str]:
    """The arguments of a constructor that are arrays; [] where another one is unclear."""
    if not unclear or not all(words.is_weight(n) for n in unclear):
        return []
    needed, _ = words.arguments(obj)
    return [n for n in needed if n in unclear or (isinstance(plan.get(n), Letter) and len(n) < 4 and words.is_weight(n))]


def _of_arrays(obj: Any, plan: Mapping[str, Any], names: Sequence[str]) -> Iterator[Owner]:
    """A constructor that takes the weights themselves, one by one or in a list: shapes are guessed."""
    needed, _ = words.arguments(obj)
    boxes = {n: inner for n in names if (inner := words.names_unpacked(getattr(obj, "__init__", obj), n))}
    single = [w for n in names for w in boxes.get(n, [n])]
    known = {n for n, v in plan.items() if isinstance(v, Letter) and v.letter in "DHOZ" and n not in needed}  # by the arrays themselves
    rest = {n: v for n, v in plan.items() if n not in names and n not in known}
    methods = None
    for k, shapes in enumerate(shape_guesses(single, columns=(False, True), biases=("vector", "row", "column"))):

        def made(rng: np.random.Generator, sizes: Sizes, shapes: Mapping[str, Any] = shapes) -> tuple[Any, dict[str, Any]]:
            arrays = arrays_of(shapes, rng, sizes)
            handed = {n: [arrays[w] for w in boxes[n]] if n in boxes else arrays[n] for n in names}
            return _construct(obj, {**handed, **rest}, rng, sizes), arrays

        def make(rng: np.random.Generator, sizes: Sizes, made: Any = made) -> Any:
            return made(rng, sizes)[0]

        try:
            sample, arrays = made(np.random.default_rng(0), Sizes())
        except Exception:  # a constructor that takes shapes apart refuses others
            continue
        methods = methods or methods_of(type(sample))
        called: dict[Slot, str] = {p.slot: p.name for p in find_parameters(sample, arrays, named_as_states=True)}
        told = f"constructed from arrays {words_of_shapes(shapes)}" + (f", {_said(rest)}" if rest else "")
        codes = [
            f"{n}=[{', '.join(code_of_shapes(shapes, boxes[n]))}]" if n in boxes else f"{n}={code_of_shapes(shapes, [n])[0]}" for n in names
        ]
        recipe = f"user.{short_name(obj)}({', '.join(n for n in (*codes, _code_of(rest)) if n)})"
        yield Owner(short_name(obj), told, make, methods, unlikely=k, recipe=recipe, called=called)


def _methods(obj: Any, plans: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The methods of a class, or of what a function makes.  Raises CannotMakeError where it makes nothing."""
    if isinstance(obj, type):
        return methods_of(obj)
    failure: Exception | None = None
    for values in plans:
        try:
            return methods_of(type(_construct(obj, values, np.random.default_rng(0), Sizes())))
        except Exception as error:  # the user's function, at sizes of ours, may raise anything
            failure = failure or error
    assert failure is not None
    raise CannotMakeError(f"it made nothing: {raised_at(failure)}") from failure


def methods_of(cls: type) -> dict[str, Any]:
    return {n: getattr(cls, n) for n in dir(cls) if _own(cls, n)}


def _plan(cls: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], int | None, list[str]]:
    """What each argument of the constructor is given; where BPTT is cut; the arguments whose names say nothing."""
    needed, optional = words.arguments(cls)
    plan: dict[str, Any] = {}
    truncation, unclear = None, []
    for name in (*needed, *optional):
        if name in given:
            plan[name] = given[name]
            continue
        role = next((r for r in words.roles(name) if r in ("H", "D", "O", "N", "T", "Z", "rate", "truncation", "seed", "flag")), None)
        role = role or {"h": "H", "d": "D", "C": "O", "K": "O", "batch": "N"}.get(name)  # a state, a target, data anywhere else
        if role in ("H", "D", "O", "N", "Z", "T"):
            plan[name] = Letter(role)
        elif name in optional and _TURNED_ON.match(name) and (name != "stateful" or _settable(cls)):
            plan[name] = True
        elif name in optional:
            if role == "truncation" and isinstance(optional[name], int) and optional[name] > 0:
                truncation = int(optional[name])
        elif role == "seed" and name != "seed":
            plan[name] = things.GENERATOR
        elif role in ("rate", "seed", "truncation"):
            plan[name] = {"rate": 0.125, "seed": 0, "truncation": 64}[role]
        elif (thing := things.named(name)) is not None:
            plan[name] = thing
        else:
            unclear.append(name)
    letters = {v.letter for v in plan.values() if isinstance(v, Letter)}
    bare = [n for n in unclear if re.match(r"^(dim|size|n|dims|width)$", n)]
    if "H" not in letters and len(unclear) > len(bare) == 1 and all(words.is_weight(n) for n in unclear if n not in bare):
        plan[bare[0]] = Letter("H")  # beside the weights themselves
        unclear.remove(bare[0])
        letters.add("H")
    if letters and not letters & {"D", "H", "O", "Z"}:  # (M, N) are sizes of inputs and units where nothing else is
        unclear = [n for n in (*needed, *optional) if n in unclear or isinstance(plan.get(n), Letter)]
        plan = {n: v for n, v in plan.items() if not isinstance(v, Letter)}
    if "O" in letters and "H" not in letters:
        plan = {n: Letter("H") if isinstance(v, Letter) and v.letter == "O" else v for n, v in plan.items()}
    return plan, truncation, unclear


#: A layer gives its outputs of all steps; one whose state can be set keeps it.
_TURNED_ON = re.compile(r"^(stateful|return_(all_?)?(sequences?|states|outputs|all)|many_?to_?many)$", re.I)


def _settable(cls: Any) -> bool:
    return any(words.SETTER.match(n) for n in dir(cls))


def _otherwise(plan: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Other values that the same names may mean, after none: a vocabulary is how many its symbols are, or beside a size of inputs that of
    the outputs alone, word vectors are as wide as the layers whose weights they share, sizes of layers are a list."""
    yield {}
    sized = {n: v.letter for n, v in plan.items() if isinstance(v, Letter)}
    words_ = [n for n, a in sized.items() if a == "D" and re.match(r"^(V|n?_?vocab.*)$", n)]
    if words_ and "O" not in sized.values() and len(words_) < sum(a == "D" for a in sized.values()):
        yield dict.fromkeys(words_, Letter("O"))
    if lists := [n for n, v in plan.items() if isinstance(v, things.Thing) and v.make is things.vocabulary]:
        yield dict.fromkeys(lists, Letter("D"))
    of = {letter: [n for n, v in plan.items() if v == Letter(letter)] for letter in "DH"}
    if shapes := [n for n in of["D"] if n.endswith("shape")]:
        yield dict.fromkeys(shapes, things.named("shape"))
    if of["H"] and len(of["D"]) > 1 and (vectors := [n for n in of["D"] if _VECTORS.search(n)]) and len(vectors) < len(of["D"]):
        yield dict.fromkeys(vectors, Letter("H"))
    if layers := [n for n in of["H"] if re.search(r"(sizes|dims|layers|units|nodes|neurons)$", n)]:
        yield dict.fromkeys(layers, things.ONE_LAYER)


_VECTORS = re.compile(r"vec|emb|word_?dim", re.I)


def _construct(cls: Any, values: Mapping[str, Any], rng: np.random.Generator, sizes: Sizes) -> Any:
    return seeded(rng, lambda: built(lambda: _made_of(cls, values, sizes), (sizes.N, sizes.T, sizes.D)))


def built(make: Callable[[], Any], shape: tuple[int, int, int]) -> Any:
    """What is made, which a method of its own has given its weights where it was made without any.   shape   of inputs (N, T, D)"""
    obj = make()
    if next(arrays_in(obj), None) is not None:
        return obj
    for name, function in methods_of(type(obj)).items():
        needed = [n for n in words.arguments(function)[0] if n != "self"]
        given = [things.Descent() if things.OPTIMISER.match(n) else shape if _SHAPE.match(n) else None for n in needed]
        if words.BUILD.match(name) and None not in given:
            try:
                getattr(obj, name)(*given)
            except Exception:  # what its first forward tells it may be wanted before
                return make()
            return obj
    return obj


_SHAPE = re.compile(r"^(x|X|in|input)_?shape$")


def _sized_class(
    cls: Any, values: Mapping[str, Any], methods: Mapping[str, Any], said: str, k: int, truncation: int | None
) -> Iterator[Owner]:
    """A class whose sizes stand in its module or in itself, not in its constructor: by name where one changes a shape, else as they are."""
    module = sys.modules.get(cls.__module__)

    def made(module: types.ModuleType | None, rng: np.random.Generator, sizes: Sizes) -> Any:
        return _construct(getattr(module, short_name(cls), cls), values, rng, sizes)

    try:
        ways = list(sizings(module, lambda m: made(m, np.random.default_rng(0), Sizes())))
    except Exception:  # it cannot be made at all: told by whoever makes it
        ways = [({}, {})]
    for more, (names, fixed) in enumerate(ways):

        def make(rng: np.random.Generator, sizes: Sizes, names: Mapping[str, str] = names) -> Any:
            if module is None or not names:
                return made(module, rng, sizes)
            return made(source.remade(module, {n: getattr(sizes, a) for n, a in names.items()}), rng, sizes)

        where = "".join(f", {n}={a}" for n, a in names.items()) + "".join(f", {a}={n} as it stands" for a, n in fixed.items())
        told = f"constructed as {short_name(cls)}({said}){where}"
        recipe = _recipe(cls, values)
        yield Owner(short_name(cls), told, make, methods, fixed=fixed, truncation=truncation, unlikely=k + more, recipe=recipe, names=names)


def _recipe(cls: Any, values: Mapping[str, Any]) -> str:
    """The expression that makes an object, and has it make its weights where a method of its own does."""
    call = f"user.{short_name(cls)}({_code_of(values)})"
    return f"built(lambda: {call}, (N, T, D))" if any(map(words.BUILD.match, methods_of(cls))) else call


def _said(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{n}={v}" for n, v in values.items())


def _code_of(values: Mapping[str, Any]) -> str:
    """The arguments of a call as an expression in D, H and the other letters."""
    return ", ".join(f"{n}={(v.code if isinstance(v, things.Thing) else '') or repr(v)}" for n, v in values.items())


def _guesses(obj: Any, unclear: Sequence[str], module: types.ModuleType | None) -> Iterator[dict[str, Any]]:
    """Values for arguments whose names say nothing: activations, then sizes, each letter, each order."""
    if not unclear:
        yield {}
        return
    classes = {n: v for n, v in vars(module).items() if isinstance(v, type)} if module else {}
    choices = {
        n: found
        for n in unclear
        if (found := things.spelt(words_for(obj, n)) or _things(n, classes) or things.holding(*parts_read(obj, n)))
    }
    rest = [n for n in unclear if n not in choices]
    if len(rest) > 3:
        return
    for acts in itertools.product(*choices.values()):
        known = dict(zip(choices, acts, strict=True))
        for letters in itertools.permutations("DHO", len(rest)):
            yield known | {n: Letter(a) for n, a in zip(rest, letters, strict=True)}


def _things(name: str, classes: Mapping[str, type]) -> list[things.Thing]:
    return things.activations(name, classes) or things.layers(name) or _objects(name, classes) or things.series(name)


def _objects(name: str, classes: Mapping[str, type]) -> list[things.Thing]:
    """Objects of the classes that an argument is called after, where sizes and the like are all that these want: `cell`, an RNNCell."""
    bare, found = name.strip("_").lower(), []
    alike = [c for c in classes.values() if len(bare) > 2 and (bare in c.__name__.lower() or c.__name__.lower() in bare)]
    kinds = dict.fromkeys(c for c in classes.values() if any(issubclass(c, a) for a in alike))
    for cls in sorted(kinds, key=lambda c: any(c is not k and issubclass(k, c) for k in kinds)):  # what others are made from comes last
        plan, _, unclear = _plan(cls, {})
        if not unclear:
            made = partial(_made_of, cls, plan)
            letters = frozenset(a for v in plan.values() for a in _letters_of(v))
            found.append(things.Thing(f"{cls.__name__}({_said(plan)})", made, f"user.{cls.__name__}({_code_of(plan)})", letters))
    return found


def _made_of(cls: Any, values: Mapping[str, Any], sizes: Sizes) -> Any:
    return cls(**{n: v.size(sizes) if isinstance(v, things.Thing | Letter) else v for n, v in values.items()})


def _letters_of(value: Any) -> frozenset[str]:
    return frozenset(value.letter) if isinstance(value, Letter) else value.letters if isinstance(value, things.Thing) else frozenset()


def _own(owner: type, name: str) -> bool:
    if name.startswith("__") and name not in ("__call__", "__forward__", "__backward__"):
        return False
    static = inspect.getattr_static(owner, name, None)
    function = static.__func__ if isinstance(static, staticmethod | classmethod) else static
    return isinstance(function, types.FunctionType)
