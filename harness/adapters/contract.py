"""Objects that have the plug-in contract's methods already: cells, and networks with their loss inside."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from bptt.harness.adapters import said
from bptt.harness.adapters.equations.adapt import is_text
from bptt.harness.adapters.objects import construct, has, is_factory, is_torch, known_cell, reasons, required, short_name, source_of
from bptt.harness.errors import UsageError
from bptt.harness.subject import CELL_METHODS, NETWORK_METHODS, Clip, Detection, Subject
from bptt.harness.words import nearest

OPTIONAL = {"backward": "backward(params, xs, state, dys, dfinal_state) -> dparams, dxs, dstate"}
WANTED = CELL_METHODS | NETWORK_METHODS | OPTIONAL


def adapt(obj: object, spec: str, args: Mapping[str, object] | None) -> Subject | None:
    """A class, instance, factory or module with the contract's methods.  Raises UsageError where one is missing or misspelt."""
    if is_factory(obj):
        if required(obj) != [] or args:
            return None
        made = construct(obj, spec, args)
        return None if _kind(made, spec) is None else _subject(made, spec, name=short_name(obj))
    if is_torch(obj) or _kind(obj, spec) is None:
        return None
    if isinstance(obj, type):
        return _subject(construct(obj, spec, args), spec, name=short_name(obj))
    if args:
        raise UsageError(f"{spec}: --args given for an object that is made already, wanted a class or no --args")
    return _subject(obj, spec, name=short_name(obj))


def _kind(obj: object, spec: str) -> Literal["cell", "network"] | None:
    """Which contract `obj` keeps; None where it does not look like one.  Raises UsageError on a near miss."""
    cell = [m for m in CELL_METHODS if has(obj, m)]
    network = [m for m in NETWORK_METHODS if has(obj, m)]
    if len(cell) == len(CELL_METHODS):
        if not has(obj, "backward"):
            _refuse_misspelt(obj, spec, "backward")
        return "cell"
    if len(network) == len(NETWORK_METHODS):
        return "network"
    wanted = NETWORK_METHODS if len(network) > len(cell) or (has(obj, "loss") and not has(obj, "run")) else CELL_METHODS
    present = [m for m in wanted if has(obj, m)]
    near = {m: close for m in wanted if m not in present and (close := _close(obj, m))}
    own_style = has(obj, "forward") and not has(obj, "zero_state")  # a textbook class that happens to have an init
    if own_style or not present or len(present) + len(near) < 2 or (isinstance(obj, types.ModuleType) and len(present) < 2):
        return None
    for missing in wanted:
        if missing not in present:
            hint = f", it has {near[missing]}: did you mean {missing}?" if missing in near else ""
            raise UsageError(f"{spec}: {short_name(obj)} has {', '.join(present)} but no {missing}{hint} wanted {wanted[missing]}")
    raise AssertionError("a contract without a missing method was returned above")


def _refuse_misspelt(obj: object, spec: str, method: str) -> None:
    if close := _close(obj, method):
        raise UsageError(f"{spec}: {short_name(obj)} has {close} but no {method}, did you mean {method}? wanted {WANTED[method]}")


def _close(obj: object, method: str) -> str | None:
    """A public method of `obj` whose name is almost `method`, and no name of the contract's."""
    names = [n for n in dir(obj) if not n.startswith("_") and n not in WANTED and has(obj, n)]
    return nearest(method, [n for n in names if abs(len(n) - len(method)) <= 2 and n[:1].lower() == method[:1]])


def _subject(impl: Any, spec: str, name: str) -> Subject:
    kind = _kind(impl, spec)
    if kind is None:
        raise UsageError(f"{spec}: {name} made {short_name(impl)}, wanted an object with {', '.join(CELL_METHODS)}[, backward]")
    options = _options(impl, spec)
    has_gradients = kind == "network" or has(impl, "backward")
    methods = [m for m in (*(NETWORK_METHODS if kind == "network" else CELL_METHODS), "backward") if has(impl, m)]
    found = [Detection("form", f"the plug-in contract of a {kind}: it has {', '.join(methods)}")]
    if not has_gradients:
        found.append(Detection("gradients", "none: it has no backward, so only its forward pass is checked"))
    found += [Detection(what, f"the class says so: {what} = {value!r}") for what, value in options.items()]
    told = _as_said(impl, kind, options, f"{spec}: {name}")
    return Subject(
        name=name,
        spec=spec,
        framework="numpy",
        kind=kind,
        implementation=told.implementation,
        capabilities=frozenset({"backward"} if has_gradients else ()) | ({"forward_ad"} if has(impl, "run_tangent") else set()),
        detected=(*found, *told.detected),
        source=source_of(impl, "backward" if kind == "cell" else "loss", "run"),
        clip=told.clip,
        inferred_final=told.inferred_final,
        kept_inside=told.kept_inside,
        undriven=told.undriven,
        **{name: value for name, value in options.items() if name not in _FORMS},
    )


#: What an object may say of its form: it is put into that of the contract, and is no field of the subject.
_FORMS = frozenset({"clip", "clip_norm", "batch_first", "complex_gradient"})


@dataclass(frozen=True)
class _Said:
    """The object in the axes and with the results of the contract, and what the subject is told of it."""

    implementation: Any
    clip: Clip | None = None
    inferred_final: tuple[str, ...] = ()
    kept_inside: tuple[str, ...] = ()
    undriven: tuple[str, ...] = ()
    detected: tuple[Detection, ...] = ()


