"""One object that was named: by the first adapter that takes it, else read as it stands."""

from __future__ import annotations

import contextlib
import re
import sys
import types
from collections.abc import Mapping
from dataclasses import replace

from bptt.harness.adapters import adapt, adapt_or_none
from bptt.harness.adapters.frameworks import speaks_of
from bptt.harness.adapters.functions.adapt import adapt as functions
from bptt.harness.adapters.functions.adapt import adapt_numpy as numpy_functions
from bptt.harness.adapters.functions.adapt import is_of_torch, names_torch_alone
from bptt.harness.adapters.objects import required
from bptt.harness.adapters.reading.adapt import adapt as read_class
from bptt.harness.adapters.reading.adapt import half_beside, read_alone, read_functions
from bptt.harness.adapters.reading.as_subject import NotUnderstoodError
from bptt.harness.adapters.reading.code import words
from bptt.harness.errors import UsageError
from bptt.harness.subject import Subject
from bptt.harness.targets.slow_form import beside_its_slow_form


def adapted_or_read(module: types.ModuleType, value: object, target: str, args: Mapping[str, object] | None) -> Subject:
    """By the first adapter that takes it, else read as it stands.  Raises UsageError, that of the reading where it came further."""
    if isinstance(value, types.FunctionType):
        if speaks_of(value, "jax") and half_beside(module, value.__name__) is None:  # JAX differentiates it, or a rule of its own does
            with contextlib.suppress(UsageError):
                return adapt(value, target, args)
        half = half_beside(module, value.__name__) if is_of_torch(value) else None
        if half is not None:  # autograd's gradient is not that of its author
            with contextlib.suppress(UsageError):
                if found := read_as_it_stands(module, value, target, args):
                    return found
        if found := _beside_its_maker(value, target, args):
            return found
        if found := _over_tensors(module, value, target, args):
            own = f"{half}: the gradients judged here are those of autograd through {value.__name__}"
            return beside_its_slow_form(module, replace(found, undriven=(*found.undriven, *([own] if half is not None else ()))))
        refused: UsageError | None = None
        try:
            if found := read_as_it_stands(module, value, target, args) or read_alone(module, value.__name__, target):
                return found
        except UsageError as error:
            refused = error
        if not _has_half(refused) and (found := _over_arrays(module, value, target, args)):
            return found
        try:
            return adapt(_no_half(module, value, target), target, args)
        except UsageError as error:
            raise refused or error from error
    return adapt(_no_half(module, value, target), target, args)


def _has_half(refused: UsageError | None) -> bool:
    """Whether what was refused has a backward pass, which is never left out in silence."""
    return refused is not None and not (isinstance(refused, NotUnderstoodError) and refused.alone)


def _beside_its_maker(value: types.FunctionType, target: str, args: Mapping[str, object] | None) -> Subject | None:
    """A function of torch that is handed its weights at each call, with those that its file makes; None where there are none."""
    if "torch" not in sys.modules:
        return None
    from bptt.harness.adapters.torch.bound import beside_its_maker  # imports torch

    if (held := beside_its_maker(value)) is None:
        return None
    with contextlib.suppress(UsageError):
        return adapt(held, target, args)
    return None


def _over_tensors(module: types.ModuleType, value: types.FunctionType, target: str, args: Mapping[str, object] | None) -> Subject | None:
    """A function of torch over sequences; None where it is another thing: its halves may be read, or it makes a module."""
    try:
        return functions(value, target, args)
    except UsageError:
        half = re.search(r"forward|backward|step|fprop|bprop|loss", value.__name__)
        found = None if names_torch_alone(value) else _over_arrays(module, value, target, args)
        if found is None and required(value) and not half:
            with contextlib.suppress(UsageError):  # a part of a training loop has arrays and no time
                if (part := adapt_or_none(value, target, args, before="functions")) is not None:
                    return part
            raise
        return found


def _over_arrays(module: types.ModuleType, value: types.FunctionType, target: str, args: Mapping[str, object] | None) -> Subject | None:
    """A function of NumPy over sequences; None where it is another thing."""
    try:
        return numpy_functions(value, vars(module), target, args)
    except UsageError:
        return None


def read_as_it_stands(module: types.ModuleType, value: object, target: str, args: Mapping[str, object] | None) -> Subject | None:
    if isinstance(value, types.FunctionType):
        return read_functions(module, value.__name__, target)
    return read_class(value, target, args)


def _no_half(module: types.ModuleType, value: object, target: str) -> object:
    """`value`.  Raises UsageError where it is one of a pair of functions x_forward, x_backward, which no adapter takes."""
    name = value.__name__ if isinstance(value, types.FunctionType) else ""
    if "backward" in name or ("forward" in name and len(words.arguments(value)[0]) > 1):  # type: ignore[arg-type]  # it has a name: a function
        other = name.replace("backward", "forward") if "backward" in name else name.replace("forward", "backward")
        has_other = "is there, but was not understood" if isinstance(vars(module).get(other), types.FunctionType) else "is not there"
        raise UsageError(
            f"{target}: {name} is a function over data, {other} {has_other}, wanted a pair "
            "x_forward(x, prev_h[, prev_c], weights) -> h[, c], cache and x_backward(dh[, dc], cache), or a class"
        )
    return value
