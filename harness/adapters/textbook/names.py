"""Names under which classes keep their forward and backward, and whether a class has one of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FORWARD = ("forward", "step", "forward_step", "forward_pass", "step_forward", "fprop", "call", "__call__")
BACKWARD = (
    "backward",
    "backprop",
    "step_backward",
    "backward_step",
    "backward_pass",
    "bprop",
    "bptt",
    "back_prop",
    "backpropagate",
)


def own_method(obj: Any, names: Sequence[str]) -> str | None:
    """The first of `names` that the object's class defines itself (not what every class has)."""
    owner = obj if isinstance(obj, type) else type(obj)
    for name in names:
        if any(callable(vars(c).get(name)) or isinstance(vars(c).get(name), staticmethod) for c in owner.__mro__ if c is not object):
            return name
        if not isinstance(obj, type) and callable(getattr(obj, "__dict__", {}).get(name)):
            return name
    return None
