"""A match in words: the one place where a named mistake becomes a cause."""

from __future__ import annotations

from collections.abc import Sequence

#: More wrong arrays than these are counted, not listed.
_MOST_NAMES = 8


def evidence(model: str, wrong: Sequence[str], error: float, calls: str = "", others: Sequence[str] = ()) -> str:
    """ "the reference with this mistake, on your weights, reproduces the wrong tensor (W_x) to 1e-16 under 5 cotangents; so does '...'".

    model    what was run: "the reference with this mistake, on your weights,"
    calls    in how many of them: "under 5 cotangents"
    others   sentences of other mistakes that give the same numbers
    """
    said = f"{model} reproduces {_listed(wrong)} to {max(error, 1e-16):.0e}" + (f" {calls}" if calls else "")
    if not others:
        return said
    shown = " and ".join(f"'{sentence}'" for sentence in others[:2])
    more = f" and {len(others) - 2} more" if len(others) > 2 else ""
    return f"{said}; so do{'es' * (len(others) == 1)} {shown}{more}"


def _listed(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"the wrong tensor ({names[0]})"
    return f"all {len(names)} wrong tensors" + (f" ({', '.join(names)})" if len(names) <= _MOST_NAMES else "")


def counted(n: int, what: str) -> str:
    """ "1 cotangent", "5 cotangents"."""
    return f"{n} {what}{'s' * (n != 1)}"
