"""What the views in plain lines share: printing without markup, rows, alignment."""

from __future__ import annotations

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


def row(name: str, text: str) -> Text:
    """ "  where   gate n only" """
    line = Text(f"  {name:<7} {without_controls(text)}")
    line.stylize("dim", 2, 2 + len(name))
    return line


def apart(left: str, right: str, width: int) -> str:
    """`right` at the right edge where it fits, else two spaces after `left`."""
    return left + (" " * max(2, width - len(left) - len(right)) + right if right else "")
