"""Words for a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(got: str, known: Iterable[str]) -> str:
    """``, did you mean 'GRD110'?`` where one of `known` is close, else all of `known` where they are few, else nothing."""
    names = sorted(set(known))
    by_folded = {name.casefold(): name for name in names}
    close = get_close_matches(got.casefold(), by_folded, n=1, cutoff=0.6)
    if close:
        return f", did you mean {by_folded[close[0]]!r}?"
    return f", wanted one of {', '.join(names)}" if 0 < len(names) <= 12 else ""
