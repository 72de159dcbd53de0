"""Recurrences as kernel authors write them: an object with `layout` and `run`, several named sequences in, states of any shape."""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Mapping
from typing import Any

from bptt.harness.adapters.objects import (
    attribute,
    construct,
    has,
    is_factory,
    is_torch,
    known_recurrence,
    reasons,
    required,
    short_name,
    source_of,
)
from bptt.harness.errors import UsageError
from bptt.harness.subject import Detection, Operator, Subject

METHODS = {
    "inputs": "inputs(rng, params, T, N, sizes) -> {name: array}",
    "run": "run(params, inputs, state) -> outputs, final_state",
}
#: Values of sizes of which an operator says nothing, in the order in which its words appear: primes, unequal, one of them more than a few.
_SIZES = ((2, 1), (3, 5), (2, 7), (5, 3))
_DTYPES = ("float64", "float32")
_CHUNK = re.compile(r"chunk|block|window|tile|width|kernel|conv|taps|segment|span|period|^(BT|BS|BC|BL|C|L|W)$", re.I)
#: Longest chunk that is found in the code: lengths around a longer one cost too much to try without being asked.
_LONGEST = 130


def adapt(obj: object, spec: str, args: Mapping[str, object] | None) -> Subject | None:
    """A class, instance, factory or module with `layout`.  Raises UsageError where a method is missing or a word is not understood."""
    if is_factory(obj):
        if required(obj) != [] or args:
            return None
        made = construct(obj, spec, args)
        return subject(made, spec, short_name(obj)) if is_operator(made) else None
    if not is_operator(obj):
        return None
    if isinstance(obj, type):
        return subject(construct(obj, spec, args), spec, short_name(obj))
    if args:
        raise UsageError(f"{spec}: --args given for an object that is made already, wanted a class or no --args")
    return subject(obj, spec, short_name(obj))


def is_operator(obj: object) -> bool:
    layout = attribute(obj, "layout")
    return not is_torch(obj) and isinstance(layout, Mapping) and any(has(obj, method) for method in METHODS)


def subject(impl: Any, spec: str, name: str) -> Subject:
    """The object as a Subject.  Raises UsageError."""
    for method, wanted in METHODS.items():
        if not has(impl, method):
            raise UsageError(f"{spec}: {name} has a layout but no {method}, wanted {wanted}")
    said = _said(impl, spec)
    like = getattr(impl, "like", None)
    published = isinstance(like, str) and ":" not in like
    if published:
        known_recurrence(str(like), spec)
    gradients = has(impl, "backward")
    kept = [
        f"{what}: {value}"
        for what, value in vars(said).items()
        if value and (what, value) != ("multiple", 1) and what not in ("layout", "other")
    ]
    found = [Detection("form", f"an operator: it has a layout of {', '.join(said.layout)}"), *(Detection("says", fact) for fact in kept)]
    if not gradients:
        found.append(Detection("gradients", "none: it has no backward, so only its forward pass is checked"))
    return Subject(
        name=name,
        spec=spec,
        framework="numpy",
        kind="operator",
        implementation=impl,
        like=str(like) if published else None,
        capabilities=frozenset({"backward"} if gradients else ()) | ({"step"} if has(impl, "step") else set()),
        detected=tuple(found),
        batch_sizes=_numbers(getattr(impl, "batch_sizes", None), spec, "batch_sizes") or None,
        dtype=_dtype(impl, said.dtypes),
        dys_scale=getattr(impl, "dys_scale", None),
        lengths=bool(getattr(impl, "lengths", False)),
        source=source_of(impl, "backward", "run"),
        operator=said,
    )


def _dtype(impl: object, dtypes: tuple[str, ...]) -> str:
    own = getattr(impl, "dtype", None)
    if isinstance(own, str) and own in _DTYPES:
        return own
    return next((dtype for dtype in _DTYPES if dtype in dtypes), "float64")


