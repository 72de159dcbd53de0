"""What the adapters of Keras, Flax and Equinox share: whose an object is, and how one of the sizes asked for is made of it."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bptt.harness.adapters.objects import given_size, short_name, text_of
from bptt.harness.errors import UsageError
from bptt.harness.subject import Arrays, Region

#: Where a package comes from, as an extra of ours.
_EXTRAS = {
    "keras": "keras",
    "jax": "jax",
    "flax": "jax",
    "equinox": "jax",
    "haiku": "jax",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "triton": "triton",
}
#: Constructor parameters that mean D and H, the likelier ones first.
INPUT_NAMES = ("input_size", "in_features", "input_dim", "in_size", "in_dim", "d_in", "input_features", "D")
HIDDEN_NAMES = (
    *("units", "features", "hidden_size", "hidden_features", "hidden_dim", "num_units", "n_hidden", "state_size", "d_hidden"),
    *("hidden", "size", "out_features", "H"),
)


def install_line(module: str) -> str:
    """How to get the framework that a module is of: "pip install 'bptt[keras]'"; "" where it is none that is known."""
    extra = _EXTRAS.get(module.partition(".")[0])
    return f"pip install 'bptt[{extra}]'" if extra else ""


def choose_keras_backend() -> None:
    """Where nobody has said which, Keras asks for TensorFlow; where that is missing it is to take what is installed."""
    if "keras" in sys.modules or "KERAS_BACKEND" in os.environ or (Path.home() / ".keras" / "keras.json").is_file():
        return
    if find_spec("keras") is None or find_spec("tensorflow") is not None:
        return
    found = next((name for name in ("torch", "jax") if find_spec(name) is not None), None)
    if found is not None:
        os.environ["KERAS_BACKEND"] = found


def belongs_to(obj: object, root: str) -> bool:
    """Whether a class of the package `root` stands among the object's classes, told without importing it."""
    classes = obj.__mro__ if isinstance(obj, type) else type(obj).__mro__
    return any(str(c.__module__).partition(".")[0] == root for c in classes)


def rules_of_jax(module: types.ModuleType) -> frozenset[str]:
    """Names of the functions of a module that are handed to a `custom_vjp` of it: parts of that one, told without importing JAX."""
    held = [v for v in vars(module).values() if type(v).__name__ in ("custom_vjp", "custom_jvp") and belongs_to(v, "jax")]
    parts = [unwrapped(getattr(v, name, None))[0] for v in held for name in ("fun", "fwd", "bwd", "jvp")]
    return frozenset(part.__name__ for part in parts if isinstance(part, types.FunctionType))


def concerns(obj: object, root: str) -> bool:
    """Whether `obj` is of the package `root`, a class of it, or a function or partial that may make one of it."""
    inner, _, _ = unwrapped(obj)
    return belongs_to(inner, root) or (inspect.isroutine(inner) and speaks_of(inner, root))


def speaks_of(function: object, root: str, depth: int = 3) -> bool:
    """Whether a function names the package `root`, or something of it, in its code.

    Only such a function is called to see what it makes: any other may be a factory of anything.
    """
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    if root not in getattr(function, "__globals__", {}) and any(name.partition(".")[0] == root for name in code.co_names):
        return True  # `import keras`, or `import jax.numpy as jnp`, inside the function
    return any(_of(value, root, depth) for value in _named_values(function, code))


def _of(value: object, root: str, depth: int) -> bool:
    if isinstance(value, types.ModuleType):
        return value.__name__.partition(".")[0] == root
    if inspect.isfunction(value):
        return value.__module__.partition(".")[0] == root or (depth > 0 and speaks_of(value, root, depth - 1))
    return belongs_to(value, root)


def _named_values(function: Any, code: types.CodeType) -> Iterator[object]:
    for name in code.co_names:
        if name in function.__globals__:
            yield function.__globals__[name]
    for cell in function.__closure__ or ():
        yield cell.cell_contents


def unwrapped(obj: object) -> tuple[object, dict[str, object], tuple[object, ...]]:
    """The callable inside functools.partial, with what was bound by keyword and by position."""
    bound: dict[str, object] = {}
    positional: tuple[object, ...] = ()
    while isinstance(obj, functools.partial):
        bound, positional, obj = {**obj.keywords, **bound}, (*obj.args, *positional), obj.func
    return obj, bound, positional


