"""Adapters: whatever a user has, brought into the form of harness/subject.py.

An adapter is a function

    adapt(obj: object, spec: str, args: Mapping[str, object] | None) -> Subject | None

None means 'not mine'.  `UsageError` means 'mine, but broken' and ends the search.  Adapters of third parties are asked first,
(entry-point group ``bptt.adapters``)
in the order of their names, then ours in the order of `OURS`.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import FunctionType

from bptt.harness.errors import UsageError
from bptt.harness.subject import Subject

Adapter = Callable[[object, str, Mapping[str, object] | None], Subject | None]

GROUP = "bptt.adapters"
#: Keras before torch: on that backend its layers are torch modules too.
OURS = {
    "parts": "parts.adapt",
    "reference": "reference",
    "scans": "scans",
    "operator": "operator",
    "functions": "functions.adapt",
    "contract": "contract",
    "onnx": "onnx.adapt",
    "keras": "keras.adapt",
    "flax": "jax.flax",
    "equinox": "jax.equinox",
    "torch": "torch.adapt",
    "jax": "jax.function",
    "numpy": "reading.adapt",
}


def adapters(points: Iterable[EntryPoint] | None = None) -> tuple[EntryPoint, ...]:
    """The registered adapters in the order in which they are asked (not loaded yet).

    Raises UsageError where two share a name.
    """
    registered: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP) if points is None else points:
        if point.name in OURS:
            raise UsageError(f"{point.value} is called {point.name!r} as one of bptt's own adapters is, wanted another name ({GROUP})")
        other = registered.setdefault(point.name, point)
        if other.value != point.value:
            raise UsageError(f"two adapters are called {point.name!r}: {other.value} and {point.value}, wanted one name each ({GROUP})")
    ours = [EntryPoint(name, f"{__name__}.{module}:adapt", GROUP) for name, module in OURS.items()]
    return (*(registered[name] for name in sorted(registered)), *ours)


def adapt(obj: object, spec: str, args: Mapping[str, object] | None = None) -> Subject:
    """`obj` as a Subject, by the first adapter that takes it.  Raises UsageError where none does."""
    found = adapt_or_none(obj, spec, args)
    if found is None:
        raise UsageError(
            f"{spec}: no adapter takes {_kind(obj)}, wanted a torch module, a NumPy class with forward(x[, h[, c]]) and "
            "backward(dh[, dc]), an object with init, zero_state, run[, backward], or a part of a training loop with --like"
        )
    return found


def adapt_or_none(obj: object, spec: str, args: Mapping[str, object] | None = None, before: str = "") -> Subject | None:
    """As `adapt`, but None where no adapter knows the kind of object.   before: the first of ours that is not asked any more"""
    for point in itertools.takewhile(lambda point: point.name != before, adapters()):
        subject: Subject | None = point.load()(obj, spec, args)
        if subject is not None:
            return subject
    return None


def _kind(obj: object) -> str:
    if not isinstance(obj, type):
        return f"an object of type {type(obj).__name__}"
    methods = [n for cls in obj.__mro__ if cls is not object for n, v in vars(cls).items() if isinstance(v, FunctionType) and n[0] != "_"]
    called = [f"{n}({', '.join(list(inspect.signature(getattr(obj, n)).parameters)[1:])})" for n in dict.fromkeys(methods)]
    return f"the class {obj.__name__}" + (f" with {', '.join(called[:6])}{', ...' * (len(called) > 6)}" if called else "")
