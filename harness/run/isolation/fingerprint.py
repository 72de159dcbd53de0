"""Whether a class found again by its name in another process is the class that was handed over.

A class may have been changed since its file was read: a method put in its place by a test, an attribute set, the file edited under a
running session.  What is checked must be what was handed over, so that both processes take a fingerprint of what the code does.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import sysconfig
import types
from typing import Any

import numpy as np

_PLAIN = (int, float, complex, str, bytes, bool, type(None), type(...))
_NOT_OF_THE_CODE = frozenset({"__dict__", "__weakref__", "__doc__", "__module__", "__abstractmethods__", "_abc_impl", "__annotations__"})
#: Nested deeper than this, or larger, a value counts by its type alone.
_DEEPEST = 40


def fingerprint(value: object) -> str:
    """The same in every process for the same code, constants and helpers, installed packages left out."""
    digest = hashlib.sha256()
    _walk(value, digest, {}, 0)
    return digest.hexdigest()


def _walk(value: Any, digest: Any, seen: dict[int, Any], depth: int) -> None:
    def say(*words: object) -> None:
        digest.update("\x1f".join(map(str, words)).encode("utf-8", "backslashreplace") + b"\x1e")

    def go(inner: Any) -> None:
        _walk(inner, digest, seen, depth + 1)

    kind = type(value)
    if kind in _PLAIN:
        say(kind.__name__, repr(value))
        return
    if depth > _DEEPEST:
        say("deep", kind.__qualname__)
        return
    if id(value) in seen:
        say("again", kind.__qualname__)
        return
    seen[id(value)] = value  # kept alive: the id of what is gone is given to another
    if kind in (tuple, list):
        say(kind.__name__, len(value))
        for each in value:
            go(each)
    elif kind in (set, frozenset):
        say(kind.__name__, *sorted(fingerprint(each) for each in value))
    elif kind in (dict, types.MappingProxyType):
        say("dict", len(value))
        for key in sorted(value, key=repr):
            say(repr(key) if type(key) in _PLAIN else type(key).__qualname__)
            go(value[key])
    elif kind is types.CodeType:
        say("code", value.co_name, value.co_code.hex(), *value.co_names, "/", *value.co_varnames, "/", *value.co_freevars, value.co_flags)
        for constant in value.co_consts:
            go(constant)
    elif kind is types.FunctionType:
        say("function", value.__qualname__)
        if not _installed(value.__module__):
            go(value.__code__)
            go(value.__defaults__)
            go(value.__kwdefaults__)
            for cell in value.__closure__ or ():
                go(_content(cell))
            for name in sorted(_names(value.__code__)):
                if name in value.__globals__:
                    say(name)
                    go(value.__globals__[name])
    elif kind in (staticmethod, classmethod, types.MethodType):
        say(kind.__name__)
        go(value.__func__)
    elif kind is property:
        say("property")
        for each in (value.fget, value.fset, value.fdel):
            go(each)
    elif kind is functools.partial:
        say("partial")
        for each in (value.func, value.args, value.keywords):
            go(each)
    elif isinstance(value, type):
        say("class", value.__module__, value.__qualname__)
        if not _installed(value.__module__):
            for base in value.__bases__:
                go(base)
            members = {name: member for name, member in vars(value).items() if name not in _NOT_OF_THE_CODE}
            for name in sorted(members):
                say(name)
                go(members[name])
    elif isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc":
        say("array", value.dtype.str, value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest())
    elif isinstance(value, types.ModuleType):
        say("module", value.__name__)
    else:
        say("object", kind.__module__, kind.__qualname__)
        state = getattr(value, "__dict__", None)
        if isinstance(state, dict) and not _installed(kind.__module__):
            go(state)


def _names(code: types.CodeType) -> set[str]:
    """Names that a function, and the functions inside it, look up in their module."""
    inner = (each for each in code.co_consts if isinstance(each, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return None


@functools.cache
def _libraries() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def _installed(module: object) -> bool:
    """Whether it belongs to Python, to an installed package, or to bptt: the same in both processes."""
    name = str(module)
    if name.partition(".")[0] in ("bptt", "builtins"):
        return True
    file = getattr(sys.modules.get(name), "__file__", None)
    return (file is None and name in sys.builtin_module_names) or (isinstance(file, str) and file.startswith(_libraries()))
