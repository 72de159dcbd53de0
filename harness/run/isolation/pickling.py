"""Objects as bytes, written here and read in the process that is to run them, never the other way round.

cloudpickle sends classes and functions that cannot be imported by their code, and gives that code a file name of its own choice (since
3.1.3 `<dynamic-code>`).  Findings and errors name files and lines, so that code travels here as `marshal` writes it, file name included.
"""

from __future__ import annotations

import io
import marshal
import pickle
import types
from collections.abc import Iterable
from typing import Any

import cloudpickle


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.CodeType):
            return marshal.loads, (marshal.dumps(obj),)
        return super().reducer_override(obj)


def pickled(value: object, by_value: Iterable[types.ModuleType] = ()) -> bytes:
    """`value` as bytes, what the modules `by_value` define by its code.  Raises whatever the pickling of its parts raises."""
    buffer = io.BytesIO()
    registered = [module for module in by_value if module.__name__ not in cloudpickle.list_registry_pickle_by_value()]
    try:
        for module in registered:
            cloudpickle.register_pickle_by_value(module)
        _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)
    return buffer.getvalue()


def unpickled(data: bytes) -> Any:
    """What `pickled` wrote.  It runs code of the object's own: only the process that is to run the object calls it."""
    return pickle.loads(data)
