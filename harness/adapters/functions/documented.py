"""What an author writes of the arguments of a function: their axes, which are complex, and which are of truth values.

In the documentation of the function, of the class that it is the forward pass of, of the functions beside it that call it by the same
names, of its module, and in comments.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

#: The name of an axis, or of one that is as many longer or shorter, or so many times as long: T, heads, W - 1, 4H, 1.
_WORD = r"(?:(?:\d+\s*\*?\s*)?[A-Za-z_]\w*(?:\s*[-+]\s*\d+)?|\d+)"
_AXES = rf"[\(\[]\s*({_WORD}(?:\s*[,x]\s*{_WORD})+)\s*,?\s*[\)\]]"
_ONE_AXIS = r"[\(\[]\s*(?-i:([A-Z]))\s*,?\s*[\)\]]"
#: What stands behind names: `w, u: (C,)`, `k, v of shape (B, T, C)`, `x (batch, dim), contiguous`; without a word between, more than one
#: axis or a comma behind it.
_BEHIND = (
    rf"(?:(?::[^\n;()\[\]]{{0,40}}?|\bof shape\b)\s*[\(\[]\s*((?:{_WORD}\s*,\s*)*{_WORD})\s*,?\s*[\)\]]"
    rf"|[\(\[]\s*({_WORD}\s*,|(?:{_WORD}\s*,\s*)+{_WORD})\s*,?\s*[\)\]])"
)
#: Words in brackets that are no axes.
_NO_AXES = frozenset(("optional", "default", "none", "float", "int", "bool", "str", "tensor", "required", "float32", "float64", "complex"))


def texts_of(function: Callable[..., Any], owner: object = None) -> list[str]:
    """What is written of a function, the nearest first.   owner   the class whose forward pass it is"""
    own = inspect.unwrap(function)
    found = [own.__doc__ or "", _comments(own)]
    module = sys.modules.get(own.__module__)
    name = getattr(owner, "__name__", own.__name__)
    for each in (c for c in getattr(owner, "__mro__", ()) if not c.__module__.startswith(("torch.", "builtins"))):
        found += [vars(each).get("__doc__") or "", _comments(each)]
    beside = [v for v in vars(module).values() if inspect.isfunction(v) and v is not own] if module is not None else []
    found += [v.__doc__ for v in beside if v.__doc__ and v.__module__ == own.__module__ and name in v.__code__.co_names]
    return [*found, getattr(module, "__doc__", None) or ""]


def _comments(thing: Any) -> str:
    try:
        return "\n".join(line.partition("#")[2] for line in inspect.getsource(thing).splitlines())
    except (OSError, TypeError):
        return ""


def axes_of(function: Callable[..., Any], names: Sequence[str], texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The axes of each argument that is written of; "" for one without a name."""
    found: dict[str, tuple[str, ...]] = {}
    one = rf"`?\b(?:{'|'.join(map(re.escape, names))})\b`?"
    named = re.compile(rf"({one}(?:\s*(?:,|\band\b)\s*{one})*)\s*{_BEHIND}")
    for text in texts if names else ():
        here: dict[str, tuple[str, ...]] = {}
        for several in named.finditer(text):
            axes = _words((several[2] or several[3]).rstrip(", "))
            if not _NO_AXES.intersection(word.lower() for word in axes) and not set(names).intersection(axes):
                here |= {name: axes for name in re.split(r"\s*,\s*|\s+and\s+", several[1].replace("`", "")) if name in names}
        found = here | found
    try:
        source = inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        source = ""
    own = function.__doc__ or ""
    for name in (n for n in names if n not in found):
        documented = rf"(?m)^\W*`*{re.escape(name)}`*\b[^\n]*?(?:\n(?!\s*\w+\s*[:(])[^\n]*?)?{_AXES}"
        match = re.search(documented, own) or re.search(rf"\b{re.escape(name)}\b[^\n#]*#[^\n]*?{_AXES}", source)
        if match is not None:
            found[name] = _words(match.group(1))
        elif re.search(rf"(?m)^\W*`*{re.escape(name)}`*\b[^\n]*\n?[^\n]*?\bshape\b\W*{_ONE_AXIS}", own):
            found[name] = ("",)
    return found


def _words(axes: str) -> tuple[str, ...]:
    return tuple("".join(word.split()) for word in (axes.split(",") if "," in axes else re.split(r"(?<=[\s\w])x(?=[\s\w])", axes)))


def called(kind: str, text: str, names: Sequence[str]) -> frozenset[str]:
    """The arguments that words call so: 'u (T, N) complex, dt (T,)', 'lam, b: complex of shape (H,)'.   kind   how the word begins"""
    found: set[str] = set()
    for line in text.splitlines() if names else ():
        parts = re.split(rf"\b(?=(?:{'|'.join(map(re.escape, names))})\b\s*(?:[:(,\[]|and\b|{kind}))", line)
        waiting: list[str] = []
        listed: list[str] = []
        for part in parts[1:]:
            name = next(n for n in names if re.match(rf"{re.escape(n)}\b", part))
            waiting.append(name)
            listed.append(name)
            rest = part[len(name) :]
            if re.search(rf"\bare\b[^.;]*\b{kind}", rest):  # all that stand in a row before
                found |= set(listed)
            if not re.fullmatch(r"\s*([\(\[][^()\[\]]*[\)\]])?\s*(,|and)?\s*", rest):
                listed = []
            if re.search(rf"\b{kind}", rest):
                found |= set(waiting)
            if not re.fullmatch(r"\s*(,|and)?\s*", rest):
                waiting = []
    return frozenset(found)


def constants(names: Sequence[str], texts: Sequence[str]) -> frozenset[str]:
    """The arguments that are called constants, or of which it is said that they have no gradient."""
    word = r"(?:constants?|fixed|not (?:trained|learned|learnt|differentiated)|non-?differentiable|no grad(?:ient)?)\b"
    return frozenset[str]().union(*(called(word, text, names) for text in texts))


def truth_values(function: Callable[..., Any], names: Sequence[str], texts: Sequence[str]) -> frozenset[str]:
    """The arguments that are true or false: called so, or of which the code takes the contrary, or chooses or fills by them."""
    try:
        source = inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        source = ""
    written = frozenset[str]().union(*(called("bool", text, names) for text in texts))
    used = (n for n in names if re.search(rf"~\s*{n}\b|\bwhere\(\s*{n}\b|masked_fill\(\s*{n}\b|logical_\w+\(\s*{n}\b", source))
    return written | frozenset(used)
