"""Axes told from shapes, and arrays brought into a layout and back.

Axes have one letter each: T time, N batch, D input, H hidden, O outputs, 1 an axis of size one.  A layout is a word such as
"DNT" (an array of that shape) or "T:D1" (a list of T arrays (D, 1)).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bptt.harness.subject import Array


@dataclass(frozen=True)
class Sizes:
    """Distinct primes, none the sum of others, with one more for a bias or without, or a small multiple of them."""

    T: int = 3
    N: int = 2
    D: int = 5
    H: int = 7
    O: int = 11  # noqa: E741 - the letter of the axis

    def one_row(self) -> Sizes:
        return replace(self, N=1)

    def beside(self, fixed: Mapping[str, int], extents: frozenset[int] = frozenset()) -> Sizes:
        """With the sizes that cannot be chosen, and T and N that are none of them and no extent of an array."""
        if not fixed:
            return self
        taken = {*fixed.values(), self.D, self.H, self.O, *extents}
        T = next(t for t in (3, 5, 11, 17, 23, 29, *range(31, 999)) if not taken & {t, t + 1})
        N = fixed.get("N") or next(n for n in (2, 3, 19, 31, *range(37, 999)) if n not in taken | {T, T + 1})
        left = iter(p for p in (5, 7, 11, 37, 41, 43) if p not in {*fixed.values(), T, T + 1, N})
        chosen = {a: fixed[a] if a in fixed else next(left) for a in "DHO"}
        return Sizes(T, N, chosen["D"], chosen["H"], chosen["O"])

    def letters(self, size: int) -> str:
        """The axes that have this size; of a cell with as many inputs as units, the units."""
        return "1" if size == 1 else "".join(a for a in "TNHDO" if getattr(self, a) == size)


def at_the_end(value: Array, T: int) -> Array:
    """A gradient of each of T steps that is nothing but at the last."""
    return np.concatenate([np.zeros((T - 1, *value.shape), value.dtype), value[None]])


def formed(value: Array, axes: str, layout: str) -> Any:
    """`value`, whose axes are `axes` in this order, as an array or list in `layout`; an axis that the layout lacks has size one."""
    if layout == axes:
        return np.array(value, order="C")
    wanted = layout.replace(":", "").replace("1", "")
    dropped = [k for k, a in enumerate(axes) if a not in wanted]
    left = [a for a in axes if a in wanted]
    array = np.transpose(np.squeeze(value, axis=tuple(dropped)), [left.index(a) for a in wanted])
    position = 0
    shape: list[int] = []
    for a in layout.replace(":", ""):
        shape.append(1 if a == "1" else array.shape[position])
        position += a != "1"
    array = np.array(array.reshape(shape), order="C")
    return list(array) if ":" in layout else array


def layout_of(value: Any, sizes: Sizes) -> str | None:
    """The layout of an array, number, or list or dict of T (or T + 1) arrays by its shape, None where a size is none of ours.

    A list of T + 1 arrays, or a dict that begins at -1, holds the state before the first step too: "S:" in place of "T:".
    """
    if isinstance(value, Mapping):
        if not value or not all(isinstance(k, int | np.integer) for k in value):
            return None
        return _of_items([value[k] for k in sorted(value)], sizes)
    if isinstance(value, list | tuple):
        return _of_items(list(value), sizes)
    if isinstance(value, np.ndarray) and value.dtype.kind in "fc":
        return _of_shape(value.shape, sizes)
    return "" if isinstance(value, float | np.floating) else None


def _of_items(items: list[Any], sizes: Sizes) -> str | None:
    if len(items) not in (sizes.T, sizes.T + 1) or not all(isinstance(i, np.ndarray) and i.dtype.kind in "fc" for i in items):
        return None
    if any(i.shape != items[-1].shape for i in items):
        return None
    inner = _of_shape(items[-1].shape, sizes)
    return None if inner is None or "T" in inner else f"{'T' if len(items) == sizes.T else 'S'}:{inner}"


def _of_shape(shape: tuple[int, ...], sizes: Sizes) -> str | None:
    found = ""
    for size in shape:
        letters = [a for a in sizes.letters(size) if a == "1" or a not in found]
        if not letters and size == sizes.T + 1 and "S" not in found:
            letters = ["S"]
        if not letters:
            return None
        found += letters[0]
    return found if sum(a in "DHO" for a in found) <= 1 else None  # two of them are a weight, or a broadcast nobody meant


def canonical(value: Any, layout: str, axes: str) -> Array:
    """What stands in `layout` as an array with `axes` in this order; a missing axis has size one, a state before the first is dropped."""
    if layout == axes:
        return np.asarray(value)
    if isinstance(value, Mapping):
        value = [value[k] for k in sorted(value)]
    array = np.asarray(np.stack(list(value)) if ":" in layout else value)
    word = layout.replace(":", "")
    if "S" in word:
        array = np.take(array, range(1, array.shape[word.index("S")]), axis=word.index("S"))
        word = word.replace("S", "T")
    array = array.reshape([n for n, a in zip(array.shape, word, strict=True) if a != "1"])
    word = word.replace("1", "")
    array = np.transpose(array, [word.index(a) for a in axes if a in word])
    return array.reshape([array.shape[[b for b in axes if b in word].index(a)] if a in word else 1 for a in axes])


def unsqueezed(value: Any, layout: str, known: Mapping[str, int]) -> Any:
    """`value` with the axes of size one that its author's squeeze took away, as far as `known` sizes (or any T and N) let it have them."""
    missing = len(layout) - np.ndim(value)
    if ":" in layout or missing <= 0 or not isinstance(value, np.ndarray):
        return value
    for taken in itertools.combinations(range(len(layout)), missing):
        shape = np.expand_dims(value, taken).shape
        if all(n == known.get(a, n) for n, a in zip(shape, layout, strict=True)) and all(layout[k] != "1" for k in taken):
            return value.reshape(shape)
    return value


def like(value: Array, other: Any) -> Any:
    """`value` (a canonical array already in the order of `other`'s own axes) as the same kind of thing as `other`."""
    if isinstance(other, Mapping):
        return dict(zip(sorted(other), value, strict=True))
    return list(value) if isinstance(other, list | tuple) else value


@dataclass(frozen=True)
class LastStep:
    """In a path: the last entry along an axis."""

    axis: int

    @property
    def index(self) -> Any:
        return (*(slice(None),) * self.axis, -1)

    def __repr__(self) -> str:
        return repr(self.index if self.axis else -1)

    def __str__(self) -> str:
        return "last"


def at(result: Any, path: Sequence[Any]) -> Any:
    """The value at `path` in what a call returned: positions, keys and fields, () the whole."""
    for key in path:
        if isinstance(key, str) and not isinstance(result, Mapping) and hasattr(result, key):  # a field
            result = getattr(result, key)
            continue
        result = result[-1] if key == LastStep(0) else result[key.index if isinstance(key, LastStep) else key]
    return result
