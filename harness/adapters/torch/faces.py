"""Modules that are called in other ways than module(x, state): read from the names in their signature and their code, and put right.

    forward(h, x)                the state before the input
    forward(*, x, h)             by keyword alone
    forward(x, lengths)          lengths of the sequences: all T where nothing is said
    forward(x, seq_len=10)       the number of steps
    forward(x, mask=None)        a mask (N, T) of the steps that count
    forward(x, h, delta_t)       the time since the step before, or the time of it: 1 at every step
    forward(x, state), state["h"] or state.h        a state that is a dict or has attributes
    a state that it keeps        its own reset_state() is called before each sequence
    an embedding                 tokens as one-hot rows

The module that is called is the user's own: only a forward of ours stands before it, which hands the arguments on.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, Literal

import torch
from torch.overrides import TorchFunctionMode

from bptt.harness.adapters.functions import documented
from bptt.harness.subject import ITSELF, Detection

_STATES = frozenset(
    ("h", "hx", "state", "hidden", "h_prev", "prev_h", "hidden_state", "prev_state", "states", "carry", "s", "h0", "h_0", "prev", "hprev")
)
_INPUTS = frozenset(("x", "input", "inputs", "xs", "x_t", "xt", "seq", "src", "x_in"))
_LENGTHS = re.compile(r"([a-z]+_)*(lengths|lens)|seq_len")
_SIZES = dict.fromkeys(("batch", "batch_size", "bs", "batch_sz"), "N") | {"device": "device"}
_SIZES |= dict.fromkeys(("seqlen", "seq_length", "sequence_length", "n_steps", "num_steps", "time_steps"), "T")
_OF_ATTENTION = re.compile(r"(q|query|queries|k|key|keys|v|value|values)s?")
_GAP = re.compile(
    r"(delta|d)_?(t|ts|times?)|(time_?)?(deltas?|gaps?|intervals?|spans?|lags?)|elapsed(_?times?)?|times?|time_?stamps?|timespans?", re.I
)
_PARTS = frozenset(("h", "c", "n", "m", "hidden", "cell", "memory", "S", "C"))
_MASKS = frozenset(("mask", "padding_mask", "masks", "pad_mask", "src_mask", "seq_mask"))


@dataclass(frozen=True)
class Face:
    """How a module's forward differs from forward(x, state).

    flipped    the state comes before the input
    lengths    name of its argument of lengths, and whether it is a mask, or one number of steps, or left out where nothing is said
    keys       names of the parts of a state that is a dict or has attributes
    kind       which of both;   make: what makes one with attributes
    inputs     how many of its arguments are its input and its state
    keywords   their names, where they are taken by keyword alone
    sizes      arguments that it wants besides: name -> "N", "T" or "device", or "gap", a time, "flat gap" without an axis of its own
    """

    flipped: bool = False
    lengths: str | None = None
    masked: bool = False
    counted: bool = False
    optional: bool = False
    keys: tuple[str, ...] = ()
    kind: Literal["dict", "attributes"] | None = None
    make: Callable[..., Any] | None = None
    inputs: int = 1
    keywords: tuple[str, ...] = ()
    sizes: tuple[tuple[str, str], ...] = ()

    @property
    def plain(self) -> bool:
        return not (self.flipped or self.lengths or self.kind or self.keywords or self.sizes)

    def detections(self) -> tuple[Detection, ...]:
        found = []
        if self.flipped:
            found.append(Detection("the state first", "by the names of its arguments"))
        if again := [n for n, letter in self.sizes if letter == "x"]:
            found.append(Detection(f"arguments {', '.join(again)}", ITSELF))
        if sizes := [n for n, letter in self.sizes if not letter.endswith("gap") and letter != "x"]:
            found.append(Detection(f"arguments {', '.join(sizes)}", "sizes and the device, as the inputs have them"))
        if gaps := [n for n, letter in self.sizes if letter.endswith("gap")]:
            found.append(Detection(f"argument {', '.join(gaps)}", "a time: 1 at every step"))
        if self.keywords and not self.sizes:
            found.append(Detection(f"arguments {', '.join(self.keywords)}", "by keyword alone"))
        if self.lengths:
            what = "a mask (N, T)" if self.masked else "the number" if self.counted else "lengths (N,)"
            found.append(Detection(f"argument {self.lengths}", f"{what} of the steps that count; all of them where nothing is said"))
        if self.kind:
            found.append(
                Detection(f"state with {', '.join(self.keys)}", "a dict" if self.kind == "dict" else "by attributes, as its code reads it")
            )
        return tuple(found)


def face_of(module: torch.nn.Module) -> Face:
    """What its forward's names say; a plain one where they say nothing or cannot be had."""
    if type(module).__module__.startswith("torch.nn.modules"):
        return Face()
    try:
        every = list(inspect.signature(module.forward).parameters.values())
    except (AttributeError, TypeError, ValueError):  # a TorchScript module may have no forward that Python can look at, or none at all
        return Face()
    parameters = [
        p for p in every if p.kind is p.POSITIONAL_OR_KEYWORD or (p.kind is p.KEYWORD_ONLY and p.name.lower() in _INPUTS | _STATES)
    ]
    wanted = [p.name for p in parameters[1:] if p.default is p.empty]
    written = _written(module, [parameters[0].name, *wanted]) if parameters else {}
    sizes = tuple((p.name, letter) for p in parameters[1:] if p.name in wanted and (letter := _besides(p, written, parameters[0].name)))
    if [p.name.lower()[0] for p in parameters[:3]] == ["q", "k", "v"] and all(
        _OF_ATTENTION.fullmatch(p.name.lower()) for p in parameters[:3]
    ):
        sizes, parameters = (*((p.name, "x") for p in parameters[1:3]), *sizes), parameters[:1]  # attention to its own input
    if sizes:
        parameters = [p for p in parameters if p.name not in dict(sizes)]
    by_keyword = any(p.kind is p.KEYWORD_ONLY for p in parameters)
    names = [p.name.lower() for p in parameters]
    said = next((p for p in parameters[1:] if _LENGTHS.fullmatch(p.name.lower()) or p.name.lower() in _MASKS), None)
    lengths, counted = (None, False) if said is None else (said.name, type(said.default) is int or said.annotation in (int, "int"))
    left = [name for name in names if lengths is None or name != lengths.lower()]
    if len(left) > 2:  # an argument for each part of the state, or what no name here says
        every_name = tuple(p.name for p in parameters)
        gaps = len(left) < 5 and not lengths and any(letter.endswith("gap") for _, letter in sizes)
        return Face(inputs=len(left), keywords=every_name, sizes=sizes) if gaps else Face()
    flipped = len(left) == 2 and left[0] in _STATES and left[1] in _INPUTS
    state = next((p for p in parameters if p.name.lower() in _STATES), None)
    keys, kind, make = _container(module, state) if state is not None else ((), None, None)
    keywords = tuple(p.name for p in parameters if p.name != lengths) if by_keyword or sizes else ()
    masked = lengths is not None and lengths.lower() in _MASKS
    optional = said is not None and said.default is None
    return Face(flipped, lengths, masked, counted, optional, keys, kind, make, len(left), keywords, sizes)


