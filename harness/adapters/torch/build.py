"""Modules of the sizes asked for, from a class, a factory or an instance."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import re
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from bptt.harness.adapters.objects import given_size, parts_read, text_of, words_for
from bptt.harness.adapters.torch.bound import bound_module
from bptt.harness.adapters.torch.copies import own_copy
from bptt.harness.adapters.torch.faces import OnCpu, face_of, faced, numbered, on_cpu, renewed, softened, wants_cuda
from bptt.harness.adapters.torch.images import given_to, imaged
from bptt.harness.adapters.torch.rows import Rows, by_row
from bptt.harness.errors import UsageError

#: Constructor parameters that mean D and H, compared in lower case; the first one found counts.
INPUT_NAMES = (
    *("vocab_size", "n_vocab", "num_vocab", "vocabulary_size", "ntoken", "ntokens", "n_tokens", "num_tokens", "num_embeddings", "n_chars"),
    *(
        "input_size",
        "input_dim",
        "input_shape",
        "in_features",
        "n_in",
        "n_input",
        "n_inputs",
        "num_inputs",
        "input_features",
        "input_units",
    ),
    *(
        "in_size",
        "in_dim",
        "in_channels",
        "input_channels",
        "d_in",
        "nin",
        "dim_in",
        "x_dim",
        "x_size",
        "ninp",
        "n_features",
        "embed_size",
        "embed_dim",
        "d",
    ),
)
HIDDEN_NAMES = (
    *("hidden_size", "hidden_dim", "hidden_shape", "n_hidden", "num_hidden", "num_hiddens", "hidden_features", "hidden_units", "units"),
    *("num_units", "n_units", "hid_size", "hid_dim", "d_hidden", "dim_hidden", "h_dim", "h_size", "nhid", "hidden", "hiddens"),
    *("hidden_channels", "hid_channels", "hidden_ch"),
    *("state_size", "state_dim", "cell_size", "d_model", "out_features", "output_size", "out_dim", "n_out", "nout", "size", "h"),
)

#: The length of a sequence and the size of a batch with which a module is called first: a constructor that asks for them is given these.
USUAL_T, USUAL_N = 7, 9

#: Required arguments besides D and H that have an obvious value: one layer, and an output width unlike D and H.
OBVIOUS = dict.fromkeys(("output_size", "output_dim", "out_features", "out_dim", "n_out", "n_output", "n_outputs"), 6)
OBVIOUS |= dict.fromkeys(("num_layers", "n_layers", "layers", "nlayers"), 1)
OBVIOUS |= dict.fromkeys(("num_classes", "n_classes", "num_labels", "classes", "tagset_size", "horizon"), 6)
OBVIOUS |= dict.fromkeys(("embed_size", "embed_dim", "embedding_dim", "embedding_size", "emb_size", "emb_dim", "ninp", "n_embed"), 5)
OBVIOUS |= dict.fromkeys(("wordvec_dim", "word_dim", "wordvec_size"), 5)
OBVIOUS_ELSE: dict[str, object] = dict.fromkeys(("dropout", "drop", "dropout_rate", "drop_prob", "p_drop"), 0.0)
OBVIOUS_ELSE |= dict.fromkeys(("seq_len", "seq_length", "sequence_length", "time_steps", "n_steps", "num_steps"), USUAL_T)
OBVIOUS_ELSE |= dict.fromkeys(("batch_size", "batch", "bs"), USUAL_N)
OBVIOUS_ELSE |= {"seed": 0, "bidirectional": False, "bias": True, "batch_first": True, "device": "cpu", "n_directions": 1}


#: Any other size: as wide as an embedding, since many have to be equal.
_A_COUNT = re.compile(r"(_|^)(steps|len|length|iterations|heads|depth|blocks|order|rank)$", re.I)
_A_SIZE = re.compile(r"(_|^)(size|dim|dims|features|channels|units|width|shape|vocab|classes|labels|neurons|nodes)(_|$)|^(n|num|d)_", re.I)


_A_FLAG = re.compile(r"^(use|is|has|with|enable)_|(_|^)(cuda|gpu|flag|bidirectional|bi|peephole|layer_?norm)$", re.I)

_SIZES_OF_LAYERS = re.compile(r"^(hidden|rnn|lstm|gru|layers?)_?(layers?_?)?(sizes|dims)$", re.I)


@dataclass(frozen=True)
class Recipe:
    """A way to a module of sizes D and H.

    make          called with keywords; None for an instance
    label         as the user knows it ("MyGRU")
    spec          the target as the user wrote it, for errors
    input_name, hidden_name   the keywords for D and H, None where there is none
    kwargs        all others, from --args or a partial
    D, H          the size where it is fixed already, else None
    instance      the user's own module; never changed, only copied
    compiled      what torch.compile made of it, where that is what the user handed over
    images, tokens   it is called with images, with whole numbers    rows: once for each row of a batch
    widths        those of `kwargs` that are widths of ours; `as_hidden`: they are H        lists   keywords for H in a list, a layer each
    large         keywords for other widths whose defaults are large
    """

    make: Callable[..., object] | None
    label: str
    spec: str
    input_name: str | None = None
    hidden_name: str | None = None
    kwargs: Mapping[str, object] = field(default_factory=dict)
    D: int | None = None
    H: int | None = None
    instance: torch.nn.Module | None = None
    compiled: torch.nn.Module | None = field(default=None, kw_only=True)
    images: bool = field(default=False, kw_only=True)
    tokens: bool = field(default=False, kw_only=True)
    widths: tuple[str, ...] = field(default=(), kw_only=True)
    as_hidden: bool = field(default=False, kw_only=True)
    lists: tuple[str, ...] = field(default=(), kw_only=True)
    large: tuple[str, ...] = field(default=(), kw_only=True)
    rows: Rows | None = field(default=None, kw_only=True)

    def arguments(self, D: int, H: int) -> dict[str, object]:
        sizes = {self.input_name: D if self.D is None else self.D, self.hidden_name: H if self.H is None else self.H}
        found = {name: size for name, size in sizes.items() if name} | dict(self.kwargs)
        found |= {name: [sizes[self.hidden_name] if self.hidden_name else OBVIOUS["embed_size"]] for name in self.lists}
        return found | dict.fromkeys(self.widths, sizes[self.hidden_name]) if self.as_hidden and self.hidden_name else found

    def call(self, D: int, H: int) -> str:
        """The call as it would be written: ``MyGRU(input_size=3, hidden_size=7)``."""
        if self.make is None:
            return self.label
        return f"{self.label}({', '.join(f'{name}={value!r}' for name, value in self.arguments(D, H).items())})"

    def build(self, D: int, H: int) -> torch.nn.Module:
        """A new module in evaluation mode, its parameters as its constructor drew them.  Raises UsageError where that fails."""
        here = self.make is not None and wants_cuda(self.make)
        try:
            with _memory_is_nan(), OnCpu() if here else nullcontext():
                if self.make is not None:
                    module = self.make(**self.arguments(D, H))
                else:
                    module = None if self.instance is None else own_copy(self.instance)
        except Exception as error:  # whatever a user's constructor raises is told, never swallowed
            wanted = "a module that copy.deepcopy can copy" if self.make is None else "a torch.nn.Module of these sizes"
            raise UsageError(f"{self.spec}: {self.call(D, H)} raised {one_line(error)}, wanted {wanted}") from error
        module = uncompiled(module)
        if not isinstance(module, torch.nn.Module):
            raise UsageError(f"{self.spec}: {self.call(D, H)} returned {type(module).__name__}, wanted a torch.nn.Module")
        lazy = [name for name, p in module.named_parameters() if isinstance(p, torch.nn.parameter.UninitializedParameter)]
        if lazy:
            raise UsageError(f"{self.spec}: parameter {lazy[0]} has no shape yet, wanted a module that has been called once")
        if self.make is not None:
            for name in never_given(module):
                module.get_parameter(name).data.nan_to_num_(nan=0.0)
        module = renewed(faced(on_cpu(module) if here else module, face_of(module)))
        module = softened(imaged(module) if self.images else module)
        module = numbered(module) if self.tokens else module
        return (by_row(module, self.rows) if self.rows else module).eval()

    def left_as_memory(self, D: int, H: int) -> tuple[str, ...]:
        """Parameters that the constructor makes and gives no value: what stood in memory is their value.  () of an instance."""
        if self.make is None:
            return ()
        with torch.random.fork_rng(devices=[]), _memory_is_nan():
            module = self.make(**self.arguments(D, H))
        return never_given(module) if isinstance(module, torch.nn.Module) else ()

    def seeded(self, seed: int, D: int, H: int) -> torch.nn.Module:
        """As `build`, with every draw of the constructor from `seed`; torch's own generator is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build(D, H)


