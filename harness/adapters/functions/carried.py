"""Through how many short numbers what a torch function carries from step to step must pass.

Every operation is watched, forward and backward, in two runs that differ in the initial state (or the first input) alone: what differs
between them is what is carried.  With r(v) the fewest roundings on any way to the value v,

    r(v) = min over the carried operands u of r(u)  +  1 where v has a short type and is not what its operation gives in float64

A state that is kept in float32 has a way without any, however long the sequence; one that is rounded at every step has none below T.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bptt.harness.adapters.objects import WithoutCompiler
from bptt.harness.errors import SubjectError

_OWN = str(Path(__file__).parents[2])


@dataclass(frozen=True)
class Rounding:
    """One rounding to a short type.

    at     (file, line) of the function's own code, None where autograd rounds
    cast   it shortens a longer number
    term   what is added is shortened from a longer number itself, so that the sum alone is kept short
    """

    at: tuple[str, int] | None
    operation: str
    cast: bool
    term: bool = False

    @property
    def sums_longer(self) -> bool:
        """Terms with more digits are added to a short sum."""
        return self.term or (self.cast and self.operation.rstrip("_") in ("add", "sub"))


@dataclass(frozen=True)
class Seen:
    """One operation's result.   operands: storages that it reads   writes: the storage of its result"""

    value: Any
    operands: tuple[int, ...]
    writes: int
    rounding: Rounding | None


@dataclass
class Watched:
    """The operations of one run, in their order."""

    seen: list[Seen] = field(default_factory=list)

    def __enter__(self) -> Watched:
        self._mode = _watching(self.seen)
        self._mode.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._mode.__exit__(*error)


@dataclass(frozen=True)
class Carried:
    """most: the largest r(v)   roundings: those of its way, the last one first"""

    most: int
    roundings: tuple[Rounding, ...]

    @property
    def kept_short_alone(self) -> bool:
        """Everything on the way is computed in a longer type: numbers are shortened, or added to a short sum, and nothing else."""
        return bool(self.roundings) and all(r.cast or r.term for r in self.roundings)


def carried(one: Watched, other: Watched) -> Carried:
    """Raises SubjectError where the two runs did not do the same operations."""
    import torch

    if len(one.seen) != len(other.seen):
        raise SubjectError("which operations it runs depends on the values")
    ways: dict[int, tuple[Rounding, ...]] = {}
    longest: tuple[Rounding, ...] = ()
    for a, b in zip(one.seen, other.seen, strict=True):
        if a.value.shape != b.value.shape or torch.equal(a.value, b.value):
            continue
        before = [ways[s] for s in a.operands if s in ways]
        way = min(before, key=len, default=())
        if a.rounding is not None and before:
            way = (a.rounding, *way)
        ways[a.writes] = way
        longest = max(longest, way, key=len)
    return Carried(len(longest), longest)


def _watching(seen: list[Seen]) -> Any:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves, tree_map

    short = {torch.bfloat16, torch.float16}
    alive: list[Any] = []  # storages are known by their address, which must not be used again
    shortened: set[int] = set()

    def wide(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.to(torch.float64, copy=True) if value.is_floating_point() else value
        return torch.float64 if value in short or value is torch.float32 else value

    def storage(value: Any) -> int:
        return int(value.untyped_storage().data_ptr())

    class Watching(WithoutCompiler, TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch gives its classes no types
        def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
            kwargs = kwargs or {}
            given = [a for a in tree_leaves((args, kwargs)) if isinstance(a, torch.Tensor) and a.is_floating_point()]
            alias = [r.alias_info for r in func._schema.returns]
            view = any(a is not None and not a.is_write for a in alias)
            exact = None
            if (not view and any(a.dtype in short for a in given)) or kwargs.get("dtype") in short:
                exact = func(*tree_map(wide, tuple(args)), **tree_map(wide, dict(kwargs)))
            operands = tuple(storage(a) for a in given)
            longer = [a.dtype not in short for a in given]
            found = func(*args, **kwargs)
            for k, value in enumerate(found if isinstance(found, tuple | list) else [found]):
                if not isinstance(value, torch.Tensor) or not value.is_floating_point():
                    continue
                rounding = None
                if exact is not None and value.dtype in short:
                    right = exact[k] if isinstance(exact, tuple | list) else exact
                    if not torch.equal(value.double(), right.double()):
                        name = func.overloadpacket.__name__
                        term = name.rstrip("_") in ("add", "sub") and any(s in shortened for s in operands)
                        rounding = Rounding(_line(), name, any(longer), term)
                        if any(longer) and rounding.at is not None:  # what we hand over is short as it is
                            shortened.add(storage(value))
                alive.append(value)
                seen.append(Seen(value.detach().clone(), operands, storage(value), rounding))
            return found

    return Watching()  # type: ignore[no-untyped-call]  # the same


def _line() -> tuple[str, int] | None:
    """The innermost line of the function's own code that is running."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((_OWN, "<")) and "/torch/" not in name and "importlib" not in name:
            return name, frame.f_lineno
        if name.endswith("calling.py") and name.startswith(_OWN):
            return None
        frame = frame.f_back  # type: ignore[assignment]  # None at the outermost one
    return None