def _written(module: torch.nn.Module, names: list[str]) -> dict[str, tuple[str, ...]]:
    """The axes of its arguments as its author writes them."""
    own: Any = getattr(type(module), "bptt_user_class", type(module))
    return documented.axes_of(own.forward, names, documented.texts_of(own.forward, own)) if hasattr(own, "forward") else {}


def _besides(parameter: inspect.Parameter, written: Mapping[str, tuple[str, ...]], x: str) -> str | None:
    """What an argument beside input and state is: a letter of `Face.sizes`."""
    is_tensor = "Tensor" in str(parameter.annotation)
    if _GAP.fullmatch(parameter.name) or (parameter.name == "t" and is_tensor):
        axes = written.get(parameter.name, ())
        return "flat gap" if axes and len(axes) == len(written.get(x, ())) - 1 else "gap"
    return _SIZES.get(parameter.name.lower())


def _code(module: torch.nn.Module) -> str:
    """The text of its forward, '' where there is none."""
    own: Any = getattr(type(module), "bptt_user_class", type(module))
    return _text_of(own)


@functools.lru_cache(maxsize=64)
def _text_of(cls: type) -> str:
    try:
        return inspect.getsource(cls.forward)  # type: ignore[attr-defined]  # a module class
    except (OSError, TypeError):
        return ""


def _container(module: torch.nn.Module, state: inspect.Parameter) -> tuple[tuple[str, ...], Literal["dict", "attributes"] | None, Any]:
    code, name = _code(module), re.escape(state.name)
    if keys := tuple(dict.fromkeys(re.findall(rf"\b{name}\[[\"'](\w+)[\"']\]", code))):
        return keys, "dict", None
    of = state.annotation
    of = type(module).forward.__globals__.get(of) if isinstance(of, str) else of
    fields = getattr(of, "_fields", None) or (tuple(of.__dataclass_fields__) if isinstance(of, type) and is_dataclass(of) else None)
    if fields:
        return tuple(fields), "attributes", of
    keys = tuple(dict.fromkeys(re.findall(rf"\b{name}\.(\w+)\b(?!\()", code)))
    if keys and set(keys) <= _PARTS:  # any other attribute may be one of a tensor
        return keys, "attributes", types.SimpleNamespace
    return (), None, None


