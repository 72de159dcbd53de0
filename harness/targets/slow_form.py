"""Functions of torch and of JAX that stand beside one another: which may be targets, and which is the slow form of which."""

from __future__ import annotations

import inspect
import re
import types
from dataclasses import replace

from bptt.harness.adapters.frameworks import rules_of_jax, speaks_of, unwrapped
from bptt.harness.adapters.functions.adapt import is_of_torch
from bptt.harness.adapters.reading.code import words
from bptt.harness.subject import Detection, Subject

#: Words for the way in which a function computes what it is called after: step by step, and any other.
_SLOW = re.compile(r"naive|ref(erence)?|slow|seq(uential)?|recurrent|loop|step(wise)?")
_WAY = re.compile(
    r"chunk(ed|wise)?|block(ed|wise)?|parallel|fused|fast|opt(imi[sz]ed)?|vectori[sz]ed|assoc(iative)?|scan|torch|triton|fwd|forward|"
    r"blelloch|hillis|steele|kogge|stone|sklansky|heinsen|doubling|tree|kernel|compiled"
)


def over_tensors(module: types.ModuleType) -> list[str]:
    """Functions of torch that a module defines and that none of its others calls."""
    own = {n: v for n, v in vars(module).items() if isinstance(v, types.FunctionType) and v.__module__ == module.__name__}
    called = frozenset(n for name, f in own.items() for n in f.__code__.co_names if n != name)
    return [n for n, v in own.items() if not n.startswith("_") and n not in called and is_of_torch(v) and len(words.arguments(v)[0]) >= 2]


def of_jax(module: types.ModuleType) -> list[str]:
    """Functions of JAX that a module defines, compiled or not, that none of its others calls and that are no rule of another one."""
    own = {n: inspect.unwrap(v) for n, v in vars(module).items() if callable(v) and not isinstance(v, type)}
    own = {n: f for n, f in own.items() if isinstance(f, types.FunctionType) and f.__module__ == module.__name__}
    rules = {n for n in rules_of_jax(module) if isinstance(vars(module).get(n), types.FunctionType)}
    called = frozenset(n for name, f in own.items() if name not in rules for n in f.__code__.co_names)
    free = [n for n in own if not n.startswith("_") and n not in called and n not in rules]
    return [n for n in free if speaks_of(unwrapped(own[n])[0], "jax") and len(words.arguments(own[n])[0]) >= 2]


def beside_its_slow_form(module: types.ModuleType, subject: Subject) -> Subject:
    """An operator, like the function beside it that takes the same and is called as it is but for the way: chunk_gla like naive_gla."""
    place, _, own = subject.spec.rpartition(":")
    names = over_tensors(module)
    if subject.operator is None or own not in names or _is_slow(own):
        return subject
    taken = words.arguments(vars(module)[own])[0]
    slow = [n for n in names if _is_slow(n) and _what(n) == _what(own) != [] and words.arguments(vars(module)[n])[0] == taken]
    if len(slow) != 1:
        return subject
    why = f"{slow[0]}, which stands beside it, takes the same and is called the same but for the way in which it computes"
    return replace(
        subject,
        operator=replace(subject.operator, other=f"{place}:{slow[0]}"),
        detected=(*subject.detected, Detection("like", why)),
    )


def _is_slow(name: str) -> bool:
    return any(map(_SLOW.fullmatch, name.lower().split("_")))


def _what(name: str) -> list[str]:
    """The words of a name but for those that say the way; a scan, where no other is left."""
    words = [p for p in name.lower().split("_") if p and not _SLOW.fullmatch(p)]
    return sorted(p for p in words if not _WAY.fullmatch(p)) or [p for p in words if p == "scan"]
