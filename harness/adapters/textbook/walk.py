"""Cells that keep their own state: each forward(x) appends a step, each backward(dh) goes one step back in time.

flush()        forward(x) -> h | (h, c), T times        backward(dh) -> dx, T times
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from bptt.harness.adapters.objects import is_factory, required
from bptt.harness.adapters.textbook import calls
from bptt.harness.adapters.textbook.build import Construction
from bptt.harness.subject import Array

RESETS = ("flush", "reset", "reset_state", "reset_states", "reset_hidden", "clear", "clear_cache")


class Walk:
    """One such cell as a layer over time, (T, N, D) in and (T, N, H) out; all else is the cell's own."""

    inner: Any

    def __init__(self, inner: Any) -> None:
        object.__setattr__(self, "inner", inner)

    def __getattr__(self, name: str) -> Any:
        if name == "inner" or name.startswith("__"):  # while a copy is made there is no cell yet
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner, name, value)

    def forward(self, xs: Array) -> Array:
        getattr(self.inner, _reset(self.inner) or "")()
        step = getattr(self.inner, calls.own_method(self.inner, calls.FORWARD) or "")
        names = calls.returned_names(step)
        h = next((k for k, n in enumerate(names) if not calls.C.search(n)), 0)
        return np.stack([calls.items_of(step(x))[h] for x in xs])

    def backward(self, dys: Array) -> Array:
        step = getattr(self.inner, calls.own_method(self.inner, calls.BACKWARD) or "")
        return np.stack([calls.items_of(step(dy))[0] for dy in reversed(dys)][::-1])


def _reset(inner: Any) -> str | None:
    name = calls.own_method(inner, RESETS)
    return name if name and not required(getattr(inner, name)) else None


def walks(obj: Any, ways: Iterator[Construction]) -> Iterator[Construction]:
    """`ways` with the cell as a layer, where it has what that takes: one argument each, and a method that forgets."""
    forward, backward = (calls.own_method(obj, names) for names in (calls.FORWARD, calls.BACKWARD))
    if is_factory(obj) or not (forward and backward and calls.own_method(obj, RESETS)):
        return
    if any(len(calls.arguments(obj, name)[0]) != 1 for name in (forward, backward) if name):
        return
    for way in ways:

        def make(rng: np.random.Generator, D: int, H: int, way: Construction = way) -> tuple[Any, dict[str, Array]]:
            inner, given = way.make(rng, D, H)
            return Walk(inner), given

        yield replace(way, make=make, words=f"{way.words}, one step a call, its state its own")