def faced(module: torch.nn.Module, face: Face) -> torch.nn.Module:
    """The same module, called as forward(x[, state][, lengths=])."""
    if face.plain:
        return module
    own = type(module)
    takes_state = face.inputs == 2

    def handed(self: Any, x: torch.Tensor, state: Any, lengths: torch.Tensor | None) -> Any:
        given = [x] if not takes_state else [state, x] if face.flipped else [x, state]
        if takes_state and state is None:
            given = [x]
        if takes_state and state is not None and face.kind:
            parts = list(state) if isinstance(state, tuple | list) else [state]
            packed = dict(zip(face.keys, parts, strict=True)) if face.kind == "dict" else _made(face, parts)
            given = [packed if each is state else each for each in given]
        told = face.lengths and not (face.optional and lengths is None)
        extra: dict[str, Any] = {str(face.lengths): _lengths(face, x, lengths, self)} if told else {}
        extra |= {name: _size_of(letter, x, self) for name, letter in face.sizes}
        if face.keywords:
            extra, given = extra | dict(zip(face.keywords, given, strict=False)), []
        return _unpacked(face, own.forward(self, *given, **extra))

    forward: Any
    if face.inputs > 2:

        def with_parts(self: Any, *given: Any) -> Any:
            extra = {name: _size_of(letter, given[0], self) for name, letter in face.sizes}
            return own.forward(self, **dict(zip(face.keywords, given, strict=True)), **extra)

        named = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", *face.keywords)]
        forward = with_parts
        forward.__signature__ = inspect.Signature(named)
    elif takes_state:

        def with_state(self: Any, x: torch.Tensor, state: Any = None, *, lengths: torch.Tensor | None = None) -> Any:
            return handed(self, x, state, lengths)

        forward = with_state
    else:

        def alone(self: Any, x: torch.Tensor, *, lengths: torch.Tensor | None = None) -> Any:
            return handed(self, x, None, lengths)

        forward = alone
    module.__class__ = type(own.__name__, (own,), {"forward": forward, "__module__": own.__module__, "bptt_user_class": own})
    return module


def _made(face: Face, parts: list[Any]) -> Any:
    assert face.make is not None
    return face.make(**dict(zip(face.keys, parts, strict=True)))


def _unpacked(face: Face, returned: Any) -> Any:
    """A state of attributes or of keys as a tuple, wherever it stands in what came back."""
    if face.kind is None:
        return returned

    def flat(value: Any) -> Any:
        if face.kind == "dict" and isinstance(value, dict):
            return tuple(value[key] for key in face.keys) if len(face.keys) > 1 else value[face.keys[0]]
        if face.kind == "attributes" and not isinstance(value, torch.Tensor) and all(hasattr(value, key) for key in face.keys):
            return tuple(getattr(value, key) for key in face.keys) if len(face.keys) > 1 else getattr(value, face.keys[0])
        return tuple(flat(each) for each in value) if type(value) in (tuple, list) else value

    return flat(returned)


def _size_of(letter: str, x: torch.Tensor, module: Any) -> int | str | torch.Tensor:
    if letter == "device":
        return "cpu"
    if letter == "x":
        return x
    if letter.endswith("gap"):
        own = (1,) if letter == "gap" else ()
        return torch.ones(*x.shape[:-1], *own, dtype=torch.float64 if x.dtype in (torch.float64, torch.complex128) else torch.float32)
    if x.ndim < 3:
        return int(x.shape[0]) if letter == "N" else 1
    steps_second = _batch_first(module) if not (code := _code(module)) else bool(re.search(r"\[:, *\w+\b|size\(1\)|shape\[1\]", code))
    return int(x.shape[1 if steps_second is (letter == "T") else 0])


def _lengths(face: Face, x: torch.Tensor, lengths: torch.Tensor | None, module: Any) -> torch.Tensor | int:
    if face.counted:
        return int(x.shape[1 if re.search(r"\[:, *\w+\b", _code(module)) else 0])
    batch_first = _batch_first(module)
    N, T = (x.shape[0], x.shape[1]) if batch_first else (x.shape[1], x.shape[0])
    full = torch.full((N,), T, dtype=torch.int64) if lengths is None else lengths
    return torch.arange(T)[None, :] < full[:, None] if face.masked else full


def _batch_first(module: Any) -> bool:
    """As a layer inside says; a module that is asked for lengths or masks without one reads (N, T, D)."""
    said = [each.batch_first for each in module.modules() if isinstance(getattr(each, "batch_first", None), bool)]
    return said[0] if said else True


_RESETS = re.compile(r"^_?(reset|clear|zero|flush)_?(the_)?(hidden|cell|memory|internal)?_?(states?|hidden|memory|cell)?$")


