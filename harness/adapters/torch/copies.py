"""Copies of modules that share nothing with the user's own."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator, MutableMapping
from typing import Any

import torch

Memo = dict[int, Any]


def own_copy(module: torch.nn.Module) -> torch.nn.Module:
    """A deep copy in which hooks and other functions that hold the module, or a part of it, hold those of the copy.

    `copy.deepcopy` takes functions as they are: a hook `lambda mod, args, out: self.norm(out)` would go on to use the user's own
    norm.  What a call has left in it, a state or a weight that was computed, is there without its graph: it could not be copied with it.
    Raises whatever a user's __deepcopy__ raises.
    """
    memo: Memo = {id(t): t.detach().clone() for part in module.modules() for t in _tensors(vars(part)) if t.grad_fn is not None}
    own = copy.deepcopy(module, memo)
    for part in own.modules():
        _rebind(vars(part), memo)
    return own


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Those in lists, tuples and dicts of any depth."""
    if isinstance(value, torch.Tensor):
        yield value
    elif type(value) in (list, tuple, dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _tensors(each)


def _rebind(held: MutableMapping[Any, Any], memo: Memo) -> None:
    for name, value in held.items():
        if isinstance(value, types.FunctionType | list | tuple):
            if (new := _of_the_copy(value, memo)) is not value:
                held[name] = new
        elif isinstance(value, dict):
            _rebind(value, memo)


def _of_the_copy(value: Any, memo: Memo) -> Any:
    """What stands in the copy where `value` stood: itself, where it is no part of the module and holds none."""
    if id(value) in memo and not isinstance(value, list | tuple):
        return memo[id(value)]
    if isinstance(value, types.FunctionType):
        return _function(value, memo)
    if type(value) in (list, tuple):
        items = [_of_the_copy(item, memo) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else type(value)(items)
    return value


def _function(f: types.FunctionType, memo: Memo) -> types.FunctionType:
    memo[id(f)] = f  # one that holds itself
    cells = tuple(_cell(cell, memo) for cell in f.__closure__ or ())
    defaults = _of_the_copy(f.__defaults__, memo)
    named = {name: _of_the_copy(value, memo) for name, value in (f.__kwdefaults__ or {}).items()}
    same = (*zip(cells, f.__closure__ or (), strict=True), (defaults, f.__defaults__))
    if all(new is old for new, old in same) and all(named[k] is v for k, v in (f.__kwdefaults__ or {}).items()):
        return f
    own = types.FunctionType(f.__code__, f.__globals__, f.__name__, defaults, cells or None)
    own.__kwdefaults__, own.__qualname__, own.__doc__, own.__module__ = named or None, f.__qualname__, f.__doc__, f.__module__
    own.__dict__.update(f.__dict__)
    memo[id(f)] = own
    return own


def _cell(cell: types.CellType, memo: Memo) -> types.CellType:
    try:
        held = cell.cell_contents
    except ValueError:  # nothing is in it yet
        return cell
    own = _of_the_copy(held, memo)
    return cell if own is held else types.CellType(own)