@dataclass(frozen=True)
class Recipe:
    """A way to an object of sizes D and H.

    make          called with keywords
    label         as the user knows it ("MyGRU")
    input_name, hidden_name   the keywords for D and H, None where there is none
    kwargs        all others, from --args or a partial
    D, H          the size where it is fixed already, else None
    filled        keywords that the adapter fills in at each call (key, rngs, dtype), of those that the callable takes
    """

    make: Callable[..., Any]
    label: str
    spec: str
    input_name: str | None
    hidden_name: str | None
    kwargs: Mapping[str, object] = field(default_factory=dict)
    D: int | None = None
    H: int | None = None
    filled: frozenset[str] = frozenset()

    def build(self, D: int, H: int, **filled: object) -> Any:
        """What the callable makes.  Raises UsageError where it raises."""
        sizes = {self.input_name: self.D or D, self.hidden_name: self.H or H}
        given = {name: size for name, size in sizes.items() if name} | dict(self.kwargs)
        try:
            return self.make(**given, **{name: value for name, value in filled.items() if name in self.filled and name not in given})
        except Exception as error:  # whatever a user's constructor raises is told, never swallowed
            call = f"{self.label}({', '.join(f'{name}={value!r}' for name, value in given.items())})"
            raise UsageError(f"{self.spec}: {call} raised {one_line(error)}, wanted an object of these sizes") from error


def recipe_of(obj: object, spec: str, args: Mapping[str, object] | None, fill: tuple[str, ...] = ()) -> Recipe:
    """How to make objects from a class, a function or a partial one.

    fill   names of arguments that the adapter gives
    Raises UsageError where a required argument is left that neither a size nor `args` fills.
    """
    make, bound, positional = unwrapped(obj)
    assert callable(make)
    label = short_name(make)
    parameters = _parameters(make)
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    names = [p.name for p in named]
    given = dict(zip(names, positional, strict=False)) | bound | dict(args or {})
    input_name, hidden_name = (next((name for name in known if name in names), None) for known in (INPUT_NAMES, HIDDEN_NAMES))
    required = [p.name for p in named if p.default is p.empty and p.name not in (*given, *fill)]
    rest = [name for name in required if name not in (input_name, hidden_name)]
    if hidden_name is None and rest and callable(make) and not isinstance(make, type):
        hidden_name = rest.pop()  # lambda n: ...
        if input_name is None and rest:
            input_name = rest.pop(0)
    if rest:
        raise UsageError(
            f"{spec}: {label} needs {', '.join(map(repr, rest))} besides its sizes, got nothing for it, "
            f"wanted it in --args, such as '{{\"{rest[0]}\": ...}}'"
        )
    sizes = {name: given_size(given.pop(name), name, spec) for name in (input_name, hidden_name) if name and name in given}
    D, H = (sizes.get(name) if name else None for name in (input_name, hidden_name))
    filled = frozenset(name for name in fill if open_ended or name in names)
    return Recipe(make, label, spec, input_name, hidden_name, given, D, H, filled)


def _parameters(make: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(make).parameters.values())
    if isinstance(make, type) and all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        parameters = list(inspect.signature(make.__init__).parameters.values())[1:]  # type: ignore[misc]  # a metaclass hides it
    return parameters


def one_line(error: BaseException) -> str:
    """Type and first line of an error."""
    text = text_of(error).splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__


def published_regions(
    name: str, params: Arrays, prefix: str = "", layer: int | None = None, direction: str | None = None
) -> tuple[Region, ...]:
    """The gates' blocks of parameters that are laid out as the published convention `name` says, under names with `prefix`."""
    from bptt.harness.weights.convention_map import mapping
    from bptt.harness.weights.conventions import convention
    from bptt.harness.weights.map import regions

    own = {full.removeprefix(prefix): value for full, value in params.items() if full.startswith(prefix)}
    of = mapping(convention(name), set(own))
    return tuple(replace(r, tensor=prefix + r.tensor, layer=layer, direction=direction) for r in regions(of, own))
