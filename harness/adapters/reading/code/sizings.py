"""Sizes that stand in a file: which of its numbers changes which axis of a weight, told by making the weights anew with another one."""

from __future__ import annotations

import re
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.code import source, words
from bptt.harness.adapters.reading.code.weights import find_parameters, read

Shapes = Mapping[str, tuple[int, ...]]
Make = Callable[[types.ModuleType | None], Any]


def shapes_of(root: Any, among: frozenset[str] | None = None) -> dict[str, tuple[int, ...]]:
    """The shapes of what may be weights in `root`, of attributes `among` only where it is given."""
    kept = [p for p in find_parameters(root, {}) if among is None or str(p.slot[0].key) in among]
    return {p.name: np.shape(read(root, p.slot)) for p in kept}


def sizings(
    module: types.ModuleType | None, make: Make, among: frozenset[str] | None = None
) -> Iterator[tuple[dict[str, str], dict[str, int]]]:
    """Ways to choose sizes: numbers of the file by name -> letter, and the sizes that stay as they are, by letter.

    `make` makes the object that holds the weights from a module, or one made anew from its file.
    Raises what `make` raises.
    """
    base = {n: s for n, s in shapes_of(make(module), among).items() if len(s) <= 2}
    if not base:
        yield {}, {}
        return
    changed: dict[str, set[tuple[str, int]]] = {}
    values = source.sizes_named(module) if module is not None else {}
    for name, value in values.items():
        assert module is not None
        try:
            after = shapes_of(make(source.remade(module, {name: 29 if value != 29 else 31})), among)
        except Exception:  # a number that is no size may break what is made with it
            continue
        axes = {(n, k) for n, s in base.items() if len(after.get(n, ())) == len(s) for k, e in enumerate(s) if after[n][k] != e}
        if axes:
            changed[name] = axes
    letters = _letters(changed, base)
    counted = source.counts_named(module) if module is not None else frozenset()
    whole = {n: a for n, a in letters.items() if n not in counted}
    for names in [letters, whole] if whole != letters else [letters]:
        yield names, _left(names, changed, base)


def _letters(changed: Mapping[str, set[tuple[str, int]]], base: Shapes) -> dict[str, str]:
    found: dict[str, str] = {}

    def give(name: str, letter: str) -> None:
        if letter not in found.values():
            found[name] = letter

    squares = {n for n, s in base.items() if len(s) == 2 and s[0] == s[1] > 1}
    for name, axes in changed.items():
        if any((n, 0) in axes and (n, 1) in axes for n in squares):
            give(name, "H")
    units = [re.sub(r"_?\d+$", "", n) for n in found]
    found |= {n: "H" for n in changed if re.sub(r"_?\d+$", "", n) in units}  # of more layers
    for name in changed:
        role = next((r for r in words.roles(name.rpartition(".")[2]) if r in "DHO"), None)
        if name not in found and role is not None:
            give(name, role)
    for name in changed:
        if name not in found:
            give(name, next((a for a in "HDO" if a not in found.values()), "?"))
    if "O" in found.values() and "D" not in found.values():
        found = {n: "D" if a == "O" else a for n, a in found.items()}
    return {n: a for n, a in found.items() if a in "DHO"}


def _left(names: Mapping[str, str], changed: Mapping[str, set[tuple[str, int]]], base: Shapes) -> dict[str, int]:
    """The sizes that no name chooses, by letter, as far as the shapes tell them."""
    chosen = set(names.values())
    moved = {axis for n in names for axis in changed[n]}
    kernels = [s for n, s in base.items() if len(s) == 2 and min(s) > 1]
    still = {n: tuple(e for k, e in enumerate(s) if (n, k) not in moved and e > 1) for n, s in base.items()}
    found: dict[str, int] = {}
    if "H" not in chosen:
        squares = Counter(s[0] for s in kernels if s[0] == s[1])
        biases = Counter(max(s) for s in base.values() if len(s) == 1 or min(s) == 1)
        side = next((side for side, _ in (*squares.most_common(), *biases.most_common()) if side > 1), None)
        if side is None:
            return {}
        found["H"] = side
    H = found.get("H")
    others = list(dict.fromkeys(e for n, s in base.items() if len(s) == 2 for e in still[n] if H is None or e % H))
    if H is not None and others and all(e > H for e in others) and not any(len(set(s)) == 1 for s in kernels):
        others = [others[0] - H, *others[1:]]  # a kernel on [h, x]
    for letter in "DO":
        if letter not in chosen and others:
            found[letter] = others.pop(0)
    return found
