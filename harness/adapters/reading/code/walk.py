"""Cells that keep their own state: each forward(x) appends a step, each backward(dh) goes one step back in time.

flush()        forward(x) -> h | (h, c), T times        backward(dh) -> dx, T times, where it has one

One without a method that makes it forget goes through one sequence, as it was made.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bptt.harness.adapters.objects import required
from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.code.layout import Sizes
from bptt.harness.adapters.reading.code.owners import HandedOwner, Owner
from bptt.harness.subject import Array


class Walk:
    """One such cell as a layer over time, the steps along the first axis; all else is the cell's own.

    named    its methods: one step forward, one step back, and the one that makes it forget; "" for one that it has not
    """

    inner: Any
    named: tuple[str, str, str]

    def __init__(self, inner: Any, named: tuple[str, str, str]) -> None:
        self.__dict__.update(inner=inner, named=named)

    def __getattr__(self, name: str) -> Any:
        if name in ("inner", "named") or name.startswith("__"):  # while a copy is made there is no cell yet
            raise AttributeError(name)
        if name and name in self.named[:2]:
            return self._forward if name == self.named[0] else self._backward
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner, name, value)

    def _forward(self, *args: Array, **named: Array) -> Array:
        [xs] = [*args, *named.values()]
        if self.named[2]:
            getattr(self.inner, self.named[2])()
        step = getattr(self.inner, self.named[0])
        names = words.returned(step)
        h = next((k for k, n in enumerate(names) if "c" not in words.roles(n)), 0)
        return np.stack([_items(step(x))[h] for x in xs])

    def _backward(self, *args: Array, **named: Array) -> Array | None:
        [dys] = [*args, *named.values()]
        step = getattr(self.inner, self.named[1])
        back = [_items(step(dy))[0] for dy in reversed(dys)][::-1]
        return None if all(each is None for each in back) else np.stack(back)


def goes_once(root: Any) -> bool:
    """Whether it is such a cell that nothing makes forget."""
    return isinstance(root, Walk) and not root.named[2]


def _items(result: Any) -> list[Any]:
    return list(result) if isinstance(result, tuple | list) else [result]


def walked(owner: Owner, forward: str, backward: str | None) -> Owner | None:
    """`owner` with the cell as a layer, where it has what that takes: one argument each."""
    forget = next((n for n, f in owner.methods.items() if words.RESET.match(n) and (required(f) or []) in ([], ["self"])), "")
    if isinstance(owner, HandedOwner) or any(len(_inputs(owner.methods[n])) != 1 for n in (forward, backward) if n is not None):
        return None
    named = (forward, backward or "", forget)

    def make(rng: np.random.Generator, sizes: Sizes) -> Walk:
        return Walk(owner.make(rng, sizes), named)

    told, recipe = f"{owner.words}, one step a call, its state its own", owner.recipe and f"Walk({owner.recipe}, {named!r})"
    return replace(owner, make=make, words=told, unlikely=owner.unlikely + 1000, recipe=recipe)


def _inputs(method: Any) -> list[str]:
    needed, optional = words.arguments(method)
    return [n for n in (*needed, *optional) if n != "self"]