def _said(impl: object, spec: str) -> Operator:
    layout = _axes(getattr(impl, "layout"), spec, "layout")  # noqa: B009  # any object
    layout |= _axes(getattr(impl, "params_layout", {}), spec, "params_layout")
    derived = {str(k): str(v) for k, v in getattr(impl, "derived", {}).items()}
    given = {str(k): _numbers(v, spec, f"sizes[{k!r}]") for k, v in getattr(impl, "sizes", {}).items()}
    known = ("N", "T", *derived, *given)
    words = dict.fromkeys(word for axes in layout.values() for word in axes if word not in known and word.isidentifier())
    free = {word: _SIZES[0] if word.lower().startswith("head") else _SIZES[1 + k % 3] for k, word in enumerate(words)}
    direction = getattr(impl, "direction", "forward")
    if direction not in ("forward", "reverse"):
        raise UsageError(f"{spec}.direction is {direction!r}, wanted 'forward' or 'reverse'")
    convention = getattr(impl, "complex_gradient", None)
    if convention not in (None, "conjugate"):
        raise UsageError(f"{spec}.complex_gradient is {convention!r}, wanted 'conjugate', or nothing: dL/dRe + i dL/dIm")
    other = getattr(impl, "like", None)
    return Operator(
        layout=layout,
        sizes={**given, **free},
        derived=derived,
        chunks=_numbers(getattr(impl, "chunks", ()), spec, "chunks") or chunks_found(impl),
        multiple=getattr(impl, "multiple", 1),
        optional=tuple(getattr(impl, "optional", ())),
        exempt=reasons(getattr(impl, "exempt", {}), spec, "exempt"),
        packed=getattr(impl, "packed", None),
        reverse=direction == "reverse",
        deterministic=bool(getattr(impl, "deterministic", True)),
        conjugate=convention == "conjugate",
        dtypes=tuple(str(getattr(d, "__name__", d)) for d in getattr(impl, "dtypes", ())),
        other=None if isinstance(other, str) and ":" not in other else other,
    )


def _axes(layout: object, spec: str, name: str) -> dict[str, tuple[str, ...]]:
    if not isinstance(layout, Mapping) or not all(isinstance(v, str) for v in layout.values()):
        raise UsageError(f"{spec}.{name} is {layout!r}, wanted {{array: its axes}} such as {{'q': 'N T heads K'}}")
    for array, axes in layout.items():
        if len(set(axes.split())) != len(axes.split()) and any(axes.split().count(axis) > 1 for axis in ("N", "T")):
            raise UsageError(f"{spec}.{name}[{array!r}] is {axes!r}: T or N stands there twice, wanted each once at most")
    return {str(array): tuple(axes.split()) for array, axes in layout.items()}


def _numbers(value: object, spec: str, name: str) -> tuple[int, ...]:
    numbers = (value,) if type(value) is int else () if value is None else value
    if not isinstance(numbers, tuple | list) or not all(type(n) is int and n > 0 for n in numbers):
        raise UsageError(f"{spec}.{name} is {value!r}, wanted whole numbers of at least 1, such as (16, 64)")
    return tuple(numbers)


def chunks_found(impl: object) -> tuple[int, ...]:
    """Numbers that read like the size of a chunk, a block or a window: attributes, defaults of arguments, constants of the module."""
    owner = impl if isinstance(impl, type | types.ModuleType) else type(impl)
    named: dict[str, object] = {}
    module = sys.modules.get(str(getattr(owner, "__module__", "")))
    named |= dict(vars(owner) if isinstance(owner, types.ModuleType) else vars(module) if module is not None else {})
    for base in reversed(getattr(owner, "__mro__", ())):
        named |= dict(vars(base))
    named |= dict(getattr(impl, "__dict__", {}))
    for method in [v for v in named.values() if isinstance(v, types.FunctionType)]:
        defaults = inspect.signature(method).parameters.values()
        named |= {p.name: p.default for p in defaults if type(p.default) is int and p.name not in named}
    found = {value for name, value in named.items() if type(value) is int and 1 < value <= _LONGEST and _CHUNK.search(name)}
    return tuple(sorted(found))
