"""Cells that keep their own state: each forward(x) appends a step, each backward(dh) goes one step back in time.

flush()        forward(x) -> h | (h, c), T times        backward(dh) -> dx, T times
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bptt.harness.adapters.objects import required
from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.code.layout import Sizes
from bptt.harness.adapters.reading.code.owners import Owner
from bptt.harness.subject import Array


class Walk:
    """One such cell as a layer over time, the steps along the first axis; all else is the cell's own.

    named    its methods: one step forward, one step back, and the one that makes it forget
    """

    inner: Any
    named: tuple[str, str, str]

    def __init__(self, inner: Any, named: tuple[str, str, str]) -> None:
        self.__dict__.update(inner=inner, named=named)

    def __getattr__(self, name: str) -> Any:
        if name in ("inner", "named") or name.startswith("__"):  # while a copy is made there is no cell yet
            raise AttributeError(name)
        if name in self.named[:2]:
            return self._forward if name == self.named[0] else self._backward
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner, name, value)

    def _forward(self, *args: Array, **named: Array) -> Array:
        [xs] = [*args, *named.values()]
        getattr(self.inner, self.named[2])()
        step = getattr(self.inner, self.named[0])
        names = words.returned(step)
        h = next((k for k, n in enumerate(names) if "c" not in words.roles(n)), 0)
        return np.stack([_items(step(x))[h] for x in xs])

    def _backward(self, *args: Array, **named: Array) -> Array:
        [dys] = [*args, *named.values()]
        step = getattr(self.inner, self.named[1])
        return np.stack([_items(step(dy))[0] for dy in reversed(dys)][::-1])


def _items(result: Any) -> list[Any]:
    return list(result) if isinstance(result, tuple | list) else [result]


def walked(owner: Owner, forward: str, backward: str | None) -> Owner | None:
    """`owner` with the cell as a layer, where it has what that takes: one argument each, and a method that forgets."""
    forget = next((n for n, f in owner.methods.items() if words.RESET.match(n) and (required(f) or []) in ([], ["self"])), None)
    if forget is None or backward is None or any(len(_inputs(owner.methods[n])) != 1 for n in (forward, backward)):
        return None
    named = (forward, backward, forget)

    def make(rng: np.random.Generator, sizes: Sizes) -> Walk:
        return Walk(owner.make(rng, sizes), named)

    told, recipe = f"{owner.words}, one step a call, its state its own", owner.recipe and f"Walk({owner.recipe}, {named!r})"
    return replace(owner, make=make, words=told, unlikely=owner.unlikely + 1000, recipe=recipe)


def _inputs(method: Any) -> list[str]:
    needed, optional = words.arguments(method)
    return [n for n in (*needed, *optional) if n != "self"]
