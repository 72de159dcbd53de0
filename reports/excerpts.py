"""The user's own lines around the one that is wrong, as every view shows them: the wrong line marked, the mend as a difference."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Literal

from bptt.reports.records import Excerpt


@dataclass(frozen=True)
class Line:
    """sign: " " as it should be, ">" wrong, "-" wrong and to go, "+" what should stand there"""

    sign: Literal[" ", ">", "-", "+"]
    number: int
    text: str


def difference(excerpt: Excerpt) -> tuple[Line, ...]:
    """The lines of an excerpt without their common indent; where its mend is known, as a difference."""
    at = excerpt.line - excerpt.first
    wrong = excerpt.lines[at] if 0 <= at < len(excerpt.lines) else ""
    indent = wrong[: len(wrong) - len(wrong.lstrip())]
    mended = [indent + line for line in textwrap.dedent(excerpt.mended).splitlines() if line.strip()]
    shown = textwrap.dedent("\n".join((*excerpt.lines, *mended))).split("\n")
    lines: list[Line] = []
    for k, text in enumerate(shown[: len(excerpt.lines)]):
        lines.append(Line(" " if k != at else "-" if mended else ">", excerpt.first + k, text))
        if k == at:
            lines += [Line("+", excerpt.line, line) for line in shown[len(excerpt.lines) :]]
    return tuple(lines)


def changed(excerpt: Excerpt) -> tuple[Line, ...]:
    """The wrong line and what should stand there, alone."""
    return tuple(line for line in difference(excerpt) if line.sign != " ")
