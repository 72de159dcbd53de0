"""The user's own text around the line that is wrong, with what should stand there where a cause says it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bptt.reports.records import Cause, Excerpt, Source

_BEFORE, _AFTER, _LONGEST = 3, 2, 160


def excerpt(source: Source, causes: Sequence[Cause] = ()) -> Excerpt | None:
    """A few lines on both sides of `source`, without the empty ones at their ends; None where the file has no such line."""
    try:
        text = Path(source.file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError, ValueError):
        return None
    at = source.line - 1
    if not 0 <= at < len(text) or not text[at].strip():
        return None
    first, last = max(at - _BEFORE, 0), min(at + _AFTER, len(text) - 1)
    while first < at and not text[first].strip():
        first += 1
    while last > at and not text[last].strip():
        last -= 1
    lines = tuple(line.expandtabs(4).rstrip()[:_LONGEST] for line in text[first : last + 1])
    mended = causes[0].mended if causes else ""
    return Excerpt(source.file, first + 1, lines, source.line, mended)