def never_given(module: torch.nn.Module) -> tuple[str, ...]:
    """Parameters of a module made under `_memory_is_nan` that have entries without a value."""
    floating = {n: p for n, p in module.named_parameters() if p.is_floating_point() and not torch.nn.parameter.is_lazy(p)}
    return tuple(name for name, p in floating.items() if bool(p.detach().isnan().any()))


def _deterministic(mode: bool, warn_only: bool) -> None:
    """torch.use_deterministic_algorithms, but for its compiler, whose import takes a second."""
    torch._C._set_deterministic_algorithms(mode, warn_only=warn_only)


@contextmanager
def _memory_is_nan() -> Iterator[None]:
    """torch.empty(...) and torch.Tensor(...) give NaN in place of what stands in memory, so that no verdict hangs on it."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    _deterministic(True, warn_only=True)
    memory.fill_uninitialized_memory = True
    try:
        yield
    finally:
        _deterministic(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = filled


def recipe_of(obj: object, spec: str, args: Mapping[str, object] | None) -> Recipe | None:
    """How to make modules from `obj`; None where it is no torch module, class or factory of one, nor a function with tensors bound to it.

    Raises UsageError where a required argument is left that neither a size nor `args` fills.
    """
    if isinstance(obj, torch.nn.Module):
        if args:
            raise UsageError(f"{spec}: got args {sorted(args)} for an instance, wanted none (its sizes are fixed)")
        if (inner := uncompiled(obj)) is not obj:
            return Recipe(None, type(inner).__name__, spec, instance=inner, compiled=obj)
        if isinstance(obj, torch.jit.ScriptModule):
            return Recipe(None, str(getattr(obj, "original_name", "")) or type(obj).__name__, spec, instance=obj)
        return Recipe(None, type(obj).__name__, spec, instance=obj)
    if (held := bound_module(obj)) is not None:
        if args:
            raise UsageError(f"{spec}: got args {sorted(args)} for a function with its parameters bound to it, wanted none")
        return Recipe(None, type(held).__name__, spec, instance=held)
    make, bound, positional = _unwrap(obj)
    if not (_is_module_class(make) or (inspect.isroutine(make) and _speaks_of_torch(make))):
        return None
    assert callable(make)
    recipe = _from_signature(make, {**bound, **(args or {})}, positional, _label(obj, make), spec)
    if not isinstance(make, type) and recipe.input_name is None and recipe.hidden_name is None and compiles(make):
        with torch.random.fork_rng(devices=[]), contextlib.suppress(Exception):  # whatever it raises is told where it is built
            torch.manual_seed(0)
            made: Any = make(**recipe.kwargs)
            if uncompiled(made) is not made:  # what it compiles is an instance, of sizes of its own
                return recipe_of(made, spec, None)
    return recipe


def uncompiled(module: Any) -> Any:
    """The module that torch.compile was given, which it keeps, with the same parameters; any other thing as it is."""
    inner = getattr(module, "_orig_mod", None)
    return inner if type(module).__name__ == "OptimizedModule" and isinstance(inner, torch.nn.Module) else module


def compiles(function: Any) -> bool:
    """Whether it names torch.compile."""
    return "compile" in getattr(getattr(function, "__code__", None), "co_names", ())


def _unwrap(obj: object) -> tuple[object, dict[str, object], tuple[object, ...]]:
    """The callable inside functools.partial, with what was bound by keyword and by position."""
    bound: dict[str, object] = {}
    positional: tuple[object, ...] = ()
    while isinstance(obj, functools.partial):
        bound, positional, obj = {**obj.keywords, **bound}, (*obj.args, *positional), obj.func
    return obj, bound, positional


def _label(obj: object, make: object) -> str:
    name = getattr(make, "__name__", type(make).__name__)
    own = isinstance(make, type) and make.__module__.startswith("torch.nn.")
    return f"nn.{name}" if own else name


def _is_module_class(obj: object) -> bool:
    return isinstance(obj, type) and issubclass(obj, torch.nn.Module)


def _speaks_of_torch(function: Any, depth: int = 3) -> bool:
    """Whether a function says that it returns a module, or names torch or a module class in its code.

    Only such a function is called to see what it makes: any other may be a factory of anything.
    """
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    hint = function.__annotations__.get("return")
    if _is_module_class(hint):
        return True
    return any(_is_torch(value, depth) for value in _named_values(function, code))


def _is_torch(value: object, depth: int) -> bool:
    if value is torch or _is_module_class(value) or isinstance(value, torch.nn.Module):
        return True
    if inspect.ismodule(value):
        return value.__name__.partition(".")[0] == "torch"
    return depth > 0 and inspect.isfunction(value) and _speaks_of_torch(value, depth - 1)


def _named_values(function: Any, code: Any) -> Iterator[object]:
    """Values of the globals and closure cells that the code names, nested functions included."""
    for name in code.co_names:
        if name in function.__globals__:
            yield function.__globals__[name]
        elif name == "torch":  # `import torch` inside the function
            yield torch
    for cell in function.__closure__ or ():
        yield cell.cell_contents
    for constant in code.co_consts:
        if inspect.iscode(constant):
            yield from (function.__globals__[name] for name in constant.co_names if name in function.__globals__)


def _from_signature(make: Callable[..., object], given: dict[str, object], positional: tuple[object, ...], label: str, spec: str) -> Recipe:
    parameters = [p for p in inspect.signature(make).parameters.values() if p.kind is not p.VAR_KEYWORD]
    named = [p for p in parameters if p.kind is not p.VAR_POSITIONAL]
    if len(named) < len(parameters):  # nn.LSTM(*args, **kwargs): as torch documents it
        names, required = ["input_size", "hidden_size"], ["input_size", "hidden_size"]
    else:
        names = [p.name for p in named]
        required = [p.name for p in named if p.default is p.empty]
    given = dict(zip(names, positional, strict=False)) | given
    if (config := _configuration(make, [name for name in required if name not in given])) is not None:
        name, of = config
        fields = set(inspect.signature(of).parameters)
        rest = {key: value for key, value in given.items() if key not in fields}

        def configured(**values: object) -> object:
            return make(**{name: of(**values)}, **rest)

        inner = _from_signature(of, {key: value for key, value in given.items() if key in fields}, (), label, spec)
        return dataclasses.replace(inner, make=configured, label=label)
    pictures = {
        name: value for name, value in given_to(make, names).items() if (name in required or name == "batch_first") and name not in given
    }
    given |= pictures
    names = [name for name in names if name not in pictures]
    lists = tuple(name for name in required if name not in given and _SIZES_OF_LAYERS.match(name))[:1]
    input_name, hidden_name = _size_names(
        [name for name in names if name not in lists],
        [name for name in required if (name not in given or _is_size(name)) and name not in lists],
    )
    hidden_name = lists[0] if lists else hidden_name
    sizes = {name: given_size(given.pop(name), name, spec) for name in (input_name, hidden_name) if name and name in given}
    obvious: dict[str, object] = {**OBVIOUS, **OBVIOUS_ELSE}
    given |= {name: obvious[name] for name in required if name in obvious and name not in {input_name, hidden_name, *given}}
    given |= {name: 0.0 for name in required if name.endswith("_dropout") and name not in {input_name, hidden_name, *given}}
    left = [name for name in required if name not in {input_name, hidden_name, *given}]
    given |= {name: 1 for name in left if re.search(r"_(num_)?layers$", name)} | {name: torch.float32 for name in left if name == "dtype"}
    given |= {name: False for name in left if _A_FLAG.search(name)}
    given |= {name: 2 for name in left if name not in given and _A_COUNT.search(name)}
    given |= {name: OBVIOUS["embed_size"] for name in left if name not in given and _is_width(name)}
    given |= {name: words[0] for name in left if name not in given and (words := words_for(make, name))}
    missing = [name for name in left if name not in given]
    if missing:
        raise UsageError(
            f"{spec}: {label} needs {', '.join(map(repr, missing))} besides its sizes, got nothing for it, "
            f"wanted it in --args, such as '{{\"{missing[0]}\": ...}}'"
        )
    D, H = (sizes.get(name) if name else None for name in (input_name, hidden_name))
    widths = tuple(name for name in required if given.get(name) == OBVIOUS["embed_size"])
    large = tuple(
        p.name
        for p in named
        if p.name not in {input_name, hidden_name, *given} and type(p.default) is int and p.default > _LARGE and _is_width(p.name)
    )
    return Recipe(make, label, spec, input_name, hidden_name, given, D, H, widths=widths, lists=lists, large=large)


def _configuration(make: Any, missing: list[str]) -> tuple[str, Any] | None:
    """The one argument that is an object with its sizes in it, and the class of that: a dataclass, or what is made with its sizes."""
    if len(missing) != 1:
        return None
    function = vars(make).get("__init__", object.__init__) if isinstance(make, type) else make
    hint = getattr(function, "__annotations__", {}).get(missing[0])
    of = getattr(function, "__globals__", {}).get(hint) if isinstance(hint, str) else hint
    if not isinstance(of, type) or issubclass(of, torch.nn.Module) or of.__module__ in ("builtins", "typing", "argparse", "types"):
        told = isinstance(of, type) and of is not Any and not issubclass(of, dict | Namespace)
        return None if told else _read_from(make, missing[0])
    if not dataclasses.is_dataclass(of):
        try:
            names = set(inspect.signature(of).parameters)
        except (TypeError, ValueError):
            return None
        if not any(name.lower() in HIDDEN_NAMES for name in names):
            return None
    return missing[0], of


def _read_from(make: Any, name: str) -> tuple[str, Any] | None:
    """An argument of which only sizes and the like are read, and what makes it of these: `args.hidden_size`, `config["hidden_size"]`."""
    parts, are_keys = parts_read(make, name)
    if _is_size(name) or not any(_is_size(part) for part in parts):
        return None

    def of(**values: object) -> object:
        return values if are_keys else Namespace(**values)

    named = [inspect.Parameter(part, inspect.Parameter.KEYWORD_ONLY) for part in parts]
    of.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]  # a function has one where it is given one
    return name, of


#: Widths above it are made small, where the module runs so: a gradient is as wrong at 5 as it is at 300.
_LARGE = 32


def _is_width(name: str) -> bool:
    return _is_size(name) or _A_SIZE.search(name) is not None


def _is_size(name: str) -> bool:
    return name.lower() in INPUT_NAMES or name.lower() in HIDDEN_NAMES


def _size_names(names: list[str], required: list[str]) -> tuple[str | None, str | None]:
    """Which parameters mean D and H: by name, else the first required ones in order."""

    def named(known: tuple[str, ...]) -> str | None:
        lower = {name.lower(): name for name in reversed(names)}
        return next((lower[name] for name in known if name in lower), None)

    input_name, hidden_name = named(INPUT_NAMES), named(HIDDEN_NAMES)
    counts = [name for name in required if _A_COUNT.search(name) or re.search(r"(_|^)n?layers$|head", name.lower())]
    rest = [name for name in required if name not in (input_name, hidden_name, *counts)]
    if input_name is None and len(rest) >= (2 if hidden_name is None else 1):
        input_name = rest.pop(0)
    if hidden_name is None and rest:
        hidden_name = rest.pop(0)
    return input_name, hidden_name


def one_line(error: BaseException) -> str:
    """Type and first line of an error."""
    text = text_of(error).splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


#: A number above it is no size: an address, a counter, the seed of a generator.
_MOST = 1 << 20


def size_attributes(module: torch.nn.Module) -> tuple[list[int], list[int]]:
    """Candidates for D and for widths of the state of a given module, the likeliest first, from its attributes and parameters."""
    modules = list(module.modules())
    inputs = _attributes(modules[:1], INPUT_NAMES) + _attributes(modules[1:], INPUT_NAMES)
    hidden = _attributes(modules[:1], HIDDEN_NAMES) + _attributes(modules[1:], HIDDEN_NAMES)
    dims = [size for p in module.parameters() for size in reversed(p.shape)]
    parts = [size // k for size in dims for k in (2, 3, 4) if size % k == 0]
    lengths = sorted({*dims, *parts})
    differences = [b - a for a in lengths for b in dims if b > a]  # a kernel on [x, h] has D + H rows
    plain = [value for value in vars(module).values() if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST]

    def ordered(found: list[int]) -> list[int]:
        return [*[size for size in dict.fromkeys(found) if size > 1][:24], 1]

    return ordered(inputs + plain + dims + parts + differences), ordered(hidden + plain + dims + parts)


def _attributes(modules: list[torch.nn.Module], names: tuple[str, ...]) -> list[int]:
    found = []
    for module in modules:
        own = {name.lower(): value for name, value in vars(module).items()}
        found += [own[name] for name in names if isinstance(own.get(name), int) and own[name] > 0]
    return found