def reset_of(module: torch.nn.Module) -> str:
    """The method by which a module forgets the state that it keeps from call to call; "" where it has none, or is handed its state."""
    own = getattr(type(module), "bptt_user_class", type(module))
    if own.__module__.startswith("torch.nn."):
        return ""
    for name in dir(own):
        method = getattr(own, name, None)
        if _RESETS.match(name) and name != "zero_grad" and inspect.isfunction(method):
            needed = [p for p in inspect.signature(method).parameters.values() if p.default is p.empty and p.name != "self"]
            if not needed:
                return name
    return ""


def renewed(module: torch.nn.Module) -> torch.nn.Module:
    """`module`, which forgets what it keeps before each call that hands it no state."""
    own, reset = type(module), reset_of(module)
    if not reset:
        return module

    @functools.wraps(own.forward)
    def forward(self: Any, x: torch.Tensor, *states: Any, **more: Any) -> Any:
        if not states:
            getattr(self, reset)()
        return own.forward(self, x, *states, **more)

    members = {"forward": forward, "__module__": own.__module__, "bptt_user_class": getattr(own, "bptt_user_class", own)}
    module.__class__ = type(own.__name__, (own,), members)
    return module


class Soft(torch.nn.Embedding):
    """An embedding that takes rows of numbers (..., V) as well as whole ones: x @ weight, which is the same for a one-hot row."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return input @ self.weight if input.is_floating_point() or input.is_complex() else super().forward(input)


#: The number of the first place: no symbol of a padding, and above any vocabulary, so that what looks at the numbers themselves refuses.
_FIRST = 1_000_000


class Numbered(Soft):
    """An embedding that is asked for numbered rows: what stands for the k-th token of a call is the k-th of `rows`."""

    rows: torch.Tensor

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(self.rows[input - _FIRST] if not input.is_floating_point() else input)


class _OneHot(TorchFunctionMode):
    """one_hot of the places of a call's tokens is the rows themselves."""

    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__()
        self.rows = rows

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.one_hot and bool((args[0] >= _FIRST).all()):
            return self.rows[args[0] - _FIRST]
        return func(*args, **(kwargs or {}))


def numbered(module: torch.nn.Module) -> torch.nn.Module:
    """A softened module that wants whole numbers (N, T): it is given the places of the rows (N, T, V) that are handed over."""
    own = type(module)
    for each in module.modules():
        if type(each) is Soft:
            each.__class__ = Numbered

    @functools.wraps(own.forward)
    def forward(self: Any, x: torch.Tensor, *states: Any, **more: Any) -> Any:
        places = _FIRST + torch.arange(x.shape[:-1].numel()).reshape(x.shape[:-1])
        for each in self.modules():
            if isinstance(each, Numbered):
                each.rows = x.reshape(-1, x.shape[-1])
        try:
            with _OneHot(x.reshape(-1, x.shape[-1])):
                return own.forward(self, places, *states, **more)
        finally:  # a module with a graph in it cannot be copied
            for each in self.modules():
                each.__dict__.pop("rows", None)

    members = {"forward": forward, "__module__": own.__module__, "bptt_user_class": getattr(own, "bptt_user_class", own)}
    module.__class__ = type(own.__name__, (own,), members)
    return module


def softened(module: torch.nn.Module) -> torch.nn.Module:
    """`module`, whose plain embeddings take one-hot rows: a language model over tokens is a layer over (T, N, V)."""
    for each in module.modules():
        if type(each) is torch.nn.Embedding and each.max_norm is None:
            each.__class__ = Soft
    return module


class OnCpu(TorchFunctionMode):
    """Where there is no CUDA, what is sent to it stays where it is."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.cuda:
            return args[0]
        moved = {name: "cpu" if name == "device" and _is_cuda(value) else value for name, value in (kwargs or {}).items()}
        return func(*("cpu" if _is_cuda(a) else a for a in args), **moved)


def _is_cuda(value: Any) -> bool:
    return isinstance(value, str | torch.device) and str(value).startswith("cuda")


def wants_cuda(make: Any) -> bool:
    """Whether the file of a class sends something to CUDA and asks nowhere whether it is there, and it is not."""
    home = sys.modules.get(str(getattr(make, "__module__", "")))
    try:
        text = inspect.getsource(home) if home is not None else ""
    except (OSError, TypeError):
        return False
    return bool(re.search(r"\.cuda\(|[\"']cuda[\"':]", text)) and not torch.cuda.is_available()


def on_cpu(module: torch.nn.Module) -> torch.nn.Module:
    own = type(module)

    @functools.wraps(own.forward)
    def forward(self: Any, x: torch.Tensor, *states: Any, **more: Any) -> Any:
        with OnCpu():
            return own.forward(self, x, *states, **more)

    members = {"forward": forward, "__module__": own.__module__, "bptt_user_class": getattr(own, "bptt_user_class", own)}
    module.__class__ = type(own.__name__, (own,), members)
    return module
