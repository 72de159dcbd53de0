"""Words for a name that is not known, and for numbers in a row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def nearest(got: str, known: Iterable[str]) -> str | None:
    """The name that is close to `got`, whatever its case; None where there is none."""
    by_folded = {name.casefold(): name for name in sorted(set(known))}
    close = get_close_matches(got.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None


def near_miss(got: str, known: Iterable[str]) -> str:
    """``, did you mean 'GRD110'?`` where one of `known` is close, else nothing."""
    near = nearest(got, known)
    return f", did you mean {near!r}?" if near else ""


def did_you_mean(got: str, known: Iterable[str]) -> str:
    """As `near_miss`; where none is close all of `known`, if they are few."""
    names = sorted(set(known))
    return near_miss(got, names) or (f", wanted one of {', '.join(names)}" if 0 < len(names) <= 12 else "")


def without_addresses(text: str) -> str:
    """'<Cell object at 0x7f39cd162c50>' -> '<Cell object>': what is said of a run is the same in the next one."""
    return re.sub(r" at 0x[0-9a-fA-F]{6,}", "", text)


def ranges(numbers: Sequence[int], to: str = "-") -> str:
    """0 1 2 5 -> '0-2, 5'"""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}{to}{b}" for a, b in runs)
