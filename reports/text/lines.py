"""What the views in plain lines share: printing without markup, rows, alignment."""

from __future__ import annotations

import textwrap
from typing import Literal

from rich.console import Console
from rich.text import Text

from bptt.reports.view import without_controls

Detail = Literal["quiet", "normal", "verbose"]


def print_lines(console: Console, *lines: str | Text) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def is_plain(console: Console) -> bool:
    """Whether the console cannot show our symbols."""
    return not console.encoding.lower().replace("-", "").startswith("utf")


#: Narrower and wider than these no line is made.
NARROWEST, WIDEST = 60, 140


def within(width: int) -> int:
    return min(max(width, NARROWEST), WIDEST)


def wrapped(text: str, width: int, indent: int = 2) -> list[str]:
    """The text in lines of at most `width`, all but the first moved in; a word that is longer stands alone, so that it can be copied."""
    return textwrap.wrap(without_controls(text), width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False) or [
        ""
    ]


def rows(name: str, text: str, width: int, most: int | None = None) -> list[Text]:
    """ "  where   gate n only", wrapped under itself; more lines than `most` end in an ellipsis."""
    lines = textwrap.wrap(without_controls(text), width - 10, break_long_words=False, break_on_hyphens=False)
    if most is not None and len(lines) > most:
        last = lines[most - 1][: max(width - 12, 0)].rstrip(" :,;")
        lines = [*lines[: most - 1], f"{last} …"]
    return [row(name if k == 0 else "", line) for k, line in enumerate(lines)]


def row(name: str, text: str) -> Text:
    """ "  where   gate n only" """
    line = Text(f"  {name:<7} {without_controls(text)}")
    line.stylize("dim", 2, 2 + len(name))
    return line


def apart(left: str, right: str, width: int) -> str:
    """`right` at the right edge where it fits, else two spaces after `left`."""
    return left + (" " * max(2, width - len(left) - len(right)) + right if right else "")