def _as_said(impl: Any, kind: str, options: Mapping[str, Any], where: str) -> _Said:
    """What the object says of itself, done.  Raises UsageError."""
    made = _Said(said.BatchFirst(impl) if options.get("batch_first") else impl)
    at = said.tried(made.implementation, options, network=kind == "network")
    outputs = at is not None and np.iscomplexobj(at.ys)
    if at is not None and (names := (*at.complex_names, *(("ys",) if outputs else ()))):
        made = _by_parts(made, names, outputs, options.get("complex_gradient") == "conjugate")
        at = said.tried(made.implementation, options, network=kind == "network")
    if kind == "cell" and at is not None:
        inferred, kept = said.without_final(at) or ((), ())
        counted = said.whole_numbers(at)
        if inferred or kept or counted:
            made = _with_its_final(made, inferred, tuple(name for name in kept if name not in counted), counted)
    entries, norm = options.get("clip"), options.get("clip_norm")
    if entries is not None and norm is not None:
        raise UsageError(f"{where} says clip and clip_norm, wanted one of them")
    threshold = norm if entries is None else entries
    return made if threshold is None else _uncut(made, kind, threshold, of_norm=entries is None)


def _by_parts(made: _Said, names: tuple[str, ...], outputs: bool, conjugate: bool) -> _Said:
    sense = "dL/dRe - i dL/dIm, as the class says" if conjugate else "dL/dRe + i dL/dIm"
    said_so = Detection("complex numbers", f"{', '.join(names)}: judged by real and imaginary parts; a gradient is {sense}")
    return replace(made, implementation=said.Parts(made.implementation, outputs, conjugate), detected=(*made.detected, said_so))


def _with_its_final(made: _Said, inferred: tuple[str, ...], kept: tuple[str, ...], counted: tuple[str, ...]) -> _Said:
    found = [Detection("final state", f"{', '.join(inferred)} is not given: the last output stands for it")] if inferred else []
    undriven: tuple[str, ...] = ()
    if kept:
        why = "it starts from zeros here, and its gradient is not judged"
        found.append(Detection("final state", f"{', '.join(kept)} is not given: {why}"))
        undriven = (f"final {', '.join(kept)}: not given, so it starts from zeros at every call, and its gradient is not judged",)
    if counted:
        why = "whole numbers, which start as zero_state has them at every call"
        found.append(Detection("state", f"{', '.join(counted)}: {why}"))
        undriven += (f"state {', '.join(counted)}: {why}",)
    inside = (*kept, *counted)
    return _Said(said.NoFinal(made.implementation, inferred, inside), None, inferred, inside, undriven, (*made.detected, *found))


def _uncut(made: _Said, kind: str, threshold: float, of_norm: bool) -> _Said:
    inner, clip = made.implementation, None
    if kind == "network":
        whole: Any = said.UncutLoss(inner, threshold, of_norm)
    elif has(inner, "backward"):
        clip, whole = Clip(threshold, of_norm, inner.backward), said.Uncut(inner)
    else:
        whole = inner
    why = f"its gradients are cut at {threshold:g} by design: they are judged without the cut"
    return replace(made, implementation=whole, clip=clip, detected=(*made.detected, Detection("clip", why)))


def _options(impl: object, spec: str) -> dict[str, Any]:
    """The optional attributes that are there, checked.  Raises UsageError on one that is of the wrong kind."""
    options: dict[str, Any] = {}
    for name, check in _CHECKS.items():
        value = getattr(impl, name, None)  # what it declares is asked for without a net: a claim that raises is never left out
        if value is not None and not inspect.isroutine(value):  # a method of that name is no claim
            options[name] = check(value, f"{spec}: {short_name(impl)}", name)
    return options


def _sizes(value: object, where: str, name: str) -> tuple[int, ...]:
    if not isinstance(value, tuple | list) or not value or not all(type(size) is int and size > 0 for size in value):
        raise UsageError(f"{where}.{name} is {value!r}, wanted a tuple of sizes, such as (1,)")
    return tuple(value)


def _flag(value: object, where: str, name: str) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{where}.{name} is {value!r}, wanted True or False")
    return value


def _dtype(value: object, where: str, name: str) -> str:
    known = ("float32", "float64", "longdouble")
    for dtype in known:
        if value == dtype or (not isinstance(value, str) and value in (np.dtype(dtype), np.dtype(dtype).type)):
            return dtype
    raise UsageError(f"{where}.{name} is {value!r}, wanted one of {', '.join(known)}")


def _scale(value: object, where: str, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise UsageError(f"{where}.{name} is {value!r}, wanted a positive number")
    if not 1e-30 <= value <= 1e30:
        raise UsageError(f"{where}.{name} is {value!r}, wanted a number from 1e-30 to 1e30")
    return float(value)


def _steps(value: object, where: str, name: str) -> int:
    if type(value) is not int or value < 0:
        raise UsageError(f"{where}.{name} is {value!r}, wanted the largest lag as a whole number, 0 for each step alone")
    return value


def _sense(value: object, where: str, name: str) -> str:
    if value != "conjugate":
        raise UsageError(f"{where}.{name} is {value!r}, wanted 'conjugate', or nothing where a gradient is dL/dRe + i dL/dIm")
    return "conjugate"


def _like(value: object, where: str, name: str) -> str:
    return value if isinstance(value, str) and is_text(value) else known_cell(value, where)


_CHECKS = {
    "like": _like,
    "batch_sizes": _sizes,
    "input_sizes": _sizes,
    "hidden_sizes": _sizes,
    "lengths_of_sequence": _sizes,
    "batch_first": _flag,
    "complex_gradient": _sense,
    "clip": _scale,
    "clip_norm": _scale,
    "square": _flag,
    "bidirectional": _flag,
    "dtype": _dtype,
    "dys_scale": _scale,
    "truncation": _steps,
    "lengths": _flag,
    "exempt": reasons,
}
