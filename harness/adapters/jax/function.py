"""Functions of JAX over a tree of parameters, jitted or not, and pairs of init and apply, such as Haiku's transforms; Haiku's cells.

JAX itself is never imported here: an object can only be of it if somebody has imported it already.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping

from bptt.harness.adapters.frameworks import belongs_to, speaks_of, unwrapped
from bptt.harness.adapters.functions.adapt import understood
from bptt.harness.adapters.functions.arguments import arguments
from bptt.harness.adapters.objects import attribute
from bptt.harness.errors import UsageError
from bptt.harness.subject import Subject


def adapt(obj: object, spec: str, args: Mapping[str, object] | None = None) -> Subject | None:
    """`obj` as a Subject, None where it is no function of JAX and no pair of init and apply.

    A function step(params, state, x) or layer(params, xs[, state]) is given with its parameters, functools.partial(step, params), or
    stands beside a function init_params in its module; one over arrays alone is an operator.
    Raises UsageError, in one line, where it is one but cannot be called.
    """
    if "jax" not in sys.modules:
        return None
    if "haiku" in sys.modules and isinstance(unwrapped(obj)[0], type) and belongs_to(unwrapped(obj)[0], "haiku"):
        from bptt.harness.adapters.jax.haiku import core_subject  # imports jax and haiku

        return core_subject(obj, spec, args)
    pair = _pair(obj)
    if pair is not None:
        from bptt.harness.adapters.jax.function_subject import transform_subject  # imports jax

        return transform_subject(*pair, spec)
    function = unwrapped(obj)[0]
    inner = inspect.unwrap(function) if callable(function) else function
    if isinstance(function, type) or not inspect.isfunction(inner):
        return None
    if not (speaks_of(inner, "jax") or type(function).__module__.partition(".")[0] in ("jax", "jaxlib")):
        return None
    from bptt.harness.adapters.jax.function_subject import NoParametersError, function_subject  # imports jax

    try:
        return function_subject(obj, inner, spec, args)
    except NoParametersError as refused:
        taken = arguments(inner, given=args)
        if unwrapped(obj)[0] is not obj or sum(a.kind in ("array", "state") for a in taken) < 2:
            raise
        from bptt.harness.adapters.jax.operator import JaxCall  # imports jax

        try:
            return understood(JaxCall(function, taken, torch=False), inner, spec)  # type: ignore[arg-type]  # it is callable
        except UsageError as error:
            raise UsageError(f"{refused}; over arrays alone: {error}") from error


def _pair(obj: object) -> tuple[object, object] | None:
    """init and apply of an object that has both: a namedtuple, as Haiku's and others' transforms are, or a namespace."""
    init, apply = attribute(obj, "init"), attribute(obj, "apply")
    holds = isinstance(obj, tuple) or type(obj).__name__ == "SimpleNamespace"
    return (init, apply) if holds and callable(init) and callable(apply) else None
