"""What differs from one call to the next with the same arguments: drawn at random, accumulated, or kept.

random         the same again once the generators of numpy, random and torch stand where they stood
accumulated    the third call adds to the second what the second added to the first, and that is the first call's gradient
kept           neither: something of the call before is read
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from bptt.harness.subject import Array, Arrays
from bptt.harness.training.oracle import Named
from bptt.reports.records import Cause

_ROUNDING = 1e-6


def told_apart(first: Arrays, second: Arrays, ask: Callable[[], Arrays]) -> Named:
    """The cause of a second answer that is not the first one.   ask: one call more"""
    third = ask()
    differ = [name for name in first if name in second and not np.array_equal(first[name], second[name])]
    shown = ", ".join(differ)
    if all(name in third and _close(second[name], 2 * first[name]) and _close(third[name], 3 * first[name]) for name in differ):
        said = f"{shown}: each call adds its gradients to those of the calls before"
        evidence = "the second call gives twice the first, the third three times the first"
        return Named((Cause("accumulated", said, evidence, 0.95, "dW = np.zeros_like(W) at the start of backward, not self.dW += ..."),))
    with _generators_where_they_stand():
        one = ask()
    with _generators_where_they_stand():
        other = ask()
    if all(name in one and name in other and np.array_equal(one[name], other[name]) for name in differ):
        said = f"{shown}: random numbers are drawn in it"
        evidence = "two calls are equal where the generators of numpy, random and torch are set to where they stood"
        return Named((Cause("random", said, evidence, 0.95, "draw masks in the forward pass and hand them to backward"),))
    said = f"{shown}: something of the calls before is kept and read: an attribute, a cache, a buffer, or a generator of its own"
    evidence = "the third call is neither the sum of the calls so far nor repeated by setting the generators of numpy, random and torch"
    fix = "make every buffer inside the call: np.zeros_like(W), not self.dW from the call before"
    return Named((Cause("kept", said, evidence, 0.6, fix),))


def _close(a: Array, b: Array) -> bool:
    return bool(a.shape == b.shape and np.all(np.abs(a - b) <= _ROUNDING * max(float(np.max(np.abs(b), initial=0.0)), 1e-300)))


@contextmanager
def _generators_where_they_stand() -> Iterator[None]:
    """What is drawn inside from the generators that everybody shares is not drawn as far as the outside can tell."""
    own, torch = random.getstate(), sys.modules.get("torch")
    of_numpy = np.random.get_state()  # noqa: NPY002  # it is what other people's code draws from
    of_torch = None if torch is None else torch.random.get_rng_state()
    try:
        yield
    finally:
        random.setstate(own)
        np.random.set_state(of_numpy)  # noqa: NPY002  # as above
        if torch is not None and of_torch is not None:
            torch.random.set_rng_state(of_torch)
