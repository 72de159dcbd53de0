"""A program in fewer lines, with as little harm to how it reads as can be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from bptt.harness.reproduce.writing import MOST_CHARACTERS, NotWritten

_SIMPLE = re.compile(r"(?! *(for |def |return |assert |print\(|.*  # ))")


def tightened(lines: Sequence[str], most: int) -> tuple[str, ...]:
    """The same program in at most so many lines, the short ones joined first.  Raises NotWritten."""
    found = list(lines)
    while len(found) > most and (joined := [*_loops_joined(found), *_neighbours_joined(found)]):
        _, first, last, line = min(joined)
        found[first : last + 1] = [line]
    if len(found) > most or any(len(line) > MOST_CHARACTERS for line in found):
        raise NotWritten(f"it would take {len(found)} lines, the longest of {max(map(len, found))} characters")
    return tuple(found)


def _loops_joined(lines: Sequence[str]) -> Iterator[tuple[float, int, int, str]]:
    """Loops as one line: (cost, first line, last line, the line).  A loop over one statement reads well so, a longer one does not."""
    for k, line in enumerate(lines):
        if not line.lstrip().startswith("for ") or not line.endswith(":"):
            continue
        last = k
        while last + 1 < len(lines) and _indent(lines[last + 1]) > _indent(line):
            last += 1
        block = lines[k + 1 : last + 1]
        joined = f"{line} {'; '.join(b.strip() for b in block)}"
        if all(_SIMPLE.match(b) for b in block) and len(joined) <= MOST_CHARACTERS:
            yield len(joined) * (0.3 if len(block) == 1 and "; " not in block[0] else 2.0), k, last, joined


def _neighbours_joined(lines: Sequence[str]) -> Iterator[tuple[float, int, int, str]]:
    """Two statements on one line: (cost, first line, last line, the line)."""
    for k, (a, b) in enumerate(pairwise(lines)):
        both = f"{a}; {b.strip()}"
        if _indent(a) == _indent(b) and _SIMPLE.match(a) and _SIMPLE.match(b) and len(both) <= MOST_CHARACTERS:
            yield float(len(both)), k, k + 1, both


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
