"""Adapters: whatever a user has, brought into the form of harness/subject.py.

An adapter is a function of the entry-point group ``bptt.adapters``

    adapt(obj: object, spec: str, args: Mapping[str, object] | None) -> Subject | None

None means 'not mine'.  `UsageError` means 'mine, but broken' and ends the search.  Adapters of third parties are asked first,
in the order of their names, then ours in the order of `OURS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points

from harness.errors import UsageError
from harness.subject import Subject

Adapter = Callable[[object, str, Mapping[str, object] | None], Subject | None]

GROUP = "bptt.adapters"
#: Keras before torch: on that backend its layers are torch modules too.
OURS = ("parts", "reference", "contract", "onnx", "keras", "flax", "equinox", "torch", "numpy_layer", "numpy_step")


def adapters(points: Iterable[EntryPoint] | None = None) -> tuple[EntryPoint, ...]:
    """The registered adapters in the order in which they are asked (not loaded yet).

    Raises UsageError where two share a name.
    """
    registered: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP) if points is None else points:
        other = registered.setdefault(point.name, point)
        if other.value != point.value:
            raise UsageError(f"two adapters are called {point.name!r}: {other.value} and {point.value}, wanted one name each ({GROUP})")
    ours = [_own(name, registered) for name in OURS]
    return (*(registered[name] for name in sorted(registered.keys() - set(OURS))), *ours)


def _own(name: str, registered: Mapping[str, EntryPoint]) -> EntryPoint:
    """Ours also work from a source tree that is not installed."""
    return registered.get(name) or EntryPoint(name, f"harness.adapters.{name}:adapt", GROUP)


def adapt(obj: object, spec: str, args: Mapping[str, object] | None = None) -> Subject:
    """`obj` as a Subject, by the first adapter that takes it.  Raises UsageError where none does."""
    found = adapt_or_none(obj, spec, args)
    if found is None:
        raise UsageError(
            f"{spec}: no adapter takes {_kind(obj)}, wanted a torch module, a NumPy class with forward and backward, "
            "an object with init, zero_state, run[, backward], or a part of a training loop with --like"
        )
    return found


def adapt_or_none(obj: object, spec: str, args: Mapping[str, object] | None = None) -> Subject | None:
    """As `adapt`, but None where no adapter knows the kind of object."""
    for point in adapters():
        subject: Subject | None = point.load()(obj, spec, args)
        if subject is not None:
            return subject
    return None


def _kind(obj: object) -> str:
    return f"the class {obj.__name__}" if isinstance(obj, type) else f"an object of type {type(obj).__name__}"
