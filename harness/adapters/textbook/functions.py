"""Pairs of functions, ``rnn_step_forward(x, prev_h, Wx, Wh, b) -> next_h, cache`` and ``rnn_step_backward(dnext_h, cache)``, as a class."""

from __future__ import annotations

import functools
import inspect
import re
import types
from collections.abc import Mapping
from typing import Any

from bptt.harness.adapters.textbook.build import BIAS, KERNEL
from bptt.harness.adapters.textbook.calls import C, H


def pairs(namespace: Mapping[str, Any]) -> dict[str, tuple[types.FunctionType, types.FunctionType]]:
    """Each name of a function with 'forward' in it -> that function and the one called the same with 'backward'.

    Only where forward takes a state and weights beside x, and nothing else.
    """
    found = {}
    for name, value in namespace.items():
        other = namespace.get(name.replace("forward", "backward"))
        if isinstance(value, types.FunctionType) and isinstance(other, types.FunctionType) and value is not other and _arguments(value):
            found[name] = (value, other)
    return found


def _arguments(forward: types.FunctionType) -> tuple[list[str], list[str]] | None:
    """The names of x and the states, and of the weights; None where the function is of another kind."""
    names = list(inspect.signature(forward).parameters)
    states = [n for n in names[1:] if (H.search(n) or C.search(n)) and not KERNEL.match(n)]
    weights = [n for n in names[1:] if n not in states]
    read_out = any(re.fullmatch(r"_?(W|b|V|U)?_?(h?y|out|ya|s|q)h?", n) for n in weights)  # a cell with its read-out is read, not guessed
    fits = states and weights and not read_out and all(KERNEL.match(n) or BIAS.match(n) for n in weights)
    return ([names[0], *states], weights) if fits else None


def as_class(forward: types.FunctionType, backward: types.FunctionType) -> type:
    """A class whose constructor takes the weights, and whose forward and backward call the two functions with them.

    Raises ValueError where forward does not take x, a state and weights.
    """
    split = _arguments(forward)
    if split is None:
        raise ValueError(f"{forward.__name__} takes {', '.join(inspect.signature(forward).parameters)}, wanted x, a state and weights")
    handed, weights = split

    def keep(self: Any, **arrays: Any) -> None:
        vars(self).update(arrays)

    @functools.wraps(forward)
    def call_forward(self: Any, **values: Any) -> Any:
        return forward(**values, **{name: getattr(self, name) for name in weights})

    @functools.wraps(backward)
    def call_backward(self: Any, **values: Any) -> Any:
        return backward(**values)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    this = inspect.Parameter("self", kind)
    incoming = list(inspect.signature(backward).parameters.values())
    call_forward.__signature__ = inspect.Signature([this, *(inspect.Parameter(n, kind) for n in handed)])  # type: ignore[attr-defined]  # read by inspect
    call_backward.__signature__ = inspect.Signature([this, *incoming])  # type: ignore[attr-defined]  # as above
    return type(
        forward.__name__,
        (),
        {
            "__module__": forward.__module__,
            "__doc__": forward.__doc__,
            "__signature__": inspect.Signature([inspect.Parameter(n, kind) for n in weights]),
            "__init__": keep,
            "forward": call_forward,
            "backward": call_backward,
        },
    )
